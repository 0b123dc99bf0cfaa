//! Where threads add up their figures: a lane each, so that no thread waits for another.
//!
//! ```text
//! LANES -> Lane -> Lane -> ...          a lane belongs to a thread while a region is open there
//!           owned:   open regions       (its thread only)
//!           figures: [row] -> sums      (its thread writes, everybody reads)
//! ```
//!
//! A thread takes a lane with its outermost region and gives it back with the end of that; it takes the same one again
//! if it can. So nothing has to be done when a thread ends, and there are as many lanes as threads were in a region at
//! once. Lanes carry the name of the thread that had them made, and threads take lanes of their name only: the figures
//! of ended threads stay under that name.

use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};

use super::leaked::{leaked, leaked_text};
use super::open::OpenRegions;
use super::reading::Figures;
use super::rows::{MAX_ROWS, Row};
use crate::guard::Guard;

/// How many names of threads are kept apart.
const MAX_THREAD_NAMES: usize = 64;
/// The name of those beyond.
const OTHER_THREADS: &str = "(other threads)";
const UNNAMED: &str = "(unnamed)";

const ROWS_PER_CHUNK: usize = 16;

/// The figures of one thread at a time.
pub(super) struct Lane {
    thread_name: &'static str,
    is_taken: AtomicBool,
    next: AtomicPtr<Lane>,
    owned: UnsafeCell<OpenRegions>,
    figures: [AtomicPtr<Chunk>; MAX_ROWS.div_ceil(ROWS_PER_CHUNK)],
}

// SAFETY: `owned` is reached by `with_open` only, which says why that is one thread at a time.
unsafe impl Sync for Lane {}

type Chunk = [RowFigures; ROWS_PER_CHUNK];

static LANES: AtomicPtr<Lane> = AtomicPtr::new(ptr::null_mut());

/// Counts resets: what was added up under a lower number does not count any more.
static RESETS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    // Constant and without a destructor: usable while a thread ends.
    static THREAD: LaneOfThread = const { LaneOfThread { taken: Cell::new(None), last: Cell::new(None) } };
}

struct LaneOfThread {
    taken: Cell<Option<&'static Lane>>,
    last: Cell<Option<&'static Lane>>,
}

/// Lets `work` at this thread's open regions, and at its lane to add figures.
///
/// The guard says that nothing of heapatlas is at work on this thread already: `work` is alone. `None` when there is no
/// memory for a lane.
pub(super) fn with_open<R>(
    _: &Guard,
    thread_name: &str,
    work: impl FnOnce(&mut OpenRegions, &'static Lane) -> R,
) -> Option<R> {
    let lane = THREAD.with(|thread| thread.take(thread_name))?;
    // SAFETY: this thread has taken the lane, so that no other uses it; and there is one guard at a time in a thread,
    // which this function borrows while `work` runs.
    let open = unsafe { &mut *lane.owned.get() };
    let result = work(open, lane);
    if open.is_empty() {
        THREAD.with(LaneOfThread::give_back);
    }
    Some(result)
}

/// Whether this thread has had a lane, and so needs no name to get one.
pub(super) fn is_known_thread() -> bool {
    THREAD.with(|thread| thread.last.get().is_some())
}

/// Shows the figures of each row in each lane, with the name of the lane's thread.
pub(super) fn for_each(mut show: impl FnMut(&'static str, usize, &RowFigures)) {
    for lane in lanes() {
        for (chunk_index, chunk) in lane.figures.iter().enumerate() {
            // SAFETY: null, or a chunk that was whole before its pointer was stored, and that stays.
            let Some(chunk) = (unsafe { chunk.load(Acquire).as_ref() }) else {
                continue;
            };
            for (place, figures) in chunk.iter().enumerate() {
                show(
                    lane.thread_name,
                    chunk_index * ROWS_PER_CHUNK + place,
                    figures,
                );
            }
        }
    }
}

/// How often figures were reset.
#[inline]
pub(super) fn resets() -> u32 {
    RESETS.load(Acquire)
}

/// All figures begin at zero.
pub(super) fn reset() {
    RESETS.fetch_add(1, AcqRel);
}

impl LaneOfThread {
    fn take(&self, name: &str) -> Option<&'static Lane> {
        if self.taken.get().is_none() {
            let again = self.last.get().filter(|last| last.try_take());
            self.taken.set(again.or_else(|| self.another(name)));
        }
        self.taken.get()
    }

    /// Where the last one is taken by another thread of the name, the name is that.
    #[cold]
    fn another(&self, name: &str) -> Option<&'static Lane> {
        let name = self.last.get().map_or(name, |last| last.thread_name);
        let lane = free_lane(name)?;
        self.last.set(Some(lane));
        Some(lane)
    }

    fn give_back(&self) {
        if let Some(lane) = self.taken.take() {
            lane.is_taken.store(false, Release);
        }
    }
}

