//! The columns of nodes and edges, and how rows get into them.

use heapatlas_model::{NodeId, StringId, UintColumn};
use rayon::prelude::*;

use super::error::Problem;
use super::layout::{EdgeFields, NodeFields};
use super::rows::{Columns, PieceEnd, ReadPart, RowSink};

/// Node columns while they grow.
pub(super) struct NodeColumns {
    fields: NodeFields,
    pub kind: Vec<u8>,
    pub name: Vec<StringId>,
    id: Vec<u32>,
    self_size: Vec<u32>,
    pub edge_count: Vec<u32>,
    /// Empty when the file has no such column, or nothing but zeros in it.
    pub trace: Vec<u32>,
    pub detachedness: Vec<(NodeId, u8)>,
    large_ids: Vec<(usize, u64)>,
    large_sizes: Vec<(usize, u64)>,
}

/// What a part of the node columns found beside its rows; rows count from the part's first.
#[derive(Default)]
struct NodeFindings {
    large_ids: Vec<(usize, u64)>,
    large_sizes: Vec<(usize, u64)>,
    traces: Vec<(usize, u32)>,
    detachedness: Vec<(usize, u8)>,
}

impl NodeColumns {
    /// Room for `rows` rows, a hint.
    pub fn with_capacity(fields: NodeFields, rows: usize) -> Self {
        Self {
            fields,
            kind: Vec::with_capacity(rows),
            name: Vec::with_capacity(rows),
            id: Vec::with_capacity(rows),
            self_size: Vec::with_capacity(rows),
            edge_count: Vec::with_capacity(rows + 1),
            trace: Vec::new(),
            detachedness: Vec::new(),
            large_ids: Vec::new(),
            large_sizes: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.kind.len()
    }

    /// Drops the rows from `rows` on: a damaged array leaves rows that nobody filled.
    pub fn cut(&mut self, rows: usize) {
        self.kind.truncate(rows);
        self.name.truncate(rows);
        self.id.truncate(rows);
        self.self_size.truncate(rows);
        self.edge_count.truncate(rows);
        self.trace.truncate(rows);
        self.detachedness.retain(|(node, _)| node.index() < rows);
        self.large_ids.retain(|&(row, _)| row < rows);
        self.large_sizes.retain(|&(row, _)| row < rows);
    }

    /// The ids and sizes, as wide as they must be.
    pub fn take_ids_and_sizes(&mut self) -> (UintColumn, UintColumn) {
        (
            UintColumn::from_narrow(std::mem::take(&mut self.id), &self.large_ids),
            UintColumn::from_narrow(std::mem::take(&mut self.self_size), &self.large_sizes),
        )
    }

    fn absorb(&mut self, first_row: usize, findings: NodeFindings) {
        let rows =
            |list: Vec<(usize, u64)>| list.into_iter().map(move |(row, v)| (first_row + row, v));
        self.large_ids.extend(rows(findings.large_ids));
        self.large_sizes.extend(rows(findings.large_sizes));
        let marked = findings.detachedness.into_iter();
        self.detachedness
            .extend(marked.map(|(row, state)| (NodeId::from_index(first_row + row), state)));
        if findings.traces.is_empty() {
            return;
        }
        self.trace.resize(self.kind.len(), 0);
        for (row, trace) in findings.traces {
            self.trace[first_row + row] = trace;
        }
    }
}

struct NodePart<'a> {
    fields: NodeFields,
    next: usize,
    kind: &'a mut [u8],
    name: &'a mut [StringId],
    id: &'a mut [u32],
    self_size: &'a mut [u32],
    edge_count: &'a mut [u32],
    findings: NodeFindings,
}

impl Columns for NodeColumns {
    fn read_parts(&mut self, rows: &[usize], read: &ReadPart<'_>) -> Vec<PieceEnd> {
        let before = self.len();
        let after = before + rows.iter().sum::<usize>();
        self.kind.resize(after, 0);
        self.name.resize(after, StringId(0));
        self.id.resize(after, 0);
        self.self_size.resize(after, 0);
        self.edge_count.resize(after, 0);
        let mut parts = Vec::with_capacity(rows.len());
        let mut kind = &mut self.kind[before..];
        let mut name = &mut self.name[before..];
        let mut id = &mut self.id[before..];
        let mut self_size = &mut self.self_size[before..];
        let mut edge_count = &mut self.edge_count[before..];
        for &rows in rows {
            parts.push(NodePart {
                fields: self.fields,
                next: 0,
                kind: split_off(&mut kind, rows),
                name: split_off(&mut name, rows),
                id: split_off(&mut id, rows),
                self_size: split_off(&mut self_size, rows),
                edge_count: split_off(&mut edge_count, rows),
                findings: NodeFindings::default(),
            });
        }
        let read: Vec<_> = parts
            .into_par_iter()
            .enumerate()
            .map(|(index, mut part)| (read(index, &mut part), part.findings))
            .collect();
        let mut first_row = before;
        let mut ends = Vec::with_capacity(read.len());
        for ((end, findings), rows) in read.into_iter().zip(rows) {
            self.absorb(first_row, findings);
            first_row += rows;
            ends.push(end);
        }
        ends
    }
}

