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

#[cfg(test)]
mod tests {
    use heapatlas_model::{Detachedness, GraphBuilder, SnapshotFormat};

    use super::*;
    use crate::OpenOptions;

    fn builder() -> (GraphBuilder, NodeId) {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        (builder, root)
    }

    #[track_caller]
    fn check(builder: GraphBuilder, filter: NamedFilter, expected: &[NodeId]) {
        let heap = Heap::open(builder.finish().unwrap(), OpenOptions::default());
        let selected: Vec<NodeId> = select(&heap, filter).iter().collect();
        assert_eq!(selected, expected);
    }

    #[test]
    fn retained_by_detached_dom() {
        let (mut builder, root) = builder();
        let window = builder.node(NodeKind::Native, "Window", 2, 1);
        let gone = builder.node(NodeKind::Native, "<div>", 4, 1);
        let kept = builder.node(NodeKind::Object, "Model", 3, 1);
        let shared = builder.node(NodeKind::Object, "Model", 5, 1);
        // Nobody reaches this one anyway.
        builder.node(NodeKind::Object, "Lost", 7, 1);
        builder.v8_mut().detachedness = Some(Detachedness {
            marked: vec![(window, 1), (gone, 2)],
        });
        builder.named_edge(root, EdgeKind::Shortcut, "w", window);
        builder.named_edge(window, EdgeKind::Property, "el", gone);
        builder.named_edge(gone, EdgeKind::Property, "kept", kept);
        builder.named_edge(gone, EdgeKind::Property, "shared", shared);
        builder.named_edge(window, EdgeKind::Property, "shared", shared);
        builder.named_edge(window, EdgeKind::Weak, "weak", kept);
        check(builder, NamedFilter::RetainedByDetachedDom, &[gone, kept]);
    }

    #[test]
    fn retained_by_the_console() {
        let (mut builder, root) = builder();
        let handles = builder.node(NodeKind::Synthetic, "(Global handles)", 3, 0);
        let object = builder.node(NodeKind::Object, "Logged", 5, 1);
        let other = builder.node(NodeKind::Object, "Other", 7, 1);
        builder.indexed_edge(root, EdgeKind::Element, 1, handles);
        builder.named_edge(handles, EdgeKind::Internal, "1 / DevTools console", object);
        builder.named_edge(handles, EdgeKind::Internal, "2 / part of DevTools", other);
        // Only the system's nodes hold things for the console.
        let listed = builder.node(NodeKind::Object, "Listed", 9, 1);
        builder.named_edge(other, EdgeKind::Property, "x / DevTools console", listed);
        check(builder, NamedFilter::RetainedByConsole, &[object]);
    }

    #[test]
    fn retained_by_contexts() {
        let (mut builder, root) = builder();
        let names = [
            "system / Context",
            "system / Context / scope",
            "system / ContextX",
        ];
        let mut expected = Vec::new();
        for (name, id) in names.into_iter().zip([3, 7, 11]) {
            let context = builder.node(NodeKind::Object, name, id, 1);
            let variable = builder.node(NodeKind::Object, "Variable", id + 2, 1);
            builder.named_edge(root, EdgeKind::Shortcut, "f", context);
            builder.named_edge(context, EdgeKind::Context, "v", variable);
            expected.extend([context, variable]);
        }
        check(builder, NamedFilter::RetainedByContexts, &expected[..4]);
    }

    #[test]
    fn retained_by_event_handlers() {
        let (mut builder, root) = builder();
        let mut id = 1;
        let mut object = |builder: &mut GraphBuilder, name: &str| {
            id += 2;
            builder.node(NodeKind::Object, name, id, 1)
        };
        let code = builder.node(NodeKind::Code, "code", 100, 1);
        builder.named_edge(root, EdgeKind::Property, "code", code);
        let listen = |builder: &mut GraphBuilder, callback| {
            let listener = builder.node(NodeKind::Native, "V8EventListener", 200, 1);
            builder.named_edge(root, EdgeKind::Property, "listener", listener);
            builder.named_edge(listener, EdgeKind::Internal, "1", callback);
        };
        // A function; an object that wraps one; an object without any.
        let function = object(&mut builder, "f");
        builder.named_edge(function, EdgeKind::Internal, "code", code);
        listen(&mut builder, function);
        let wrapper = object(&mut builder, "wrapper");
        let other = object(&mut builder, "other");
        let wrapped = object(&mut builder, "g");
        builder.named_edge(wrapper, EdgeKind::Property, "other", other);
        builder.named_edge(wrapper, EdgeKind::Property, "handleEvent", wrapped);
        builder.named_edge(wrapped, EdgeKind::Internal, "code", code);
        listen(&mut builder, wrapper);
        let without = object(&mut builder, "without");
        listen(&mut builder, without);
        let expected = [function, wrapped, without];
        check(builder, NamedFilter::RetainedByEventHandlers, &expected);
    }

    #[test]
    fn id_ranges_and_the_largest_id() {
        let (mut builder, root) = builder();
        let nodes = [3, 5, 8, 9].map(|id| builder.node(NodeKind::Object, "A", id, 1));
        let far = builder.node(NodeKind::Native, "N", 1 << 30, 1);
        builder.named_edge(root, EdgeKind::Property, "far", far);
        let graph = builder.finish().unwrap();
        let heap = Heap::open(graph, OpenOptions::default());
        assert_eq!(max_js_object_id(&heap), 9);
        let selected = select(&heap, NamedFilter::IdRange(3, 8));
        assert_eq!(selected.iter().collect::<Vec<_>>(), nodes[1..3]);
    }
}
