//! Writes a graph as a `.heapsnapshot` that Chrome DevTools and this crate's reader load.
//!
//! A graph that was read from a V8 file leaves with that file's own `meta`, so that reading it
//! again gives an equal graph. A graph from elsewhere (a builder, another runtime) gets the
//! `meta` that Node 24 writes, with the columns it has data for.
//!
//! The order of the nodes is never changed. Where the root is not node 0 the file says so in
//! `root_index`; note that DevTools accepts the first and the last node as root, no other.
//!
//! Tried with the DevTools worker of November 2026: for our copies of all fixtures, with their
//! own and with the canonical `meta`, it gives the figures it gives for the originals. Of the
//! timelines it cannot load (their `trace_function_count` is too low) it loads our copies, since
//! we write the right count.

mod json_text;
mod plan;

use std::io;

use heapatlas_model::{AllocationTraces, HeapGraph, NodeId, ScopeTables, StringId};

use json_text::{push_number, push_signed, push_table_entry};
use plan::{
    EdgeColumn, LocationColumn, NodeColumn, Plan, TreeColumn, function_cell, sample_cell, tree_cell,
};

/// Writes `graph` in V8's format: members in the order V8 writes them, each on a line of its own.
///
/// The file is ASCII unless strings of the graph came from a JSON file that was not. Strings of
/// a JSON file are copied as they are spelled there. Output is buffered here; `out` gets pieces
/// of about 64 KiB.
///
/// # Errors
/// When `out` fails.
///
/// ```
/// use heapatlas_formats::v8;
/// use heapatlas_model::{EdgeKind, GraphBuilder, NodeKind, SnapshotFormat};
/// let mut builder = GraphBuilder::new(SnapshotFormat::V8);
/// let root = builder.node(NodeKind::Synthetic, "", 1, 0);
/// let map = builder.node(NodeKind::Object, "Map", 3, 32);
/// builder.named_edge(root, EdgeKind::Shortcut, "sessions", map);
/// let mut file = Vec::new();
/// v8::write(&builder.finish()?, &mut file)?;
/// assert!(file.starts_with(br#"{"snapshot":{"meta":{"node_fields":["type","name","id","#));
/// assert!(file.ends_with(br#""strings":["<dummy>","","Map","sessions"]}"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(graph: &HeapGraph, out: &mut dyn io::Write) -> io::Result<()> {
    let plan = Plan::new(graph);
    let mut output = Output::new(out);
    write_header(graph, &plan, &mut output);
    write_nodes(graph, &plan, &mut output)?;
    write_edges(graph, &plan, &mut output)?;
    write_trace_functions(graph.traces(), &plan, &mut output)?;
    write_trace_tree(graph.traces(), &plan, &mut output)?;
    write_samples(graph.traces(), &plan, &mut output)?;
    write_locations(graph, &plan, &mut output)?;
    if let Some(scopes) = graph.v8().and_then(|facts| facts.scopes.as_ref()) {
        write_scopes(scopes, &mut output)?;
    }
    write_strings(graph, &mut output)?;
    output.text.push(b'}');
    output.flush()
}

/// Collects text and hands it on in large pieces.
struct Output<'a> {
    out: &'a mut dyn io::Write,
    text: Vec<u8>,
}

/// Past this size the text is handed on.
const PIECE_BYTES: usize = 64 * 1024;

impl<'a> Output<'a> {
    fn new(out: &'a mut dyn io::Write) -> Self {
        Self {
            out,
            text: Vec::with_capacity(PIECE_BYTES + 4096),
        }
    }

    /// To be called once a row: between two calls the text grows by a row.
    ///
    /// The last byte stays: it may be a comma that [`end_array`](Self::end_array) takes back.
    #[inline]
    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.text.len() < PIECE_BYTES {
            return Ok(());
        }
        let last = self.text.pop();
        self.out.write_all(&self.text)?;
        self.text.clear();
        self.text.extend(last);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.text)?;
        self.text.clear();
        self.out.flush()
    }

    fn begin_array(&mut self, member: &str) {
        self.text.extend_from_slice(b",\n\"");
        self.text.extend_from_slice(member.as_bytes());
        self.text.extend_from_slice(b"\":[");
    }

    /// Ends an array whose elements each left a comma behind.
    fn end_array(&mut self) {
        if self.text.last() == Some(&b',') {
            self.text.pop();
        }
        self.text.push(b']');
    }

    #[inline]
    fn number(&mut self, value: impl Into<u64>) {
        push_number(&mut self.text, value.into());
        self.text.push(b',');
    }
}

