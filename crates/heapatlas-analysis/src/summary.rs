//! What is this heap: totals, statistics, classes.

use std::cmp::Reverse;

use prefetch_index::prefetch_index;

use crate::classes::Classes;
use crate::{ClassId, Heap, NodeSet};

/// A heap in figures.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// The format's name.
    pub format: &'static str,
    /// Number of nodes, those without size included.
    pub nodes: u64,
    /// Number of edges.
    pub edges: u64,
    /// Everything the root retains, plus what the embedder holds outside of nodes.
    pub total_bytes: u64,
    /// Where the bytes are; `None` for formats without these groups.
    pub statistics: Option<Statistics>,
    /// The classes, largest retained size first (largest shallow size where only the first table was asked for).
    pub classes: Vec<ClassRow>,
}

/// DevTools' Statistics view. The groups overlap nowhere; what is left of `total` is other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Everything, as [`Summary::total_bytes`].
    pub total: u64,
    /// Compiled code.
    pub code: u64,
    /// Strings of all kinds.
    pub strings: u64,
    /// Arrays of the program with their elements.
    pub js_arrays: u64,
    /// Contents of typed arrays; part of `native`.
    pub typed_arrays: u64,
    /// Memory outside of the managed heap, typed arrays included.
    pub native: u64,
    /// Memory of the engine itself.
    pub system: u64,
}

/// A class and what its objects take.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassRow {
    /// The class, for looking up its objects.
    pub class: ClassId,
    /// The name shown.
    pub name: String,
    /// What tells two classes of one name apart; equal in all snapshots of one process.
    pub key: String,
    /// Objects with a size.
    pub count: u64,
    /// The shortest way from a user root; `None` where DevTools shows none: no object has one, or
    /// one of them cannot be reached at all (DevTools counts that as the least).
    pub distance: Option<u32>,
    /// Their own bytes.
    pub shallow_bytes: u64,
    /// What would go if all of them went; `None` where only the first table was asked for.
    pub retained_bytes: Option<u64>,
}

/// The summary of a heap, or of some of its nodes.
///
/// With `only`, classes count the nodes of the set alone; totals and statistics stay those of the whole heap.
pub fn summarize(heap: &Heap, only: Option<&NodeSet>) -> Summary {
    Summary {
        format: heap.graph().format().name(),
        nodes: heap.graph().node_count() as u64,
        edges: heap.graph().edge_count() as u64,
        total_bytes: heap.total_bytes(),
        statistics: heap.statistics(),
        classes: class_rows(heap, only),
    }
}

/// What the objects of a class take. Nodes without size do not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClassFigures {
    /// Objects with a size.
    pub count: u64,
    /// Their own bytes.
    pub shallow_bytes: u64,
    /// What would go if all of them went; 0 where retained sizes were not asked for.
    pub retained_bytes: u64,
    /// The least of DevTools' distances, which are negative or very large for nodes out of the
    /// program's reach; `i32::MAX` where there are none.
    pub raw_distance: i32,
}

impl Default for ClassFigures {
    fn default() -> Self {
        Self {
            count: 0,
            shallow_bytes: 0,
            retained_bytes: 0,
            raw_distance: i32::MAX,
        }
    }
}

/// The figures of each class, with classes by which the heap itself need not go.
pub(crate) fn class_figures(
    heap: &Heap,
    classes: &Classes,
    only: Option<&NodeSet>,
) -> Vec<ClassFigures> {
    let mut figures = vec![ClassFigures::default(); classes.table.len()];
    let has_all = heap.has_tree();
    for node in heap.graph().nodes() {
        let bytes = heap.shallow_bytes(node);
        if bytes == 0 || only.is_some_and(|only| !only.contains(node)) {
            continue;
        }
        let class = &mut figures[classes.class_of[node.index()].0 as usize];
        class.count += 1;
        class.shallow_bytes = class.shallow_bytes.saturating_add(bytes);
        if has_all {
            class.raw_distance = class.raw_distance.min(heap.raw_distance(node));
        }
    }
    if has_all {
        add_retained(heap, classes, only, &mut figures);
    }
    figures
}

/// How many looks ahead memory is asked for what no cache holds.
const AHEAD: usize = 16;

/// Adds what the objects of each class retain together: an object below another one of its
/// class in the dominator tree is already part of what that one retains.
fn add_retained(
    heap: &Heap,
    classes: &Classes,
    only: Option<&NodeSet>,
    figures: &mut [ClassFigures],
) {
    let tree = heap.dominator_order();
    // For each class where in the preorder the subtree ends that was counted last. Subtrees
    // nest, so whoever comes before that end is inside, and no stack is needed.
    let mut counted_until = vec![0_u32; figures.len()];
    for (position, (&node, &end)) in tree.order.iter().zip(&tree.subtree_end).enumerate() {
        if let Some(later) = tree.order.get(position + AHEAD) {
            prefetch_index(&classes.class_of, later.index());
            heap.prefetch_sizes(*later);
        }
        let class = classes.class_of[node.index()].0 as usize;
        if (position as u32) < counted_until[class]
            || heap.shallow_bytes(node) == 0
            || only.is_some_and(|only| !only.contains(node))
        {
            continue;
        }
        counted_until[class] = end;
        let retained = &mut figures[class].retained_bytes;
        *retained = retained.saturating_add(heap.retained_bytes(node));
    }
}

