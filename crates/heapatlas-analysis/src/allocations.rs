//! Who allocated what, for snapshots taken while allocations were tracked.

use std::cmp::Reverse;

use heapatlas_model::{StringId, TraceFunction, TraceNode};
use rustc_hash::FxHashMap;

use crate::Heap;

/// A stretch of the recording: what was allocated in it and is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimelineSample {
    /// The end of the stretch, in microseconds since tracking began.
    pub timestamp_us: u64,
    /// The last object id given out by then.
    pub last_object_id: u64,
    /// Objects of the engine's heap that are still there.
    pub live_blocks: u64,
    /// Their own bytes.
    pub live_bytes: u64,
}

/// What a function allocated, or what was allocated by way of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllocatingFunction {
    /// Row of the function in [`AllocationTraces::functions`](heapatlas_model::AllocationTraces::functions).
    pub function: u32,
    /// Its name.
    pub name: String,
    /// The script's name.
    pub script_name: String,
    /// The script's number.
    pub script_id: u32,
    /// Zero-based line; 0 with column 0 means unknown.
    pub line: u32,
    /// Zero-based column.
    pub column: u32,
    /// Blocks ever allocated.
    pub blocks: u64,
    /// Bytes ever allocated.
    pub bytes: u64,
    /// Blocks still there.
    pub live_blocks: u64,
    /// Bytes still there.
    pub live_bytes: u64,
}

/// The recording stretch by stretch; empty where nothing was recorded.
///
/// Nodes outside of the engine's heap (even ids) have no place on the timeline.
pub fn allocation_timeline(heap: &Heap) -> Vec<TimelineSample> {
    let samples = &heap.graph().traces().samples;
    let mut timeline: Vec<TimelineSample> = samples
        .iter()
        .map(|sample| TimelineSample {
            timestamp_us: sample.timestamp_us,
            last_object_id: sample.last_object_id,
            live_blocks: 0,
            live_bytes: 0,
        })
        .collect();
    for node in heap.graph().nodes() {
        let id = heap.graph().object_id(node);
        let stretch = timeline.partition_point(|sample| sample.last_object_id < id);
        if id % 2 == 1
            && let Some(sample) = timeline.get_mut(stretch)
        {
            sample.live_blocks += 1;
            sample.live_bytes = sample.live_bytes.saturating_add(heap.shallow_bytes(node));
        }
    }
    timeline
}

/// The functions that allocated, most bytes first; empty where nothing was tracked.
pub fn allocating_functions(heap: &Heap) -> Vec<AllocatingFunction> {
    group_callers(heap, &[])
}

/// Who called a function that allocated, most bytes first.
///
/// `stack` holds functions by row: the one that allocated, then its caller, the caller's caller
/// and so on. The answer is the next step up from there, with what was allocated by way of it.
pub fn allocation_callers(heap: &Heap, stack: &[u32]) -> Vec<AllocatingFunction> {
    group_callers(heap, stack)
}

fn group_callers(heap: &Heap, stack: &[u32]) -> Vec<AllocatingFunction> {
    let nodes = &heap.graph().traces().nodes;
    let live = live_by_trace(heap);
    let mut sums: FxHashMap<u32, Sum> = FxHashMap::default();
    for (row, node) in nodes.iter().enumerate() {
        // DevTools leaves out places that never allocated, even if something is said to live there.
        if node.blocks == 0 {
            continue;
        }
        if let Some(caller) = step_up(nodes, row as u32, stack) {
            let (live_blocks, live_bytes) = live[row];
            sums.entry(caller).or_default().add(Sum {
                blocks: node.blocks,
                bytes: node.bytes,
                live_blocks,
                live_bytes,
            });
        }
    }
    let describe = |(function, sum)| describe(heap, function, sum);
    let mut functions: Vec<AllocatingFunction> = sums.into_iter().map(describe).collect();
    functions.sort_by_key(|function| (Reverse(function.bytes), function.function));
    functions
}

/// The function above `stack`, where the stack of this place begins like that.
fn step_up(nodes: &[TraceNode], row: u32, stack: &[u32]) -> Option<u32> {
    let mut node = nodes.get(row as usize)?;
    for &function in stack {
        if node.function != function {
            return None;
        }
        // Parents stand before their children, so a walk up ends.
        node = nodes.get(node.parent? as usize)?;
    }
    Some(node.function)
}

/// For each place in the trace tree the objects still there that were allocated in it.
fn live_by_trace(heap: &Heap) -> Vec<(u64, u64)> {
    let traces = heap.graph().traces();
    let rows: FxHashMap<u64, usize> = traces.nodes.iter().map(|node| node.id).zip(0..).collect();
    let mut live = vec![(0, 0); traces.nodes.len()];
    for (node, &trace) in heap.graph().nodes().zip(&traces.trace_of_node) {
        if trace == 0 {
            continue;
        }
        if let Some(&row) = rows.get(&u64::from(trace)) {
            let (blocks, bytes): &mut (u64, u64) = &mut live[row];
            *blocks += 1;
            *bytes = bytes.saturating_add(heap.shallow_bytes(node));
        }
    }
    live
}

