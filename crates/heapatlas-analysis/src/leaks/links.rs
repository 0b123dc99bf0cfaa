//! How leak detectors walk: which objects a program sees, which are only plumbing, and how the
//! same way is found again in another snapshot.

use heapatlas_model::{EdgeId, EdgeKind, HeapGraph, NodeId, NodeKind, StringId};

use crate::paths::map_tables::is_map_key;
use crate::paths::shapes::EdgeShape;
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
/// such as the boxes of the layout, which come and go with the elements they belong to. Released
/// builds of Chrome call all of Blink's own by one name.
fn is_engine_native(name: &str) -> bool {
    name.starts_with("system / ") || name.contains("::") || name == "InternalNode"
}

/// Whether an edge keeps its target alive for the program's sake.
pub fn holds(graph: &HeapGraph, weak_maps: &WeakMapEdges, node: NodeId, edge: EdgeId) -> bool {
    match graph.edge_kind(edge) {
        EdgeKind::Weak | EdgeKind::Shortcut => false,
        EdgeKind::Internal => weak_maps
            .get(label(graph, edge))
            .is_none_or(|entry| entry.table != graph.object_id(node)),
        _ => true,
    }
}

/// Whether an edge is one of many by which a map holds its values.
pub fn is_map_entry(graph: &HeapGraph, edge: EdgeId) -> bool {
    graph.edge_kind(edge) == EdgeKind::Property
        && !graph.strings().is(label(graph, edge), "__proto__")
}

/// Whether an edge leads to a store whose contents its owner shows by itself.
pub fn is_shown_by_owner(graph: &HeapGraph, edge: EdgeId) -> bool {
    let is_one_of = |names: [&str; 2]| {
        let label = label(graph, edge);
        names.iter().any(|name| graph.strings().is(label, name))
    };
    graph.edge_kind(edge) == EdgeKind::Internal && is_one_of(["elements", "properties"])
}

/// The name of an edge whose label is no index.
fn label(graph: &HeapGraph, edge: EdgeId) -> StringId {
    StringId(graph.columns().edge_label[edge.index()])
}

/// A kind with what does not matter taken out: V8 stores one text in several ways, and changes
/// its mind from snapshot to snapshot.
pub fn main_kind(kind: NodeKind) -> NodeKind {
    match kind {
        NodeKind::ConcatenatedString | NodeKind::SlicedString => NodeKind::String,
        other => other,
    }
}

/// What a node's name says of its class.
pub fn class_part(kind: NodeKind, name: &str) -> &str {
    match kind {
        NodeKind::Object | NodeKind::Native => {
            // `<div class="a">`: the attributes are the element's own.
            let is_element = name.starts_with('<') || name.starts_with("Detached <");
            let tag = name.strip_prefix("Detached ").unwrap_or(name);
            if is_element {
                tag.split([' ', '>']).next().unwrap_or(tag)
            } else {
                name
            }
        }
        NodeKind::Closure | NodeKind::Hidden | NodeKind::Synthetic | NodeKind::Other => name,
        // A string's name is its text, an expression's its source: no class.
        _ => "",
    }
}

/// A step that can be taken again in another snapshot: an edge by name (or any of many) to a
/// node by kind and class.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Link {
    edge: LinkEdge,
    kind: NodeKind,
    class: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum LinkEdge {
    Index,
    Key,
    Property,
    Named(String),
}

impl Link {
    /// The step over an edge of this shape to this node.
    pub fn new(graph: &HeapGraph, edge: EdgeShape, node: NodeId) -> Self {
        let edge = match edge {
            EdgeShape::Index => LinkEdge::Index,
            EdgeShape::Key => LinkEdge::Key,
            EdgeShape::Property => LinkEdge::Property,
            EdgeShape::Named(name) => LinkEdge::Named(graph.strings().get(name).into_owned()),
        };
        let kind = graph.kind(node);
        Self {
            edge,
            kind: main_kind(kind),
            class: class_part(kind, &graph.name_text(node)).to_owned(),
        }
    }

    /// The edge's name, `[*]` for any of many.
    pub fn edge_word(&self) -> &str {
        match &self.edge {
            LinkEdge::Index | LinkEdge::Key | LinkEdge::Property => "[*]",
            LinkEdge::Named(name) => name,
        }
    }

    /// The nodes that this step leads to from `node`, each once for each edge.
    pub fn follow(&self, graph: &HeapGraph, node: NodeId, found: &mut Vec<NodeId>) {
        for edge in graph.edges(node) {
            let target = graph.target(edge);
            if main_kind(graph.kind(target)) == self.kind
                && self.edge_matches(graph, node, edge)
                && self.class_matches(graph, target)
            {
                found.push(target);
            }
        }
    }

    /// Whether it stands for any of many.
    pub fn is_repeated(&self) -> bool {
        !matches!(self.edge, LinkEdge::Named(_))
    }

