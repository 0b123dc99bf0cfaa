//! One object or class looked at closely: fields, retainers, dominators, path to the root.

use std::cmp::Reverse;

use heapatlas_model::{EdgeId, EdgeKind, HeapGraph, Location, NodeId, Retainers};

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
        location: location(heap, node),
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

/// Where an object's constructor or a function stands.
fn location(heap: &Heap, node: NodeId) -> Option<(u32, u32, u32)> {
    let place = heap.location_index().find(heap.graph(), node)?;
    Some((place.script_id, place.line, place.column))
}

/// Rows of the table of source positions by node: files list them in no order that one may rely on.
#[derive(Debug)]
pub(crate) struct LocationIndex {
    rows: Vec<(NodeId, u32)>,
}

impl LocationIndex {
    /// Sorts the table's rows.
    pub fn new(graph: &HeapGraph) -> Self {
        let nodes = graph.locations().iter().map(|place| place.node);
        let mut rows: Vec<(NodeId, u32)> = nodes.zip(0..).collect();
        rows.sort_unstable();
        Self { rows }
    }

    /// The source position of a node, the last one where the file gives several.
    fn find<'g>(&self, graph: &'g HeapGraph, node: NodeId) -> Option<&'g Location> {
        let after = self.rows.partition_point(|row| row.0 <= node);
        let &(found, row) = self.rows.get(after.checked_sub(1)?)?;
        (found == node).then(|| &graph.locations()[row as usize])
    }
}

