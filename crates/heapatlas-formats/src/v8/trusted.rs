//! The slow reader that is to be trusted: all JSON is parsed by `serde_json`.
//!
//! It is the judge in tests of the fast reader, and the way to read files whose layout the fast
//! one does not expect. It takes members in any order, any white space, a byte order mark and
//! members nobody knows. It checks all of the JSON, so it refuses broken escapes that the fast
//! reader does not look at. It does not salvage.

mod document;
mod tables;
mod trace_tree;

use std::sync::Arc;

use heapatlas_model::{
    AllocationTraces, ByteSource, Detachedness, EdgeKind, EdgeType, GraphColumns, HeapGraph,
    Location, NodeId, NodeKind, NodeType, Sample, ScopeTables, SnapshotFormat, StringEncoding,
    StringId, StringTable, TraceFunction, UintColumn, V8Facts, edge_type_name, node_type_name,
};

use super::{Problem, ReadError, Snapshot, Warning};
use document::{Document, Meta};
use tables::{Cells, Table, TypeRows};

/// Reads a snapshot with `serde_json`; several times slower than [`read`](super::read).
///
/// # Errors
/// When the file is not a whole snapshot.
pub fn read_trusted(source: Arc<dyn ByteSource>) -> Result<Snapshot, ReadError> {
    let mut warnings = Vec::new();
    let document = Document::parse(source.bytes())?;
    let meta = document.meta()?;
    let strings = read_strings(&document, &source)?;
    let nodes = read_nodes(&document, &meta, &mut warnings)?;
    let edges = read_edges(&document, &meta, &nodes, &mut warnings)?;
    let locations = read_locations(&document, &meta, &nodes, &mut warnings)?;
    let traces = AllocationTraces {
        functions: read_functions(&document, &meta, &mut warnings)?,
        nodes: trace_tree::read(&document, &meta, &mut warnings)?,
        samples: read_samples(&document, &meta, &mut warnings)?,
        trace_of_node: nodes.trace_of_node,
    };
    let counts = [
        ("nodes", nodes.node_type.len()),
        ("edges", edges.edge_type.len()),
    ];
    warn_of_counts(&document, counts, &mut warnings);
    warn_of_names(&nodes.name, strings.len(), &mut warnings);
    warn_of_duplicates(&nodes.object_id, &mut warnings);
    let root_index = document.header_number("root_index");
    let columns = GraphColumns {
        format: SnapshotFormat::V8,
        root: read_root(root_index, nodes.fields, nodes.node_type.len(), &document)?,
        node_types: nodes.types,
        edge_types: edges.types,
        node_type: nodes.node_type,
        node_name: nodes.name,
        object_id: nodes.object_id,
        self_size: nodes.self_size,
        first_edge: nodes.first_edge,
        edge_type: edges.edge_type,
        edge_label: edges.label,
        edge_target: edges.target,
        strings,
        locations,
        traces,
        v8: Some(V8Facts {
            meta_json: meta.text.to_owned(),
            extra_native_bytes: document.header_number("extra_native_bytes"),
            has_root_index: root_index.is_some(),
            detachedness: nodes.detachedness,
            scopes: read_scopes(&document)?,
        }),
    };
    match HeapGraph::from_columns(columns) {
        Ok(graph) => Ok(Snapshot { graph, warnings }),
        Err(error) => Err(document.error("file", 0, Problem::Inconsistent(error.to_string()))),
    }
}

/// What `nodes` holds.
struct Nodes {
    /// Number of cells a row has, the unit of references to nodes.
    fields: usize,
    types: Vec<NodeType>,
    node_type: Vec<u8>,
    name: Vec<StringId>,
    object_id: UintColumn,
    self_size: UintColumn,
    first_edge: Vec<u32>,
    edges_in_all: u64,
    trace_of_node: Vec<u32>,
    detachedness: Option<Detachedness>,
}

