//! Counting without stacks: each thread adds to a place of its own, and nobody waits for anybody.
//!
//! ```text
//! thread-local pointer -> Place (own pages): allocated, freed (bytes, blocks); the highest level of bytes
//!                           |  every 64 KiB
//!                           v
//!                         LIVE, PEAK of the process
//! ```
//!
//! The totals of the process are the sums over the places, exact whenever no other thread allocates. The peak is exact
//! while one thread allocates; with more, each other thread may hold back less than 64 KiB of what it has
//! allocated or freed, so the peak is off by at most that for each of them.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64};

use heapatlas_record::segments::{Segments, Zeroed};

use crate::os::{KeepErrno, ThreadEnd};

/// What one thread has allocated and freed since it began (or since counting began). Frees count for the thread that
/// frees, so a thread that frees what others made may free more than it allocates.
///
/// A reallocation counts as a block freed and a block allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ThreadTotals {
    /// Bytes of all blocks that were allocated.
    pub allocated_bytes: u64,
    /// Blocks that were allocated.
    pub allocated_blocks: u64,
    /// Bytes of all blocks that were freed.
    pub freed_bytes: u64,
    /// Blocks that were freed.
    pub freed_blocks: u64,
}

/// What all threads of the process have allocated and freed since counting began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ProcessTotals {
    /// Bytes of all blocks that were allocated.
    pub allocated_bytes: u64,
    /// Blocks that were allocated.
    pub allocated_blocks: u64,
    /// Bytes of all blocks that were freed.
    pub freed_bytes: u64,
    /// Blocks that were freed.
    pub freed_blocks: u64,
    /// Allocated and not freed. Below zero when blocks are freed that were made before counting began.
    pub live_bytes: i64,
    /// Allocated and not freed.
    pub live_blocks: i64,
    /// The highest value of `live_bytes`: exact while one thread allocates, else off by less than 64 KiB for each
    /// further thread.
    pub peak_bytes: i64,
}

/// The totals of this thread.
#[must_use]
pub fn thread_totals() -> ThreadTotals {
    place().totals()
}

/// The totals of the process. Costs a look at a place for each thread.
#[must_use]
pub fn process_totals() -> ProcessTotals {
    let mut sums = Sums::default();
    let mut highest = 0;
    for number in 0..PLACES.count.load(Acquire) {
        if let Some(place) = PLACES.places.get(number) {
            sums.add(place.sums());
            highest = highest.max(place.untold_peak());
        }
    }
    sums.add(NO_PLACE.sums());
    let live_bytes = difference(sums.allocated_bytes, sums.freed_bytes);
    let live_blocks = difference(sums.allocated_blocks, sums.freed_blocks);
    let peak = PEAK.load(Relaxed).max(LIVE.load(Relaxed) + highest);
    ProcessTotals {
        allocated_bytes: sums.allocated_bytes,
        allocated_blocks: sums.allocated_blocks,
        freed_bytes: sums.freed_bytes,
        freed_blocks: sums.freed_blocks,
        live_bytes,
        live_blocks,
        peak_bytes: peak.max(live_bytes),
    }
}

/// What this thread has allocated and not freed, as [`begin_peak`] and [`end_peak`] count it.
pub(crate) fn thread_level() -> i64 {
    place().level()
}

/// Begins to look for a peak of what this thread has allocated and not freed; gives the one that was looked for
/// outside, for [`end_peak`].
pub(crate) fn begin_peak() -> i64 {
    place().begin_peak()
}

/// The highest level since [`begin_peak`], and goes on with the outer one.
pub(crate) fn end_peak(outer: i64) -> i64 {
    place().end_peak(outer)
}

/// Counts a block that was made by this thread.
#[inline(always)]
pub(super) fn count_allocation(bytes: usize) {
    let place = place();
    add(&place.sums.allocated_bytes, bytes as u64);
    add(&place.sums.allocated_blocks, 1);
    place.has_grown();
}

