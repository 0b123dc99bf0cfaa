//! Which columns a file gets, and which numbers stand for the types.

use std::collections::BTreeMap;

use heapatlas_model::{
    AllocationTraces, EdgeKind, HeapGraph, Location, NodeId, NodeKind, Sample, TraceFunction,
    TraceNode, edge_type_name, node_type_name,
};
use serde_json::value::RawValue;

use super::json_text::push_string;

/// A column of `nodes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NodeColumn {
    Type,
    Name,
    Id,
    SelfSize,
    EdgeCount,
    TraceNodeId,
    Detachedness,
    Unknown,
}

/// A column of `edges`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EdgeColumn {
    Type,
    Label,
    Target,
    Unknown,
}

/// A column of `trace_function_infos`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FunctionColumn {
    Id,
    Name,
    ScriptName,
    ScriptId,
    Line,
    Column,
    Unknown,
}

/// A cell of a node of `trace_tree`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TreeColumn {
    Id,
    Function,
    Blocks,
    Bytes,
    Children,
    Unknown,
}

/// A column of `samples`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SampleColumn {
    Timestamp,
    LastId,
    Unknown,
}

/// A column of `locations`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LocationColumn {
    Node,
    ScriptId,
    ScriptNode,
    Line,
    Column,
    Unknown,
}

/// The columns of a file and the numbers of its types, by row of the graph's type lists.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) meta_json: String,
    pub(super) node_columns: Vec<NodeColumn>,
    pub(super) edge_columns: Vec<EdgeColumn>,
    pub(super) function_columns: Vec<FunctionColumn>,
    pub(super) tree_columns: Vec<TreeColumn>,
    pub(super) sample_columns: Vec<SampleColumn>,
    pub(super) location_columns: Vec<LocationColumn>,
    pub(super) has_samples: bool,
    pub(super) has_locations: bool,
    pub(super) node_type_numbers: Vec<u64>,
    pub(super) edge_type_numbers: Vec<u64>,
}

impl Plan {
    /// Keeps the `meta` of the file the graph came from when all of the graph fits it.
    pub(super) fn new(graph: &HeapGraph) -> Self {
        let own = Self::own(graph).filter(|plan| plan.has_place_for(graph));
        // A graph that was put together or changed: the canonical columns hold all of it.
        own.unwrap_or_else(|| Self::canonical(graph))
    }

    /// What the file calls a node: the position of its first cell.
    #[inline]
    pub(super) fn node_index(&self, node: NodeId) -> u64 {
        u64::from(node.0) * self.node_columns.len() as u64
    }

    /// By the graph's own `meta`; `None` when there is none, or it lists other types.
    fn own(graph: &HeapGraph) -> Option<Self> {
        let meta_json = graph.v8()?.meta_json.clone();
        let meta: Members<'_> = serde_json::from_str(&meta_json).ok()?;
        let node_types = graph.columns().node_types.iter().map(|t| t.name.as_str());
        let edge_types = graph.columns().edge_types.iter().map(|t| t.name.as_str());
        let listed_node_types = type_names(&meta, "node_fields", "node_types")?;
        let listed_edge_types = type_names(&meta, "edge_fields", "edge_types")?;
        let node_type_numbers = type_numbers(node_types, &listed_node_types)?;
        let edge_type_numbers = type_numbers(edge_types, &listed_edge_types)?;
        Some(Self::from_meta(
            meta_json,
            node_type_numbers,
            edge_type_numbers,
        ))
    }

    fn canonical(graph: &HeapGraph) -> Self {
        let node_types = TypeList::of_nodes(graph);
        let edge_types = TypeList::of_edges(graph);
        let meta_json = canonical_meta(graph, &node_types.names, &edge_types.names);
        Self::from_meta(meta_json, node_types.numbers, edge_types.numbers)
    }

    fn from_meta(
        meta_json: String,
        node_type_numbers: Vec<u64>,
        edge_type_numbers: Vec<u64>,
    ) -> Self {
        let meta: Members<'_> = serde_json::from_str(&meta_json).unwrap_or_default();
        Self {
            node_columns: columns(&meta, "node_fields", node_column),
            edge_columns: columns(&meta, "edge_fields", edge_column),
            function_columns: columns(&meta, "trace_function_info_fields", function_column),
            tree_columns: tree_columns(&meta),
            sample_columns: columns(&meta, "sample_fields", sample_column),
            location_columns: columns(&meta, "location_fields", location_column),
            has_samples: meta.contains_key("sample_fields"),
            has_locations: meta.contains_key("location_fields"),
            meta_json,
            node_type_numbers,
            edge_type_numbers,
        }
    }