#[derive(Clone, Copy, Default)]
struct Sum {
    blocks: u64,
    bytes: u64,
    live_blocks: u64,
    live_bytes: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.blocks = self.blocks.saturating_add(other.blocks);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.live_blocks = self.live_blocks.saturating_add(other.live_blocks);
        self.live_bytes = self.live_bytes.saturating_add(other.live_bytes);
    }
}

fn describe(heap: &Heap, row: u32, sum: Sum) -> AllocatingFunction {
    let text = |id: StringId| heap.graph().strings().get(id).into_owned();
    let function = heap.graph().traces().functions.get(row as usize);
    let with = |get: fn(&TraceFunction) -> u32| function.map_or(0, get);
    AllocatingFunction {
        function: row,
        // Files written from inside the process may lack the last rows of the table.
        name: function.map_or_else(|| "(unknown)".to_owned(), |function| text(function.name)),
        script_name: function.map_or_else(String::new, |function| text(function.script_name)),
        script_id: with(|function| function.script_id),
        line: with(|function| function.line),
        column: with(|function| function.column),
        blocks: sum.blocks,
        bytes: sum.bytes,
        live_blocks: sum.live_blocks,
        live_bytes: sum.live_bytes,
    }
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{
        AllocationTraces, GraphBuilder, HeapGraph, NodeKind, Sample, SnapshotFormat,
    };

    use super::*;
    use crate::OpenOptions;

    fn heap(traces: AllocationTraces, objects: &[(u64, u64)]) -> Heap {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        for &(id, bytes) in objects {
            builder.node(NodeKind::Object, "main", id, bytes);
        }
        let mut columns = builder.finish().unwrap().into_columns();
        columns.traces = traces;
        Heap::open(
            HeapGraph::from_columns(columns).unwrap(),
            OpenOptions::default(),
        )
    }

    #[test]
    fn nodes_fall_into_the_first_stretch_that_reaches_their_id() {
        let sample = |timestamp_us, last_object_id| Sample {
            timestamp_us,
            last_object_id,
        };
        let traces = AllocationTraces {
            samples: vec![sample(10, 3), sample(20, 3), sample(30, 7)],
            ..AllocationTraces::default()
        };
        let objects = [(1, 1), (3, 2), (5, 4), (6, 8), (7, 16), (9, 32)];
        let timeline = allocation_timeline(&heap(traces, &objects));
        let bytes: Vec<u64> = timeline.iter().map(|sample| sample.live_bytes).collect();
        assert_eq!(bytes, [3, 0, 20]);
        assert_eq!((timeline[2].timestamp_us, timeline[2].live_blocks), (30, 2));
    }

    /// `main` calls `work`, which calls itself once; both allocate. One place is of a function
    /// that the table lacks.
    fn traced() -> Heap {
        let function = |name| TraceFunction {
            function_id: 0,
            name: StringId(name),
            script_name: StringId(1),
            script_id: 4,
            line: 5,
            column: 6,
        };
        let node = |id, parent, function, blocks, bytes| TraceNode {
            id,
            parent,
            function,
            blocks,
            bytes,
        };
        let traces = AllocationTraces {
            functions: vec![function(0), function(1)],
            nodes: vec![
                node(1, None, 0, 1, 10),
                node(2, Some(0), 1, 2, 100),
                node(3, Some(1), 1, 3, 1_000),
                node(4, Some(0), 9, 1, 5),
                node(5, Some(0), 1, 0, 0),
            ],
            samples: Vec::new(),
            trace_of_node: vec![0, 2, 3, 3, 5, 77],
        };
        let objects = [(1, 1), (3, 2), (5, 4), (7, 8), (9, 16), (11, 32)];
        heap(traces, &objects)
    }

    fn figures(functions: &[AllocatingFunction]) -> Vec<(u32, [u64; 4])> {
        let row = |function: &AllocatingFunction| {
            let live = (function.live_blocks, function.live_bytes);
            let figures = [function.blocks, function.bytes, live.0, live.1];
            (function.function, figures)
        };
        functions.iter().map(row).collect()
    }

    #[test]
    fn sums_by_function() {
        let heap = traced();
        let functions = allocating_functions(&heap);
        let expected = [
            (1, [5, 1_100, 3, 14]),
            (0, [1, 10, 0, 0]),
            (9, [1, 5, 0, 0]),
        ];
        assert_eq!(figures(&functions), expected);
        assert_eq!(functions[0].name, "main");
        assert_eq!((functions[0].script_id, functions[0].line), (4, 5));
        assert_eq!(functions[2].name, "(unknown)");
    }

    #[test]
    fn callers_step_by_step() {
        let heap = traced();
        let callers = allocation_callers(&heap, &[1]);
        let expected = [(1, [3, 1_000, 2, 12]), (0, [2, 100, 1, 2])];
        assert_eq!(figures(&callers), expected);
        let callers = allocation_callers(&heap, &[1, 1]);
        assert_eq!(figures(&callers), [(0, [3, 1_000, 2, 12])]);
        assert!(allocation_callers(&heap, &[1, 1, 0]).is_empty());
        assert!(allocation_callers(&heap, &[7]).is_empty());
    }
}