/// What DevTools shows of a distance: nothing for those that are no distance from a user root.
pub(crate) fn shown_distance(raw: i32) -> Option<u32> {
    u32::try_from(raw).ok().filter(|&steps| steps < 100_000_000)
}

fn class_rows(heap: &Heap, only: Option<&NodeSet>) -> Vec<ClassRow> {
    let has_all = heap.has_tree();
    let figures = class_figures(heap, heap.class_assignment(), only);
    let mut rows: Vec<ClassRow> = figures
        .iter()
        .zip(heap.classes())
        .zip(0..)
        .filter(|((figures, _), _)| figures.count > 0)
        .map(|((figures, class), id)| ClassRow {
            class: ClassId(id),
            name: class.name.clone(),
            key: class.key.clone(),
            count: figures.count,
            distance: shown_distance(figures.raw_distance),
            shallow_bytes: figures.shallow_bytes,
            retained_bytes: has_all.then_some(figures.retained_bytes),
        })
        .collect();
    // Equals stay in order of first appearance.
    rows.sort_by_key(|row| Reverse((row.retained_bytes, row.shallow_bytes)));
    rows
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{EdgeKind, GraphBuilder, NodeId, NodeKind, SnapshotFormat};

    use super::*;
    use crate::{Figures, OpenOptions};

    /// A list of three links, of which the second has no size, and a link of another list.
    fn links() -> (GraphBuilder, [NodeId; 4]) {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        let sizes = [(3, 1), (5, 0), (7, 4), (9, 8)];
        let links = sizes.map(|(id, bytes)| builder.node(NodeKind::Object, "Link", id, bytes));
        let list = builder.node(NodeKind::Object, "List", 11, 16);
        builder.named_edge(root, EdgeKind::Shortcut, "list", list);
        builder.named_edge(list, EdgeKind::Property, "first", links[0]);
        builder.named_edge(list, EdgeKind::Property, "other", links[3]);
        builder.named_edge(links[0], EdgeKind::Property, "next", links[1]);
        builder.named_edge(links[1], EdgeKind::Property, "next", links[2]);
        (builder, links)
    }

    fn open(builder: GraphBuilder, figures: Figures) -> Heap {
        let options = OpenOptions {
            figures,
            ..OpenOptions::default()
        };
        Heap::open(builder.finish().unwrap(), options)
    }

    /// Name, count, distance, shallow and retained bytes of a row.
    type Row<'a> = (&'a str, u64, Option<u32>, u64, Option<u64>);

    fn rows(summary: &Summary) -> Vec<Row<'_>> {
        let rows = summary.classes.iter().map(|class| {
            (
                class.name.as_str(),
                class.count,
                class.distance,
                class.shallow_bytes,
                class.retained_bytes,
            )
        });
        rows.collect()
    }

    #[test]
    fn a_class_retains_what_its_topmost_objects_do() {
        let (builder, _) = links();
        let summary = summarize(&open(builder, Figures::All), None);
        let expected = [
            ("List", 1, Some(1), 16, Some(29)),
            ("Link", 3, Some(2), 13, Some(13)),
        ];
        assert_eq!(rows(&summary), expected);
        assert_eq!(
            (summary.nodes, summary.edges, summary.total_bytes),
            (6, 5, 29)
        );
    }

    #[test]
    fn nodes_left_out_neither_add_nor_block() {
        let (builder, links) = links();
        let heap = open(builder, Figures::All);
        let mut only = NodeSet::new(heap.graph().node_count());
        only.insert(links[1]);
        only.insert(links[2]);
        let summary = summarize(&heap, Some(&only));
        assert_eq!(rows(&summary), [("Link", 1, Some(4), 4, Some(4))]);
        assert_eq!(summary.total_bytes, 29);
    }

    #[test]
    fn the_first_table_does_without_paths() {
        let (builder, _) = links();
        let summary = summarize(&open(builder, Figures::Shallow), None);
        let expected = [("List", 1, None, 16, None), ("Link", 3, None, 13, None)];
        assert_eq!(rows(&summary), expected);
    }

    #[test]
    fn an_object_out_of_reach_takes_the_distance_from_its_class() {
        let (mut builder, _) = links();
        builder.node(NodeKind::Object, "Link", 13, 1);
        let summary = summarize(&open(builder, Figures::All), None);
        assert_eq!(rows(&summary)[1].2, None);
    }
}
