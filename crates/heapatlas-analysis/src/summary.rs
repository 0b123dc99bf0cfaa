//! What is this heap: totals, statistics, classes.

use std::cmp::Reverse;

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
