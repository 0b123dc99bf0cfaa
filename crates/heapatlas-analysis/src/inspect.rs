//! One object or class looked at closely: fields, retainers, dominators, path to the root.

use std::cmp::Reverse;

use heapatlas_model::{EdgeId, EdgeKind, HeapGraph, NodeId, Retainers};

use crate::{ClassId, Heap};

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
    let graph = heap.graph();
    NodeView {
        node,
        object_id: graph.object_id(node),
        type_name: graph.node_type(node).name.clone(),
        class: heap.class(heap.class_of(node)).name.clone(),
        display_name: heap.display_name(node),
        shallow_bytes: heap.shallow_bytes(node),
        retained_bytes: heap.retained_bytes(node),
        distance: heap.distance(node),
        detachedness: heap.detachedness(node),
        location: location(graph, node),
    }
}

/// What a node refers to, in the file's order; invisible edges left out.
pub fn fields(heap: &Heap, node: NodeId) -> Vec<EdgeView> {
    let graph = heap.graph();
    graph
        .edges(node)
        .filter(|&edge| graph.edge_kind(edge) != EdgeKind::Invisible)
        .map(|edge| edge_view(heap, edge, graph.target(edge)))
        .collect()
}

/// Who refers to a node, nearest to a root first; weak edges and the root's left out, as DevTools does.
pub fn retainers(heap: &Heap, incoming: &Retainers, node: NodeId) -> Vec<EdgeView> {
    retaining_edges(heap, incoming, node)
        .into_iter()
        .map(|(edge, source)| edge_view(heap, edge, source))
        .collect()
}

/// The dominators of a node from its immediate one up to the root.
pub fn dominators(heap: &Heap, node: NodeId) -> Vec<NodeView> {
    let mut chain = Vec::new();
    let mut below = node;
    while below != heap.graph().root() {
        below = heap.dominator(below);
        chain.push(node_view(heap, below));
    }
    chain
}

/// The nodes a node immediately dominates, largest retained size first.
pub fn dominated(heap: &Heap, node: NodeId) -> Vec<NodeView> {
    let graph = heap.graph();
    let is_below = |&other: &NodeId| heap.dominator(other) == node && other != node;
    let mut below: Vec<NodeId> = graph.nodes().filter(is_below).collect();
    sort_rows(heap, &mut below);
    below
        .into_iter()
        .map(|node| node_view(heap, node))
        .collect()
}

/// The objects of a class that have a size, largest retained size first.
pub fn objects_of_class(heap: &Heap, class: ClassId) -> Vec<NodeId> {
    let is_shown = |&node: &NodeId| heap.class_of(node) == class && heap.shallow_bytes(node) > 0;
    let mut objects: Vec<NodeId> = heap.graph().nodes().filter(is_shown).collect();
    sort_rows(heap, &mut objects);
    objects
}

/// The shortest retaining path from the root down to a node: for each step the edge that led there
/// (none for the first) and the node. Empty when nothing but weak references leads there.
///
/// Each step goes to the first row of the Retainers panel.
pub fn path_from_root(
    heap: &Heap,
    incoming: &Retainers,
    node: NodeId,
) -> Vec<(Option<EdgeView>, NodeView)> {
    let root = heap.graph().root();
    let mut path = Vec::new();
    let mut below = node;
    while below != root {
        let Some((edge, source)) = nearest_retainer(heap, incoming, below) else {
            return Vec::new();
        };
        path.push((Some(edge_view(heap, edge, source)), node_view(heap, below)));
        below = source;
    }
    path.push((None, node_view(heap, root)));
    path.reverse();
    path
}

