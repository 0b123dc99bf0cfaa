//! Which window or worker an object belongs to.
//!
//! V8 keeps a native context for each global object. An object's shape leads to the context
//! that it was made in; what has no such shape belongs to whoever refers to it.

use heapatlas_model::{EdgeKind, EdgeLabel, HeapGraph, NodeId};

use crate::Heap;
use crate::display_name::DETACHED_PREFIX;
use crate::name_test::NameTest;

/// The bytes of a heap by native context.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NativeContexts {
    /// The contexts, in order of their nodes.
    pub contexts: Vec<NativeContext>,
    /// Bytes that belong to more than one.
    pub shared_bytes: u64,
    /// Bytes that belong to none.
    pub unattributed_bytes: u64,
    /// For each node its owner.
    owner: Vec<u32>,
}

/// A native context and what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NativeContext {
    /// Its node.
    pub node: NodeId,
    /// Own bytes of all nodes that belong to it and to no other.
    pub attributed_bytes: u64,
}

/// Whom a node belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContextOwner {
    /// To nobody.
    None,
    /// To more than one context.
    Shared,
    /// To the context of this node.
    Context(NodeId),
}

/// Belongs to nobody.
const NOBODY: u32 = u32::MAX;
/// Belongs to more than one.
const SHARED: u32 = u32::MAX - 1;

impl NativeContexts {
    /// Whom a node belongs to.
    pub fn owner(&self, node: NodeId) -> ContextOwner {
        match self.owner[node.index()] {
            NOBODY => ContextOwner::None,
            SHARED => ContextOwner::Shared,
            context => ContextOwner::Context(self.contexts[context as usize].node),
        }
    }
}

/// Attributes each node to the native context that it belongs to.
pub fn native_contexts(heap: &Heap) -> NativeContexts {
    let graph = heap.graph();
    let contexts = context_nodes(heap);
    let owner = flood(graph, fixed_owners(graph, &contexts));
    let mut result = NativeContexts {
        contexts: contexts
            .into_iter()
            .map(|node| NativeContext {
                node,
                attributed_bytes: 0,
            })
            .collect(),
        ..NativeContexts::default()
    };
    for (node, &owner) in graph.nodes().zip(&owner) {
        let sum = match owner {
            NOBODY => &mut result.unattributed_bytes,
            SHARED => &mut result.shared_bytes,
            context => &mut result.contexts[context as usize].attributed_bytes,
        };
        *sum = sum.saturating_add(heap.shallow_bytes(node));
    }
    result.owner = owner;
    result
}

fn context_nodes(heap: &Heap) -> Vec<NodeId> {
    let graph = heap.graph();
    let mut is_context = NameTest::new(graph.strings(), |name| {
        let name = name.strip_prefix(DETACHED_PREFIX).unwrap_or(name);
        name.strip_prefix("system / NativeContext")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(" / "))
    });
    graph
        .nodes()
        .filter(|&node| is_context.passes(graph.name(node)))
        .collect()
}

/// The owners that shapes tell: object -`map`-> shape -`map`-> shape of shapes
/// -`native_context`-> context. A context owns itself.
fn fixed_owners(graph: &HeapGraph, contexts: &[NodeId]) -> Vec<u32> {
    let mut context_of = vec![NOBODY; graph.node_count()];
    for (&context, number) in contexts.iter().zip(0..) {
        context_of[context.index()] = number;
    }
    let maps = internal_targets(graph, |name| name == "map");
    let native_contexts = internal_targets(graph, |name| name == "native_context");
    let follow =
        |targets: &[NodeId], node: NodeId| Some(targets[node.index()]).filter(|&to| to != NO_NODE);
    let mut owner = context_of.clone();
    for node in graph.nodes() {
        let context = follow(&maps, node)
            .and_then(|shape| follow(&maps, shape))
            .and_then(|shape| follow(&native_contexts, shape));
        if let Some(context) = context
            && owner[node.index()] == NOBODY
        {
            owner[node.index()] = context_of[context.index()];
        }
    }
    owner
}

const NO_NODE: NodeId = NodeId(u32::MAX);

