//! What every pass over the graph asks again and again, looked up once: kinds by type number,
//! names by string number, the roots.

use heapatlas_model::{EdgeKind, HeapGraph, NodeId, NodeKind};

use crate::NodeSet;
use crate::weak_maps::WeakMapEdges;

/// The name of the synthetic node below which old Chrome lists documents.
const DOCUMENT_ROOTS: &str = "(Document DOM trees)";

/// Facts of one graph.
pub(crate) struct GraphFacts<'g> {
    pub graph: &'g HeapGraph,
    /// The kind of each node type.
    pub node_kinds: [NodeKind; 256],
    /// The kind of each edge type.
    pub edge_kinds: [EdgeKind; 256],
    /// Whether an edge type is weak; a table of bytes for the innermost loops.
    pub is_weak: [bool; 256],
    /// Edges that tie a WeakMap's value to its key and table.
    pub weak_maps: WeakMapEdges,
    /// Where the program's own objects begin, in the order of the root's edges.
    pub user_roots: Vec<NodeId>,
    /// Where pages begin, in the order of the root's edges.
    pub page_roots: Vec<NodeId>,
}

impl<'g> GraphFacts<'g> {
    pub fn new(graph: &'g HeapGraph) -> Self {
        let columns = graph.columns();
        let mut node_kinds = [NodeKind::Other; 256];
        for (kind, node_type) in node_kinds.iter_mut().zip(&columns.node_types) {
            *kind = node_type.kind;
        }
        let mut edge_kinds = [EdgeKind::Other; 256];
        for (kind, edge_type) in edge_kinds.iter_mut().zip(&columns.edge_types) {
            *kind = edge_type.kind;
        }
        let (user_roots, page_roots) = roots(graph);
        Self {
            graph,
            node_kinds,
            edge_kinds,
            is_weak: edge_kinds.map(|kind| kind == EdgeKind::Weak),
            weak_maps: WeakMapEdges::find(graph.strings()),
            user_roots,
            page_roots,
        }
    }

    /// The kind of a node.
    #[inline]
    pub fn kind(&self, node: NodeId) -> NodeKind {
        self.node_kinds[self.graph.columns().node_type[node.index()] as usize]
    }

    /// The row numbers of a node's edges.
    #[inline]
    pub fn edge_rows(&self, node: NodeId) -> std::ops::Range<usize> {
        let first_edge = &self.graph.columns().first_edge;
        first_edge[node.index()] as usize..first_edge[node.index() + 1] as usize
    }
}

/// User roots: children of the root that stand for something, whatever the edge. Page roots:
/// those that the writer marked by a shortcut, and the list of documents.
fn roots(graph: &HeapGraph) -> (Vec<NodeId>, Vec<NodeId>) {
    let (mut user_roots, mut page_roots) = (Vec::new(), Vec::new());
    let (mut is_user_root, mut is_page_root) = (
        NodeSet::new(graph.node_count()),
        NodeSet::new(graph.node_count()),
    );
    for edge in graph.edges(graph.root()) {
        let target = graph.target(edge);
        let is_synthetic = graph.kind(target) == NodeKind::Synthetic;
        let lists_documents = is_synthetic && graph.name_text(target) == DOCUMENT_ROOTS;
        if (!is_synthetic || lists_documents) && is_user_root.insert(target) {
            user_roots.push(target);
        }
        let is_page = match graph.edge_kind(edge) {
            EdgeKind::Shortcut => true,
            EdgeKind::Element => lists_documents,
            _ => false,
        };
        if is_page && is_page_root.insert(target) {
            page_roots.push(target);
        }
    }
    (user_roots, page_roots)
}
