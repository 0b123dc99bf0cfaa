//! How V8 lays out the table of a Map or Set.

use heapatlas_model::{EdgeId, EdgeKind, HeapGraph, NodeId, NodeKind};

/// Whether a numbered edge of a map's table leads to a key.
///
/// V8 numbers the slots of a table: three of its own, as many buckets as a power of two says,
/// then for two entries a bucket the key, the value, and the next entry of the bucket.
/// How many buckets there are follows from the size.
pub fn is_map_key(graph: &HeapGraph, table: NodeId, edge: EdgeId) -> bool {
    if graph.kind(table) != NodeKind::Array || graph.edge_kind(edge) != EdgeKind::Internal {
        return false;
    }
    let slot: Option<u64> = graph.label_text(edge).parse().ok();
    let bytes = graph.columns().self_size.get(table.index());
    let buckets = buckets(bytes, 8).or_else(|| buckets(bytes, 4));
    match (slot, buckets) {
        (Some(slot), Some(buckets)) => slot >= 3 + buckets && (slot - buckets).is_multiple_of(3),
        _ => false,
    }
}

/// The number of buckets of a map's table of this size, if it is one.
fn buckets(table_bytes: u64, slot_bytes: u64) -> Option<u64> {
    // Shape and length go before the slots.
    let slots = table_bytes.checked_sub(2 * slot_bytes)? / slot_bytes;
    let buckets = slots.checked_sub(3)? / 7;
    (buckets.is_power_of_two() && table_bytes == (5 + 7 * buckets) * slot_bytes).then_some(buckets)
}
