//! How leak detectors walk: which objects a program sees, which are only plumbing, and how the
//! same way is found again in another snapshot.

use heapatlas_model::{EdgeId, EdgeKind, HeapGraph, NodeId, NodeKind, StringId};

use super::shapes::EdgeShape;
use crate::Heap;
use crate::weak_maps::WeakMapEdges;

/// What a node is to a leak detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// An object that a program made: it can leak.
    Object,
    /// A backing store: what it holds is held by its owner.
    Store,
    /// The engine's own: neither leaks nor is looked through.
    Engine,
}

/// The role of a node.
pub fn role(graph: &HeapGraph, node: NodeId) -> Role {
    match graph.kind(node) {
        NodeKind::Object
        | NodeKind::Closure
        | NodeKind::RegExp
        | NodeKind::String
        | NodeKind::ConcatenatedString
        | NodeKind::SlicedString
        | NodeKind::Symbol
        | NodeKind::BigInt
        | NodeKind::WasmObject
        | NodeKind::Other => Role::Object,
        NodeKind::Array | NodeKind::Hidden => Role::Store,
        NodeKind::Native if is_engine_native(&graph.name_text(node)) => Role::Store,
        NodeKind::Native => Role::Object,
        NodeKind::Code | NodeKind::ObjectShape | NodeKind::Number | NodeKind::Synthetic => {
            Role::Engine
        }
    }
}

/// Natives that no program made by itself: V8's (in Chrome they are natives) and Blink's own,
/// such as the boxes of the layout, which come and go with the elements they belong to.
fn is_engine_native(name: &str) -> bool {
    name.starts_with("system / ") || name.contains("::")
}

/// Whether an edge keeps its target alive for the program's sake.
pub fn holds(graph: &HeapGraph, weak_maps: &WeakMapEdges, node: NodeId, edge: EdgeId) -> bool {
    match graph.edge_kind(edge) {
        EdgeKind::Weak | EdgeKind::Shortcut => false,
        EdgeKind::Internal => {
            let label = StringId(graph.columns().edge_label[edge.index()]);
            weak_maps
                .get(label)
                .is_none_or(|entry| entry.table != graph.object_id(node))
        }
        _ => true,
    }
}

/// A step that can be taken again in another snapshot: an edge by name (or any index) to a node
/// by kind and name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Link {
    /// The name; `None` for any of many.
    pub edge: Option<String>,
    pub kind: NodeKind,
    pub name: String,
}

impl Link {
    pub fn new(heap: &Heap, edge: EdgeShape, node: NodeId) -> Self {
        let graph = heap.graph();
        let edge = match edge {
            EdgeShape::Any => None,
            EdgeShape::Named(name) => Some(graph.strings().get(name).into_owned()),
        };
        Self {
            edge,
            kind: graph.kind(node),
            name: graph.name_text(node).into_owned(),
        }
    }

    /// The nodes that this step leads to from `node`, each once for each edge.
    pub fn follow(&self, graph: &HeapGraph, node: NodeId, found: &mut Vec<NodeId>) {
        for edge in graph.edges(node) {
            let target = graph.target(edge);
            if graph.kind(target) == self.kind
                && graph.edge_kind(edge) != EdgeKind::Weak
                && self.edge_matches(graph, edge)
                && graph.strings().is(graph.name(target), &self.name)
            {
                found.push(target);
            }
        }
    }

    fn edge_matches(&self, graph: &HeapGraph, edge: EdgeId) -> bool {
        match &self.edge {
            // Any of many: an index, a number, or a property of an object used as a map.
            None => true,
            Some(name) => {
                !graph.edge_kind(edge).has_index_label()
                    && graph
                        .strings()
                        .is(StringId(graph.columns().edge_label[edge.index()]), name)
            }
        }
    }
}

/// The nodes at the end of several steps from `node`, each once.
pub fn follow_all(graph: &HeapGraph, links: &[Link], node: NodeId) -> Vec<NodeId> {
    let mut at = vec![node];
    for link in links {
        let mut next = Vec::new();
        for &node in &at {
            link.follow(graph, node, &mut next);
        }
        next.sort_unstable();
        next.dedup();
        at = next;
    }
    at
}