    /// Whether every piece of data of the graph has its column.
    fn has_place_for(&self, graph: &HeapGraph) -> bool {
        use NodeColumn as N;
        let traces = graph.traces();
        let facts = graph.v8();
        let node_columns = [N::Type, N::Name, N::Id, N::SelfSize, N::EdgeCount];
        let edge_columns = [EdgeColumn::Type, EdgeColumn::Label, EdgeColumn::Target];
        holds(&self.node_columns, &node_columns)
            && (traces.trace_of_node.is_empty() || holds(&self.node_columns, &[N::TraceNodeId]))
            && (facts.is_none_or(|facts| facts.detachedness.is_none())
                || holds(&self.node_columns, &[N::Detachedness]))
            && holds(&self.edge_columns, &edge_columns)
            && self.has_place_for_locations(graph.locations())
            && self.has_place_for_traces(traces)
    }

    fn has_place_for_locations(&self, locations: &[Location]) -> bool {
        use LocationColumn as L;
        let columns = &self.location_columns;
        let has_script_node = locations.iter().any(|l| l.script_node.is_some());
        (locations.is_empty() || holds(columns, &[L::Node]))
            && (!has_script_node || holds(columns, &[L::ScriptNode]))
            && keep_all(
                columns,
                &[L::ScriptId, L::Line, L::Column],
                locations,
                |l, c| match c {
                    L::ScriptId => l.script_id.into(),
                    L::Line => l.line.into(),
                    _ => l.column.into(),
                },
            )
    }

    fn has_place_for_traces(&self, traces: &AllocationTraces) -> bool {
        use FunctionColumn as F;
        use TreeColumn as T;
        let functions = [
            F::Id,
            F::Name,
            F::ScriptName,
            F::ScriptId,
            F::Line,
            F::Column,
        ];
        let tree = [T::Id, T::Function, T::Blocks, T::Bytes];
        let samples = [SampleColumn::Timestamp, SampleColumn::LastId];
        let has_children = traces.nodes.iter().any(|node| node.parent.is_some());
        keep_all(
            &self.function_columns,
            &functions,
            &traces.functions,
            function_cell,
        ) && keep_all(&self.tree_columns, &tree, &traces.nodes, tree_cell)
            && (!has_children || holds(&self.tree_columns, &[T::Children]))
            && keep_all(&self.sample_columns, &samples, &traces.samples, sample_cell)
    }
}

fn holds<C: PartialEq>(columns: &[C], needed: &[C]) -> bool {
    needed.iter().all(|column| columns.contains(column))
}

/// Whether rows written in `columns` lose nothing: what has no column reads as 0.
fn keep_all<R, C: PartialEq + Copy>(
    columns: &[C],
    known: &[C],
    rows: &[R],
    cell: impl Fn(&R, C) -> u64,
) -> bool {
    let is_kept =
        |&column: &C| columns.contains(&column) || rows.iter().all(|row| cell(row, column) == 0);
    rows.is_empty() || (!columns.is_empty() && known.iter().all(is_kept))
}

/// The value of a function in a column.
pub(super) fn function_cell(function: &TraceFunction, column: FunctionColumn) -> u64 {
    match column {
        FunctionColumn::Id => function.function_id,
        FunctionColumn::Name => u64::from(function.name.0),
        FunctionColumn::ScriptName => u64::from(function.script_name.0),
        FunctionColumn::ScriptId => u64::from(function.script_id),
        FunctionColumn::Line => u64::from(function.line),
        FunctionColumn::Column => u64::from(function.column),
        FunctionColumn::Unknown => 0,
    }
}

/// The value of a node of the trace tree in a column that is a number.
pub(super) fn tree_cell(node: &TraceNode, column: TreeColumn) -> u64 {
    match column {
        TreeColumn::Id => node.id,
        TreeColumn::Function => u64::from(node.function),
        TreeColumn::Blocks => node.blocks,
        TreeColumn::Bytes => node.bytes,
        TreeColumn::Children | TreeColumn::Unknown => 0,
    }
}

/// The value of a sample in a column.
pub(super) fn sample_cell(sample: &Sample, column: SampleColumn) -> u64 {
    match column {
        SampleColumn::Timestamp => sample.timestamp_us,
        SampleColumn::LastId => sample.last_object_id,
        SampleColumn::Unknown => 0,
    }
}

/// The members of a JSON object, unparsed.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The columns that a member of `meta` lists; none when it is missing or no list of strings.
fn columns<C>(meta: &Members<'_>, member: &str, column: fn(&str) -> C) -> Vec<C> {
    let names = meta.get(member).and_then(|list| texts(list.get()));
    let names = names.unwrap_or_default();
    names.iter().map(|name| column(name)).collect()
}

