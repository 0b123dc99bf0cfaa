//! What must hold for any heap.

use heapatlas_analysis::{
    CompareOptions, Heap, NamedFilter, OpenOptions, compare, compare_series, select, summarize,
};
use heapatlas_model::{EdgeKind, GraphBuilder, NodeKind, SnapshotFormat};
use proptest::collection::vec;
use proptest::prelude::*;

const KINDS: [NodeKind; 8] = [
    NodeKind::Object,
    NodeKind::Native,
    NodeKind::Hidden,
    NodeKind::Array,
    NodeKind::Closure,
    NodeKind::String,
    NodeKind::ConcatenatedString,
    NodeKind::Synthetic,
];
const EDGE_KINDS: [EdgeKind; 6] = [
    EdgeKind::Property,
    EdgeKind::Internal,
    EdgeKind::Element,
    EdgeKind::Weak,
    EdgeKind::Shortcut,
    EdgeKind::Context,
];
const NAMES: [&str; 6] = [
    "Object",
    "Array",
    "<div id>",
    "Detached <b>",
    "first",
    "second",
];

#[derive(Clone, Debug)]
struct Node {
    kind: usize,
    name: usize,
    id: u64,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Edge {
    from: usize,
    to: usize,
    kind: usize,
    name: usize,
}

fn node() -> impl Strategy<Value = Node> {
    // Few ids: heaps share some, and some stand twice in one.
    (0..KINDS.len(), 0..NAMES.len(), 1_u64..40, 0_u64..4).prop_map(|(kind, name, id, bytes)| Node {
        kind,
        name,
        id,
        bytes,
    })
}

fn edge() -> impl Strategy<Value = Edge> {
    (
        any::<usize>(),
        any::<usize>(),
        0..EDGE_KINDS.len(),
        0..NAMES.len(),
    )
        .prop_map(|(from, to, kind, name)| Edge {
            from,
            to,
            kind,
            name,
        })
}

fn heap() -> impl Strategy<Value = Heap> {
    (vec(node(), 1..30), vec(edge(), 0..60)).prop_map(|(nodes, edges)| {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let mut ids = vec![builder.node(NodeKind::Synthetic, "", 1, 0)];
        for node in &nodes {
            let Node {
                kind,
                name,
                id,
                bytes,
            } = *node;
            ids.push(builder.node(KINDS[kind], NAMES[name], id, bytes));
        }
        for edge in &edges {
            let (from, to) = (ids[edge.from % ids.len()], ids[edge.to % ids.len()]);
            match EDGE_KINDS[edge.kind] {
                EdgeKind::Element => builder.indexed_edge(from, EdgeKind::Element, 1, to),
                kind => builder.named_edge(from, kind, NAMES[edge.name], to),
            }
        }
        Heap::open(builder.finish().unwrap(), OpenOptions::default())
    })
}

fn objects(heap: &Heap) -> i64 {
    let rows = summarize(heap, None).classes;
    rows.iter().map(|row| row.count.cast_signed()).sum()
}

proptest! {
    #[test]
    fn classes_add_up_to_the_total(heap in heap()) {
        let summary = summarize(&heap, None);
        let bytes: u64 = summary.classes.iter().map(|row| row.shallow_bytes).sum();
        prop_assert_eq!(bytes, summary.total_bytes);
        let own: u64 = heap.graph().columns().self_size.sum();
        prop_assert_eq!(bytes, own);
        for row in &summary.classes {
            prop_assert!(row.retained_bytes >= Some(row.shallow_bytes), "{:?}", row);
            prop_assert!(row.retained_bytes <= Some(summary.total_bytes), "{:?}", row);
        }
        let statistics = summary.statistics.unwrap();
        let groups = [
            statistics.code,
            statistics.strings,
            statistics.js_arrays,
            statistics.native,
            statistics.system,
        ];
        prop_assert!(groups.iter().sum::<u64>() <= statistics.total, "{:?}", statistics);
    }

    #[test]
    fn a_heap_compared_with_itself_is_unchanged(heap in heap()) {
        let comparison = compare(&heap, &heap, CompareOptions { paths: 0 });
        prop_assert_eq!(comparison.totals, Default::default());
        prop_assert_eq!(comparison.classes, []);
    }

    #[test]
    fn what_came_less_what_went_is_the_difference(base in heap(), current in heap()) {
        let forward = compare(&base, &current, CompareOptions { paths: 0 }).totals;
        prop_assert_eq!(forward.delta(), objects(&current) - objects(&base));
        let series = compare_series(&[base, current], CompareOptions { paths: 0 });
        prop_assert_eq!(series.steps[0].totals, forward);
    }

    #[test]
    fn an_id_range_splits_a_heap(heap in heap(), middle in 0_u64..40) {
        let ranges = [(0, middle), (middle, u64::MAX)];
        let parts = ranges.map(|(above, up_to)| {
            select(&heap, NamedFilter::IdRange(above, up_to))
        });
        let bytes: u64 = parts
            .iter()
            .flat_map(|part| summarize(&heap, Some(part)).classes)
            .map(|row| row.shallow_bytes)
            .sum();
        prop_assert_eq!(bytes, heap.total_bytes());
        prop_assert_eq!(parts[0].count() + parts[1].count(), heap.graph().node_count());
    }

    #[test]
    fn every_filter_ends(heap in heap()) {
        let filters = [
            NamedFilter::DuplicatedStrings,
            NamedFilter::RetainedByDetachedDom,
            NamedFilter::RetainedByConsole,
            NamedFilter::RetainedByContexts,
            NamedFilter::RetainedByEventHandlers,
        ];
        for filter in filters {
            prop_assert!(select(&heap, filter).count() <= heap.graph().node_count());
        }
    }
}
