//! The heap graph: objects, references and roots at one instant.

use std::error;
use std::fmt;

use crate::{
    AllocationTraces, EdgeId, EdgeKind, EdgeType, Location, NodeId, NodeKind, NodeType, StringId,
    StringTable, UintColumn, V8Facts,
};

/// Which kind of runtime a snapshot shows; decides the rules by which it is analyzed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SnapshotFormat {
    /// V8: Node, Chrome, and other writers of its format.
    V8,
}

impl SnapshotFormat {
    /// The format's name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::V8 => "v8",
        }
    }
}

/// The columns a graph is made of. Readers fill them; [`HeapGraph::from_columns`] checks them.
#[derive(Clone, PartialEq, Debug)]
pub struct GraphColumns {
    /// The runtime.
    pub format: SnapshotFormat,
    /// The node types, at most 256.
    pub node_types: Vec<NodeType>,
    /// The edge types, at most 256.
    pub edge_types: Vec<EdgeType>,
    /// Where the collector starts.
    pub root: NodeId,
    /// For each node the row of its type.
    pub node_type: Vec<u8>,
    /// For each node its name.
    pub node_name: Vec<StringId>,
    /// For each node the number the runtime calls it by (V8: snapshot object id; native: address).
    pub object_id: UintColumn,
    /// For each node its own size in bytes, as the file tells it.
    pub self_size: UintColumn,
    /// For each node the first of its outgoing edges, then the number of edges: one more entry
    /// than there are nodes.
    pub first_edge: Vec<u32>,
    /// For each edge the row of its type.
    pub edge_type: Vec<u8>,
    /// For each edge its label: an index where the type says so, else a [`StringId`].
    pub edge_label: Vec<u32>,
    /// For each edge the node it points to.
    pub edge_target: Vec<NodeId>,
    /// The names.
    pub strings: StringTable,
    /// Source positions of objects.
    pub locations: Vec<Location>,
    /// Allocation stacks.
    pub traces: AllocationTraces,
    /// What only V8 tells.
    pub v8: Option<V8Facts>,
}

/// What an edge is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EdgeLabel {
    /// An index: array elements and the engine's numbered slots.
    Index(u32),
    /// A name.
    Name(StringId),
}

/// Objects, references and roots at one instant, in columns.
///
/// Nodes and edges are rows; the edges of a node lie together. A graph that exists is sound:
/// every target, type and offset is in range. (A name may be missing in a salvaged file;
/// [`StringTable::get`] then gives a stand-in.)
#[derive(Clone, PartialEq, Debug)]
pub struct HeapGraph {
    columns: GraphColumns,
}

impl HeapGraph {
    /// Checks the columns and makes them a graph.
    ///
    /// # Errors
    /// When columns differ in length, or a root, target, type or edge offset is out of range.
    pub fn from_columns(columns: GraphColumns) -> Result<Self, GraphError> {
        check_lengths(&columns)?;
        check_ranges(&columns)?;
        Ok(Self { columns })
    }

    /// The columns, for writers and for passes over the whole graph.
    pub fn columns(&self) -> &GraphColumns {
        &self.columns
    }

    /// Takes the graph apart.
    pub fn into_columns(self) -> GraphColumns {
        self.columns
    }

    /// The runtime the snapshot shows.
    pub fn format(&self) -> SnapshotFormat {
        self.columns.format
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.columns.node_type.len()
    }

    /// Number of edges.
    pub fn edge_count(&self) -> usize {
        self.columns.edge_target.len()
    }