    fn edge_matches(&self, graph: &HeapGraph, node: NodeId, edge: EdgeId) -> bool {
        let kind = graph.edge_kind(edge);
        match &self.edge {
            _ if matches!(kind, EdgeKind::Weak | EdgeKind::Shortcut) => false,
            LinkEdge::Index => {
                (kind.has_index_label() || kind == EdgeKind::Internal && is_numbered(graph, edge))
                    && !is_map_key(graph, node, edge)
            }
            LinkEdge::Key => is_map_key(graph, node, edge),
            LinkEdge::Property => is_map_entry(graph, edge),
            LinkEdge::Named(name) => {
                !kind.has_index_label() && graph.strings().is(label(graph, edge), name)
            }
        }
    }

    fn class_matches(&self, graph: &HeapGraph, node: NodeId) -> bool {
        let name = graph.name(node);
        graph.strings().is(name, &self.class)
            || match self.kind {
                NodeKind::Object | NodeKind::Native if !self.class.starts_with('<') => false,
                NodeKind::Closure | NodeKind::Hidden | NodeKind::Synthetic | NodeKind::Other => {
                    false
                }
                _ if self.class.is_empty() => true,
                kind => class_part(kind, &graph.strings().get(name)) == self.class,
            }
    }
}

fn is_numbered(graph: &HeapGraph, edge: EdgeId) -> bool {
    let raw = graph.strings().raw(label(graph, edge));
    raw.is_some_and(|raw| raw.first().is_some_and(u8::is_ascii_digit))
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

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, SnapshotFormat};

    use super::*;

    fn number(texts: &HeapGraph, text: &str) -> StringId {
        let strings = texts.strings();
        (0..strings.len())
            .map(StringId::from_index)
            .find(|&id| strings.is(id, text))
            .expect("the text is in the graph")
    }

    #[test]
    fn follows_indexes_entries_and_names_but_no_prototype() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let map = builder.node(NodeKind::Object, "Object", 1, 0);
        let target =
            |builder: &mut GraphBuilder, id| builder.node(NodeKind::Object, "Object", id, 0);
        let prototype = target(&mut builder, 3);
        let value = target(&mut builder, 5);
        let element = target(&mut builder, 7);
        let weak = target(&mut builder, 9);
        builder.named_edge(map, EdgeKind::Property, "__proto__", prototype);
        builder.named_edge(map, EdgeKind::Property, "key", value);
        builder.indexed_edge(map, EdgeKind::Element, 0, element);
        builder.named_edge(map, EdgeKind::Weak, "key", weak);
        let graph = builder.finish().unwrap();
        let follow = |edge| follow_all(&graph, &[Link::new(&graph, edge, value)], map);
        assert_eq!(follow(EdgeShape::Property), [value]);
        assert_eq!(follow(EdgeShape::Index), [element]);
        assert_eq!(follow(EdgeShape::Named(number(&graph, "key"))), [value]);
    }

    #[test]
    fn keys_are_told_from_values_by_the_size_of_the_table() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let text = builder.node(NodeKind::String, "text", 1, 0);
        let large = builder.node(NodeKind::Array, "", 3, 57_384);
        let compressed = builder.node(NodeKind::Array, "", 5, 4 * (5 + 7 * 2));
        let other = builder.node(NodeKind::Array, "", 7, 57_392);
        for (table, slots) in [
            (large, ["1027", "1028", "1030", "1031"]),
            (compressed, ["5", "6", "8", "9"]),
            (other, ["1027", "1028", "1030", "1031"]),
        ] {
            for slot in slots {
                builder.named_edge(table, EdgeKind::Internal, slot, text);
            }
        }
        let graph = builder.finish().unwrap();
        let keys = |table| -> Vec<bool> {
            let edges = graph.edges(table);
            edges.map(|edge| is_map_key(&graph, table, edge)).collect()
        };
        assert_eq!(keys(large), [true, false, true, false]);
        assert_eq!(keys(compressed), [true, false, true, false]);
        assert_eq!(keys(other), [false; 4]);
    }

    #[test]
    fn texts_and_elements_match_by_kind_and_tag() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let list = builder.node(NodeKind::Object, "Array", 1, 0);
        let nodes = [
            (NodeKind::String, "first"),
            (NodeKind::ConcatenatedString, ""),
            (NodeKind::Native, "<div id=\"a\">"),
            (NodeKind::Native, "<div>"),
            (NodeKind::Native, "Detached <div id=\"b\">"),
            (NodeKind::Native, "<divider>"),
            (NodeKind::RegExp, "a+"),
            (NodeKind::RegExp, "b+"),
        ];
        let ids: Vec<NodeId> = (3..)
            .step_by(2)
            .zip(nodes)
            .map(|(id, (kind, name))| {
                let node = builder.node(kind, name, id, 0);
                builder.indexed_edge(list, EdgeKind::Element, 0, node);
                node
            })
            .collect();
        let graph = builder.finish().unwrap();
        let follow = |node| follow_all(&graph, &[Link::new(&graph, EdgeShape::Index, node)], list);
        assert_eq!(follow(ids[0]), ids[..2]);
        assert_eq!(follow(ids[2]), ids[2..5]);
        assert_eq!(follow(ids[5]), ids[5..6]);
        assert_eq!(follow(ids[6]), ids[6..]);
    }
}