fn free_lane(name: &str) -> Option<&'static Lane> {
    let name = if name.is_empty() { UNNAMED } else { name };
    if let Some(lane) = lanes().find(|lane| lane.thread_name == name && lane.try_take()) {
        return Some(lane);
    }
    if let Some(namesake) = lanes().find(|lane| lane.thread_name == name) {
        return new_lane(namesake.thread_name);
    }
    match count_names() < MAX_THREAD_NAMES || name == OTHER_THREADS {
        true => new_lane(leaked_text(name)?),
        false => free_lane(OTHER_THREADS),
    }
}

/// [`MAX_THREAD_NAMES`] at most.
fn count_names() -> usize {
    let mut names = [""; MAX_THREAD_NAMES];
    let mut count = 0;
    for lane in lanes() {
        if count < names.len() && !names[..count].contains(&lane.thread_name) {
            names[count] = lane.thread_name;
            count += 1;
        }
    }
    count
}

fn new_lane(thread_name: &'static str) -> Option<&'static Lane> {
    let lane: &'static Lane = leaked(Lane {
        thread_name,
        is_taken: AtomicBool::new(true),
        next: AtomicPtr::new(ptr::null_mut()),
        owned: UnsafeCell::new(OpenRegions::new()),
        figures: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_ROWS.div_ceil(ROWS_PER_CHUNK)],
    })?;
    let pointer = ptr::from_ref(lane).cast_mut();
    let link = |head| {
        lane.next.store(head, Relaxed);
        Some(pointer)
    };
    // Never fails: `link` gives something always.
    let _ = LANES.fetch_update(AcqRel, Acquire, link);
    Some(lane)
}

fn lanes() -> impl Iterator<Item = &'static Lane> {
    // SAFETY: null, or a lane that was whole before its pointer was stored, and that stays.
    let lane = |pointer: &AtomicPtr<Lane>| unsafe { pointer.load(Acquire).as_ref::<'static>() };
    std::iter::successors(lane(&LANES), move |before| lane(&before.next))
}

impl Lane {
    fn try_take(&self) -> bool {
        self.is_taken
            .compare_exchange(false, true, Acquire, Relaxed)
            .is_ok()
    }

    /// The figures of `row`; the caller's thread has taken the lane, since it is in [`with_open`]. `None` when there is
    /// no memory for them.
    #[inline]
    pub(super) fn figures(&'static self, row: &Row) -> Option<&'static RowFigures> {
        let chunk = &self.figures[row.index / ROWS_PER_CHUNK];
        // SAFETY: as in `for_each`.
        let chunk = unsafe { chunk.load(Relaxed).as_ref() }.or_else(|| new_chunk(chunk))?;
        Some(&chunk[row.index % ROWS_PER_CHUNK])
    }
}

#[cold]
fn new_chunk(place: &AtomicPtr<Chunk>) -> Option<&'static Chunk> {
    let chunk = leaked([const { RowFigures::new() }; ROWS_PER_CHUNK])?;
    place.store(ptr::from_ref(chunk).cast_mut(), Release);
    Some(chunk)
}

/// What one lane has of one row. One thread writes, so that plain loads and stores do.
pub(super) struct RowFigures {
    /// The reset after which these were added up.
    resets: AtomicU32,
    wall_ns: Sum,
    cpu_ns: Sum,
    allocated_bytes: Sum,
    allocated_blocks: Sum,
    freed_bytes: Sum,
    freed_blocks: Sum,
    executions: Sum,
    execution_wall_ns: Sum,
    longest_wall_ns: Sum,
    peak_bytes: Sum,
}

/// The same, read.
#[derive(Clone, Copy, Default)]
pub(super) struct RowSums {
    /// While the row's region was the innermost.
    pub(super) own: Figures,
    /// Ended ones.
    pub(super) executions: u64,
    /// Wall time of these, with what was nested in them.
    pub(super) execution_wall_ns: u64,
    pub(super) longest_wall_ns: u64,
    pub(super) peak_bytes: u64,
}

impl RowFigures {
    const fn new() -> Self {
        Self {
            resets: AtomicU32::new(0),
            wall_ns: Sum::new(),
            cpu_ns: Sum::new(),
            allocated_bytes: Sum::new(),
            allocated_blocks: Sum::new(),
            freed_bytes: Sum::new(),
            freed_blocks: Sum::new(),
            executions: Sum::new(),
            execution_wall_ns: Sum::new(),
            longest_wall_ns: Sum::new(),
            peak_bytes: Sum::new(),
        }
    }

