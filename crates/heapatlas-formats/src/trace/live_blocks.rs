//! The blocks that are live, by address.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use prefetch_index::prefetch_index;

/// A live block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LiveBlock {
    /// Requested bytes of all blocks that it stands for.
    pub bytes: u64,
    /// When it was allocated.
    pub tick: u64,
    /// Its stack, or [`NOT_COUNTED`](super::ledger::NOT_COUNTED).
    pub stack: u32,
    /// Who allocated it.
    pub thread: u32,
    /// How many blocks it stands for: 1 unless it was sampled.
    pub blocks: u32,
}

/// Bytes of memory that one page of slots stands for, as a power of two.
const PAGE_BITS: u32 = 12;
/// Allocators give addresses that are multiples of this power of two, nearly all of them.
const SLOT_BITS: u32 = 4;
const SLOTS: usize = 1 << (PAGE_BITS - SLOT_BITS);
/// A slot without a block.
const EMPTY: u32 = u32::MAX;

/// A page table, as a processor has one: blocks that lie near each other in memory, as those do that
/// were allocated one after the other, are found in the same cache lines. (A hash table puts each
/// of them somewhere else: with five million live blocks that took four times as long.)
pub(super) struct LiveBlocks {
    /// For each page of memory with blocks the page of slots.
    pages: HashMap<u64, u32>,
    /// For each slot the row of the block that begins there.
    slots: Vec<[u32; SLOTS]>,
    rows: Vec<LiveBlock>,
    /// Rows without a block.
    free_rows: Vec<u32>,
    /// The page that was asked for last.
    last: (u64, u32),
    /// Blocks at addresses that have no slot.
    others: HashMap<u64, LiveBlock>,
    /// Pages of slots without a block, of no page of memory.
    free_pages: Vec<u32>,
    /// With so many pages of slots, those without a block are looked for before there are more: a program
    /// that runs for weeks touches many more pages of memory than it holds at a time.
    sweep_at: usize,
}

/// Below so many pages of slots (1 KiB each) it is not worth while to look for free ones.
const FEW_PAGES: usize = 4096;

/// No page of memory has this number.
const NO_PAGE: u64 = u64::MAX;

impl LiveBlocks {
    pub fn new() -> Self {
        Self::sweeping_from(FEW_PAGES)
    }

    fn sweeping_from(pages: usize) -> Self {
        Self {
            free_pages: Vec::new(),
            sweep_at: pages,
            pages: HashMap::new(),
            slots: Vec::new(),
            rows: Vec::new(),
            free_rows: Vec::new(),
            last: (NO_PAGE, 0),
            others: HashMap::new(),
        }
    }

    /// Adds a block, and returns the one that was at its address.
    #[inline]
    pub fn insert(&mut self, address: u64, block: LiveBlock) -> Option<LiveBlock> {
        if !has_slot(address) {
            return self.others.insert(address, block);
        }
        let page = self.page_or_new(address >> PAGE_BITS);
        let slot = &mut self.slots[page as usize][slot_of(address)];
        if *slot != EMPTY {
            return Some(std::mem::replace(&mut self.rows[*slot as usize], block));
        }
        *slot = match self.free_rows.pop() {
            Some(row) => {
                self.rows[row as usize] = block;
                row
            }
            None => {
                self.rows.push(block);
                self.rows.len() as u32 - 1
            }
        };
        None
    }

    /// Has the row of an address brought from memory.
    #[inline]
    pub fn prefetch(&self, address: u64) {
        // The slot is near the one before; only the row may be far.
        if self.last.0 == address >> PAGE_BITS {
            let row = self.slots[self.last.1 as usize][slot_of(address)];
            prefetch_index(&self.rows, row as usize);
        }
    }

    /// Takes the block at an address out.
    #[inline]
    pub fn remove(&mut self, address: u64) -> Option<LiveBlock> {
        if !has_slot(address) {
            return self.others.remove(&address);
        }
        let page = self.page(address >> PAGE_BITS)?;
        let slot = &mut self.slots[page as usize][slot_of(address)];
        let row = std::mem::replace(slot, EMPTY);
        if row == EMPTY {
            return None;
        }
        self.free_rows.push(row);
        Some(self.rows[row as usize])
    }

    #[inline]
    fn page(&mut self, number: u64) -> Option<u32> {
        if self.last.0 != number {
            self.last = (number, *self.pages.get(&number)?);
        }
        Some(self.last.1)
    }

    #[inline]
    fn page_or_new(&mut self, number: u64) -> u32 {
        if self.last.0 != number {
            let page = match self.pages.entry(number) {
                Entry::Occupied(page) => *page.get(),
                Entry::Vacant(_) => self.new_page(number),
            };
            self.last = (number, page);
        }
        self.last.1
    }

    #[cold]
    fn new_page(&mut self, number: u64) -> u32 {
        if self.free_pages.is_empty() && self.slots.len() >= self.sweep_at {
            self.sweep();
        }
        let page = self.free_pages.pop().unwrap_or_else(|| {
            self.slots.push([EMPTY; SLOTS]);
            self.slots.len() as u32 - 1
        });
        self.pages.insert(number, page);
        page
    }

    /// Takes the pages of slots without a block from their pages of memory. Not again before there are
    /// twice as many as are left: all sweeps together cost no more than making the pages did.
    fn sweep(&mut self) {
        let (slots, free_pages) = (&self.slots, &mut self.free_pages);
        self.pages.retain(|_, &mut page| {
            let is_used = slots[page as usize].iter().any(|&slot| slot != EMPTY);
            if !is_used {
                free_pages.push(page);
            }
            is_used
        });
        self.last = (NO_PAGE, 0);
        self.sweep_at = self.sweep_at.max(2 * self.pages.len());
    }
}

#[inline]
fn has_slot(address: u64) -> bool {
    address.is_multiple_of(1 << SLOT_BITS)
}

#[inline]
fn slot_of(address: u64) -> usize {
    (address >> SLOT_BITS) as usize & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Few addresses, so that most are live now and then.
        #[test]
        fn as_a_map_says(
            script in prop::collection::vec((any::<bool>(), 0_u64..3000), 0..9000),
            stride in prop::sample::select(vec![1_u64, 8, 16, 4096]),
        ) {
            let (mut blocks, mut map) = (LiveBlocks::sweeping_from(16), HashMap::new());
            for (index, &(inserts, number)) in script.iter().enumerate() {
                let address = number * stride;
                if inserts {
                    let block = LiveBlock { bytes: index as u64, tick: 0, stack: 0, thread: 0, blocks: 1 };
                    prop_assert_eq!(blocks.insert(address, block), map.insert(address, block));
                } else {
                    prop_assert_eq!(blocks.remove(address), map.remove(&address));
                }
            }
            for address in (0..3000).map(|number| number * stride) {
                prop_assert_eq!(blocks.remove(address), map.remove(&address));
            }
        }
    }
}
