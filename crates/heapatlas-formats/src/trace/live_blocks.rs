//! The blocks that are live, by address.

use std::hash::{BuildHasher, RandomState};

use prefetch_index::prefetch_index;

/// A live block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LiveBlock {
    pub size_bytes: u64,
    /// When it was allocated.
    pub tick: u64,
    /// Its stack, or [`NOT_COUNTED`](super::ledger::NOT_COUNTED).
    pub stack: u32,
    /// Who allocated it.
    pub thread: u32,
}

/// A hash table with open addressing: a row is half a cache line and holds the key, so that most
/// look-ups touch one line. Removing moves rows back, so no row is ever marked as deleted.
pub(super) struct LiveBlocks {
    rows: Vec<Row>,
    count: usize,
    /// Addresses in a file may be chosen by somebody; this is not known to them.
    seed: u64,
}

#[derive(Clone, Copy)]
struct Row {
    address: u64,
    block: LiveBlock,
}

/// A row's thread where there is no block: no address is free to say so.
const NO_THREAD: u32 = u32::MAX;

const EMPTY: Row = Row {
    address: 0,
    block: LiveBlock {
        size_bytes: 0,
        tick: 0,
        stack: 0,
        thread: NO_THREAD,
    },
};

impl LiveBlocks {
    pub fn new() -> Self {
        Self {
            rows: vec![EMPTY; 1024],
            count: 0,
            seed: RandomState::new().hash_one(0),
        }
    }

    /// Adds a block, and returns the one that was at its address.
    #[inline]
    pub fn insert(&mut self, address: u64, block: LiveBlock) -> Option<LiveBlock> {
        debug_assert_ne!(block.thread, NO_THREAD);
        let at = self.find(address);
        let row = &mut self.rows[at];
        let before = std::mem::replace(row, Row { address, block });
        if before.is_empty() {
            self.count += 1;
            // Three quarters: longer runs cost more than the memory.
            if self.count * 4 > self.rows.len() * 3 {
                self.grow();
            }
            return None;
        }
        Some(before.block)
    }

    /// Has the row of an address brought from memory.
    #[inline]
    pub fn prefetch(&self, address: u64) {
        prefetch_index(&self.rows, self.home(address));
    }

    /// Takes the block at an address out.
    #[inline]
    pub fn remove(&mut self, address: u64) -> Option<LiveBlock> {
        let at = self.find(address);
        let row = self.rows[at];
        if row.is_empty() {
            return None;
        }
        self.count -= 1;
        self.close_gap(at);
        Some(row.block)
    }

    /// The row of an address, or the empty one where it would be. There always is an empty row.
    #[inline]
    fn find(&self, address: u64) -> usize {
        let mut at = self.home(address);
        loop {
            let row = &self.rows[at];
            if row.address == address && !row.is_empty() || row.is_empty() {
                return at;
            }
            at = (at + 1) & (self.rows.len() - 1);
        }
    }

    /// Moves rows behind a gap to where they are found without it.
    #[inline]
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.rows.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let row = self.rows[at];
            if row.is_empty() {
                break;
            }
            let from_home = at.wrapping_sub(self.home(row.address)) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.rows[gap] = row;
                gap = at;
            }
        }
        self.rows[gap] = EMPTY;
    }

    fn grow(&mut self) {
        let larger = vec![EMPTY; self.rows.len() * 2];
        let rows = std::mem::replace(&mut self.rows, larger);
        for row in rows.into_iter().filter(|row| !row.is_empty()) {
            let at = self.find(row.address);
            self.rows[at] = row;
        }
    }

    /// The row where the search for an address begins.
    #[inline]
    fn home(&self, address: u64) -> usize {
        let product = u128::from(address ^ self.seed) * 0x9E37_79B9_7F4A_7C15;
        (product as u64 ^ (product >> 64) as u64) as usize & (self.rows.len() - 1)
    }
}

impl Row {
    #[inline]
    fn is_empty(&self) -> bool {
        self.block.thread == NO_THREAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Few addresses, so that most are live now and then.
        #[test]
        fn as_a_map_says(script in prop::collection::vec((any::<bool>(), 0_u64..3000), 0..9000)) {
            let (mut blocks, mut map) = (LiveBlocks::new(), HashMap::new());
            for (index, &(inserts, address)) in script.iter().enumerate() {
                if inserts {
                    let block = LiveBlock { size_bytes: index as u64, tick: 0, stack: 0, thread: 0 };
                    prop_assert_eq!(blocks.insert(address, block), map.insert(address, block));
                } else {
                    prop_assert_eq!(blocks.remove(address), map.remove(&address));
                }
            }
            for address in 0..3000 {
                prop_assert_eq!(blocks.remove(address), map.remove(&address));
            }
        }
    }
}
