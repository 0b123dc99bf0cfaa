//! Which edges every walk follows without a second look.

use heapatlas_model::{EdgeKind, StringId};

use crate::graph_facts::GraphFacts;

/// A bit for each edge: set where it is neither weak nor a shortcut, nor named as the part of a
/// WeakMap's entry.
///
/// Walks come to nodes in random order. With these bits, which fit a cache, they need not fetch
/// type and label of nearly any edge from memory.
pub(crate) struct PlainEdges {
    words: Vec<u64>,
}

impl PlainEdges {
    /// Looks at all edges, from front to back.
    pub fn find(facts: &GraphFacts<'_>) -> Self {
        let columns = facts.graph.columns();
        let is_plain = facts
            .edge_kinds
            .map(|kind| !matches!(kind, EdgeKind::Weak | EdgeKind::Shortcut));
        let is_internal = facts.edge_kinds.map(|kind| kind == EdgeKind::Internal);
        let kinds = columns.edge_type.chunks(64);
        let labels = columns.edge_label.chunks(64);
        let word = |(kinds, labels): (&[u8], &[u32])| {
            let bit = |(&kind, &label): (&u8, &u32)| {
                let of_weak_map =
                    is_internal[kind as usize] && facts.weak_maps.get(StringId(label)).is_some();
                is_plain[kind as usize] && !of_weak_map
            };
            let bits = kinds.iter().zip(labels).map(bit);
            (0..)
                .zip(bits)
                .fold(0, |word, (at, is_set)| word | u64::from(is_set) << at)
        };
        Self {
            words: kinds.zip(labels).map(word).collect(),
        }
    }

    /// Whether the edge of this row is plain.
    #[inline]
    pub fn contains(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 != 0
    }
}
