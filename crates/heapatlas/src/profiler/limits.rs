//! Heap-usage tests of a piece of code: what its thread allocates in it, so that tests side by side do not disturb each
//! other.

use std::error::Error;
use std::fmt;

use crate::alloc::{self, Mode, NotInstalled};

/// What a thread has allocated and freed in a piece of code.
///
/// A reallocation counts as a block allocated and a block freed. Other threads that the code starts are not in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct HeapUsage {
    /// Bytes of all blocks that were allocated.
    pub allocated_bytes: u64,
    /// Blocks that were allocated.
    pub allocated_blocks: u64,
    /// Bytes of all blocks that were freed.
    pub freed_bytes: u64,
    /// Blocks that were freed.
    pub freed_blocks: u64,
    /// The most bytes that were live at once, above those at the beginning.
    pub peak_bytes: u64,
}

impl HeapUsage {
    /// Bytes that are live at the end and were not at the beginning. Below zero when more was freed.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        difference(self.allocated_bytes, self.freed_bytes)
    }

    /// Blocks that are live at the end and were not at the beginning. Below zero when more were freed.
    #[must_use]
    pub fn live_blocks(&self) -> i64 {
        difference(self.allocated_blocks, self.freed_blocks)
    }
}

fn difference(allocated: u64, freed: u64) -> i64 {
    allocated.wrapping_sub(freed).cast_signed()
}

impl fmt::Display for HeapUsage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} bytes in {} blocks allocated, {} bytes at the peak, {} bytes in {} blocks live at the end",
            self.allocated_bytes,
            self.allocated_blocks,
            self.peak_bytes,
            self.live_bytes(),
            self.live_blocks()
        )
    }
}

/// Runs `work` and gives what this thread allocated in it, too. Counting is turned on for good if nothing counts yet.
///
/// # Panics
///
/// When no [`Alloc`](crate::Alloc) is the global allocator. What `work` panics with goes on.
///
/// ```
/// #[global_allocator]
/// static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();
///
/// let (numbers, usage) = heapatlas::heap_usage(|| {
///     let mut numbers = Vec::with_capacity(100);
///     numbers.extend(0_u8..10);
///     numbers.shrink_to_fit();
///     numbers
/// });
/// assert_eq!((usage.allocated_blocks, usage.peak_bytes), (2, 100));
/// assert_eq!((usage.live_bytes(), usage.live_blocks()), (10, 1));
/// # drop(numbers);
/// ```
#[track_caller]
pub fn heap_usage<R>(work: impl FnOnce() -> R) -> (R, HeapUsage) {
    if let Err(error) = count() {
        panic!("heapatlas: measuring heap usage: {error}");
    }
    let usage = Measuring::begin();
    let result = work();
    (result, usage.end())
}

/// Has allocations counted, if they are not.
fn count() -> Result<(), NotInstalled> {
    if alloc::is_counting() {
        return Ok(());
    }
    alloc::set_base(Mode::Counting)
}

/// Looks for the peak until it ends, or is dropped by a panic that passes.
struct Measuring {
    before: alloc::ThreadTotals,
    level: i64,
    outer_peak: i64,
    has_ended: bool,
}

impl Measuring {
    fn begin() -> Self {
        let before = alloc::thread_totals();
        Self {
            outer_peak: alloc::begin_peak(),
            level: alloc::thread_level(),
            before,
            has_ended: false,
        }
    }

    fn end(mut self) -> HeapUsage {
        self.has_ended = true;
        let (now, before) = (alloc::thread_totals(), self.before);
        let peak = alloc::end_peak(self.outer_peak).wrapping_sub(self.level);
        HeapUsage {
            allocated_bytes: now.allocated_bytes - before.allocated_bytes,
            allocated_blocks: now.allocated_blocks - before.allocated_blocks,
            freed_bytes: now.freed_bytes - before.freed_bytes,
            freed_blocks: now.freed_blocks - before.freed_blocks,
            peak_bytes: u64::try_from(peak).unwrap_or(0),
        }
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        if !self.has_ended {
            alloc::end_peak(self.outer_peak);
        }
    }
}

