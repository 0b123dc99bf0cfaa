//! The kinds of nodes and edges: one vocabulary for all heaps.
//!
//! The words are V8's, since its list is the richest and its file the one in which every
//! graph leaves. A format's own type list ([`NodeType`], [`EdgeType`]) maps onto them.

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum NodeKind {
    /// Memory of the engine that the program cannot see.
    Hidden,
    /// A backing store: elements of an array, properties of an object, a hash table.
    Array,
    /// A string.
    String,
    /// An object of the program.
    Object,
    /// Compiled code and what belongs to it.
    Code,
    /// A function with its context.
    Closure,
    /// A regular expression.
    RegExp,
    /// A boxed number.
    Number,
    /// Memory outside of the managed heap.
    Native,
    /// A node that stands for no memory: roots and groups of roots.
    Synthetic,
    /// A string made of two others.
    ConcatenatedString,
    /// A part of another string.
    SlicedString,
    /// A symbol.
    Symbol,
    /// An integer of any size.
    BigInt,
    /// The description of an object's layout (V8: map, hidden class).
    ObjectShape,
    /// An object of WebAssembly.
    WasmObject,
    /// A type that this version does not know.
    Other,
}

/// How a node refers to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum EdgeKind {
    /// A variable of a function's context.
    Context,
    /// An element of an array, by index.
    Element,
    /// A property or field, by name.
    Property,
    /// A reference of the engine, by name.
    Internal,
    /// A reference of the engine, by index.
    Hidden,
    /// A short way that the writer added, by name.
    Shortcut,
    /// Does not keep its target alive.
    Weak,
    /// Drawn by nobody; keeps its target alive.
    Invisible,
    /// A type that this version does not know; taken as a strong reference by name.
    Other,
}

impl EdgeKind {
    /// Whether the edge's label is an index and not a string.
    pub fn has_index_label(self) -> bool {
        matches!(self, Self::Element | Self::Hidden)
    }
}

/// A node type as a file lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeType {
    /// The file's word.
    pub name: String,
    /// What it means to us.
    pub kind: NodeKind,
}

/// An edge type as a file lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EdgeType {
    /// The file's word.
    pub name: String,
    /// What it means to us.
    pub kind: EdgeKind,
}
