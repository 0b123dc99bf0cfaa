//! Selections of nodes that DevTools offers by name.

use heapatlas_model::{EdgeId, EdgeKind, EdgeLabel, HeapGraph, NodeId, NodeKind};

use crate::detachedness::DETACHED;
use crate::distances::NO_DISTANCE;
use crate::duplicate_strings::duplicate_strings;
use crate::name_test::NameTest;
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
///
/// Filters by what is retained select nothing in a heap opened for the first table only, see
/// [`Figures`](crate::Figures): they read distances.
pub fn select(heap: &Heap, filter: NamedFilter) -> NodeSet {
    match filter {
        NamedFilter::DuplicatedStrings => duplicates(heap),
        NamedFilter::RetainedByDetachedDom => retained_by_detached_dom(heap),
        NamedFilter::RetainedByConsole => retained_by_console(heap),
        NamedFilter::RetainedByContexts => retained_by_contexts(heap),
        NamedFilter::RetainedByEventHandlers => retained_by_event_handlers(heap),
        NamedFilter::IdRange(above, up_to) => in_id_range(heap, above, up_to),
    }
}

/// The largest id that V8 gave an object of its own heap (odd ids); 0 when there is none.
pub fn max_js_object_id(heap: &Heap) -> u64 {
    let ids = &heap.graph().columns().object_id;
    ids.iter().filter(|id| id % 2 == 1).max().unwrap_or(0)
}

fn duplicates(heap: &Heap) -> NodeSet {
    let mut selected = NodeSet::new(heap.graph().node_count());
    for group in duplicate_strings(heap).groups {
        for node in group.nodes {
            selected.insert(node);
        }
    }
    selected
}

fn in_id_range(heap: &Heap, above: u64, up_to: u64) -> NodeSet {
    let mut selected = NodeSet::new(heap.graph().node_count());
    for node in heap.graph().nodes() {
        let id = heap.graph().object_id(node);
        if id > above && id <= up_to {
            selected.insert(node);
        }
    }
    selected
}

fn retained_by_detached_dom(heap: &Heap) -> NodeSet {
    retained_by(heap, |step| heap.detachedness(step.to) == DETACHED)
}

fn retained_by_console(heap: &Heap) -> NodeSet {
    let graph = heap.graph();
    let mut is_console = NameTest::new(graph.strings(), |name| {
        name.ends_with(" / DevTools console")
    });
    retained_by(heap, |step| {
        graph.kind(step.from) == NodeKind::Synthetic
            && matches!(graph.label(step.edge), EdgeLabel::Name(name) if is_console.passes(name))
    })
}

fn retained_by_contexts(heap: &Heap) -> NodeSet {
    let graph = heap.graph();
    let mut is_context = NameTest::new(graph.strings(), |name| {
        name.strip_prefix("system / Context")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(" / "))
    });
    retained_by(heap, |step| {
        is_context.passes(graph.name(step.to)) && !heap.detached_states().is_renamed(step.to)
    })
}

fn retained_by_event_handlers(heap: &Heap) -> NodeSet {
    let handlers = event_handlers(heap);
    retained_by(heap, |step| handlers.contains(step.to))
}

/// The functions that listeners call.
fn event_handlers(heap: &Heap) -> NodeSet {
    let graph = heap.graph();
    let mut is_listener = NameTest::new(graph.strings(), |name| name == "V8EventListener");
    let mut handlers = NodeSet::new(graph.node_count());
    for listener in graph.nodes() {
        if !is_listener.passes(graph.name(listener)) || heap.detached_states().is_renamed(listener)
        {
            continue;
        }
        if let Some(callback) = child_called(graph, listener, "1") {
            handlers.insert(handler_of(graph, callback));
        }
    }
    handlers
}

/// The callback itself if it is a function, else the function it wraps.
fn handler_of(graph: &HeapGraph, callback: NodeId) -> NodeId {
    let is_function = |&node: &NodeId| child_called(graph, node, "code").is_some();
    if is_function(&callback) {
        return callback;
    }
    let wrapped = graph.targets(callback).iter().copied().find(is_function);
    wrapped.unwrap_or(callback)
}

fn child_called(graph: &HeapGraph, node: NodeId, label: &str) -> Option<NodeId> {
    let edge = graph
        .edges(node)
        .find(|&edge| graph.label_text(edge) == label)?;
    Some(graph.target(edge))
}

/// An edge about to be followed.
struct Step {
    from: NodeId,
    edge: EdgeId,
    to: NodeId,
}

/// The nodes that are out of reach once some edges are not followed, less those that were
/// already out of reach with them.
fn retained_by(heap: &Heap, mut is_blocked: impl FnMut(&Step) -> bool) -> NodeSet {
    let graph = heap.graph();
    let mut reached = NodeSet::new(graph.node_count());
    reached.insert(graph.root());
    let mut pending = vec![graph.root()];
    while let Some(from) = pending.pop() {
        for edge in graph.edges(from) {
            let to = graph.target(edge);
            let step = Step { from, edge, to };
            if !reached.contains(to)
                && graph.edge_kind(edge) != EdgeKind::Weak
                && !is_blocked(&step)
            {
                reached.insert(to);
                pending.push(to);
            }
        }
    }
    let mut retained = NodeSet::new(graph.node_count());
    for node in graph.nodes() {
        if !reached.contains(node) && heap.raw_distance(node) != NO_DISTANCE {
            retained.insert(node);
        }
    }
    retained
}
