//! What only V8 snapshots carry.

use crate::NodeId;

/// Facts of a V8 snapshot that the graph itself has no place for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct V8Facts {
    /// The text of the `meta` object as the file has it, for writing the file again.
    pub meta_json: String,
    /// Bytes known to the embedder that belong to no node.
    pub extra_native_bytes: Option<u64>,
    /// Whether the file has a `root_index`.
    pub has_root_index: bool,
    /// Detachedness, where the file has the column.
    pub detachedness: Option<Detachedness>,
    /// Scope tables (V8 15 and later), flat as in the file.
    pub scopes: Option<ScopeTables>,
}

/// Which native nodes are part of a document, as the writer saw it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Detachedness {
    /// Nodes whose value is not 0, in ascending order: 1 attached, 2 detached.
    pub marked: Vec<(NodeId, u8)>,
}

/// Scopes of the scripts, which variables they capture and which scopes use them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ScopeTables {
    /// Rows as `meta.scope_fields` names them.
    pub scopes: Vec<i64>,
    /// Rows as `meta.scope_context_var_fields` names them.
    pub context_vars: Vec<i64>,
    /// Rows as `meta.scope_use_fields` names them.
    pub uses: Vec<i64>,
}