/// The order of rows: largest retained size first, then by id.
fn sort_rows(heap: &Heap, nodes: &mut [NodeId]) {
    nodes.sort_by_cached_key(|&node| {
        let retained = Reverse(heap.retained_bytes(node));
        (retained, heap.graph().object_id(node), node)
    });
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, NodeKind, SnapshotFormat};

    use super::*;
    use crate::OpenOptions;

    fn builder() -> (GraphBuilder, NodeId) {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        (builder, root)
    }

    fn open(builder: GraphBuilder) -> Heap {
        Heap::open(builder.finish().unwrap(), OpenOptions::default())
    }

    fn labels(edges: &[EdgeView]) -> Vec<&str> {
        edges.iter().map(|edge| edge.label.as_str()).collect()
    }

    #[test]
    fn retainers_stand_as_in_the_panel() {
        let (mut builder, root) = builder();
        let near = builder.node(NodeKind::Object, "Near", 3, 1);
        let far = builder.node(NodeKind::Object, "Far", 5, 1);
        let lost = builder.node(NodeKind::Object, "Lost", 7, 1);
        let held = builder.node(NodeKind::Object, "Held", 9, 1);
        builder.named_edge(root, EdgeKind::Shortcut, "near", near);
        builder.named_edge(root, EdgeKind::Property, "not shown", held);
        builder.named_edge(near, EdgeKind::Property, "far", far);
        builder.named_edge(lost, EdgeKind::Property, "lost", held);
        builder.named_edge(far, EdgeKind::Property, "a", held);
        builder.named_edge(near, EdgeKind::Property, "__proto__", held);
        builder.indexed_edge(near, EdgeKind::Element, 10, held);
        builder.indexed_edge(near, EdgeKind::Element, 9, held);
        builder.named_edge(near, EdgeKind::Shortcut, "007x", held);
        builder.named_edge(near, EdgeKind::Property, "z", held);
        builder.named_edge(near, EdgeKind::Internal, "b", held);
        builder.named_edge(near, EdgeKind::Weak, "weak", held);
        let heap = open(builder);
        let incoming = heap.graph().build_retainers();
        let rows = retainers(&heap, &incoming, held);
        assert_eq!(
            labels(&rows),
            ["b", "z", "10", "7", "9", "__proto__", "a", "lost"]
        );
        assert_eq!(rows[0].node.node, near);
    }

    #[test]
    fn numbers_in_shortcuts() {
        let cases = [
            ("12", Some("12")),
            (" -07px", Some("-7")),
            ("+0", Some("0")),
            ("-0", Some("0")),
            ("x1", None),
            ("-", None),
            ("", None),
        ];
        for (text, number) in cases {
            assert_eq!(leading_integer(text).as_deref(), number, "{text}");
        }
    }

    #[test]
    fn fields_and_rows() {
        let (mut builder, root) = builder();
        let object = builder.node(NodeKind::Object, "Object", 3, 5);
        let small = builder.node(NodeKind::Object, "A", 9, 1);
        let large = builder.node(NodeKind::Object, "A", 7, 2);
        let equal = builder.node(NodeKind::Object, "A", 5, 1);
        builder.node(NodeKind::Object, "A", 11, 0);
        builder.named_edge(root, EdgeKind::Property, "o", object);
        for (name, node) in [("s", small), ("l", large), ("e", equal)] {
            builder.named_edge(object, EdgeKind::Property, name, node);
        }
        builder.named_edge(object, EdgeKind::Invisible, "i", small);
        builder.named_edge(object, EdgeKind::Weak, "w", small);
        for (script_id, line) in [(1, 1), (2, 7)] {
            builder.location(Location {
                node: object,
                script_id,
                script_node: None,
                line,
                column: 3,
            });
        }
        let heap = open(builder);
        assert_eq!(labels(&fields(&heap, object)), ["s", "l", "e", "w"]);
        let view = node_view(&heap, object);
        assert_eq!(view.display_name, "{s, l, e}");
        assert_eq!(view.class, "Object");
        assert_eq!(view.location, Some((2, 7, 3)));
        assert_eq!((view.shallow_bytes, view.retained_bytes), (5, 9));
        let rows: Vec<NodeId> = dominated(&heap, object)
            .iter()
            .map(|row| row.node)
            .collect();
        assert_eq!(rows, [large, equal, small]);
        assert_eq!(objects_of_class(&heap, heap.class_of(small)), rows);
        let chain: Vec<NodeId> = dominators(&heap, small)
            .iter()
            .map(|row| row.node)
            .collect();
        assert_eq!(chain, [object, root]);
        assert!(dominators(&heap, root).is_empty());
    }

    #[test]
    fn the_path_takes_the_nearest_retainer() {
        let (mut builder, root) = builder();
        let user = builder.node(NodeKind::Object, "global", 3, 1);
        let system = builder.node(NodeKind::Synthetic, "(GC roots)", 5, 0);
        let middle = builder.node(NodeKind::Object, "Map", 7, 1);
        let end = builder.node(NodeKind::Object, "End", 9, 1);
        let hidden = builder.node(NodeKind::Hidden, "system / X", 11, 1);
        let lost = builder.node(NodeKind::Object, "Lost", 13, 1);
        builder.indexed_edge(root, EdgeKind::Element, 1, system);
        builder.named_edge(root, EdgeKind::Shortcut, "global", user);
        builder.named_edge(system, EdgeKind::Internal, "1", end);
        builder.named_edge(system, EdgeKind::Internal, "2", hidden);
        builder.named_edge(user, EdgeKind::Property, "map", middle);
        builder.named_edge(middle, EdgeKind::Property, "back", user);
        builder.named_edge(middle, EdgeKind::Property, "end", end);
        builder.named_edge(middle, EdgeKind::Weak, "w", lost);
        let heap = open(builder);
        let incoming = heap.graph().build_retainers();
        let path = |node| -> Vec<(Option<String>, NodeId)> {
            path_from_root(&heap, &incoming, node)
                .into_iter()
                .map(|(edge, view)| (edge.map(|edge| edge.label), view.node))
                .collect()
        };
        let label = |text: &str| Some(text.to_owned());
        let to_end = [
            (None, root),
            (label("global"), user),
            (label("map"), middle),
            (label("end"), end),
        ];
        assert_eq!(path(end), to_end);
        let to_hidden = [(None, root), (label("1"), system), (label("2"), hidden)];
        assert_eq!(path(hidden), to_hidden);
        assert_eq!(path(root), [(None, root)]);
        assert_eq!(path(lost), []);
    }
}
