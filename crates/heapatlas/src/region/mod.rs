//! Time and memory of a piece of code.
//!
//! ```text
//! measure!, Region, task, tracing_layer
//!        |
//!   open: stack of open regions  --reading: clocks, counters-->  lanes: figures by row, a lane a thread
//!        |                                                          |
//!   rows: (parent, name) -> row                                  table: lanes merged, sums over nesting
//! ```
//!
//! In reading order: this file, [`open`], [`reading`], [`lanes`], [`rows`], [`execution`] with [`task`] (what moves
//! between threads), [`table`] with [`render`]; below them [`cpu_clock`] and [`leaked`].
//!
//! **Invariant:** the measured code's figures hold nothing of this: what is allocated here is allocated and freed under
//! the guard. **Invariant:** threads do not wait for each other.

mod cpu_clock;
pub(crate) mod execution;
mod lanes;
mod leaked;
pub(crate) mod open;
mod reading;
mod render;
mod rows;
mod table;
mod task;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use reading::Figures;

use crate::os::clocks;

pub use table::{RegionRow, RegionTable, regions, regions_by_thread, reset_regions};
pub use task::{Task, task};

/// A piece of code that is measured until [`finish`](Self::finish), or until this is dropped.
///
/// Figures are those of the thread on which it was started, and it stays there; for a future, which moves between
/// threads, see [`task`]. Regions nest, and each has its row in [`regions`]. If an outer one ends first, the
/// inner one goes on. A region that is forgotten ([`std::mem::forget`]) stays open.
///
/// # Cost
/// About 110 ns, and half a microsecond more for each end that comes 20 µs or more after the last start or end in its
/// thread: then the kernel is asked for the processor time. A wait shorter than that counts as processor time.
///
/// # Examples
/// ```
/// use heapatlas::Region;
///
/// let region = Region::start("parse");
/// let numbers: Vec<u32> = "1 2 3".split(' ').flat_map(str::parse).collect();
/// let stats = region.finish();
/// assert_eq!(numbers, [1, 2, 3]);
/// println!("{stats}");
/// ```
///
/// It does not leave its thread:
/// ```compile_fail,E0277
/// let region = heapatlas::Region::start("here");
/// std::thread::spawn(move || drop(region));
/// ```
#[must_use = "the region ends when this is dropped"]
pub struct Region {
    /// `None`: nothing is measured.
    serial: Option<u64>,
    /// Its figures are of one thread.
    stays_on_its_thread: PhantomData<*mut ()>,
}

impl Region {
    /// Starts a region inside those that are open on this thread.
    ///
    /// There are 4,096 rows, nested 64 deep; names are cut after 200 bytes. What is beyond is charged to the region
    /// around it, and [`RegionTable::without_row`] counts it: do not put numbers that change into names.
    #[inline]
    pub fn start(name: &str) -> Self {
        Self {
            serial: open::start(name),
            stays_on_its_thread: PhantomData,
        }
    }

    /// Ends the region and gives its figures, nested regions included.
    ///
    /// They are zero in code that heapatlas itself calls, an emitter for instance, if more than 1,024 regions were open
    /// on the thread, and if there was no memory for the books.
    #[inline]
    pub fn finish(mut self) -> RegionStats {
        self.end()
    }

    #[inline]
    fn end(&mut self) -> RegionStats {
        self.serial.take().map(open::end).unwrap_or_default()
    }
}

impl Drop for Region {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Region").finish_non_exhaustive()
    }
}

/// Measures an expression or a block as a [`Region`], and gives its value.
///
/// `?`, `return` and `break` inside leave the region as they leave a block.
///
/// ```
/// fn sum(text: &str) -> Result<u64, std::num::ParseIntError> {
///     let numbers: Vec<u64> = heapatlas::measure!("parse", {
///         text.split(' ').map(str::parse).collect::<Result<_, _>>()?
///     });
///     Ok(heapatlas::measure!("add", numbers.iter().sum()))
/// }
///
/// assert_eq!(sum("1 2 3"), Ok(6));
/// assert!(sum("1 two 3").is_err());
/// println!("{}", heapatlas::regions());
/// ```
#[macro_export]
macro_rules! measure {
    ($name:expr, $body:expr $(,)?) => {{
        let region = $crate::Region::start($name);
        // Not as the last expression: its temporaries would outlive the region.
        #[allow(clippy::diverging_sub_expression)]
        let value = $body;
        #[allow(unreachable_code)]
        {
            ::core::mem::drop(region);
            value
        }
    }};
}

/// Figures of a region, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionStats {
    /// Time by the clock; of tasks and spans only while they were polled or entered.
    pub wall: Duration,
    /// Processor time of the thread; `None` where the system does not tell (Windows).
    pub cpu: Option<Duration>,
    /// What was allocated and freed; `None` if no [`Alloc`](crate::Alloc) was counting.
    pub memory: Option<RegionMemory>,
}

/// What the threads of a region allocated and freed in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionMemory {
    /// Bytes allocated, as the program asked for.
    pub allocated_bytes: u64,
    /// Blocks allocated.
    pub allocated_blocks: u64,
    /// Bytes freed, whoever allocated them.
    pub freed_bytes: u64,
    /// Blocks freed.
    pub freed_blocks: u64,
    /// The highest of allocated less freed bytes on the way; of several executions, the highest of one of them.
    pub peak_bytes: u64,
}

impl RegionMemory {
    /// Bytes allocated less bytes freed: what the region left behind, or took away.
    #[must_use]
    pub fn net_bytes(&self) -> i64 {
        self.allocated_bytes.wrapping_sub(self.freed_bytes) as i64
    }

    /// Blocks allocated less blocks freed.
    #[must_use]
    pub fn net_blocks(&self) -> i64 {
        self.allocated_blocks.wrapping_sub(self.freed_blocks) as i64
    }
}

impl RegionStats {
    /// Without a peak there was no counting.
    #[inline]
    fn new(figures: &Figures, peak_bytes: Option<u64>) -> Self {
        Self {
            wall: Duration::from_nanos(figures.wall_ns),
            cpu: clocks::IS_CPU_TIME_KNOWN.then_some(Duration::from_nanos(figures.cpu_ns)),
            memory: peak_bytes.map(|peak_bytes| RegionMemory {
                allocated_bytes: figures.allocated_bytes,
                allocated_blocks: figures.allocated_blocks,
                freed_bytes: figures.freed_bytes,
                freed_blocks: figures.freed_blocks,
                peak_bytes,
            }),
        }
    }
}