/// Counts a block that this thread is about to free.
#[inline(always)]
pub(super) fn count_free(bytes: usize) {
    let place = place();
    add(&place.sums.freed_bytes, bytes as u64);
    add(&place.sums.freed_blocks, 1);
    place.has_shrunk();
}

/// Counts a block that was moved or resized by this thread: both sizes are not there at once.
#[inline(always)]
pub(super) fn count_reallocation(old_bytes: usize, new_bytes: usize) {
    let place = place();
    add(&place.sums.freed_bytes, old_bytes as u64);
    add(&place.sums.freed_blocks, 1);
    add(&place.sums.allocated_bytes, new_bytes as u64);
    add(&place.sums.allocated_blocks, 1);
    place.has_grown();
    place.has_shrunk();
}

/// What is live in the process as far as threads have told.
static LIVE: AtomicI64 = AtomicI64::new(0);

/// The highest value of it.
static PEAK: AtomicI64 = AtomicI64::new(0);

/// A thread tells the process when it is off by so many bytes.
const STEP: i64 = 64 << 10;

/// Where one thread counts. Only that thread writes to it; all may read.
#[repr(align(128))]
struct Place {
    sums: AtomicSums,
    /// The highest level since [`Place::tell`] or [`Place::begin_peak`]. A level is what was allocated less what was
    /// freed.
    peak: AtomicI64,
    /// The level that the process knows of.
    told: AtomicI64,
    /// The highest level since then, but for `peak`.
    peak_since_told: AtomicI64,
    /// The highest level since a peak was begun to be looked for, but for `peak`.
    peak_since_begun: AtomicI64,
    /// The sums when this thread took the place: those before were of other threads.
    before: AtomicSums,
    /// A thread had it and has ended.
    is_free: AtomicBool,
}

// SAFETY: atomics of zero.
unsafe impl Zeroed for Place {}

struct AtomicSums {
    allocated_bytes: AtomicU64,
    allocated_blocks: AtomicU64,
    freed_bytes: AtomicU64,
    freed_blocks: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    allocated_bytes: u64,
    allocated_blocks: u64,
    freed_bytes: u64,
    freed_blocks: u64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.allocated_bytes = self.allocated_bytes.wrapping_add(other.allocated_bytes);
        self.allocated_blocks = self.allocated_blocks.wrapping_add(other.allocated_blocks);
        self.freed_bytes = self.freed_bytes.wrapping_add(other.freed_bytes);
        self.freed_blocks = self.freed_blocks.wrapping_add(other.freed_blocks);
    }
}

impl AtomicSums {
    const fn new() -> Self {
        Self {
            allocated_bytes: AtomicU64::new(0),
            allocated_blocks: AtomicU64::new(0),
            freed_bytes: AtomicU64::new(0),
            freed_blocks: AtomicU64::new(0),
        }
    }

    fn load(&self) -> Sums {
        Sums {
            allocated_bytes: self.allocated_bytes.load(Relaxed),
            allocated_blocks: self.allocated_blocks.load(Relaxed),
            freed_bytes: self.freed_bytes.load(Relaxed),
            freed_blocks: self.freed_blocks.load(Relaxed),
        }
    }

    fn store(&self, sums: Sums) {
        self.allocated_bytes.store(sums.allocated_bytes, Relaxed);
        self.allocated_blocks.store(sums.allocated_blocks, Relaxed);
        self.freed_bytes.store(sums.freed_bytes, Relaxed);
        self.freed_blocks.store(sums.freed_blocks, Relaxed);
    }
}

impl Place {
    const fn new() -> Self {
        Self {
            sums: AtomicSums::new(),
            peak: AtomicI64::new(0),
            told: AtomicI64::new(0),
            peak_since_told: AtomicI64::new(0),
            peak_since_begun: AtomicI64::new(0),
            before: AtomicSums::new(),
            is_free: AtomicBool::new(false),
        }
    }