/// The strings of a list, empty where an entry is none: as the readers take it.
fn texts(list: &str) -> Option<Vec<String>> {
    let entries: Vec<&RawValue> = serde_json::from_str(list).ok()?;
    let text = |entry: &RawValue| serde_json::from_str(entry.get()).unwrap_or_default();
    Some(entries.into_iter().map(text).collect())
}

/// The cells of a node of the trace tree. Readers take the first `children` for the children, a
/// second one for a number.
fn tree_columns(meta: &Members<'_>) -> Vec<TreeColumn> {
    let mut columns = columns(meta, "trace_node_fields", tree_column);
    let mut has_children = false;
    for column in columns.iter_mut().filter(|c| **c == TreeColumn::Children) {
        if std::mem::replace(&mut has_children, true) {
            *column = TreeColumn::Unknown;
        }
    }
    columns
}

/// The type names: the entry of `types_member` at the position of the field `type`.
fn type_names(meta: &Members<'_>, fields_member: &str, types_member: &str) -> Option<Vec<String>> {
    let fields = texts(meta.get(fields_member)?.get())?;
    let types: Vec<&RawValue> = serde_json::from_str(meta.get(types_member)?.get()).ok()?;
    let position = fields.iter().position(|field| field == "type")?;
    texts(types.get(position)?.get())
}

/// The number that stands for each type of the graph in a file that lists `listed`. For numbers
/// beyond the list the reader appends types named `unknown(<number>)`. `None` when the graph has
/// other types than that.
fn type_numbers<'a>(
    types: impl ExactSizeIterator<Item = &'a str>,
    listed: &[String],
) -> Option<Vec<u64>> {
    if types.len() < listed.len() {
        return None;
    }
    types
        .enumerate()
        .map(|(row, name)| match listed.get(row) {
            Some(known) => (known == name).then_some(row as u64),
            None => {
                let number = name.strip_prefix("unknown(")?.strip_suffix(')')?;
                let number: u64 = number.parse().ok()?;
                (number >= listed.len() as u64).then_some(number)
            }
        })
        .collect()
}

fn node_column(name: &str) -> NodeColumn {
    match name {
        "type" => NodeColumn::Type,
        "name" => NodeColumn::Name,
        "id" => NodeColumn::Id,
        "self_size" => NodeColumn::SelfSize,
        "edge_count" => NodeColumn::EdgeCount,
        "trace_node_id" => NodeColumn::TraceNodeId,
        "detachedness" => NodeColumn::Detachedness,
        _ => NodeColumn::Unknown,
    }
}

fn edge_column(name: &str) -> EdgeColumn {
    match name {
        "type" => EdgeColumn::Type,
        "name_or_index" => EdgeColumn::Label,
        "to_node" => EdgeColumn::Target,
        _ => EdgeColumn::Unknown,
    }
}

fn function_column(name: &str) -> FunctionColumn {
    match name {
        "function_id" => FunctionColumn::Id,
        "name" => FunctionColumn::Name,
        "script_name" => FunctionColumn::ScriptName,
        "script_id" => FunctionColumn::ScriptId,
        "line" => FunctionColumn::Line,
        "column" => FunctionColumn::Column,
        _ => FunctionColumn::Unknown,
    }
}

fn tree_column(name: &str) -> TreeColumn {
    match name {
        "id" => TreeColumn::Id,
        "function_info_index" => TreeColumn::Function,
        "count" => TreeColumn::Blocks,
        "size" => TreeColumn::Bytes,
        "children" => TreeColumn::Children,
        _ => TreeColumn::Unknown,
    }
}

fn sample_column(name: &str) -> SampleColumn {
    match name {
        "timestamp_us" => SampleColumn::Timestamp,
        "last_assigned_id" => SampleColumn::LastId,
        _ => SampleColumn::Unknown,
    }
}

fn location_column(name: &str) -> LocationColumn {
    match name {
        "object_index" => LocationColumn::Node,
        "script_id" => LocationColumn::ScriptId,
        "script_object_index" => LocationColumn::ScriptNode,
        "line" => LocationColumn::Line,
        "column" => LocationColumn::Column,
        _ => LocationColumn::Unknown,
    }
}

/// The node types of Node 24 in its order.
const NODE_KINDS: [NodeKind; 15] = [
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
];

