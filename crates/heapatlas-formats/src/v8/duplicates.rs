//! Object ids that occur twice.

use std::collections::HashSet;

use heapatlas_model::UintColumn;

/// How many rows have an id that an earlier row has. Zero is no id and not counted.
///
/// Runtimes number objects densely, so a bit for each possible id is small; the few large ones
/// (hashes of addresses) go to a hash set.
pub(super) fn count_duplicates(ids: &UintColumn) -> usize {
    let dense_limit = ids.len() as u64 * 16;
    let mut seen = vec![0_u64; (dense_limit / 64 + 1) as usize];
    let mut seen_large = HashSet::new();
    let mut duplicates = 0;
    for id in ids.iter().filter(|&id| id != 0) {
        if id < dense_limit {
            let word = &mut seen[(id / 64) as usize];
            let bit = 1 << (id % 64);
            duplicates += usize::from(*word & bit != 0);
            *word |= bit;
        } else {
            duplicates += usize::from(!seen_large.insert(id));
        }
    }
    duplicates
}
