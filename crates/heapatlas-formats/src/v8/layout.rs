//! The `snapshot` member: which columns the file has, and where. Positions and type numbers
//! differ by version and writer, so everything is looked up by name.

use std::collections::BTreeMap;

use heapatlas_model::{EdgeKind, EdgeType, NodeKind, NodeType};
use serde_json::value::RawValue;

use super::error::Problem;
use super::numbers::{Number, parse_json_number};

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
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let not_a_snapshot = |what: &str| Problem::NotASnapshot(what.to_owned());
        // Members stay unparsed until one is looked at, so that unknown ones may hold anything,
        // however deep.
        let header: Members<'_> = serde_json::from_str(text)
            .map_err(|error| not_a_snapshot(&format!("`snapshot` cannot be read: {error}")))?;
        let meta_json = header
            .get("meta")
            .ok_or_else(|| not_a_snapshot("`snapshot.meta` is missing"))?
            .get();
        let meta: Members<'_> = serde_json::from_str(meta_json)
            .map_err(|error| not_a_snapshot(&format!("`snapshot.meta` cannot be read: {error}")))?;
        let meta = &meta;
        let count = |name: &str| header.get(name).and_then(|value| unsigned(value));
        let small_table = |name: &str| -> Result<Fields, Problem> {
            let fields = fields(meta, name);
            checked_stride(&fields, name)?;
            Ok(fields)
        };
        Ok(Self {
            meta_json: meta_json.to_owned(),
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
            trace_function: small_table("trace_function_info_fields")?,
            trace_node: small_table("trace_node_fields")?,
            sample: small_table("sample_fields")?,
            location: small_table("location_fields")?,
            node_count: count("node_count"),
            edge_count: count("edge_count"),
            root_index: count("root_index"),
            extra_native_bytes: count("extra_native_bytes"),
        })
    }
}

/// The members of a JSON object, unparsed.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// A count; a float is cut, a number too large clamped; a negative number is no count.
fn unsigned(value: &RawValue) -> Option<u64> {
    match parse_json_number(value.get().as_bytes())? {
        Number::Unsigned(count) => Some(count),
        Number::TooLarge => Some(u64::MAX),
        Number::Negative => None,
    }
}

fn fields(meta: &Members<'_>, name: &str) -> Fields {
    Fields(
        meta.get(name)
            .and_then(|list| texts(list))
            .unwrap_or_default(),
    )
}

/// The strings of a list, empty where an entry is no string.
fn texts(list: &RawValue) -> Option<Vec<String>> {
    let text = |entry: &&RawValue| serde_json::from_str(entry.get()).unwrap_or_default();
    Some(entries(list)?.iter().map(text).collect())
}

fn entries(list: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(list.get()).ok()
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
fn type_names(meta: &Members<'_>, types: &str, list: &str) -> Result<Vec<String>, Problem> {
    let position = required(&fields(meta, list), list, "type")?;
    let names = meta
        .get(types)
        .and_then(|lists| entries(lists))
        .and_then(|lists| texts(lists.get(position)?))
        .ok_or_else(|| {
            Problem::NotASnapshot(format!("`snapshot.meta.{types}` lists no type names"))
        })?;
    if names.len() > 256 {
        return Err(Problem::NotASnapshot(format!(
            "`snapshot.meta.{types}` lists over 256 types"
        )));
    }
    Ok(names)
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
