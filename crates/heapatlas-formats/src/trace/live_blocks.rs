//! The blocks that are live, by address.

use hashbrown::HashMap;

use prefetch_index::prefetch_index;

/// A live block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LiveBlock {
    /// Requested bytes of all blocks that it stands for.
    pub bytes: u64,
    /// When it was allocated.
    pub tick: u64,
    /// Its stack, or [`NOT_COUNTED`](super::balance::NOT_COUNTED).
    pub stack: u32,
    /// Who allocated it.
    pub thread: u32,
    /// How many blocks it stands for: 1 unless it was sampled.
    pub blocks: u32,
}

/// Pages of memory that one region has, as a power of two.
const REGION_BITS: u32 = 7;
const REGION_PAGES: usize = 1 << REGION_BITS;
/// Bytes of memory that one page of slots stands for, as a power of two.
const PAGE_BITS: u32 = 12;
/// Allocators give addresses that are multiples of this power of two, nearly all of them.
const SLOT_BITS: u32 = 4;
const SLOTS: usize = 1 << (PAGE_BITS - SLOT_BITS);
/// A slot without a block, a page without slots.
const EMPTY: u32 = u32::MAX;

/// A page table, as a processor has one: blocks that lie near each other in memory, as those do that
/// were allocated one after the other, are found in the same cache lines. (A hash table puts each
/// of them somewhere else: with five million live blocks that took four times as long.)
pub(super) struct LiveBlocks {
    /// For each region of memory with blocks its pages: so few that they stay near.
    regions: HashMap<u64, u32>,
    /// For each page of memory in a region the page of slots, if it has any.
    pages: Vec<[u32; REGION_PAGES]>,
    /// For each slot the row of the block that begins there.
    slots: Vec<[u32; SLOTS]>,
    rows: Vec<LiveBlock>,
    /// Rows without a block.
    free_rows: Vec<u32>,
    /// The region that was asked for last.
    last: RegionHint,
    /// Blocks at addresses that have no slot.
    others: HashMap<u64, LiveBlock>,
    /// Pages of slots without a block, of no page of memory.
    free_pages: Vec<u32>,
    /// Regions without a page.
    free_regions: Vec<u32>,
    /// With so many pages of slots, those without a block are looked for before there are more: a program
    /// that runs for weeks touches many more pages of memory than it holds at a time.
    sweep_at: usize,
}

/// Below so many pages of slots (1 KiB each) it is not worth while to look for free ones.
const FEW_PAGES: usize = 4096;

/// The region that somebody asked for last, and its pages.
#[derive(Clone, Copy)]
pub(super) struct RegionHint(u64, u32);

impl Default for RegionHint {
    fn default() -> Self {
        // No region of memory has this number.
        Self(u64::MAX, 0)
    }
}

impl LiveBlocks {
    pub fn new() -> Self {
        Self::sweeping_from(FEW_PAGES)
    }

    fn sweeping_from(pages: usize) -> Self {
        Self {
            free_pages: Vec::new(),
            free_regions: Vec::new(),
            sweep_at: pages,
            regions: HashMap::new(),
            pages: Vec::new(),
            slots: Vec::new(),
            rows: Vec::new(),
            free_rows: Vec::new(),
            last: RegionHint::default(),
            others: HashMap::new(),
        }
    }

    /// Adds a block, and returns the one that was at its address.
    #[inline]
    pub fn insert(&mut self, address: u64, block: LiveBlock) -> Option<LiveBlock> {
        if !has_slot(address) {
            return self.others.insert(address, block);
        }
        let page = self.page_or_new(address);
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

    /// Has the slot of an address brought from memory.
    #[inline]
    pub fn prefetch_slot(&self, address: u64, last: &mut RegionHint) {
        if let Some(page) = self.page_near(address, last) {
            prefetch_index(&self.slots[page as usize][..], slot_of(address));
        }
    }

    /// Has the row of an address brought from memory; its slot should be there.
    #[inline]
    pub fn prefetch_row(&self, address: u64, last: &mut RegionHint) {
        if let Some(page) = self.page_near(address, last) {
            let row = self.slots[page as usize][slot_of(address)];
            prefetch_index(&self.rows, row as usize);
        }
    }

    #[inline]
    fn page_near(&self, address: u64, last: &mut RegionHint) -> Option<u32> {
        let page = address >> PAGE_BITS;
        let region = page >> REGION_BITS;
        if last.0 != region {
            *last = RegionHint(region, *self.regions.get(&region)?);
        }
        let page = self.pages[last.1 as usize][page as usize % REGION_PAGES];
        (page != EMPTY).then_some(page)
    }

    /// Takes the block at an address out.
    #[inline]
    pub fn remove(&mut self, address: u64) -> Option<LiveBlock> {
        if !has_slot(address) {
            return self.others.remove(&address);
        }
        let page = self.page(address)?;
        let slot = &mut self.slots[page as usize][slot_of(address)];
        let row = std::mem::replace(slot, EMPTY);
        if row == EMPTY {
            return None;
        }
        self.free_rows.push(row);
        Some(self.rows[row as usize])
    }

    #[inline]
    fn page(&mut self, address: u64) -> Option<u32> {
        let mut last = self.last;
        let page = self.page_near(address, &mut last);
        self.last = last;
        page
    }

    #[inline]
    fn page_or_new(&mut self, address: u64) -> u32 {
        match self.page(address) {
            Some(page) => page,
            None => self.new_page(address >> PAGE_BITS),
        }
    }

    #[inline(never)]
    fn new_page(&mut self, page: u64) -> u32 {
        if self.free_pages.is_empty() && self.slots.len() >= self.sweep_at {
            self.sweep();
        }
        let region = self.region_or_new(page >> REGION_BITS);
        let slots = self.free_pages.pop().unwrap_or_else(|| {
            self.slots.push([EMPTY; SLOTS]);
            self.slots.len() as u32 - 1
        });
        self.pages[region as usize][page as usize % REGION_PAGES] = slots;
        slots
    }

    fn region_or_new(&mut self, region: u64) -> u32 {
        let (pages, free) = (&mut self.pages, &mut self.free_regions);
        *self.regions.entry(region).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                pages.push([EMPTY; REGION_PAGES]);
                pages.len() as u32 - 1
            })
        })
    }

    /// Takes the pages of slots without a block from their pages of memory. Not again before there are
    /// twice as many as are left: all sweeps together cost no more than making the pages did.
    fn sweep(&mut self) {
        let (all_slots, free_pages) = (&self.slots, &mut self.free_pages);
        let (pages, free_regions) = (&mut self.pages, &mut self.free_regions);
        let is_free = |slots: u32| all_slots[slots as usize].iter().all(|&slot| slot == EMPTY);
        self.regions.retain(|_, &mut region| {
            let mut is_used = false;
            for slots in &mut pages[region as usize] {
                if *slots != EMPTY && is_free(*slots) {
                    free_pages.push(std::mem::replace(slots, EMPTY));
                }
                is_used |= *slots != EMPTY;
            }
            if !is_used {
                free_regions.push(region);
            }
            is_used
        });
        self.last = RegionHint::default();
        let used = self.slots.len() - self.free_pages.len();
        self.sweep_at = self.sweep_at.max(2 * used);
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
