//! What is this heap: totals, statistics, classes.

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
    /// The shortest way from a user root; `None` where no object has one that DevTools would show.
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
    let _ = (heap, only);
    todo!()
}