impl RowSink for NodePart<'_> {
    fn take(&mut self, rows: &[u64]) -> Result<(), (usize, Problem)> {
        // The canonical layouts, so that the compiler knows every offset.
        const SIX: NodeFields = canonical(6, None, Some(5));
        const SEVEN: NodeFields = canonical(7, Some(5), Some(6));
        match self.fields {
            SIX => self.take_rows(SIX, rows),
            SEVEN => self.take_rows(SEVEN, rows),
            fields => self.take_rows(fields, rows),
        }
    }
}

const fn canonical(
    stride: usize,
    trace_node_id: Option<usize>,
    detachedness: Option<usize>,
) -> NodeFields {
    let (kind, name, id, self_size, edge_count) = (0, 1, 2, 3, 4);
    NodeFields {
        stride,
        kind,
        name,
        id,
        self_size,
        edge_count,
        trace_node_id,
        detachedness,
    }
}

impl NodePart<'_> {
    #[inline(always)]
    fn take_rows(&mut self, fields: NodeFields, rows: &[u64]) -> Result<(), (usize, Problem)> {
        for (index, row) in rows.chunks_exact(fields.stride).enumerate() {
            let at = self.next;
            let value = |field: usize| index * fields.stride + field;
            self.kind[at] = u8::try_from(row[fields.kind]).map_err(|_| {
                (
                    value(fields.kind),
                    too_large(row[fields.kind], "a node type", 255),
                )
            })?;
            self.name[at] = StringId(
                narrow(row[fields.name], "a string number")
                    .map_err(|problem| (value(fields.name), problem))?,
            );
            self.edge_count[at] = narrow(row[fields.edge_count], "an edge count")
                .map_err(|problem| (value(fields.edge_count), problem))?;
            self.id[at] = row[fields.id] as u32;
            self.self_size[at] = row[fields.self_size] as u32;
            if (row[fields.id] | row[fields.self_size]) >> 32 != 0 {
                self.note_large(at, row[fields.id], row[fields.self_size]);
            }
            if let Some(field) = fields.detachedness
                && row[field] != 0
            {
                self.findings
                    .detachedness
                    .push((at, row[field].min(255) as u8));
            }
            if let Some(field) = fields.trace_node_id
                && row[field] != 0
            {
                let trace = narrow(row[field], "a trace node id");
                self.findings
                    .traces
                    .push((at, trace.map_err(|problem| (value(field), problem))?));
            }
            self.next += 1;
        }
        Ok(())
    }

    #[cold]
    fn note_large(&mut self, at: usize, id: u64, self_size: u64) {
        if u32::try_from(id).is_err() {
            self.findings.large_ids.push((at, id));
        }
        if u32::try_from(self_size).is_err() {
            self.findings.large_sizes.push((at, self_size));
        }
    }
}

/// Edge columns while they grow.
pub(super) struct EdgeColumns {
    fields: EdgeFields,
    node_stride: usize,
    nodes: usize,
    /// Whether an edge to nowhere ends the reading.
    is_strict: bool,
    pub kind: Vec<u8>,
    pub label: Vec<u32>,
    pub target: Vec<NodeId>,
}

/// Stands in for a target that does not exist, when salvaging.
pub(super) const NO_TARGET: NodeId = NodeId(u32::MAX);

impl EdgeColumns {
    /// Room for `rows` rows, a hint. Targets are numbers of a flat list of `nodes` rows of `node_stride`.
    pub fn with_capacity(
        fields: EdgeFields,
        node_stride: usize,
        nodes: usize,
        is_strict: bool,
        rows: usize,
    ) -> Self {
        let kind = Vec::with_capacity(rows);
        let label = Vec::with_capacity(rows);
        let target = Vec::with_capacity(rows);
        Self {
            fields,
            node_stride,
            nodes,
            is_strict,
            kind,
            label,
            target,
        }
    }
}