/// For each node where its first internal edge of a name leads.
fn internal_targets(graph: &HeapGraph, test: fn(&str) -> bool) -> Vec<NodeId> {
    let mut is_called = NameTest::new(graph.strings(), test);
    let mut targets = vec![NO_NODE; graph.node_count()];
    for node in graph.nodes() {
        let edge = graph.edges(node).find(|&edge| {
            graph.edge_kind(edge) == EdgeKind::Internal
                && matches!(graph.label(edge), EdgeLabel::Name(name) if is_called.passes(name))
        });
        if let Some(edge) = edge {
            targets[node.index()] = graph.target(edge);
        }
    }
    targets
}

/// Hands owners on to what has none, over all edges but weak ones and shortcuts. A node that two
/// of them reach is shared, and so is what hangs below it.
fn flood(graph: &HeapGraph, fixed: Vec<u32>) -> Vec<u32> {
    let mut owner = fixed.clone();
    let mut pending: Vec<NodeId> = graph
        .nodes()
        .filter(|node| fixed[node.index()] != NOBODY)
        .collect();
    while let Some(node) = pending.pop() {
        let from = owner[node.index()];
        for edge in graph.edges(node) {
            let target = graph.target(edge);
            if matches!(graph.edge_kind(edge), EdgeKind::Weak | EdgeKind::Shortcut)
                || fixed[target.index()] != NOBODY
            {
                continue;
            }
            let slot = &mut owner[target.index()];
            let joined = match *slot {
                NOBODY => from,
                known if known == from => known,
                _ => SHARED,
            };
            // Owners only ever grow from none to one to shared, so each node waits here at
            // most twice.
            if joined != *slot {
                *slot = joined;
                pending.push(target);
            }
        }
    }
    owner
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, NodeKind, SnapshotFormat};

    use super::*;
    use crate::OpenOptions;

    #[test]
    fn owners_by_shape_by_referrer_and_shared() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        let names = [
            "system / NativeContext",
            "Detached system / NativeContext / x",
        ];
        let contexts = names.map(|name| builder.node(NodeKind::Object, name, 3, 1));
        let mut owned = Vec::new();
        for context in contexts {
            let object = builder.node(NodeKind::Object, "A", 5, 10);
            let shape = builder.node(NodeKind::ObjectShape, "system / Map", 7, 0);
            let shapes = builder.node(NodeKind::ObjectShape, "system / Map", 9, 0);
            builder.named_edge(object, EdgeKind::Internal, "map", shape);
            builder.named_edge(shape, EdgeKind::Internal, "map", shapes);
            builder.named_edge(shapes, EdgeKind::Internal, "native_context", context);
            builder.named_edge(root, EdgeKind::Property, "a", object);
            owned.push(object);
        }
        let list = builder.node(NodeKind::Array, "", 11, 100);
        builder.named_edge(owned[0], EdgeKind::Internal, "elements", list);
        let both = builder.node(NodeKind::Array, "", 13, 1_000);
        builder.named_edge(owned[0], EdgeKind::Internal, "b", both);
        builder.named_edge(list, EdgeKind::Internal, "b", both);
        builder.named_edge(owned[1], EdgeKind::Internal, "b", both);
        let below = builder.node(NodeKind::Array, "", 15, 10_000);
        builder.named_edge(both, EdgeKind::Internal, "c", below);
        let nobodys = builder.node(NodeKind::Array, "", 17, 100_000);
        builder.named_edge(owned[0], EdgeKind::Weak, "w", nobodys);
        builder.named_edge(owned[0], EdgeKind::Shortcut, "s", nobodys);
        let heap = Heap::open(
            builder.finish().unwrap(),
            OpenOptions {
                owned_sizes: false,
                ..OpenOptions::default()
            },
        );
        let found = native_contexts(&heap);
        let bytes: Vec<u64> = found
            .contexts
            .iter()
            .map(|row| row.attributed_bytes)
            .collect();
        assert_eq!(bytes, [111, 11]);
        assert_eq!(
            (found.shared_bytes, found.unattributed_bytes),
            (11_000, 100_000)
        );
        assert_eq!(found.owner(list), ContextOwner::Context(contexts[0]));
        assert_eq!(found.owner(below), ContextOwner::Shared);
        assert_eq!(found.owner(nobodys), ContextOwner::None);
        assert_eq!(found.owner(root), ContextOwner::None);
    }
}
