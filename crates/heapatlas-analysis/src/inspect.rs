//! One object or class looked at closely: fields, retainers, dominators, path to the root.

use heapatlas_model::{EdgeKind, NodeId, Retainers};

use crate::Heap;

/// An edge as shown beside an object: to what it refers to, or from who refers to it.
#[derive(Clone, PartialEq, Debug)]
pub struct EdgeView {
    /// How it refers.
    pub kind: EdgeKind,
    /// Its label as text.
    pub label: String,
    /// The node at the other end.
    pub node: NodeView,
}

/// A node in figures.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// The number the runtime calls it by.
    pub object_id: u64,
    /// The type's word.
    pub type_name: String,
    /// Its class.
    pub class: String,
    /// Its name, as DevTools shows it in a row.
    pub display_name: String,
    /// Its own bytes.
    pub shallow_bytes: u64,
    /// What would go with it.
    pub retained_bytes: u64,
    /// Steps from the nearest user root; `None` where DevTools shows none.
    pub distance: Option<u32>,
    /// 0 unknown, 1 attached, 2 detached.
    pub detachedness: u8,
    /// Script id, zero-based line and column, where the file tells.
    pub location: Option<(u32, u32, u32)>,
}

/// The figures of a node.
pub fn node_view(heap: &Heap, node: NodeId) -> NodeView {
    let _ = (heap, node);
    todo!()
}

/// What a node refers to, in the file's order; invisible edges left out.
pub fn fields(heap: &Heap, node: NodeId) -> Vec<EdgeView> {
    let _ = (heap, node);
    todo!()
}

/// Who refers to a node, nearest to a root first; weak edges and the root's left out, as DevTools does.
pub fn retainers(heap: &Heap, incoming: &Retainers, node: NodeId) -> Vec<EdgeView> {
    let _ = (heap, incoming, node);
    todo!()
}

/// The dominators of a node from its immediate one up to the root.
pub fn dominators(heap: &Heap, node: NodeId) -> Vec<NodeView> {
    let _ = (heap, node);
    todo!()
}

/// The nodes a node immediately dominates, largest retained size first.
pub fn dominated(heap: &Heap, node: NodeId) -> Vec<NodeView> {
    let _ = (heap, node);
    todo!()
}

/// The shortest retaining path from the root down to a node: for each step the edge that led there
/// (none for the first) and the node. Empty when nothing but weak references leads there.
pub fn path_from_root(
    heap: &Heap,
    incoming: &Retainers,
    node: NodeId,
) -> Vec<(Option<EdgeView>, NodeView)> {
    let _ = (heap, incoming, node);
    todo!()
}