    /// All nodes in order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.node_count() as u32).map(NodeId)
    }

    /// Where the collector starts.
    pub fn root(&self) -> NodeId {
        self.columns.root
    }

    /// What a node is.
    #[inline]
    pub fn kind(&self, node: NodeId) -> NodeKind {
        self.node_type(node).kind
    }

    /// A node's type as the file lists it.
    #[inline]
    pub fn node_type(&self, node: NodeId) -> &NodeType {
        &self.columns.node_types[self.columns.node_type[node.index()] as usize]
    }

    /// A node's name.
    #[inline]
    pub fn name(&self, node: NodeId) -> StringId {
        self.columns.node_name[node.index()]
    }

    /// The number the runtime calls the object by.
    #[inline]
    pub fn object_id(&self, node: NodeId) -> u64 {
        self.columns.object_id.get(node.index())
    }

    /// A node's own size in bytes, as the file tells it.
    #[inline]
    pub fn self_size_bytes(&self, node: NodeId) -> u64 {
        self.columns.self_size.get(node.index())
    }

    /// The outgoing edges of a node, in the file's order.
    #[inline]
    pub fn edges(
        &self,
        node: NodeId,
    ) -> impl DoubleEndedIterator<Item = EdgeId> + ExactSizeIterator + use<> {
        let first = self.columns.first_edge[node.index()];
        let end = self.columns.first_edge[node.index() + 1];
        (first..end).map(EdgeId)
    }

    /// The nodes a node refers to, in the order of [`edges`](Self::edges).
    #[inline]
    pub fn targets(&self, node: NodeId) -> &[NodeId] {
        let first = self.columns.first_edge[node.index()] as usize;
        let end = self.columns.first_edge[node.index() + 1] as usize;
        &self.columns.edge_target[first..end]
    }

    /// How an edge refers.
    #[inline]
    pub fn edge_kind(&self, edge: EdgeId) -> EdgeKind {
        self.columns.edge_types[self.columns.edge_type[edge.index()] as usize].kind
    }

    /// The node an edge points to.
    #[inline]
    pub fn target(&self, edge: EdgeId) -> NodeId {
        self.columns.edge_target[edge.index()]
    }

    /// The node an edge starts from, found by bisection.
    pub fn source(&self, edge: EdgeId) -> NodeId {
        let after = self
            .columns
            .first_edge
            .partition_point(|&first| first <= edge.0);
        NodeId::from_index(after - 1)
    }

    /// What an edge is called.
    #[inline]
    pub fn label(&self, edge: EdgeId) -> EdgeLabel {
        let label = self.columns.edge_label[edge.index()];
        if self.edge_kind(edge).has_index_label() {
            EdgeLabel::Index(label)
        } else {
            EdgeLabel::Name(StringId(label))
        }
    }

    /// An edge's label as text.
    pub fn label_text(&self, edge: EdgeId) -> std::borrow::Cow<'_, str> {
        match self.label(edge) {
            EdgeLabel::Index(index) => index.to_string().into(),
            EdgeLabel::Name(name) => self.strings().get(name),
        }
    }

    /// A node's name as text.
    pub fn name_text(&self, node: NodeId) -> std::borrow::Cow<'_, str> {
        self.strings().get(self.name(node))
    }

    /// The names.
    pub fn strings(&self) -> &StringTable {
        &self.columns.strings
    }

    /// Source positions of objects.
    pub fn locations(&self) -> &[Location] {
        &self.columns.locations
    }

    /// Allocation stacks; all empty where nothing was tracked.
    pub fn traces(&self) -> &AllocationTraces {
        &self.columns.traces
    }

    /// What only V8 tells.
    pub fn v8(&self) -> Option<&V8Facts> {
        self.columns.v8.as_ref()
    }

    /// The first node with this object id, by looking at all of them.
    pub fn find_object(&self, object_id: u64) -> Option<NodeId> {
        match &self.columns.object_id {
            UintColumn::Narrow(ids) => {
                let id = u32::try_from(object_id).ok()?;
                ids.iter()
                    .position(|&other| other == id)
                    .map(NodeId::from_index)
            }
            UintColumn::Wide(ids) => ids
                .iter()
                .position(|&other| other == object_id)
                .map(NodeId::from_index),
        }
    }

    /// The incoming edges of all nodes: eight bytes a node and edge together, one pass over all edges.
    pub fn build_retainers(&self) -> Retainers {
        Retainers::new(self)
    }
}

/// The incoming edges of all nodes.
#[derive(Clone, Debug)]
pub struct Retainers {
    first: Vec<u32>,
    edges: Vec<EdgeId>,
}

impl Retainers {
    /// A counting sort of the edges by target. Within a node the edges stand in reverse file
    /// order, which is the order DevTools shows among equals.
    fn new(graph: &HeapGraph) -> Self {
        let targets = &graph.columns.edge_target;
        let mut first = vec![0_u32; graph.node_count() + 1];
        for target in targets {
            first[target.index()] += 1;
        }
        // `first[n]` becomes the end of node n's range; filling from the back of each range
        // while walking the edges forward puts them in reverse order.
        let mut end = 0;
        for slot in &mut first {
            end += *slot;
            *slot = end;
        }
        let mut edges = vec![EdgeId(0); targets.len()];
        for (edge, target) in targets.iter().enumerate() {
            let slot = &mut first[target.index()];
            *slot -= 1;
            edges[*slot as usize] = EdgeId(edge as u32);
        }
        Self { first, edges }
    }