    fn sums(&self) -> Sums {
        self.sums.load()
    }

    fn totals(&self) -> ThreadTotals {
        let (now, before) = (self.sums.load(), self.before.load());
        ThreadTotals {
            allocated_bytes: now.allocated_bytes.wrapping_sub(before.allocated_bytes),
            allocated_blocks: now.allocated_blocks.wrapping_sub(before.allocated_blocks),
            freed_bytes: now.freed_bytes.wrapping_sub(before.freed_bytes),
            freed_blocks: now.freed_blocks.wrapping_sub(before.freed_blocks),
        }
    }

    #[inline(always)]
    fn level(&self) -> i64 {
        let allocated = self.sums.allocated_bytes.load(Relaxed);
        difference(allocated, self.sums.freed_bytes.load(Relaxed))
    }

    /// A level that the process has to hear of is a new peak, too: see [`Self::tell`].
    #[inline(always)]
    fn has_grown(&self) {
        let level = self.level();
        if level > self.peak.load(Relaxed) {
            self.peak.store(level, Relaxed);
            if level.wrapping_sub(self.told.load(Relaxed)) >= STEP {
                self.tell();
            }
        }
    }

    #[inline(always)]
    fn has_shrunk(&self) {
        if self.level().wrapping_sub(self.told.load(Relaxed)) <= -STEP {
            self.tell();
        }
    }

    /// Brings the process up to date.
    #[cold]
    #[inline(never)]
    fn tell(&self) {
        let (level, told) = (self.level(), self.told.load(Relaxed));
        let before = LIVE.fetch_add(level.wrapping_sub(told), Relaxed);
        let highest = before.wrapping_add(self.untold_peak());
        if highest > PEAK.load(Relaxed) {
            PEAK.fetch_max(highest, Relaxed);
        }
        raise(&self.peak_since_begun, self.peak.load(Relaxed));
        self.told.store(level, Relaxed);
        self.peak_since_told.store(level, Relaxed);
        self.peak.store(level, Relaxed);
    }

    /// How far above what the process knows of the level has been.
    fn untold_peak(&self) -> i64 {
        let peak = (self.peak.load(Relaxed)).max(self.peak_since_told.load(Relaxed));
        peak.wrapping_sub(self.told.load(Relaxed))
    }

    fn begin_peak(&self) -> i64 {
        let (peak, level) = (self.peak.load(Relaxed), self.level());
        let outer = peak.max(self.peak_since_begun.load(Relaxed));
        raise(&self.peak_since_told, peak);
        self.peak_since_begun.store(level, Relaxed);
        self.peak.store(level, Relaxed);
        outer
    }

    fn end_peak(&self, outer: i64) -> i64 {
        let peak = (self.peak.load(Relaxed)).max(self.peak_since_begun.load(Relaxed));
        self.peak_since_begun.store(peak.max(outer), Relaxed);
        peak
    }

    /// For a thread that has taken it.
    fn begin(&self) {
        self.before.store(self.sums.load());
        self.peak_since_begun.store(self.level(), Relaxed);
    }
}

/// Only the thread whose place it is writes.
#[inline(always)]
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

fn raise(peak: &AtomicI64, level: i64) {
    if level > peak.load(Relaxed) {
        peak.store(level, Relaxed);
    }
}

fn difference(allocated: u64, freed: u64) -> i64 {
    allocated.wrapping_sub(freed).cast_signed()
}

/// All places. They stay: the sums of threads that have ended are in them.
struct Places {
    places: Segments<Place>,
    count: AtomicU32,
    /// How many of them nobody has.
    free: AtomicU32,
}

static PLACES: Places = Places {
    places: Segments::new(),
    count: AtomicU32::new(0),
    free: AtomicU32::new(0),
};

/// For threads for which there is no memory: they share it, and lose some counts to each other.
static NO_PLACE: Place = Place::new();

