//! The `snapshot` member: which columns the file has, and where. Positions and type numbers
//! differ by version and writer, so everything is looked up by name.

use heapatlas_model::{EdgeKind, EdgeType, NodeKind, NodeType};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::Problem;

/// Columns by name, types by number.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub meta_json: String,
    pub node: NodeFields,
    pub edge: EdgeFields,
    pub node_types: Vec<NodeType>,
    pub edge_types: Vec<EdgeType>,
    pub trace_function: Fields,
    pub trace_node: Fields,
    pub sample: Fields,
    pub location: Fields,
    /// Only hints: writers get them wrong.
    pub node_count: Option<u64>,
    pub edge_count: Option<u64>,
    /// As a node index.
    pub root_index: Option<u64>,
    pub extra_native_bytes: Option<u64>,
}

/// Where the columns of a node row stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeFields {
    pub stride: usize,
    pub kind: usize,
    pub name: usize,
    pub id: usize,
    pub self_size: usize,
    pub edge_count: usize,
    pub trace_node_id: Option<usize>,
    pub detachedness: Option<usize>,
}

/// Where the columns of an edge row stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EdgeFields {
    pub stride: usize,
    pub kind: usize,
    pub label: usize,
    pub to_node: usize,
}

/// The names of a table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields(Vec<String>);

impl Fields {
    pub fn stride(&self) -> usize {
        self.0.len()
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|field| field == name)
    }
}

/// Rows longer than this are no snapshot's; the number scanner's buffer holds many of them.
const MAX_STRIDE: usize = 64;

impl Layout {
    /// Reads the text of the `snapshot` member.
    pub fn parse(text: &[u8]) -> Result<Self, Problem> {
        let not_a_snapshot = |what: &str| Problem::NotASnapshot(what.to_owned());
        let text =
            std::str::from_utf8(text).map_err(|_| not_a_snapshot("`snapshot` is not UTF-8"))?;
        let header: Value = serde_json::from_str(text)
            .map_err(|error| not_a_snapshot(&format!("`snapshot` cannot be read: {error}")))?;
        let header = header
            .as_object()
            .ok_or_else(|| not_a_snapshot("`snapshot` is not an object"))?;
        let meta = header
            .get("meta")
            .and_then(Value::as_object)
            .ok_or_else(|| not_a_snapshot("`snapshot.meta` is missing"))?;
        let count = |name: &str| header.get(name).and_then(unsigned);
        Ok(Self {
            meta_json: raw_meta(text)
                .ok_or_else(|| not_a_snapshot("`snapshot.meta` is missing"))?,
            node: node_fields(&fields(meta, "node_fields"))?,
            edge: edge_fields(&fields(meta, "edge_fields"))?,
            node_types: type_names(meta, "node_types", "node_fields")?
                .into_iter()
                .map(|name| NodeType {
                    kind: node_kind(&name),
                    name,
                })
                .collect(),
            edge_types: type_names(meta, "edge_types", "edge_fields")?
                .into_iter()
                .map(|name| EdgeType {
                    kind: edge_kind(&name),
                    name,
                })
                .collect(),
            trace_function: fields(meta, "trace_function_info_fields"),
            trace_node: fields(meta, "trace_node_fields"),
            sample: fields(meta, "sample_fields"),
            location: fields(meta, "location_fields"),
            node_count: count("node_count"),
            edge_count: count("edge_count"),
            root_index: count("root_index"),
            extra_native_bytes: count("extra_native_bytes"),
        })
    }
}

/// A count; a float is cut, a negative number is no count.
fn unsigned(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|&float| float >= 0.0)
            .map(|float| float as u64)
    })
}

/// The text of `meta`, byte for byte.
fn raw_meta(text: &str) -> Option<String> {
    let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    members.get("meta").map(|meta| meta.get().to_owned())
}

fn fields(meta: &Map<String, Value>, name: &str) -> Fields {
    let names = meta.get(name).and_then(Value::as_array);
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    Fields(
        names
            .map(|names| names.iter().map(text).collect())
            .unwrap_or_default(),
    )
}

fn node_fields(fields: &Fields) -> Result<NodeFields, Problem> {
    let position = |name| required(fields, "node_fields", name);
    Ok(NodeFields {
        stride: checked_stride(fields, "node_fields")?,
        kind: position("type")?,
        name: position("name")?,
        id: position("id")?,
        self_size: position("self_size")?,
        edge_count: position("edge_count")?,
        trace_node_id: fields.position("trace_node_id"),
        detachedness: fields.position("detachedness"),
    })
}

fn edge_fields(fields: &Fields) -> Result<EdgeFields, Problem> {
    let position = |name| required(fields, "edge_fields", name);
    Ok(EdgeFields {
        stride: checked_stride(fields, "edge_fields")?,
        kind: position("type")?,
        label: position("name_or_index")?,
        to_node: position("to_node")?,
    })
}

fn checked_stride(fields: &Fields, list: &str) -> Result<usize, Problem> {
    match fields.stride() {
        stride if stride <= MAX_STRIDE => Ok(stride),
        stride => Err(Problem::NotASnapshot(format!(
            "`snapshot.meta.{list}` has {stride} entries; at most {MAX_STRIDE} are read"
        ))),
    }
}

fn required(fields: &Fields, list: &str, name: &str) -> Result<usize, Problem> {
    fields
        .position(name)
        .ok_or_else(|| Problem::NotASnapshot(format!("`snapshot.meta.{list}` lacks `{name}`")))
}

/// The type names: the entry at the position of `type`. (Node 24 lists more entries than fields.)
fn type_names(meta: &Map<String, Value>, types: &str, list: &str) -> Result<Vec<String>, Problem> {
    let position = required(&fields(meta, list), list, "type")?;
    let names = meta
        .get(types)
        .and_then(|entries| entries.get(position))
        .and_then(Value::as_array)
        .ok_or_else(|| {
            Problem::NotASnapshot(format!("`snapshot.meta.{types}` lists no type names"))
        })?;
    if names.len() > 256 {
        return Err(Problem::NotASnapshot(format!(
            "`snapshot.meta.{types}` lists over 256 types"
        )));
    }
    Ok(names
        .iter()
        .map(|name| name.as_str().unwrap_or_default().to_owned())
        .collect())
}

fn node_kind(name: &str) -> NodeKind {
    match name {
        "hidden" => NodeKind::Hidden,
        "array" => NodeKind::Array,
        "string" => NodeKind::String,
        "object" => NodeKind::Object,
        "code" => NodeKind::Code,
        "closure" => NodeKind::Closure,
        "regexp" => NodeKind::RegExp,
        "number" => NodeKind::Number,
        "native" => NodeKind::Native,
        "synthetic" => NodeKind::Synthetic,
        "concatenated string" => NodeKind::ConcatenatedString,
        "sliced string" => NodeKind::SlicedString,
        "symbol" => NodeKind::Symbol,
        "bigint" => NodeKind::BigInt,
        "object shape" => NodeKind::ObjectShape,
        "wasm object" => NodeKind::WasmObject,
        _ => NodeKind::Other,
    }
}

fn edge_kind(name: &str) -> EdgeKind {
    match name {
        "context" => EdgeKind::Context,
        "element" => EdgeKind::Element,
        "property" => EdgeKind::Property,
        "internal" => EdgeKind::Internal,
        "hidden" => EdgeKind::Hidden,
        "shortcut" => EdgeKind::Shortcut,
        "weak" => EdgeKind::Weak,
        "invisible" => EdgeKind::Invisible,
        _ => EdgeKind::Other,
    }
}
