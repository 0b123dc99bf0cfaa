//! Selections of nodes that DevTools offers by name.

use crate::{Heap, NodeSet};

/// A named selection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamedFilter {
    /// Strings that stand in the heap more than once.
    DuplicatedStrings,
    /// Only kept by detached DOM nodes.
    RetainedByDetachedDom,
    /// Only kept by the DevTools console.
    RetainedByConsole,
    /// Only kept by contexts of closures.
    RetainedByContexts,
    /// Only kept by event handlers.
    RetainedByEventHandlers,
    /// Objects with ids in this range: above the first, up to and including the second.
    IdRange(u64, u64),
}

/// The nodes a filter selects.
pub fn select(heap: &Heap, filter: NamedFilter) -> NodeSet {
    let _ = (heap, filter);
    todo!()
}

/// The largest id that V8 gave an object of its own heap (odd ids); 0 when there is none.
pub fn max_js_object_id(heap: &Heap) -> u64 {
    let _ = heap;
    todo!()
}
