//! Writes the graph in the exact text layout of Node 20 or Node 24.

use std::io::{self, Write};

use super::heap::{Edge, Heap};

/// Whose files to look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Seven fields to a node, every row and every string on its own line.
    Node20,
    /// Six fields to a node (no `trace_node_id`), no line breaks inside the arrays.
    Node24,
}

const NODE_TYPES: &str = r#"["hidden","array","string","object","code","closure","regexp","number","native","synthetic","concatenated string","sliced string","symbol","bigint","object shape""#;
const META_TAIL: &str = r#""string","number","number","number","number","number"],"edge_fields":["type","name_or_index","to_node"],"edge_types":[["context","element","property","internal","hidden","shortcut","weak"],"string_or_number","node"],"trace_function_info_fields":["function_id","name","script_name","script_id","line","column"],"trace_node_fields":["id","function_info_index","count","size","children"],"sample_fields":["timestamp_us","last_assigned_id"],"location_fields":["object_index","script_id","line","column"]}"#;

impl Layout {
    fn node_field_count(self) -> u64 {
        match self {
            Layout::Node20 => 7,
            Layout::Node24 => 6,
        }
    }

    /// What stands before every row but the first.
    fn row_separator(self) -> &'static [u8] {
        match self {
            Layout::Node20 => b"\n,",
            Layout::Node24 => b",",
        }
    }

    fn end_of_array(self) -> &'static [u8] {
        match self {
            Layout::Node20 => b"\n],\n",
            Layout::Node24 => b"],\n",
        }
    }
}

/// # Errors
/// When `out` cannot be written.
pub fn write_snapshot(heap: &Heap, layout: Layout, out: &mut impl Write) -> io::Result<()> {
    let edges = EdgesBySource::new(heap);
    write_header(heap, layout, out)?;
    write_nodes(heap, layout, &edges, out)?;
    write_edges(heap, layout, &edges, out)?;
    out.write_all(b"\"trace_function_infos\":[],\n\"trace_tree\":[],\n\"samples\":[],\n")?;
    write_locations(heap, layout, out)?;
    write_strings(heap, layout, out)
}

fn write_header(heap: &Heap, layout: Layout, out: &mut impl Write) -> io::Result<()> {
    let (trace_field, last_type, extra) = match layout {
        Layout::Node20 => (r#""trace_node_id","#, r#","wasm object""#, ""),
        Layout::Node24 => ("", "", r#","extra_native_bytes":0"#),
    };
    write!(
        out,
        r#"{{"snapshot":{{"meta":{{"node_fields":["type","name","id","self_size","edge_count",{trace_field}"detachedness"],"node_types":[{NODE_TYPES}{last_type}],{META_TAIL},"#
    )?;
    let (nodes, edges) = (heap.nodes.len(), heap.edges.len());
    let counts = format!(r#""node_count":{nodes},"edge_count":{edges},"trace_function_count":0"#);
    write!(out, "{counts}{extra}}},\n\"nodes\":[")
}

fn write_nodes(
    heap: &Heap,
    layout: Layout,
    edges: &EdgesBySource<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut rows = Rows::new(layout, out);
    for (ordinal, node) in heap.nodes.iter().enumerate() {
        let head = [
            node.kind as u64,
            node.name.0.into(),
            node.id.into(),
            node.size_bytes.into(),
        ];
        let edge_count = edges.count_of(ordinal);
        match layout {
            Layout::Node20 => {
                rows.row(&[head[0], head[1], head[2], head[3], edge_count, 0, 0])?;
            }
            Layout::Node24 => rows.row(&[head[0], head[1], head[2], head[3], edge_count, 0])?,
        }
    }
    rows.finish()?;
    out.write_all(layout.end_of_array())
}

fn write_edges(
    heap: &Heap,
    layout: Layout,
    edges: &EdgesBySource<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(b"\"edges\":[")?;
    let mut rows = Rows::new(layout, out);
    for ordinal in 0..heap.nodes.len() {
        for edge in edges.of(ordinal) {
            let to_node = u64::from(edge.to.0) * layout.node_field_count();
            rows.row(&[edge.kind as u64, edge.name_or_index.into(), to_node])?;
        }
    }
    rows.finish()?;
    out.write_all(layout.end_of_array())
}

fn write_locations(heap: &Heap, layout: Layout, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"\"locations\":[")?;
    let mut rows = Rows::new(layout, out);
    for (node, place) in &heap.locations {
        let object_index = u64::from(node.0) * layout.node_field_count();
        rows.row(&[
            object_index,
            place.script.into(),
            place.line.into(),
            place.column.into(),
        ])?;
    }
    rows.finish()?;
    out.write_all(layout.end_of_array())
}

fn write_strings(heap: &Heap, layout: Layout, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"\"strings\":[")?;
    let separator: &[u8] = match layout {
        Layout::Node20 => b",\n",
        Layout::Node24 => b",",
    };
    for (index, name) in heap.names.iter().enumerate() {
        if index > 0 {
            out.write_all(separator)?;
        }
        out.write_all(b"\"")?;
        name.write(out)?;
        out.write_all(b"\"")?;
    }
    out.write_all(b"]}")
}

/// The edges sorted by their source; those of one source keep their order.
struct EdgesBySource<'a> {
    edges: &'a [Edge],
    first: Vec<u32>,
    order: Vec<u32>,
}

impl<'a> EdgesBySource<'a> {
    fn new(heap: &'a Heap) -> Self {
        let mut first = vec![0_u32; heap.nodes.len() + 1];
        for edge in &heap.edges {
            first[edge.from.0 as usize + 1] += 1;
        }
        for ordinal in 0..heap.nodes.len() {
            first[ordinal + 1] += first[ordinal];
        }
        let mut next = first.clone();
        let mut order = vec![0_u32; heap.edges.len()];
        for (index, edge) in heap.edges.iter().enumerate() {
            let slot = &mut next[edge.from.0 as usize];
            order[*slot as usize] = index as u32;
            *slot += 1;
        }
        EdgesBySource {
            edges: &heap.edges,
            first,
            order,
        }
    }

    fn count_of(&self, ordinal: usize) -> u64 {
        u64::from(self.first[ordinal + 1] - self.first[ordinal])
    }

    fn of(&self, ordinal: usize) -> impl Iterator<Item = &'a Edge> + '_ {
        let range = self.first[ordinal] as usize..self.first[ordinal + 1] as usize;
        self.order[range]
            .iter()
            .map(|&index| &self.edges[index as usize])
    }
}

/// Rows of integers; a hundred million of them make `write!` too slow.
struct Rows<'a, W> {
    out: &'a mut W,
    buffer: Vec<u8>,
    separator: &'static [u8],
    is_first: bool,
}

impl<'a, W: Write> Rows<'a, W> {
    fn new(layout: Layout, out: &'a mut W) -> Self {
        let separator = layout.row_separator();
        Rows {
            out,
            buffer: Vec::with_capacity(1 << 17),
            separator,
            is_first: true,
        }
    }

    fn row(&mut self, numbers: &[u64]) -> io::Result<()> {
        if !self.is_first {
            self.buffer.extend_from_slice(self.separator);
        }
        self.is_first = false;
        for (index, &number) in numbers.iter().enumerate() {
            if index > 0 {
                self.buffer.push(b',');
            }
            push_decimal(&mut self.buffer, number);
        }
        if self.buffer.len() > 1 << 16 {
            self.finish()
        } else {
            Ok(())
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn push_decimal(buffer: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[start..]);
}
