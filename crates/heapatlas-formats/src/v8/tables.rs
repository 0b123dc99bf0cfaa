//! The smaller tables: locations, allocation traces, samples, scopes.

use heapatlas_model::{Location, NodeId, Sample, StringId, TraceFunction, TraceNode};

use super::cursor::Cursor;
use super::error::{Problem, ReadError};
use super::layout::{Fields, Layout};
use super::numbers::{Number, is_number_byte, parse_json_number};
use super::rows::{Columns, PieceEnd, ReadPart, RowSink};
use rayon::prelude::*;

/// Rows of a small table, flat.
#[derive(Default)]
pub(super) struct FlatColumns {
    pub stride: usize,
    pub values: Vec<u64>,
}

struct FlatPart<'a> {
    values: &'a mut [u64],
    next: usize,
}

impl Columns for FlatColumns {
    fn read_parts(&mut self, rows: &[usize], read: &ReadPart<'_>) -> Vec<PieceEnd> {
        let before = self.values.len();
        self.values
            .resize(before + rows.iter().sum::<usize>() * self.stride, 0);
        let mut rest = &mut self.values[before..];
        let mut parts = Vec::with_capacity(rows.len());
        for &rows in rows {
            let (values, tail) = rest.split_at_mut(rows * self.stride);
            rest = tail;
            parts.push(FlatPart { values, next: 0 });
        }
        parts
            .into_par_iter()
            .enumerate()
            .map(|(index, mut part)| read(index, &mut part))
            .collect()
    }
}

impl RowSink for FlatPart<'_> {
    fn take(&mut self, rows: &[u64]) -> Result<(), (usize, Problem)> {
        self.values[self.next..self.next + rows.len()].copy_from_slice(rows);
        self.next += rows.len();
        Ok(())
    }
}

/// A value of a row, clamped to 32 bits; 0 where the file has no such column.
fn small(row: &[u64], field: Option<usize>) -> u32 {
    field.map_or(0, |field| row[field].min(u64::from(u32::MAX)) as u32)
}

/// Locations of objects. Rows for nodes that do not exist are left out and counted.
pub(super) fn locations(values: &[u64], layout: &Layout, nodes: usize) -> (Vec<Location>, usize) {
    let fields = &layout.location;
    let stride = layout.node.stride as u64;
    let script_field = fields.position("script_object_index");
    let node_at = |row: &[u64], field: Option<usize>| {
        let index = row[field?];
        let is_node = index.is_multiple_of(stride) && index / stride < nodes as u64;
        is_node.then(|| NodeId((index / stride) as u32))
    };
    let [object, script, line, column] =
        ["object_index", "script_id", "line", "column"].map(|name| fields.position(name));
    let mut locations = Vec::with_capacity(values.len() / fields.stride().max(1));
    let mut dropped = 0;
    for row in values.chunks_exact(fields.stride().max(1)) {
        match node_at(row, object) {
            Some(node) => locations.push(Location {
                node,
                script_id: small(row, script),
                script_node: node_at(row, script_field),
                line: small(row, line),
                column: small(row, column),
            }),
            None => dropped += 1,
        }
    }
    (locations, dropped)
}

/// The functions that allocated.
pub(super) fn trace_functions(values: &[u64], fields: &Fields) -> Vec<TraceFunction> {
    let [id, name, script_name, script_id, line, column] = [
        "function_id",
        "name",
        "script_name",
        "script_id",
        "line",
        "column",
    ]
    .map(|name| fields.position(name));
    let function = |row: &[u64]| TraceFunction {
        function_id: id.map_or(0, |field| row[field]),
        name: StringId(small(row, name)),
        script_name: StringId(small(row, script_name)),
        script_id: small(row, script_id),
        line: small(row, line),
        column: small(row, column),
    };
    values
        .chunks_exact(fields.stride().max(1))
        .map(function)
        .collect()
}

/// The timeline.
pub(super) fn samples(values: &[u64], fields: &Fields) -> Vec<Sample> {
    let timestamp = fields.position("timestamp_us");
    let last_id = fields.position("last_assigned_id");
    let sample = |row: &[u64]| Sample {
        timestamp_us: timestamp.map_or(0, |field| row[field]),
        last_object_id: last_id.map_or(0, |field| row[field]),
    };
    values
        .chunks_exact(fields.stride().max(1))
        .map(sample)
        .collect()
}

