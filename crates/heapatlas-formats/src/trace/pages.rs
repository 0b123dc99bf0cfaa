//! Which thread worked where: order between threads hangs on times only for addresses that several of
//! them allocate and free.

use rustc_hash::FxHashMap;

/// Bytes of memory that are looked at as one, as a power of two. Finer ones would take longer, coarser ones would be
/// shared more often.
const PAGE_BITS: u32 = 14;

/// For each page its thread; `None` for several.
#[derive(Default)]
pub(super) struct Pages(FxHashMap<u64, Option<u64>>);

/// The page of an address.
#[inline(always)]
pub(super) fn page_of(address: u64) -> u64 {
    address >> PAGE_BITS
}

impl Pages {
    /// Notes that a thread works on a page.
    pub fn touch(&mut self, page: u64, thread: u64) {
        let owner = self.0.entry(page).or_insert(Some(thread));
        if *owner != Some(thread) {
            *owner = None;
        }
    }

    /// Whether several threads work there.
    pub fn is_shared(&self, page: u64) -> bool {
        matches!(self.0.get(&page), Some(None))
    }

    /// Whether only this thread works anywhere.
    pub fn are_only_of(&self, thread: u64) -> bool {
        self.0.values().all(|owner| *owner == Some(thread))
    }
}
