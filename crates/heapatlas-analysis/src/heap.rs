//! A graph with its figures.

use heapatlas_model::{HeapGraph, NodeId};

use crate::Statistics;

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
}

impl Heap {
    /// Computes the figures.
    pub fn open(graph: HeapGraph, options: OpenOptions) -> Self {
        let _ = options;
        Self { graph }
    }

    /// The graph.
    pub fn graph(&self) -> &HeapGraph {
        &self.graph
    }

    /// The classes in order of first appearance.
    pub fn classes(&self) -> &[Class] {
        todo!()
    }

    /// A node's class.
    pub fn class_of(&self, node: NodeId) -> ClassId {
        let _ = node;
        todo!()
    }

    /// A class.
    pub fn class(&self, class: ClassId) -> &Class {
        &self.classes()[class.0 as usize]
    }

    /// A node's own bytes, with what it owns.
    pub fn shallow_bytes(&self, node: NodeId) -> u64 {
        let _ = node;
        todo!()
    }

    /// What would go if the node went.
    pub fn retained_bytes(&self, node: NodeId) -> u64 {
        let _ = node;
        todo!()
    }

    /// Steps from the nearest user root; `None` where DevTools shows none.
    pub fn distance(&self, node: NodeId) -> Option<u32> {
        let _ = node;
        todo!()
    }

    /// The immediate dominator; the root's is the root.
    pub fn dominator(&self, node: NodeId) -> NodeId {
        let _ = node;
        todo!()
    }

    /// 0 unknown, 1 attached, 2 detached.
    pub fn detachedness(&self, node: NodeId) -> u8 {
        let _ = node;
        todo!()
    }

    /// A node's name as DevTools shows it in a row.
    pub fn display_name(&self, node: NodeId) -> String {
        let _ = node;
        todo!()
    }

    /// Everything the root retains, plus what the embedder holds outside of nodes.
    pub fn total_bytes(&self) -> u64 {
        todo!()
    }

    /// Where the bytes are; `None` for formats without these groups.
    pub fn statistics(&self) -> Option<Statistics> {
        todo!()
    }
}