/// Reads the tree of allocating stacks: `[id, function, count, size, [children, ...], id, ...]`,
/// nested as deep as the stacks were, so without recursion. Also gives how many negative numbers
/// were read as 0.
pub(super) fn read_trace_tree(
    cursor: &mut Cursor<'_>,
    fields: &Fields,
) -> Result<(Vec<TraceNode>, u64), ReadError> {
    let mut reader = TreeReader {
        fields,
        nodes: Vec::new(),
        open: Vec::new(),
        negatives: 0,
    };
    cursor.expect(b'[')?;
    reader.open.push(Level {
        parent: None,
        field: 0,
        row: 0,
    });
    while let Some(level) = reader.open.last_mut() {
        if cursor.accept(b']') {
            if level.field != 0 {
                return Err(cursor.error(Problem::Inconsistent(
                    "a trace node ends before all of its fields".to_owned(),
                )));
            }
            reader.open.pop();
            if let Some(parent) = reader.open.last_mut() {
                parent.field = (parent.field + 1) % fields.stride();
                end_of_value(cursor)?;
            }
            continue;
        }
        reader.read_field(cursor)?;
    }
    Ok((reader.nodes, reader.negatives))
}

/// A list of trace nodes that is being read.
struct Level {
    parent: Option<u32>,
    /// The field that comes next.
    field: usize,
    /// The node whose fields are being read.
    row: u32,
}

struct TreeReader<'a> {
    fields: &'a Fields,
    nodes: Vec<TraceNode>,
    open: Vec<Level>,
    negatives: u64,
}

impl TreeReader<'_> {
    /// Reads the next field of the innermost list, or opens the list of its children.
    fn read_field(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ReadError> {
        let stride = self.fields.stride();
        let Some(level) = self.open.last_mut().filter(|_| stride > 0) else {
            return Err(cursor.unexpected("an empty list, since there are no `trace_node_fields`"));
        };
        if level.field == 0 {
            level.row = self.nodes.len() as u32;
            let parent = level.parent;
            self.nodes.push(TraceNode {
                id: 0,
                parent,
                function: 0,
                blocks: 0,
                bytes: 0,
            });
        }
        if self.fields.position("children") == Some(level.field) {
            let parent = Some(level.row);
            cursor.expect(b'[')?;
            self.open.push(Level {
                parent,
                field: 0,
                row: 0,
            });
            return Ok(());
        }
        let value = read_number(cursor, &mut self.negatives)?;
        let node = &mut self.nodes[level.row as usize];
        let is = |name| self.fields.position(name) == Some(level.field);
        if is("id") {
            node.id = value;
        } else if is("function_info_index") {
            node.function = value.min(u64::from(u32::MAX)) as u32;
        } else if is("count") {
            node.blocks = value;
        } else if is("size") {
            node.bytes = value;
        }
        level.field = (level.field + 1) % stride;
        end_of_value(cursor)
    }
}

/// Consumes the comma between two values; leaves a closing bracket.
fn end_of_value(cursor: &mut Cursor<'_>) -> Result<(), ReadError> {
    if !cursor.accept(b',') {
        return match cursor.peek() {
            Some(b']') => Ok(()),
            _ => Err(cursor.unexpected("`,` or `]`")),
        };
    }
    match cursor.peek() {
        Some(b']') => Err(cursor.unexpected("a value")),
        _ => Ok(()),
    }
}

fn read_number(cursor: &mut Cursor<'_>, negatives: &mut u64) -> Result<u64, ReadError> {
    cursor.peek();
    let text = &cursor.bytes[cursor.at..];
    let length = text
        .iter()
        .take_while(|&&byte| is_number_byte(byte))
        .count();
    let value = match parse_json_number(&text[..length]) {
        Some(Number::Unsigned(value)) => value,
        Some(Number::Negative) => {
            *negatives += 1;
            0
        }
        Some(Number::TooLarge) => return Err(cursor.unexpected("a number below 2^64")),
        None => return Err(cursor.unexpected("a number")),
    };
    cursor.at += length;
    Ok(value)
}