impl Nodes {
    /// The node that a node index of the file means.
    fn at(&self, node_index: u64) -> Option<NodeId> {
        let fields = self.fields as u64;
        let row = node_index / fields;
        let exists = node_index.is_multiple_of(fields) && row < self.node_type.len() as u64;
        exists.then_some(NodeId(row as u32))
    }
}

fn read_nodes(
    document: &Document<'_>,
    meta: &Meta<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Nodes, ReadError> {
    let fields = meta.fields("node_fields")?;
    let cells = Cells::read(document, "nodes", warnings)?;
    let table = Table::new(&cells, &fields)?;
    let (type_at, name_at) = (table.column("type")?, table.column("name")?);
    let (id_at, size_at) = (table.column("id")?, table.column("self_size")?);
    let edge_count_at = table.column("edge_count")?;
    let listed = meta.type_names("node_fields", "node_types")?;
    let mut types = TypeRows::new(listed);
    let mut nodes = Nodes {
        fields: fields.len(),
        types: Vec::new(),
        node_type: Vec::new(),
        name: Vec::new(),
        object_id: UintColumn::new(),
        self_size: UintColumn::new(),
        first_edge: vec![0],
        edges_in_all: 0,
        trace_of_node: Vec::new(),
        detachedness: None,
    };
    let mut edges = 0_u64;
    for row in 0..table.rows() {
        nodes.node_type.push(types.row(&table, row, type_at)?);
        nodes.name.push(StringId(table.narrow(row, name_at)?));
        nodes.object_id.push(table.get(row, id_at));
        nodes.self_size.push(table.get(row, size_at));
        edges = edges.saturating_add(table.get(row, edge_count_at));
        // A sum that is too large is found when it is compared with the edges.
        nodes
            .first_edge
            .push(u32::try_from(edges).unwrap_or(u32::MAX));
    }
    nodes.edges_in_all = edges;
    if let Ok(trace_at) = table.column("trace_node_id") {
        nodes.trace_of_node = read_traces_of_nodes(&table, trace_at)?;
    }
    if let Ok(detached_at) = table.column("detachedness") {
        nodes.detachedness = Some(read_detachedness(&table, detached_at));
    }
    nodes.types = types.into_types(|name| NodeType {
        kind: node_kind(&name),
        name,
    });
    Ok(nodes)
}

/// The column `trace_node_id`, empty when nothing but zeros is in it.
fn read_traces_of_nodes(table: &Table<'_>, trace_at: usize) -> Result<Vec<u32>, ReadError> {
    let column: Result<Vec<u32>, _> = (0..table.rows())
        .map(|row| table.narrow(row, trace_at))
        .collect();
    column.map(|column| match column.iter().all(|&trace| trace == 0) {
        true => Vec::new(),
        false => column,
    })
}

fn read_detachedness(table: &Table<'_>, detached_at: usize) -> Detachedness {
    let states = (0..table.rows()).map(|row| (row, table.get(row, detached_at)));
    let marked = states
        .filter(|&(_, state)| state != 0)
        .map(|(row, state)| (NodeId(row as u32), u8::try_from(state).unwrap_or(u8::MAX)));
    Detachedness {
        marked: marked.collect(),
    }
}

/// What `edges` holds.
struct Edges {
    types: Vec<EdgeType>,
    edge_type: Vec<u8>,
    label: Vec<u32>,
    target: Vec<NodeId>,
}

fn read_edges(
    document: &Document<'_>,
    meta: &Meta<'_>,
    nodes: &Nodes,
    warnings: &mut Vec<Warning>,
) -> Result<Edges, ReadError> {
    let fields = meta.fields("edge_fields")?;
    let cells = Cells::read(document, "edges", warnings)?;
    let table = Table::new(&cells, &fields)?;
    if nodes.edges_in_all != table.rows() as u64 {
        let message = format!(
            "the nodes have {} edges in all, but there are {}",
            nodes.edges_in_all,
            table.rows()
        );
        return Err(document.error_in("edges", 0, Problem::Inconsistent(message)));
    }
    let type_at = table.column("type")?;
    let (label_at, target_at) = (table.column("name_or_index")?, table.column("to_node")?);
    let mut types = TypeRows::new(meta.type_names("edge_fields", "edge_types")?);
    let mut edges = Edges {
        types: Vec::new(),
        edge_type: Vec::new(),
        label: Vec::new(),
        target: Vec::new(),
    };
    for row in 0..table.rows() {
        edges.edge_type.push(types.row(&table, row, type_at)?);
        edges.label.push(table.narrow(row, label_at)?);
        let node_index = table.get(row, target_at);
        let target = nodes.at(node_index).ok_or_else(|| {
            let message = format!(
                "edge {row} points to {node_index}, which is not the start of one of {} nodes of {} fields",
                nodes.node_type.len(),
                nodes.fields,
            );
            table.error(row, target_at, Problem::Inconsistent(message))
        })?;
        edges.target.push(target);
    }
    edges.types = types.into_types(|name| EdgeType {
        kind: edge_kind(&name),
        name,
    });
    Ok(edges)
}

fn read_functions(
    document: &Document<'_>,
    meta: &Meta<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<TraceFunction>, ReadError> {
    let fields = meta.fields("trace_function_info_fields")?;
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let cells = Cells::read(document, "trace_function_infos", warnings)?;
    let table = Table::new(&cells, &fields)?;
    (0..table.rows())
        .map(|row| {
            Ok(TraceFunction {
                function_id: table.get_named(row, "function_id"),
                name: StringId(table.clamped(row, "name")),
                script_name: StringId(table.clamped(row, "script_name")),
                script_id: table.clamped(row, "script_id"),
                line: table.clamped(row, "line"),
                column: table.clamped(row, "column"),
            })
        })
        .collect()
}

fn read_samples(
    document: &Document<'_>,
    meta: &Meta<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Sample>, ReadError> {
    let fields = meta.fields("sample_fields")?;
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let cells = Cells::read(document, "samples", warnings)?;
    let table = Table::new(&cells, &fields)?;
    let samples = (0..table.rows()).map(|row| Sample {
        timestamp_us: table.get_named(row, "timestamp_us"),
        last_object_id: table.get_named(row, "last_assigned_id"),
    });
    Ok(samples.collect())
}

fn read_locations(
    document: &Document<'_>,
    meta: &Meta<'_>,
    nodes: &Nodes,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Location>, ReadError> {
    let fields = meta.fields("location_fields")?;
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let cells = Cells::read(document, "locations", warnings)?;
    let table = Table::new(&cells, &fields)?;
    let node_at = table.column("object_index").ok();
    let script_node_at = table.column("script_object_index").ok();
    let mut locations = Vec::new();
    let mut without_node = 0_usize;
    for row in 0..table.rows() {
        let Some(node) = node_at.and_then(|at| nodes.at(table.get(row, at))) else {
            without_node += 1;
            continue;
        };
        locations.push(Location {
            node,
            script_id: table.clamped(row, "script_id"),
            script_node: script_node_at.and_then(|at| nodes.at(table.get(row, at))),
            line: table.clamped(row, "line"),
            column: table.clamped(row, "column"),
        });
    }
    if without_node > 0 {
        warn(
            warnings,
            format!("{without_node} locations belong to no node"),
        );
    }
    Ok(locations)
}

fn read_scopes(document: &Document<'_>) -> Result<Option<ScopeTables>, ReadError> {
    let members = ["scopes", "scope_context_vars", "scope_uses"];
    if !members.iter().any(|member| document.has(member)) {
        return Ok(None);
    }
    Ok(Some(ScopeTables {
        scopes: tables::read_signed(document, "scopes")?,
        context_vars: tables::read_signed(document, "scope_context_vars")?,
        uses: tables::read_signed(document, "scope_uses")?,
    }))
}

fn read_root(
    root_index: Option<u64>,
    fields: usize,
    nodes: usize,
    document: &Document<'_>,
) -> Result<NodeId, ReadError> {
    let root_index = root_index.unwrap_or(0);
    let row = root_index / fields as u64;
    if root_index.is_multiple_of(fields as u64) && row < nodes as u64 {
        return Ok(NodeId(row as u32));
    }
    let message = format!(
        "the root is said to be node index {root_index} of {nodes} nodes of {fields} fields"
    );
    Err(document.error_in("snapshot", 0, Problem::Inconsistent(message)))
}

/// The strings as ranges of the file; `serde_json` has checked each.
fn read_strings(
    document: &Document<'_>,
    source: &Arc<dyn ByteSource>,
) -> Result<StringTable, ReadError> {
    let mut starts = UintColumn::new();
    let mut lengths = UintColumn::new();
    for (offset, value) in document.elements("strings")? {
        if !value.starts_with('"') {
            return Err(document.error("strings", offset, unexpected("a string", value)));
        }
        starts.push(offset as u64 + 1);
        lengths.push(value.len() as u64 - 2);
    }
    let source = Arc::clone(source);
    Ok(StringTable::new(
        source,
        StringEncoding::Json,
        starts,
        lengths,
    ))
}

fn warn(warnings: &mut Vec<Warning>, message: String) {
    warnings.push(Warning {
        message,
        is_loss: false,
    });
}

fn warn_of_counts(
    document: &Document<'_>,
    counts: [(&str, usize); 2],
    warnings: &mut Vec<Warning>,
) {
    let members = ["node_count", "edge_count"];
    for ((section, found), member) in counts.into_iter().zip(members) {
        match document.header_number(member) {
            Some(said) if said != found as u64 => warn(
                warnings,
                format!("the header counts {said} {section}, the file has {found}"),
            ),
            _ => {}
        }
    }
}

fn warn_of_names(node_names: &[StringId], strings: usize, warnings: &mut Vec<Warning>) {
    let missing = node_names.iter().filter(|name| name.index() >= strings);
    let missing = missing.count();
    if missing > 0 {
        warn(
            warnings,
            format!("{missing} nodes have names that the strings lack; they read `#<number>`"),
        );
    }
}

fn warn_of_duplicates(object_ids: &UintColumn, warnings: &mut Vec<Warning>) {
    // Several nodes without an id are no duplicates.
    let mut ids: Vec<u64> = object_ids.iter().filter(|&id| id != 0).collect();
    ids.sort_unstable();
    let duplicates = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
    if duplicates > 0 {
        warn(
            warnings,
            format!("{duplicates} nodes have an object id that another node has, too"),
        );
    }
}

fn unexpected(expected: &str, found: &str) -> Problem {
    let mut found: String = found.chars().take(20).collect();
    found.insert(0, '`');
    found.push('`');
    Problem::Unexpected {
        expected: expected.to_owned(),
        found,
    }
}

fn node_kind(name: &str) -> NodeKind {
    const KINDS: [NodeKind; 16] = [
        NodeKind::Hidden,
        NodeKind::Array,
        NodeKind::String,
        NodeKind::Object,
        NodeKind::Code,
        NodeKind::Closure,
        NodeKind::RegExp,
        NodeKind::Number,
        NodeKind::Native,
        NodeKind::Synthetic,
        NodeKind::ConcatenatedString,
        NodeKind::SlicedString,
        NodeKind::Symbol,
        NodeKind::BigInt,
        NodeKind::ObjectShape,
        NodeKind::WasmObject,
    ];
    let known = KINDS.into_iter().find(|&kind| node_type_name(kind) == name);
    known.unwrap_or(NodeKind::Other)
}

fn edge_kind(name: &str) -> EdgeKind {
    const KINDS: [EdgeKind; 8] = [
        EdgeKind::Context,
        EdgeKind::Element,
        EdgeKind::Property,
        EdgeKind::Internal,
        EdgeKind::Hidden,
        EdgeKind::Shortcut,
        EdgeKind::Weak,
        EdgeKind::Invisible,
    ];
    let known = KINDS.into_iter().find(|&kind| edge_type_name(kind) == name);
    known.unwrap_or(EdgeKind::Other)
}
