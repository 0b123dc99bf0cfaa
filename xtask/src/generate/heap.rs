//! The graph while it is being made: nodes in file order, edges in any order.

use super::names::{Name, NameId, Names};
use super::random::Random;

/// Position of a node in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NodeId(pub u32);

/// In the order of Node 20's type list; Node 24 has all but the last.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeKind {
    Hidden,
    Array,
    String,
    Object,
    Code,
    Closure,
    Number = 7,
    Native,
    Synthetic,
    ConcatenatedString,
    ObjectShape = 14,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EdgeKind {
    Context,
    Element,
    Property,
    Internal,
    Hidden,
    Shortcut,
    Weak,
}

pub struct Node {
    pub kind: NodeKind,
    pub name: NameId,
    pub id: u32,
    pub size_bytes: u32,
}

pub struct Edge {
    pub from: NodeId,
    pub kind: EdgeKind,
    /// An index for element and hidden edges, a `NameId` for all others.
    pub name_or_index: u32,
    pub to: NodeId,
}

/// Where the source says an object's constructor or a function is.
#[derive(Clone, Copy)]
pub struct Place {
    pub script: u32,
    pub line: u32,
    pub column: u32,
}

#[derive(Default)]
pub struct Heap {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    pub names: Names,
    pub locations: Vec<(NodeId, Place)>,
    next_id: u32,
    /// Ids that were passed over: they show up later in the file.
    late_ids: Vec<u32>,
}

impl Heap {
    pub fn new() -> Self {
        let mut heap = Heap {
            next_id: 1,
            ..Heap::default()
        };
        heap.names.intern(Name::Fixed("<dummy>"));
        heap
    }

    pub fn add(&mut self, kind: NodeKind, name: NameId, size_bytes: usize) -> NodeId {
        let id = self.take_id();
        self.add_with_id(kind, name, size_bytes, id)
    }

    /// The embedder's nodes have even ids that are made from a hash.
    pub fn add_native(&mut self, random: &mut Random, name: NameId, size_bytes: usize) -> NodeId {
        let id = (random.next() as u32 >> 1) & !1;
        self.add_with_id(NodeKind::Native, name, size_bytes, id)
    }

    fn add_with_id(&mut self, kind: NodeKind, name: NameId, size: usize, id: u32) -> NodeId {
        self.nodes.push(Node {
            kind,
            name,
            id,
            size_bytes: size as u32,
        });
        NodeId(self.nodes.len() as u32 - 1)
    }

    pub fn id_of(&self, node: NodeId) -> u32 {
        self.nodes[node.0 as usize].id
    }

    pub fn link(&mut self, from: NodeId, kind: EdgeKind, name: NameId, to: NodeId) {
        debug_assert!(!matches!(kind, EdgeKind::Element | EdgeKind::Hidden));
        self.edges.push(Edge {
            from,
            kind,
            name_or_index: name.0,
            to,
        });
    }

    pub fn link_index(&mut self, from: NodeId, kind: EdgeKind, index: usize, to: NodeId) {
        debug_assert!(matches!(kind, EdgeKind::Element | EdgeKind::Hidden));
        self.edges.push(Edge {
            from,
            kind,
            name_or_index: index as u32,
            to,
        });
    }

    pub fn locate(&mut self, node: NodeId, place: Place) {
        self.locations.push((node, place));
    }

    /// Uses the passed-over ids from now on for nothing, and jumps ahead by `count` ids.
    pub fn skip_ids(&mut self, count: usize) {
        self.late_ids.clear();
        self.next_id += 2 * count as u32;
    }

    /// Odd ids that ascend through the file, except for one in 23, which comes late.
    fn take_id(&mut self) -> u32 {
        let node_count = self.nodes.len();
        if node_count > 64 && node_count.is_multiple_of(23) {
            self.late_ids.push(self.next_id);
            self.next_id += 2;
        }
        if self.late_ids.len() > 40 {
            return self.late_ids.swap_remove(node_count % 40);
        }
        self.next_id += 2;
        self.next_id - 2
    }
}