/// What a piece of code may use of the heap at most; what is not said is not limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct HeapLimits {
    peak_bytes: Option<u64>,
    live_bytes: Option<u64>,
    live_blocks: Option<u64>,
    allocated_bytes: Option<u64>,
    allocated_blocks: Option<u64>,
}

impl HeapLimits {
    /// Without limits.
    pub const fn new() -> Self {
        Self {
            peak_bytes: None,
            live_bytes: None,
            live_blocks: None,
            allocated_bytes: None,
            allocated_blocks: None,
        }
    }

    /// So many bytes live at once, above those at the beginning.
    pub const fn peak_bytes(mut self, most: u64) -> Self {
        self.peak_bytes = Some(most);
        self
    }

    /// So many bytes left live at the end.
    pub const fn live_bytes(mut self, most: u64) -> Self {
        self.live_bytes = Some(most);
        self
    }

    /// So many blocks left live at the end.
    pub const fn live_blocks(mut self, most: u64) -> Self {
        self.live_blocks = Some(most);
        self
    }

    /// So many bytes allocated in all.
    pub const fn allocated_bytes(mut self, most: u64) -> Self {
        self.allocated_bytes = Some(most);
        self
    }

    /// So many blocks allocated in all.
    pub const fn allocated_blocks(mut self, most: u64) -> Self {
        self.allocated_blocks = Some(most);
        self
    }

    /// Holds a usage against the limits.
    ///
    /// # Errors
    ///
    /// With every limit that it passes.
    pub fn check(&self, usage: &HeapUsage) -> Result<(), HeapLimitError> {
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        let figures = [
            ("bytes at the peak", self.peak_bytes, usage.peak_bytes),
            (
                "bytes live at the end",
                self.live_bytes,
                whole(usage.live_bytes()),
            ),
            (
                "blocks live at the end",
                self.live_blocks,
                whole(usage.live_blocks()),
            ),
            (
                "bytes allocated",
                self.allocated_bytes,
                usage.allocated_bytes,
            ),
            (
                "blocks allocated",
                self.allocated_blocks,
                usage.allocated_blocks,
            ),
        ];
        let passed: Vec<PassedLimit> = figures
            .into_iter()
            .filter_map(|(what, limit, found)| {
                let limit = limit.filter(|&limit| found > limit)?;
                Some(PassedLimit { what, limit, found })
            })
            .collect();
        match passed.is_empty() {
            true => Ok(()),
            false => Err(HeapLimitError { passed }),
        }
    }
}

/// The limits that a piece of code has passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeapLimitError {
    passed: Vec<PassedLimit>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PassedLimit {
    what: &'static str,
    limit: u64,
    found: u64,
}

impl fmt::Display for HeapLimitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, PassedLimit { what, limit, found }) in self.passed.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(out, "{comma}{found} {what} where {limit} are allowed")?;
        }
        Ok(())
    }
}

impl Error for HeapLimitError {}

/// Runs `work`, in which this thread may allocate only within `limits`. Tests that run at the same time do not disturb
/// each other.
///
/// # Panics
///
/// When a limit is passed, at the end, with the figures; and as [`heap_usage`].
///
/// ```
/// #[global_allocator]
/// static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();
///
/// use heapatlas::HeapLimits;
///
/// let limits = HeapLimits::new().allocated_blocks(1).live_blocks(0);
/// let sum = heapatlas::expect_heap(limits, || {
///     let numbers: Vec<u32> = (0..100).collect();
///     numbers.iter().sum::<u32>()
/// });
/// assert_eq!(sum, 4950);
/// ```
#[track_caller]
pub fn expect_heap<R>(limits: HeapLimits, work: impl FnOnce() -> R) -> R {
    let (result, usage) = heap_usage(work);
    if let Err(error) = limits.check(&usage) {
        panic!("heapatlas: too much of the heap: {error}");
    }
    result
}
