//! Where objects were allocated, for snapshots taken while allocations were tracked.

use crate::{NodeId, StringId};

/// A source position an object is tied to: of a function, or of its constructor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Location {
    /// The object.
    pub node: NodeId,
    /// The script, numbered by the process that wrote the snapshot.
    pub script_id: u32,
    /// The node of the script, where the writer tells it.
    pub script_node: Option<NodeId>,
    /// Zero-based line.
    pub line: u32,
    /// Zero-based column.
    pub column: u32,
}

/// A function that allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceFunction {
    /// The writer's number of it.
    pub function_id: u64,
    /// Its name.
    pub name: StringId,
    /// The script's name.
    pub script_name: StringId,
    /// The script's number.
    pub script_id: u32,
    /// Zero-based line; 0 with column 0 means unknown.
    pub line: u32,
    /// Zero-based column.
    pub column: u32,
}

/// One place in the tree of allocating stacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceNode {
    /// The writer's number of it, which nodes refer to.
    pub id: u64,
    /// The caller's row; `None` for the root.
    pub parent: Option<u32>,
    /// Row of the function in [`AllocationTraces::functions`]; may be past its end.
    pub function: u32,
    /// Blocks ever allocated here.
    pub blocks: u64,
    /// Bytes ever allocated here.
    pub bytes: u64,
}

/// A moment of tracking: ids up to `last_object_id` were given out by then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Microseconds since tracking began.
    pub timestamp_us: u64,
    /// The last object id given out.
    pub last_object_id: u64,
}

/// Allocation stacks and samples of a snapshot. All empty where nothing was tracked.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AllocationTraces {
    /// The functions.
    pub functions: Vec<TraceFunction>,
    /// The tree, parents before children, children in the file's order (depth first).
    pub nodes: Vec<TraceNode>,
    /// The timeline.
    pub samples: Vec<Sample>,
    /// For each graph node the id of the trace node that allocated it, 0 for none; empty when
    /// the file has no such column.
    pub trace_of_node: Vec<u32>,
}
