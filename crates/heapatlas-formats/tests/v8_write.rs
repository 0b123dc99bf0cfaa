//! Writing a graph and reading it again gives an equal graph.

mod common;

use std::collections::BTreeMap;

use common::{
    check_readers_agree, micro_snapshots, read_trusted, real_snapshots, some_real_snapshots, write,
};
use heapatlas_formats::v8::Warning;
use heapatlas_model::{
    AllocationTraces, Detachedness, EdgeKind, EdgeLabel, GraphBuilder, HeapGraph, Location, NodeId,
    NodeKind, Sample, ScopeTables, SnapshotFormat, StringId, TraceFunction, TraceNode, V8Facts,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[track_caller]
fn check_identity(name: &str, bytes: &[u8]) {
    let first = common::read(bytes)
        .unwrap_or_else(|e| panic!("{name}: {e}"))
        .graph;
    let written = write(&first);
    let second = common::read(&written)
        .unwrap_or_else(|e| panic!("{name}: {e}"))
        .graph;
    assert!(first == second, "{name}: another graph after writing");
    assert_eq!(
        written,
        write(&second),
        "{name}: another text after reading"
    );
}

#[test]
fn micro_snapshots_are_written_byte_for_byte() {
    for (name, bytes) in micro_snapshots() {
        check_identity(&name, &bytes);
        let written = write(&read_trusted(&bytes).unwrap().graph);
        assert_eq!(
            String::from_utf8_lossy(&written),
            String::from_utf8_lossy(&bytes),
            "{name}"
        );
    }
}

/// A copy with the same text is the same graph, so this needs no second reading.
#[test]
fn real_snapshots_keep_everything() {
    for (name, bytes) in real_snapshots() {
        let written = write(&common::read(&bytes).unwrap().graph);
        assert!(
            comparable(&name, &written) == comparable(&name, &bytes),
            "{name}"
        );
    }
}

#[test]
fn real_snapshots_are_the_same_graph_again() {
    for (name, bytes) in some_real_snapshots() {
        check_identity(&name, &bytes);
    }
}

/// A file without what may differ in our copy of it.
fn comparable(name: &str, bytes: &[u8]) -> Vec<u8> {
    // Timelines that were taken inside of the process have a wrong `trace_function_count`, two
    // less than there are. We write the right one, on the first line.
    let is_timeline = name.contains(".heaptimeline");
    let header = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    let bytes = &bytes[if is_timeline { header } else { 0 }..];
    // Older V8 writes each row on a line of its own; we do not.
    bytes
        .iter()
        .copied()
        .filter(|&byte| byte != b'\n')
        .collect()
}

/// What a graph is, whatever its type lists and string table look like.
#[derive(PartialEq, Debug)]
struct Meaning {
    root: NodeId,
    nodes: Vec<(NodeKind, String, u64, u64, u32)>,
    edges: Vec<(NodeId, EdgeKind, EdgeLabel, String, NodeId)>,
    type_names: Vec<String>,
    locations: Vec<Location>,
    traces: AllocationTraces,
    facts: V8Facts,
}

fn meaning(graph: &HeapGraph) -> Meaning {
    let trace = |node: NodeId| graph.traces().trace_of_node.get(node.index());
    let edges = graph.nodes().flat_map(|node| graph.edges(node));
    let others = graph.nodes().map(|node| graph.node_type(node));
    let others = others.filter(|known| known.kind == NodeKind::Other);
    Meaning {
        root: graph.root(),
        nodes: graph
            .nodes()
            .map(|node| {
                (
                    graph.kind(node),
                    graph.name_text(node).into_owned(),
                    graph.object_id(node),
                    graph.self_size_bytes(node),
                    trace(node).copied().unwrap_or(0),
                )
            })
            .collect(),
        edges: edges
            .map(|edge| {
                (
                    graph.source(edge),
                    graph.edge_kind(edge),
                    graph.label(edge),
                    graph.label_text(edge).into_owned(),
                    graph.target(edge),
                )
            })
            .collect(),
        type_names: others.map(|known| known.name.clone()).collect(),
        locations: graph.locations().to_vec(),
        traces: AllocationTraces {
            trace_of_node: Vec::new(),
            ..graph.traces().clone()
        },
        facts: V8Facts {
            meta_json: String::new(),
            has_root_index: false,
            ..graph.v8().cloned().unwrap_or_default()
        },
    }
}

#[track_caller]
fn check_built(graph: &HeapGraph) {
    let written = write(graph);
    let again = common::read(&written).unwrap();
    // Random ids may well be double.
    let other = |warning: &&Warning| !warning.message.contains("have an object id");
    assert_eq!(again.warnings.iter().find(other), None);
    assert_eq!(meaning(&again.graph), meaning(graph));
    assert!(written.is_ascii());
    let second = write(&again.graph);
    assert_eq!(
        String::from_utf8_lossy(&second),
        String::from_utf8_lossy(&written)
    );
    check_readers_agree(&written);
}

const NODE_KINDS: [NodeKind; 17] = [
    NodeKind::Hidden,
    NodeKind::Array,
    NodeKind::String,
    NodeKind::Object,
    NodeKind::Code,
    NodeKind::Closure,
    NodeKind::RegExp,
    NodeKind::Number,
    NodeKind::Native,
    NodeKind::Synthetic,
    NodeKind::ConcatenatedString,
    NodeKind::SlicedString,
    NodeKind::Symbol,
    NodeKind::BigInt,
    NodeKind::ObjectShape,
    NodeKind::WasmObject,
    NodeKind::Other,
];

const EDGE_KINDS: [EdgeKind; 9] = [
    EdgeKind::Context,
    EdgeKind::Element,
    EdgeKind::Property,
    EdgeKind::Internal,
    EdgeKind::Hidden,
    EdgeKind::Shortcut,
    EdgeKind::Weak,
    EdgeKind::Invisible,
    EdgeKind::Other,
];

/// Numbers of every length.
fn size() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift)
}

