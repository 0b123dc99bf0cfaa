//! The shortest path from a root to every object, and paths in words.

pub(crate) mod map_tables;
pub(crate) mod shapes;
mod words;

use heapatlas_model::{EdgeId, EdgeKind, HeapGraph, NodeId, NodeKind, StringId};

use crate::Heap;
use crate::weak_maps::WeakMapEdges;

pub use words::path_in_words;

/// One step of a path from the root.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PathStep {
    /// The edge that led here; `None` where the path begins.
    pub edge: Option<String>,
    /// The node, by class or name.
    pub node: String,
}

/// For each node the edge by which a shortest path from a root arrives.
///
/// Shortest by DevTools' distances, so a path has as many steps as the distance says. Among
/// edges that are equally near to a root, the one that a programmer would name wins: a
/// variable or property before an element, that before a reference of the engine.
#[derive(Debug)]
pub struct PathTree {
    parent: Vec<NodeId>,
    edge: Vec<u32>,
}

const NO_EDGE: u32 = u32::MAX;

impl PathTree {
    /// One pass over all edges.
    ///
    /// # Panics
    /// When the heap was opened for the first table only.
    pub fn new(heap: &Heap) -> Self {
        assert!(heap.has_tree(), "paths need distances");
        let graph = heap.graph();
        let nodes = graph.node_count();
        let mut tree = Self {
            parent: vec![NodeId(0); nodes],
            edge: vec![NO_EDGE; nodes],
        };
        let mut best_rank = vec![u8::MAX; nodes];
        let weak_maps = WeakMapEdges::find(graph.strings());
        for node in graph.nodes() {
            let next = heap.raw_distance(node) + 1;
            if next <= 0 {
                continue;
            }
            for edge in graph.edges(node) {
                let target = graph.target(edge);
                if heap.raw_distance(target) != next {
                    continue;
                }
                let rank = rank(graph, &weak_maps, node, edge);
                if rank < best_rank[target.index()] {
                    best_rank[target.index()] = rank;
                    tree.parent[target.index()] = node;
                    tree.edge[target.index()] = edge.0;
                }
            }
        }
        tree
    }

    /// The edge by which the path arrives and the node it comes from; `None` where a path begins,
    /// and where none leads.
    pub fn parent(&self, node: NodeId) -> Option<(NodeId, EdgeId)> {
        let edge = self.edge[node.index()];
        (edge != NO_EDGE).then(|| (self.parent[node.index()], EdgeId(edge)))
    }

    /// The path from where it begins to a node: for each node but the first the edge that led there.
    pub fn path_to(&self, node: NodeId) -> Vec<(Option<EdgeId>, NodeId)> {
        let mut path = Vec::new();
        let mut at = node;
        while let Some((parent, edge)) = self.parent(at) {
            path.push((Some(edge), at));
            at = parent;
        }
        path.push((None, at));
        path.reverse();
        path
    }
}

/// How willingly a path takes an edge; smaller is better, `u8::MAX` never.
fn rank(graph: &HeapGraph, weak_maps: &WeakMapEdges, node: NodeId, edge: EdgeId) -> u8 {
    let by_edge = match graph.edge_kind(edge) {
        EdgeKind::Weak => return u8::MAX,
        EdgeKind::Context | EdgeKind::Property => 0,
        EdgeKind::Element => 1,
        EdgeKind::Internal => {
            let label = StringId(graph.columns().edge_label[edge.index()]);
            match weak_maps.get(label) {
                // The key keeps the value alive, the table does not.
                Some(entry) if entry.table == graph.object_id(node) => return u8::MAX,
                _ => 2,
            }
        }
        EdgeKind::Hidden | EdgeKind::Shortcut | EdgeKind::Invisible | EdgeKind::Other => 3,
    };
    let by_node = match graph.kind(node) {
        NodeKind::Code | NodeKind::ObjectShape => 8,
        NodeKind::Hidden | NodeKind::Synthetic => 4,
        _ => 0,
    };
    by_edge + by_node
}

/// A path as steps to print.
pub fn path_steps(heap: &Heap, path: &[(Option<EdgeId>, NodeId)]) -> Vec<PathStep> {
    // The root itself has no name and says nothing, unless it is all there is.
    let nameless = path.len() > 1 && heap.graph().name_text(path[0].1).is_empty();
    let steps = path.iter().skip(usize::from(nameless)).enumerate();
    steps
        .map(|(index, &(edge, node))| PathStep {
            edge: edge
                .filter(|_| index > 0)
                .map(|edge| edge_word(heap.graph(), edge)),
            node: node_word(heap, node),
        })
        .collect()
}

/// An edge's label in a path.
pub(crate) fn edge_word(graph: &HeapGraph, edge: EdgeId) -> String {
    match graph.edge_kind(edge) {
        EdgeKind::Element | EdgeKind::Hidden => format!("[{}]", graph.label_text(edge)),
        EdgeKind::Internal if is_number(&graph.label_text(edge)) => {
            format!("[{}]", graph.label_text(edge))
        }
        _ => bare_label(&graph.label_text(edge)).to_owned(),
    }
}

/// A label without the number that Blink puts before it (`12 / Node::parent_`).
pub(crate) fn bare_label(label: &str) -> &str {
    match label.split_once(" / ") {
        Some((number, text)) if is_number(number) => text,
        _ => label,
    }
}

/// A function in a path.
pub(crate) fn function_word(name: &str) -> String {
    if name.is_empty() {
        "function".to_owned()
    } else {
        format!("{name}()")
    }
}

/// A node in a path: functions and the engine's own by name, everything else by class.
pub(crate) fn node_word(heap: &Heap, node: NodeId) -> String {
    let graph = heap.graph();
    match graph.kind(node) {
        NodeKind::Closure => function_word(&graph.name_text(node)),
        NodeKind::Synthetic => graph.name_text(node).into_owned(),
        // Their class would be `(system)` for all of them.
        NodeKind::Hidden if graph.name_text(node).starts_with("system / ") => {
            graph.name_text(node).into_owned()
        }
        _ => heap.class(heap.class_of(node)).name.clone(),
    }
}

pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