thread_local! {
    // Constant and without a destructor: it is read inside the allocator, and while a thread ends.
    static PLACE: Cell<*const Place> = const { Cell::new(ptr::null()) };
}

static AT_END: ThreadEnd = ThreadEnd::new(thread_ends);

#[inline(always)]
fn place() -> &'static Place {
    let place = PLACE.get();
    // SAFETY: places are never unmapped.
    match unsafe { place.as_ref() } {
        Some(place) => place,
        None => take_place(),
    }
}

#[cold]
#[inline(never)]
fn take_place() -> &'static Place {
    let _errno = KeepErrno::new();
    let place = PLACES.take().unwrap_or(&NO_PLACE);
    PLACE.set(place);
    if !ptr::eq(place, &NO_PLACE) {
        place.begin();
        AT_END.note(ptr::from_ref(place).cast_mut().cast());
    }
    place
}

/// Gives the place to others; the sums stay. What the thread counts after this it counts at a new place, and this is
/// called once more.
unsafe extern "C" fn thread_ends(place: *mut c_void) {
    PLACE.set(ptr::null());
    // SAFETY: `take_place` noted it, and places stay.
    if let Some(place) = unsafe { place.cast::<Place>().as_ref() } {
        place.tell();
        place.is_free.store(true, Release);
        PLACES.free.fetch_add(1, Release);
    }
}

impl Places {
    fn take(&self) -> Option<&Place> {
        self.take_free().or_else(|| self.take_new())
    }

    fn take_free(&self) -> Option<&Place> {
        if self.free.load(Acquire) == 0 {
            return None;
        }
        let all = (0..self.count.load(Acquire)).filter_map(|number| self.places.get(number));
        let is_ours =
            |place: &&Place| place.is_free.load(Relaxed) && place.is_free.swap(false, Acquire);
        let found = all.into_iter().find(is_ours)?;
        // Whoever gives a place back counts it a moment later: below zero is a large number, and does no harm.
        self.free.fetch_sub(1, Relaxed);
        Some(found)
    }

    fn take_new(&self) -> Option<&Place> {
        // Mapped before it is counted, so that a number without memory is not given.
        self.places.get_or_map(self.count.load(Relaxed))?;
        self.places.get_or_map(self.count.fetch_add(1, Release))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    fn next(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *state >> 33
    }

    fn change(place: &Place, bytes: i64) {
        let sums = &place.sums;
        if bytes >= 0 {
            add(&sums.allocated_bytes, bytes.unsigned_abs());
            place.has_grown();
        } else {
            add(&sums.freed_bytes, bytes.unsigned_abs());
            place.has_shrunk();
        }
    }

    /// Nested peaks against the plain way: every level is held against every peak that is looked for.
    #[test]
    fn nested_peaks_and_the_peak_of_all() {
        let place = Place::new();
        let before = (LIVE.load(Relaxed), PEAK.load(Relaxed));
        let (mut level, mut highest) = (0_i64, 0_i64);
        let mut expected = Vec::new();
        let mut state = 5;
        for _ in 0..100_000 {
            match next(&mut state) % 16 {
                0 => expected.push((place.begin_peak(), level)),
                1 => {
                    if let Some((outer, peak)) = expected.pop() {
                        assert_eq!(place.end_peak(outer), peak);
                    }
                }
                _ => {
                    let bytes = (next(&mut state) % 50_000) as i64 - 25_000;
                    level += bytes;
                    highest = highest.max(level);
                    change(&place, bytes);
                    for (_, peak) in &mut expected {
                        *peak = level.max(*peak);
                    }
                }
            }
        }
        while let Some((outer, peak)) = expected.pop() {
            assert_eq!(place.end_peak(outer), peak);
        }
        place.tell();
        assert_eq!(LIVE.load(Relaxed) - before.0, level);
        assert_eq!(PEAK.load(Relaxed), before.1.max(before.0 + highest));
    }
}