/// The edge types of Node 24 in its order.
const EDGE_KINDS: [EdgeKind; 7] = [
    EdgeKind::Context,
    EdgeKind::Element,
    EdgeKind::Property,
    EdgeKind::Internal,
    EdgeKind::Hidden,
    EdgeKind::Shortcut,
    EdgeKind::Weak,
];

/// The type names of a canonical file, and the number of each type of the graph in it.
struct TypeList {
    names: Vec<String>,
    numbers: Vec<u64>,
}

impl TypeList {
    fn of_nodes(graph: &HeapGraph) -> Self {
        let mut list = Self::new(NODE_KINDS.map(node_type_name));
        for node_type in &graph.columns().node_types {
            match node_type.kind {
                NodeKind::Other => list.add_foreign(&node_type.name),
                kind => list.add(node_type_name(kind)),
            }
        }
        list
    }

    fn of_edges(graph: &HeapGraph) -> Self {
        let mut list = Self::new(EDGE_KINDS.map(edge_type_name));
        for edge_type in &graph.columns().edge_types {
            match edge_type.kind {
                EdgeKind::Other => list.add_foreign(&edge_type.name),
                kind => list.add(edge_type_name(kind)),
            }
        }
        list
    }

    fn new<const N: usize>(names: [&str; N]) -> Self {
        Self {
            names: names.map(str::to_owned).to_vec(),
            numbers: Vec::new(),
        }
    }

    /// The next type of the graph has this name in the file.
    fn add(&mut self, name: &str) {
        let known = self.names.iter().position(|other| other == name);
        let row = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.numbers.push(row as u64);
    }

    /// The next type of the graph is one V8 does not have; by V8's word it would be read as V8's.
    fn add_foreign(&mut self, name: &str) {
        if is_v8_word(name) {
            self.add(&format!("other {name}"));
        } else {
            self.add(name);
        }
    }
}

fn is_v8_word(name: &str) -> bool {
    NODE_KINDS.iter().any(|&kind| node_type_name(kind) == name)
        || EDGE_KINDS.iter().any(|&kind| edge_type_name(kind) == name)
        || name == node_type_name(NodeKind::WasmObject)
        || name == edge_type_name(EdgeKind::Invisible)
}

/// The `meta` that Node 24 writes, with the optional columns the graph has data for.
fn canonical_meta(graph: &HeapGraph, node_types: &[String], edge_types: &[String]) -> String {
    let facts = graph.v8();
    let mut node_fields = vec!["type", "name", "id", "self_size", "edge_count"];
    if !graph.traces().trace_of_node.is_empty() {
        node_fields.push("trace_node_id");
    }
    if facts.is_some_and(|facts| facts.detachedness.is_some()) {
        node_fields.push("detachedness");
    }
    let script_node = match graph.locations().iter().any(|l| l.script_node.is_some()) {
        true => "\"script_object_index\",",
        false => "",
    };
    let scopes = match facts.is_some_and(|facts| facts.scopes.is_some()) {
        true => SCOPE_META,
        false => "",
    };
    format!(
        "{{\"node_fields\":{},\"node_types\":[{}{}],\
        \"edge_fields\":[\"type\",\"name_or_index\",\"to_node\"],\
        \"edge_types\":[{},\"string_or_number\",\"node\"],\
        \"trace_function_info_fields\":[\"function_id\",\"name\",\"script_name\",\"script_id\",\"line\",\"column\"],\
        \"trace_node_fields\":[\"id\",\"function_info_index\",\"count\",\"size\",\"children\"],\
        \"sample_fields\":[\"timestamp_us\",\"last_assigned_id\"],\
        \"location_fields\":[\"object_index\",\"script_id\",{script_node}\"line\",\"column\"]{scopes}}}",
        json_list(&node_fields),
        json_list(node_types),
        // The types of the other fields: a string, then numbers.
        ",\"string\"".to_owned() + &",\"number\"".repeat(node_fields.len() - 2),
        json_list(edge_types),
    )
}

/// The fields of the scope tables as Chrome 156 names them.
const SCOPE_META: &str = concat!(
    r#","scope_fields":["script_node_index","scope_id","depth","scope_context_vars_count","scope_uses_count"]"#,
    r#","scope_context_var_fields":["name"]"#,
    r#","scope_use_fields":["declaring_scope_id","slot_index"]"#,
);

fn json_list<S: AsRef<str>>(names: &[S]) -> String {
    let mut text = vec![b'['];
    for (position, name) in names.iter().enumerate() {
        if position > 0 {
            text.push(b',');
        }
        push_string(&mut text, name.as_ref());
    }
    text.push(b']');
    String::from_utf8(text).expect("escaped strings are ASCII")
}