prop_compose! {
    fn built_graph()(
        nodes in vec((select(&NODE_KINDS[..]), any::<String>(), size(), size()), 1..40),
        edges in vec((any::<Index>(), any::<Index>(), select(&EDGE_KINDS[..]), any::<String>(), any::<u32>()), 0..80),
        root in any::<Index>(),
        marks in vec((any::<Index>(), any::<u8>()), 0..4),
        locations in vec((any::<Index>(), any::<Option<Index>>(), any::<[u32; 3]>()), 0..4),
        tree in vec((any::<Option<Index>>(), size(), size()), 0..12),
        samples in vec((size(), size()), 0..4),
        extras in (any::<Option<u64>>(), any::<bool>(), any::<Option<[i64; 3]>>()),
        is_tracked in any::<bool>(),
    ) -> HeapGraph {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let mut ids = Vec::new();
        for (kind, name, object_id, bytes) in &nodes {
            ids.push(builder.node(*kind, name, *object_id, *bytes));
        }
        for (from, to, kind, name, index) in &edges {
            let (from, to) = (*from.get(&ids), *to.get(&ids));
            if kind.has_index_label() {
                builder.indexed_edge(from, *kind, *index, to);
            } else {
                builder.named_edge(from, *kind, name, to);
            }
        }
        for (node, script_node, [script_id, line, column]) in locations {
            builder.location(Location {
                node: *node.get(&ids),
                script_id,
                script_node: script_node.map(|script| *script.get(&ids)),
                line,
                column,
            });
        }
        let facts = builder.v8_mut();
        facts.extra_native_bytes = extras.0;
        if extras.1 {
            let marked = marks.iter().map(|(node, mark)| (*node.get(&ids), mark | 1));
            let marked: BTreeMap<NodeId, u8> = marked.collect();
            facts.detachedness = Some(Detachedness { marked: marked.into_iter().collect() });
        }
        facts.scopes = extras.2.map(|[a, b, c]| ScopeTables {
            scopes: vec![a, -2, 0],
            context_vars: vec![b],
            uses: vec![c, c],
        });
        let mut columns = builder.finish().unwrap().into_columns();
        columns.root = *root.get(&ids);
        columns.traces = traces(&tree, &samples);
        if is_tracked {
            columns.traces.trace_of_node = vec![7; nodes.len()];
        }
        HeapGraph::from_columns(columns).unwrap()
    }
}

/// A trace tree in depth-first order, as readers give it.
fn traces(tree: &[(Option<Index>, u64, u64)], samples: &[(u64, u64)]) -> AllocationTraces {
    let mut open: Vec<u32> = Vec::new();
    let mut nodes = Vec::new();
    for (row, (depth, blocks, bytes)) in tree.iter().enumerate() {
        open.truncate(depth.map_or(0, |depth| depth.index(open.len() + 1)));
        nodes.push(TraceNode {
            id: row as u64 + 1,
            parent: open.last().copied(),
            function: row as u32 % 3,
            blocks: *blocks,
            bytes: *bytes,
        });
        open.push(row as u32);
    }
    let function = |row: u32| TraceFunction {
        function_id: u64::from(row) << 33,
        name: StringId(0),
        script_name: StringId(1),
        script_id: row,
        line: 2,
        column: u32::MAX,
    };
    let sample = |&(timestamp_us, last_object_id): &(u64, u64)| Sample {
        timestamp_us,
        last_object_id,
    };
    AllocationTraces {
        functions: (0..tree.len().min(2) as u32).map(function).collect(),
        nodes,
        samples: samples.iter().map(sample).collect(),
        trace_of_node: Vec::new(),
    }
}

proptest! {
    #![proptest_config(common::cases(1024))]

    #[test]
    fn built_graphs_are_the_same_after_writing_and_reading(graph in built_graph()) {
        check_built(&graph);
    }
}

#[test]
fn foreign_types_do_not_become_v8s() {
    let mut builder = GraphBuilder::new(SnapshotFormat::V8);
    builder.node(NodeKind::Other, "x", 1, 0);
    let mut columns = builder.finish().unwrap().into_columns();
    columns.node_types[0].name = "object".to_owned();
    let graph = HeapGraph::from_columns(columns).unwrap();
    let again = common::read(&write(&graph)).unwrap().graph;
    assert_eq!(again.kind(NodeId(0)), NodeKind::Other);
    assert_eq!(again.node_type(NodeId(0)).name, "other object");
}

#[test]
fn a_graph_that_outgrew_its_meta_loses_nothing() {
    let (_, bytes) = micro_snapshots()
        .into_iter()
        .find(|(name, _)| name.starts_with("m10"))
        .unwrap();
    let mut columns = common::read(&bytes).unwrap().graph.into_columns();
    columns.traces.trace_of_node = vec![3; columns.node_type.len()];
    columns.locations.push(Location {
        node: NodeId(1),
        script_id: 2,
        script_node: Some(NodeId(0)),
        line: 3,
        column: 4,
    });
    check_built(&HeapGraph::from_columns(columns).unwrap());
}