impl EdgeColumns {
    /// Drops the rows from `rows` on: a damaged array leaves rows that nobody filled.
    pub fn cut(&mut self, rows: usize) {
        self.kind.truncate(rows);
        self.label.truncate(rows);
        self.target.truncate(rows);
    }
}

struct EdgePart<'a> {
    fields: EdgeFields,
    node_stride: usize,
    nodes: usize,
    is_strict: bool,
    next: usize,
    kind: &'a mut [u8],
    label: &'a mut [u32],
    target: &'a mut [NodeId],
}

impl Columns for EdgeColumns {
    fn read_parts(&mut self, rows: &[usize], read: &ReadPart<'_>) -> Vec<PieceEnd> {
        let before = self.kind.len();
        let after = before + rows.iter().sum::<usize>();
        self.kind.resize(after, 0);
        self.label.resize(after, 0);
        self.target.resize(after, NodeId(0));
        let mut parts = Vec::with_capacity(rows.len());
        let mut kind = &mut self.kind[before..];
        let mut label = &mut self.label[before..];
        let mut target = &mut self.target[before..];
        for &rows in rows {
            parts.push(EdgePart {
                fields: self.fields,
                node_stride: self.node_stride,
                nodes: self.nodes,
                is_strict: self.is_strict,
                next: 0,
                kind: split_off(&mut kind, rows),
                label: split_off(&mut label, rows),
                target: split_off(&mut target, rows),
            });
        }
        parts
            .into_par_iter()
            .enumerate()
            .map(|(index, mut part)| read(index, &mut part))
            .collect()
    }
}

impl RowSink for EdgePart<'_> {
    fn take(&mut self, rows: &[u64]) -> Result<(), (usize, Problem)> {
        // Division by a constant is a multiplication; by a variable it costs more than all else here.
        const THREE: EdgeFields = EdgeFields {
            stride: 3,
            kind: 0,
            label: 1,
            to_node: 2,
        };
        match (self.fields, self.node_stride) {
            (THREE, 5) => self.take_rows(THREE, 5, rows),
            (THREE, 6) => self.take_rows(THREE, 6, rows),
            (THREE, 7) => self.take_rows(THREE, 7, rows),
            (fields, stride) => self.take_rows(fields, stride as u64, rows),
        }
    }
}

impl EdgePart<'_> {
    #[inline(always)]
    fn take_rows(
        &mut self,
        fields: EdgeFields,
        node_stride: u64,
        rows: &[u64],
    ) -> Result<(), (usize, Problem)> {
        for (index, row) in rows.chunks_exact(fields.stride).enumerate() {
            let at = self.next;
            let value = |field: usize| index * fields.stride + field;
            self.kind[at] = u8::try_from(row[fields.kind]).map_err(|_| {
                (
                    value(fields.kind),
                    too_large(row[fields.kind], "an edge type", 255),
                )
            })?;
            self.label[at] = narrow(row[fields.label], "a name or index")
                .map_err(|problem| (value(fields.label), problem))?;
            let to_node = row[fields.to_node];
            let target = to_node / node_stride;
            self.target[at] = if target < self.nodes as u64 && target * node_stride == to_node {
                NodeId(target as u32)
            } else if self.is_strict {
                return Err((value(fields.to_node), self.bad_target(to_node)));
            } else {
                NO_TARGET
            };
            self.next += 1;
        }
        Ok(())
    }

    #[cold]
    fn bad_target(&self, to_node: u64) -> Problem {
        let stride = self.node_stride as u64;
        Problem::Inconsistent(if to_node.is_multiple_of(stride) {
            format!(
                "an edge points to node index {to_node}, but the {} nodes end before {}",
                self.nodes,
                self.nodes as u64 * stride
            )
        } else {
            format!(
                "an edge points to node index {to_node}, which is no multiple of the {stride} node fields"
            )
        })
    }
}

#[inline(always)]
fn narrow(value: u64, what: &str) -> Result<u32, Problem> {
    u32::try_from(value).map_err(|_| too_large(value, what, u64::from(u32::MAX)))
}

#[cold]
fn too_large(value: u64, what: &str, limit: u64) -> Problem {
    Problem::TooLarge(format!(
        "{value} is too large for {what}; the limit is {limit}"
    ))
}

/// Takes the first `rows` off a slice.
fn split_off<'a, T>(slice: &mut &'a mut [T], rows: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(slice).split_at_mut(rows);
    *slice = tail;
    head
}