/// The edge by which the shortest way from the root comes.
fn nearest_retainer(heap: &Heap, incoming: &Retainers, node: NodeId) -> Option<(EdgeId, NodeId)> {
    let graph = heap.graph();
    let distance = heap.raw_distance(node);
    let steps_from_root = distance.checked_sub(heap.raw_distance(graph.root()))?;
    // The walk goes from step to step nearer to the root, so it ends.
    let nearer = retaining_edges(heap, incoming, node)
        .into_iter()
        .find(|&(_, source)| (0..distance).contains(&heap.raw_distance(source)));
    // User roots have distance 1 and hang directly below the root.
    if nearer.is_some() && distance > 1 && steps_from_root != 1 {
        return nearer;
    }
    let from_root = incoming.of(node).iter().rev().copied().find(|&edge| {
        graph.edge_kind(edge) != EdgeKind::Weak && graph.source(edge) == graph.root()
    });
    from_root.map(|edge| (edge, graph.root())).or(nearer)
}

/// The edges shown in the Retainers panel with the nodes that they start from, in its order:
/// nearest first, then by label, then as DevTools stores them.
fn retaining_edges(heap: &Heap, incoming: &Retainers, node: NodeId) -> Vec<(EdgeId, NodeId)> {
    let graph = heap.graph();
    let edges = incoming.of(node).iter();
    let mut rows: Vec<(EdgeId, NodeId)> = edges
        .map(|&edge| (edge, graph.source(edge)))
        .filter(|&(edge, source)| {
            source != graph.root()
                && !matches!(graph.edge_kind(edge), EdgeKind::Weak | EdgeKind::Invisible)
        })
        .collect();
    rows.sort_by_cached_key(|&(edge, source)| {
        let label = label(graph, edge);
        let rank = match (label.as_str(), has_index(graph, edge, &label)) {
            ("__proto__", _) => 2,
            (_, true) => 1,
            (_, false) => 0,
        };
        let units: Vec<u16> = label.encode_utf16().collect();
        (panel_distance(heap, source), rank, units)
    });
    rows
}

/// The distance by which retainers stand: what cannot be reached comes last.
fn panel_distance(heap: &Heap, node: NodeId) -> i32 {
    match heap.raw_distance(node) {
        unreachable if unreachable < 0 => unreachable + 200_000_000,
        distance => distance,
    }
}

fn edge_view(heap: &Heap, edge: EdgeId, other_end: NodeId) -> EdgeView {
    EdgeView {
        kind: heap.graph().edge_kind(edge),
        label: label(heap.graph(), edge),
        node: node_view(heap, other_end),
    }
}

/// An edge's label as shown: a shortcut whose name begins with a number is that number.
fn label(graph: &HeapGraph, edge: EdgeId) -> String {
    let text = graph.label_text(edge);
    if graph.edge_kind(edge) == EdgeKind::Shortcut
        && let Some(number) = leading_integer(&text)
    {
        return number;
    }
    text.into_owned()
}

fn has_index(graph: &HeapGraph, edge: EdgeId, label: &str) -> bool {
    let kind = graph.edge_kind(edge);
    kind.has_index_label() || kind == EdgeKind::Shortcut && leading_integer(label).is_some()
}

/// What JavaScript's `parseInt` makes of a text, written out again.
fn leading_integer(text: &str) -> Option<String> {
    let text = text.trim_start();
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let digits = &rest[..end];
    let significant = digits.trim_start_matches('0');
    match (digits.is_empty(), significant.is_empty()) {
        (true, _) => None,
        (false, true) => Some("0".to_owned()),
        (false, false) => Some(format!("{sign}{significant}")),
    }
}

/// Where an object's constructor or a function stands; the last place given counts.
fn location(graph: &HeapGraph, node: NodeId) -> Option<(u32, u32, u32)> {
    let mut places = graph.locations().iter().rev();
    let place = places.find(|place| place.node == node)?;
    Some((place.script_id, place.line, place.column))
}

/// The order of rows: largest retained size first, then by id.
fn sort_rows(heap: &Heap, nodes: &mut [NodeId]) {
    nodes.sort_by_cached_key(|&node| {
        let retained = Reverse(heap.retained_bytes(node));
        (retained, heap.graph().object_id(node), node)
    });
}