    /// Adds what happened while the row's region was the innermost.
    #[inline]
    pub(super) fn charge(&self, figures: &Figures) {
        self.begin_anew_after_reset();
        self.wall_ns.add(figures.wall_ns);
        self.cpu_ns.add(figures.cpu_ns);
        // Bytes alone, when a signal handler came between the counts of bytes and of blocks.
        if figures.allocated_blocks | figures.allocated_bytes != 0 {
            self.allocated_bytes.add(figures.allocated_bytes);
            self.allocated_blocks.add(figures.allocated_blocks);
        }
        if figures.freed_blocks | figures.freed_bytes != 0 {
            self.freed_bytes.add(figures.freed_bytes);
            self.freed_blocks.add(figures.freed_blocks);
        }
    }

    /// Adds one execution that has ended.
    #[inline]
    pub(super) fn add_execution(&self, wall_ns: u64, peak_bytes: u64) {
        self.begin_anew_after_reset();
        self.executions.add(1);
        self.execution_wall_ns.add(wall_ns);
        self.longest_wall_ns.raise_to(wall_ns);
        self.peak_bytes.raise_to(peak_bytes);
    }

    /// Nothing if there was a reset since.
    pub(super) fn sums(&self) -> RowSums {
        if self.resets.load(Acquire) != resets() {
            return RowSums::default();
        }
        RowSums {
            own: Figures {
                wall_ns: self.wall_ns.get(),
                cpu_ns: self.cpu_ns.get(),
                allocated_bytes: self.allocated_bytes.get(),
                allocated_blocks: self.allocated_blocks.get(),
                freed_bytes: self.freed_bytes.get(),
                freed_blocks: self.freed_blocks.get(),
            },
            executions: self.executions.get(),
            execution_wall_ns: self.execution_wall_ns.get(),
            longest_wall_ns: self.longest_wall_ns.get(),
            peak_bytes: self.peak_bytes.get(),
        }
    }

    #[inline]
    fn begin_anew_after_reset(&self) {
        let resets = resets();
        if self.resets.load(Relaxed) != resets {
            self.clear();
            self.resets.store(resets, Release);
        }
    }

    #[cold]
    fn clear(&self) {
        let all = [
            &self.wall_ns,
            &self.cpu_ns,
            &self.allocated_bytes,
            &self.allocated_blocks,
            &self.freed_bytes,
            &self.freed_blocks,
            &self.executions,
            &self.execution_wall_ns,
            &self.longest_wall_ns,
            &self.peak_bytes,
        ];
        all.into_iter().for_each(|sum| sum.0.store(0, Relaxed));
    }
}

impl RowSums {
    pub(super) fn merge(&mut self, other: &Self) {
        self.own.add(&other.own);
        self.executions += other.executions;
        self.execution_wall_ns += other.execution_wall_ns;
        self.longest_wall_ns = self.longest_wall_ns.max(other.longest_wall_ns);
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
    }
}

/// Written by one thread.
struct Sum(AtomicU64);

impl Sum {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    fn add(&self, amount: u64) {
        self.0.store(self.get().wrapping_add(amount), Relaxed);
    }

    #[inline]
    fn raise_to(&self, value: u64) {
        if value > self.get() {
            self.0.store(value, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::Region;
    use super::*;

    fn lanes_of(name: &str) -> usize {
        lanes().filter(|lane| lane.thread_name == name).count()
    }

    fn region_in_thread(name: String) {
        let builder = thread::Builder::new().name(name);
        let in_region = || Region::start("lanes").finish();
        builder.spawn(in_region).unwrap().join().unwrap();
    }

    /// A signal handler that comes between the counts of bytes and of blocks reads the one without the other.
    #[test]
    fn bytes_are_charged_without_their_block() {
        let row = RowFigures::new();
        let bytes = Figures {
            allocated_bytes: 7,
            freed_bytes: 10,
            ..Figures::default()
        };
        let blocks = Figures {
            allocated_blocks: 1,
            freed_blocks: 1,
            ..Figures::default()
        };
        row.charge(&bytes);
        row.charge(&blocks);
        let own = row.sums().own;
        assert_eq!((own.allocated_bytes, own.allocated_blocks), (7, 1));
        assert_eq!((own.freed_bytes, own.freed_blocks), (10, 1));
    }

    /// One test, because the names that it makes are for ever.
    #[test]
    fn threads_that_come_and_go_share_lanes() {
        // Tests beside this one have a few lanes, too.
        region_in_thread("comes and goes".to_owned());
        for number in 0..200 {
            region_in_thread("comes and goes".to_owned());
            region_in_thread(format!("name {number}"));
        }
        assert_eq!(lanes_of("comes and goes"), 1);
        assert_eq!(lanes_of(OTHER_THREADS), 1);
        assert_eq!(count_names(), MAX_THREAD_NAMES);
        assert!(lanes().count() < MAX_THREAD_NAMES + 30);
    }
}