    /// The edges that point to a node, in reverse file order.
    pub fn of(&self, node: NodeId) -> &[EdgeId] {
        let first = self.first[node.index()] as usize;
        let end = self.first[node.index() + 1] as usize;
        &self.edges[first..end]
    }
}

/// Columns that do not make a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GraphError {
    /// A column has another length than its neighbors.
    Length {
        /// The column.
        column: &'static str,
        /// What the others say.
        expected: usize,
        /// What it has.
        found: usize,
    },
    /// A value points outside of what it refers to.
    OutOfRange {
        /// The column.
        column: &'static str,
        /// The row in it.
        row: usize,
        /// The value.
        value: u64,
        /// The first value that is too large.
        limit: u64,
    },
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length {
                column,
                expected,
                found,
            } => {
                write!(
                    f,
                    "column {column} has {found} rows where {expected} were expected"
                )
            }
            Self::OutOfRange {
                column,
                row,
                value,
                limit,
            } => {
                write!(
                    f,
                    "row {row} of {column} is {value}, which is not below {limit}"
                )
            }
        }
    }
}

impl error::Error for GraphError {}

fn check_lengths(columns: &GraphColumns) -> Result<(), GraphError> {
    let nodes = columns.node_type.len();
    let edges = columns.edge_type.len();
    let traced = columns.traces.trace_of_node.len();
    let lengths = [
        ("node_name", nodes, columns.node_name.len()),
        ("object_id", nodes, columns.object_id.len()),
        ("self_size", nodes, columns.self_size.len()),
        ("first_edge", nodes + 1, columns.first_edge.len()),
        ("trace_of_node", if traced == 0 { 0 } else { nodes }, traced),
        ("edge_label", edges, columns.edge_label.len()),
        ("edge_target", edges, columns.edge_target.len()),
    ];
    for (column, expected, found) in lengths {
        if expected != found {
            return Err(GraphError::Length {
                column,
                expected,
                found,
            });
        }
    }
    Ok(())
}

fn check_ranges(columns: &GraphColumns) -> Result<(), GraphError> {
    let nodes = columns.node_type.len() as u64;
    let edges = columns.edge_type.len() as u64;
    let values = |column: &[u8]| column.iter().map(|&row| u64::from(row)).collect::<Vec<_>>();
    check_below("root", [u64::from(columns.root.0)], nodes)?;
    if columns
        .node_type
        .iter()
        .max()
        .is_some_and(|&t| t as usize >= columns.node_types.len())
    {
        check_below(
            "node_type",
            values(&columns.node_type),
            columns.node_types.len() as u64,
        )?;
    }
    if columns
        .edge_type
        .iter()
        .max()
        .is_some_and(|&t| t as usize >= columns.edge_types.len())
    {
        check_below(
            "edge_type",
            values(&columns.edge_type),
            columns.edge_types.len() as u64,
        )?;
    }
    // Without branches and in 32 bits, so that several are compared at a time; which row it is
    // matters only if there is one.
    let limit = u32::try_from(nodes).unwrap_or(u32::MAX);
    let in_range = |targets: &[NodeId]| targets.iter().fold(true, |ok, t| ok & (t.0 < limit));
    if !columns.edge_target.chunks(4096).all(in_range) {
        check_below(
            "edge_target",
            columns.edge_target.iter().map(|t| u64::from(t.0)),
            nodes,
        )?;
    }
    check_below(
        "locations",
        columns.locations.iter().map(|l| u64::from(l.node.0)),
        nodes,
    )?;
    let ascending = columns.first_edge.is_sorted();
    let ends = (columns.first_edge.first(), columns.first_edge.last());
    if !ascending || ends != (Some(&0), Some(&(edges as u32))) {
        return Err(GraphError::Length {
            column: "edges by first_edge",
            expected: edges as usize,
            found: ends.1.map_or(0, |&end| end as usize),
        });
    }
    Ok(())
}

fn check_below(
    column: &'static str,
    values: impl IntoIterator<Item = u64>,
    limit: u64,
) -> Result<(), GraphError> {
    match values
        .into_iter()
        .enumerate()
        .find(|&(_, value)| value >= limit)
    {
        None => Ok(()),
        Some((row, value)) => Err(GraphError::OutOfRange {
            column,
            row,
            value,
            limit,
        }),
    }
}
