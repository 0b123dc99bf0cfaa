//! The tree of allocating stacks: arrays in arrays, as deep as the measured program's stack or
//! as a hostile file likes; so the open arrays are kept in a vector.

use heapatlas_model::TraceNode;

use super::super::decimal;
use super::document::{Document, Meta, is_number};
use super::{Problem, ReadError, Warning, unexpected, warn};

/// Reads `trace_tree`.
pub(super) fn read(
    document: &Document<'_>,
    meta: &Meta<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<TraceNode>, ReadError> {
    let text = document.array("trace_tree")?;
    let fields = meta.fields("trace_node_fields")?;
    let mut reader = TreeReader {
        document,
        fields: &fields,
        nodes: Vec::new(),
        open: Vec::new(),
        negatives: 0,
    };
    // `serde_json` found the text to be JSON, so tokens follow one another as they should, and
    // commas and white space tell nothing.
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if rest.is_empty() {
            break;
        }
        let length = token_length(rest);
        reader.token(&rest[..length])?;
        rest = &rest[length..];
    }
    if reader.negatives > 0 {
        let message = format!(
            "{} negative numbers in `trace_tree` were read as 0",
            reader.negatives
        );
        warn(warnings, message);
    }
    Ok(reader.nodes)
}

fn token_length(text: &str) -> usize {
    if text.starts_with(['[', ']']) {
        return 1;
    }
    text.find([',', '[', ']', ' ', '\t', '\r', '\n'])
        .unwrap_or(text.len())
        .max(1)
}

struct TreeReader<'a> {
    document: &'a Document<'a>,
    fields: &'a [String],
    nodes: Vec<TraceNode>,
    open: Vec<OpenArray>,
    negatives: usize,
}

/// An array of children that has not ended yet.
struct OpenArray {
    parent: Option<u32>,
    /// The node whose cells are being read.
    node: u32,
    /// The next of its cells.
    cell: usize,
}

impl TreeReader<'_> {
    fn token(&mut self, token: &str) -> Result<(), ReadError> {
        match token {
            "[" => self.begin_array(token),
            "]" => self.end_array(token),
            _ => self.number(token),
        }
    }

    fn begin_array(&mut self, token: &str) -> Result<(), ReadError> {
        let parent = match self.open.last() {
            None => None,
            Some(_) => {
                if self.next_field() != Some("children") {
                    return Err(self.error(token, "a number"));
                }
                let node = self.begin_cell();
                Some(node)
            }
        };
        self.open.push(OpenArray {
            parent,
            node: 0,
            cell: 0,
        });
        Ok(())
    }

    fn end_array(&mut self, token: &str) -> Result<(), ReadError> {
        match self.open.pop() {
            Some(array) if array.cell == 0 => Ok(()),
            _ => {
                let width = self.fields.len();
                let message = format!("nodes of the tree have {width} cells, this one has fewer");
                let offset = self.document.offset_of(token);
                Err(self
                    .document
                    .error("trace_tree", offset, Problem::Inconsistent(message)))
            }
        }
    }

    fn number(&mut self, token: &str) -> Result<(), ReadError> {
        let Some(field) = self.next_field().map(str::to_owned) else {
            return Err(self.error(token, "no cell, since `meta` lists none"));
        };
        if field == "children" {
            return Err(self.error(token, "an array of children"));
        }
        if !is_number(token) {
            return Err(self.error(token, "a number"));
        }
        let value = self.value(token)?;
        let row = self.begin_cell();
        let node = &mut self.nodes[row as usize];
        match field.as_str() {
            "id" => node.id = value,
            "function_info_index" => node.function = u32::try_from(value).unwrap_or(u32::MAX),
            "count" => node.blocks = value,
            "size" => node.bytes = value,
            _ => {}
        }
        Ok(())
    }

    fn value(&mut self, token: &str) -> Result<u64, ReadError> {
        let whole = decimal::truncate(token);
        self.negatives += usize::from(whole.is_negative);
        match whole.magnitude {
            _ if whole.is_negative => Ok(0),
            Some(magnitude) => Ok(magnitude),
            None => {
                let offset = self.document.offset_of(token);
                let message = format!("{token:.40} is more than 64 bits hold");
                Err(self
                    .document
                    .error("trace_tree", offset, Problem::TooLarge(message)))
            }
        }
    }

    /// The field that the next token is of. A name that is listed twice counts once.
    fn next_field(&self) -> Option<&str> {
        let cell = self.open.last()?.cell;
        let field = self.fields.get(cell)?;
        let is_first = self.fields.iter().position(|other| other == field) == Some(cell);
        Some(if is_first { field } else { "" })
    }

    /// Moves on by a cell and gives the node it belongs to, which its first cell brings about.
    fn begin_cell(&mut self) -> u32 {
        let rows = self.nodes.len() as u32;
        let width = self.fields.len();
        let array = self.open.last_mut().expect("a cell lies in an array");
        if array.cell == 0 {
            array.node = rows;
            self.nodes.push(TraceNode {
                id: 0,
                parent: array.parent,
                function: 0,
                blocks: 0,
                bytes: 0,
            });
        }
        array.cell = (array.cell + 1) % width;
        array.node
    }

    fn error(&self, token: &str, expected: &str) -> ReadError {
        let offset = self.document.offset_of(token);
        self.document
            .error("trace_tree", offset, unexpected(expected, token))
    }
}