fn write_header(graph: &HeapGraph, plan: &Plan, output: &mut Output<'_>) {
    let facts = graph.v8();
    let mut header = format!(
        "{{\"snapshot\":{{\"meta\":{},\"node_count\":{},\"edge_count\":{},\"trace_function_count\":{}",
        plan.meta_json,
        graph.node_count(),
        graph.edge_count(),
        graph.traces().functions.len(),
    );
    if let Some(bytes) = facts.and_then(|facts| facts.extra_native_bytes) {
        header.push_str(&format!(",\"extra_native_bytes\":{bytes}"));
    }
    let root = graph.root();
    if root != NodeId(0) || facts.is_some_and(|facts| facts.has_root_index) {
        header.push_str(&format!(",\"root_index\":{}", plan.node_index(root)));
    }
    header.push('}');
    output.text.extend_from_slice(header.as_bytes());
}

fn write_nodes(graph: &HeapGraph, plan: &Plan, output: &mut Output<'_>) -> io::Result<()> {
    let columns = graph.columns();
    let detachedness = graph.v8().and_then(|facts| facts.detachedness.as_ref());
    let mut marked = detachedness.map_or(&[][..], |column| &column.marked);
    output.begin_array("nodes");
    for row in 0..graph.node_count() {
        let mark = take_mark(&mut marked, row);
        for column in &plan.node_columns {
            let value = match column {
                NodeColumn::Type => plan.node_type_numbers[columns.node_type[row] as usize],
                NodeColumn::Name => u64::from(columns.node_name[row].0),
                NodeColumn::Id => columns.object_id.get(row),
                NodeColumn::SelfSize => columns.self_size.get(row),
                NodeColumn::EdgeCount => {
                    u64::from(columns.first_edge[row + 1] - columns.first_edge[row])
                }
                NodeColumn::TraceNodeId => {
                    u64::from(columns.traces.trace_of_node.get(row).copied().unwrap_or(0))
                }
                NodeColumn::Detachedness => u64::from(mark),
                NodeColumn::Unknown => 0,
            };
            output.number(value);
        }
        output.flush_if_full()?;
    }
    output.end_array();
    Ok(())
}

/// The detachedness of a row: takes the head of the ascending list when it is this row's.
#[inline]
fn take_mark(marked: &mut &[(NodeId, u8)], row: usize) -> u8 {
    match marked.split_first() {
        Some((&(node, mark), rest)) if node.index() == row => {
            *marked = rest;
            mark
        }
        _ => 0,
    }
}

fn write_edges(graph: &HeapGraph, plan: &Plan, output: &mut Output<'_>) -> io::Result<()> {
    let columns = graph.columns();
    output.begin_array("edges");
    for row in 0..graph.edge_count() {
        for column in &plan.edge_columns {
            output.number(match column {
                EdgeColumn::Type => plan.edge_type_numbers[columns.edge_type[row] as usize],
                EdgeColumn::Label => u64::from(columns.edge_label[row]),
                EdgeColumn::Target => plan.node_index(columns.edge_target[row]),
                EdgeColumn::Unknown => 0,
            });
        }
        output.flush_if_full()?;
    }
    output.end_array();
    Ok(())
}

fn write_trace_functions(
    traces: &AllocationTraces,
    plan: &Plan,
    output: &mut Output<'_>,
) -> io::Result<()> {
    output.begin_array("trace_function_infos");
    for function in &traces.functions {
        for &column in &plan.function_columns {
            output.number(function_cell(function, column));
        }
        output.flush_if_full()?;
    }
    output.end_array();
    Ok(())
}

