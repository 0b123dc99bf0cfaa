//! Builds a graph node by node, edge by edge: for tests, and for heaps that are walked and not read.

use crate::{
    AllocationTraces, EdgeKind, EdgeType, GraphColumns, GraphError, HeapGraph, Location, NodeId,
    NodeKind, NodeType, SnapshotFormat, StringId, StringTable, UintColumn, V8Facts,
};
use std::collections::HashMap;

/// Collects nodes and edges in any order.
///
/// ```
/// use heapatlas_model::{EdgeKind, GraphBuilder, NodeKind, SnapshotFormat};
/// let mut builder = GraphBuilder::new(SnapshotFormat::V8);
/// let root = builder.node(NodeKind::Synthetic, "", 1, 0);
/// let map = builder.node(NodeKind::Object, "Map", 3, 32);
/// builder.named_edge(root, EdgeKind::Shortcut, "sessions", map);
/// let graph = builder.finish().unwrap();
/// assert_eq!(graph.targets(root), [map]);
/// ```
#[derive(Debug)]
pub struct GraphBuilder {
    format: SnapshotFormat,
    node_types: Vec<NodeType>,
    edge_types: Vec<EdgeType>,
    node_type: Vec<u8>,
    node_name: Vec<StringId>,
    object_id: UintColumn,
    self_size: UintColumn,
    edges: Vec<(NodeId, u8, u32, NodeId)>,
    texts: Vec<String>,
    ids_by_text: HashMap<String, StringId>,
    locations: Vec<Location>,
    v8: Option<V8Facts>,
}

impl GraphBuilder {
    /// An empty graph; the first node added is its root. String 0 is `<dummy>`, as V8 has it.
    pub fn new(format: SnapshotFormat) -> Self {
        let mut builder = Self {
            format,
            node_types: Vec::new(),
            edge_types: Vec::new(),
            node_type: Vec::new(),
            node_name: Vec::new(),
            object_id: UintColumn::new(),
            self_size: UintColumn::new(),
            edges: Vec::new(),
            texts: Vec::new(),
            ids_by_text: HashMap::new(),
            locations: Vec::new(),
            v8: (format == SnapshotFormat::V8).then(V8Facts::default),
        };
        builder.intern("<dummy>");
        builder
    }

    /// Adds a node of one of the kinds' own types.
    pub fn node(&mut self, kind: NodeKind, name: &str, object_id: u64, size_bytes: u64) -> NodeId {
        let row = self.node_types.iter().position(|known| known.kind == kind);
        let row = row.unwrap_or_else(|| {
            self.node_types.push(NodeType {
                name: node_type_name(kind).to_owned(),
                kind,
            });
            self.node_types.len() - 1
        });
        let name = self.intern(name);
        self.node_type.push(row as u8);
        self.node_name.push(name);
        self.object_id.push(object_id);
        self.self_size.push(size_bytes);
        NodeId::from_index(self.node_type.len() - 1)
    }

    /// Adds an edge with a name.
    pub fn named_edge(&mut self, from: NodeId, kind: EdgeKind, name: &str, to: NodeId) {
        let name = self.intern(name);
        let row = self.edge_row(kind);
        self.edges.push((from, row, name.0, to));
    }

    /// Adds an edge with an index.
    pub fn indexed_edge(&mut self, from: NodeId, kind: EdgeKind, index: u32, to: NodeId) {
        let row = self.edge_row(kind);
        self.edges.push((from, row, index, to));
    }

    /// Ties a node to a source position.
    pub fn location(&mut self, location: Location) {
        self.locations.push(location);
    }

    /// What only V8 tells, to be filled in.
    pub fn v8_mut(&mut self) -> &mut V8Facts {
        self.v8.get_or_insert_default()
    }

    /// Puts the edges of each node together, in the order they were added.
    ///
    /// # Errors
    /// When there is no node, or an edge starts or ends at a node that was not added.
    pub fn finish(mut self) -> Result<HeapGraph, GraphError> {
        let nodes = self.node_type.len();
        self.edges.sort_by_key(|edge| edge.0);
        let mut first_edge = vec![0_u32; nodes + 1];
        for (from, ..) in &self.edges {
            if from.index() >= nodes {
                return Err(GraphError::OutOfRange {
                    column: "edge_source",
                    row: 0,
                    value: u64::from(from.0),
                    limit: nodes as u64,
                });
            }
            first_edge[from.index() + 1] += 1;
        }
        for node in 0..nodes {
            first_edge[node + 1] += first_edge[node];
        }
        HeapGraph::from_columns(GraphColumns {
            format: self.format,
            node_types: self.node_types,
            edge_types: self.edge_types,
            root: NodeId(0),
            node_type: self.node_type,
            node_name: self.node_name,
            object_id: self.object_id,
            self_size: self.self_size,
            first_edge,
            edge_type: self.edges.iter().map(|edge| edge.1).collect(),
            edge_label: self.edges.iter().map(|edge| edge.2).collect(),
            edge_target: self.edges.iter().map(|edge| edge.3).collect(),
            strings: StringTable::from_texts(&self.texts),
            locations: self.locations,
            traces: AllocationTraces::default(),
            v8: self.v8,
        })
    }

    fn edge_row(&mut self, kind: EdgeKind) -> u8 {
        let row = self.edge_types.iter().position(|known| known.kind == kind);
        let row = row.unwrap_or_else(|| {
            self.edge_types.push(EdgeType {
                name: edge_type_name(kind).to_owned(),
                kind,
            });
            self.edge_types.len() - 1
        });
        row as u8
    }

    fn intern(&mut self, text: &str) -> StringId {
        if let Some(&id) = self.ids_by_text.get(text) {
            return id;
        }
        let id = StringId::from_index(self.texts.len());
        self.texts.push(text.to_owned());
        self.ids_by_text.insert(text.to_owned(), id);
        id
    }
}

/// V8's word for a kind of node.
pub fn node_type_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Hidden => "hidden",
        NodeKind::Array => "array",
        NodeKind::String => "string",
        NodeKind::Object => "object",
        NodeKind::Code => "code",
        NodeKind::Closure => "closure",
        NodeKind::RegExp => "regexp",
        NodeKind::Number => "number",
        NodeKind::Native => "native",
        NodeKind::Synthetic => "synthetic",
        NodeKind::ConcatenatedString => "concatenated string",
        NodeKind::SlicedString => "sliced string",
        NodeKind::Symbol => "symbol",
        NodeKind::BigInt => "bigint",
        NodeKind::ObjectShape => "object shape",
        NodeKind::WasmObject => "wasm object",
        NodeKind::Other => "other",
    }
}

/// V8's word for a kind of edge.
pub fn edge_type_name(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Context => "context",
        EdgeKind::Element => "element",
        EdgeKind::Property => "property",
        EdgeKind::Internal => "internal",
        EdgeKind::Hidden => "hidden",
        EdgeKind::Shortcut => "shortcut",
        EdgeKind::Weak => "weak",
        EdgeKind::Invisible => "invisible",
        EdgeKind::Other => "other",
    }
}