/// Writes the tree of stacks. The stack of open nodes is a vector, since a stack of the measured
/// program can be deeper than ours.
fn write_trace_tree(
    traces: &AllocationTraces,
    plan: &Plan,
    output: &mut Output<'_>,
) -> io::Result<()> {
    let (roots, children) = child_lists(traces);
    let before_children = plan
        .tree_columns
        .iter()
        .position(|column| *column == TreeColumn::Children)
        .unwrap_or(plan.tree_columns.len());
    let (head, rest) = plan.tree_columns.split_at(before_children);
    let tail = rest.get(1..).unwrap_or_default();
    output.begin_array("trace_tree");
    let mut waiting: Vec<Step> = roots.iter().rev().map(|&row| Step::Open(row)).collect();
    while let Some(step) = waiting.pop() {
        match step {
            Step::Open(row) => {
                write_tree_cells(traces, row, head, output);
                waiting.push(Step::Close(row));
                if !rest.is_empty() {
                    output.text.push(b'[');
                    let below = children[row as usize].iter().rev();
                    waiting.extend(below.map(|&child| Step::Open(child)));
                }
            }
            Step::Close(row) => {
                if !rest.is_empty() {
                    output.end_array();
                    output.text.push(b',');
                }
                write_tree_cells(traces, row, tail, output);
            }
        }
        output.flush_if_full()?;
    }
    output.end_array();
    Ok(())
}

/// What is left to do for a row of the trace tree.
enum Step {
    /// Write its cells, then its children.
    Open(u32),
    /// The children were written.
    Close(u32),
}

fn write_tree_cells(
    traces: &AllocationTraces,
    row: u32,
    columns: &[TreeColumn],
    output: &mut Output<'_>,
) {
    for &column in columns {
        output.number(tree_cell(&traces.nodes[row as usize], column));
    }
}

/// The rows without a parent, and for each row the rows below it, in order.
fn child_lists(traces: &AllocationTraces) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut roots = Vec::new();
    let mut children = vec![Vec::new(); traces.nodes.len()];
    for (row, node) in traces.nodes.iter().enumerate() {
        match node.parent {
            None => roots.push(row as u32),
            Some(parent) => {
                if let Some(siblings) = children.get_mut(parent as usize) {
                    siblings.push(row as u32);
                }
            }
        }
    }
    (roots, children)
}

fn write_samples(
    traces: &AllocationTraces,
    plan: &Plan,
    output: &mut Output<'_>,
) -> io::Result<()> {
    if !plan.has_samples {
        return Ok(());
    }
    output.begin_array("samples");
    for sample in &traces.samples {
        for &column in &plan.sample_columns {
            output.number(sample_cell(sample, column));
        }
        output.flush_if_full()?;
    }
    output.end_array();
    Ok(())
}

fn write_locations(graph: &HeapGraph, plan: &Plan, output: &mut Output<'_>) -> io::Result<()> {
    if !plan.has_locations {
        return Ok(());
    }
    // In a file that has script nodes, what is not the index of a node says "none".
    let no_node = graph.node_count() as u64 * plan.node_columns.len() as u64;
    output.begin_array("locations");
    for location in graph.locations() {
        for column in &plan.location_columns {
            output.number(match column {
                LocationColumn::Node => plan.node_index(location.node),
                LocationColumn::ScriptId => u64::from(location.script_id),
                LocationColumn::ScriptNode => location
                    .script_node
                    .map_or(no_node, |node| plan.node_index(node)),
                LocationColumn::Line => u64::from(location.line),
                LocationColumn::Column => u64::from(location.column),
                LocationColumn::Unknown => 0,
            });
        }
        output.flush_if_full()?;
    }
    output.end_array();
    Ok(())
}

fn write_scopes(scopes: &ScopeTables, output: &mut Output<'_>) -> io::Result<()> {
    let members = [
        ("scopes", &scopes.scopes),
        ("scope_context_vars", &scopes.context_vars),
        ("scope_uses", &scopes.uses),
    ];
    for (member, values) in members {
        output.begin_array(member);
        for &value in values {
            push_signed(&mut output.text, value);
            output.text.push(b',');
            output.flush_if_full()?;
        }
        output.end_array();
    }
    Ok(())
}

fn write_strings(graph: &HeapGraph, output: &mut Output<'_>) -> io::Result<()> {
    let strings = graph.strings();
    output.begin_array("strings");
    for row in 0..strings.len() {
        if row > 0 {
            output.text.push(b',');
        }
        push_table_entry(&mut output.text, strings, StringId::from_index(row));
        output.flush_if_full()?;
    }
    output.text.push(b']');
    Ok(())
}
