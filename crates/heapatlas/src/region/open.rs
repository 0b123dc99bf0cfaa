//! The regions that are open in a thread: what happens is charged to the innermost, exactly once.
//!
//! ```text
//!   start a        start b        end b         end a
//! ----+--------------+--------------+-------------+------> one reading of clocks and counters at each
//!     |   to a       |    to b      |    to a     |
//! ```
//!
//! What an outer region has with all that is nested in it is the sum over its rows, made when the table is read.

use std::ptr;
use std::sync::Arc;
use std::thread;

use super::RegionStats;
use super::execution::Execution;
use super::lanes::{self, Lane, RowFigures};
use super::reading::{Figures, Reading};
use super::rows::{self, Place, Row};
use crate::alloc;
use crate::guard;

/// More are not measured: guards that were forgotten in a loop.
const MAX_OPEN: usize = 1024;

/// The open regions of a thread, the innermost last.
pub(super) struct OpenRegions {
    regions: Vec<OpenRegion>,
    /// When the last of them started or ended; up to then all is charged.
    last: Option<Reading>,
    /// [`lanes::resets`] at that time.
    last_resets: u32,
    next_serial: u64,
    recent_rows: [Option<&'static Row>; RECENT_ROWS],
}

const RECENT_ROWS: usize = 64;

struct OpenRegion {
    serial: u64,
    place: Place,
    figures: &'static RowFigures,
    start: Reading,
    start_resets: u32,
    was_counting: bool,
    /// The peak of the region around it, as `alloc::begin_peak` gave it.
    outer_peak: i64,
    /// The level of the thread at the start, on the scale of its peak.
    start_level: i64,
    /// Of a task or a span: what it had in all its polls.
    execution: Option<Arc<Execution>>,
}

/// Starts the region `name` inside the innermost one; `None` if heapatlas itself is at work on this thread, too
/// many are open, or there is no memory. The number is for [`end`].
#[inline]
pub(super) fn start(name: &str) -> Option<u64> {
    with_thread(|open, lane| {
        let place = open.place(name);
        open.start(lane, place, None)
    })?
}

/// Ends a region of this thread. Those that are nested in it stay open.
#[inline]
pub(super) fn end(serial: u64) -> RegionStats {
    let end = |open: &mut OpenRegions, _| {
        // First of all, so that little of this is in the figures; but under the guard, so that no signal handler has
        // regions in between.
        let now = Reading::now();
        let index = open.last_index(|region| region.serial == serial)?;
        Some(open.end(index, &now))
    };
    with_thread(end).flatten().unwrap_or_default()
}

/// Where the row of a task or span is.
// Tasks are always below the innermost region; spans say where they are.
#[cfg_attr(not(feature = "tracing"), allow(dead_code))]
pub(crate) enum Under<'a> {
    /// Below the innermost region of this thread.
    Innermost,
    Execution(&'a Arc<Execution>),
    Nothing,
}

/// Begins an execution that is polled later. `None` if heapatlas itself is at work on this thread.
pub(crate) fn begin(
    name: &str,
    under: &Under<'_>,
    parent: Option<Arc<Execution>>,
) -> Option<Arc<Execution>> {
    with_thread(|open, _| {
        let place = match under {
            Under::Innermost => open.place(name),
            Under::Execution(execution) => rows::place(Some(execution.place().row), name),
            Under::Nothing => rows::place(None, name),
        };
        Execution::new(place, parent)
    })
}

/// Starts a poll of a task, or enters a span. Whether it did: as in [`start`].
#[inline]
pub(crate) fn enter(execution: Arc<Execution>) -> bool {
    let enter = move |open: &mut OpenRegions, lane| {
        let place = execution.place();
        open.start(lane, place, Some(execution))
    };
    with_thread(enter).flatten().is_some()
}

/// Ends the poll that [`enter`] started; nothing happens if there is none in this thread. The pointer is compared only.
#[inline]
pub(crate) fn leave(execution: *const Execution) {
    with_thread(|open, _| {
        let now = Reading::now();
        if let Some(index) = open.last_index(|region| region.is_of(execution)) {
            open.end(index, &now);
        }
    });
}

/// Counts an execution that has had its last poll.
pub(crate) fn finish(execution: Arc<Execution>) {
    with_thread(move |_, lane| {
        let is_counted = execution.place().is_own && execution.began_after_reset();
        if is_counted && let Some(figures) = lane.figures(execution.place().row) {
            figures.add_execution(execution.wall_ns(), execution.peak_bytes());
        }
    });
}

/// `None` if heapatlas itself is at work on this thread, or if there is no memory.
#[inline]
fn with_thread<R>(work: impl FnOnce(&mut OpenRegions, &'static Lane) -> R) -> Option<R> {
    // The name is asked for before the guard: what the standard library allocates for a thread that it did not start
    // is freed when that ends, and both count or neither does.
    let thread = (!lanes::is_known_thread()).then(thread::current);
    let name = thread.as_ref().and_then(|thread| thread.name());
    let guard = guard::enter()?;
    lanes::with_open(&guard, name.unwrap_or_default(), work)
}

impl OpenRegions {
    pub(super) const fn new() -> Self {
        Self {
            regions: Vec::new(),
            last: None,
            last_resets: 0,
            next_serial: 0,
            recent_rows: [None; RECENT_ROWS],
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// For `name` inside the innermost region.
    #[inline]
    fn place(&mut self, name: &str) -> Place {
        let parent = self.regions.last().map(|region| region.place.row);
        let recent = &mut self.recent_rows[recent_index(parent, name)];
        match *recent {
            Some(row) if row.is_for(parent, name) => Place { row, is_own: true },
            _ => {
                let place = rows::place(parent, name);
                if place.is_own && place.row.is_for(parent, name) {
                    *recent = Some(place.row);
                }
                place
            }
        }
    }

    #[inline]
    fn start(
        &mut self,
        lane: &'static Lane,
        place: Place,
        execution: Option<Arc<Execution>>,
    ) -> Option<u64> {
        if self.regions.len() >= MAX_OPEN {
            return None;
        }
        let figures = lane.figures(place.row)?;
        self.regions.try_reserve(1).ok()?;
        let serial = self.next_serial;
        self.next_serial += 1;
        // As late as can be, so that little of this is charged to anybody.
        let now = Reading::now();
        self.charge_innermost(&now);
        self.regions.push(OpenRegion {
            serial,
            place,
            figures,
            start: now,
            start_resets: self.last_resets,
            was_counting: alloc::is_counting(),
            outer_peak: alloc::begin_peak(),
            start_level: alloc::thread_level(),
            execution,
        });
        Some(serial)
    }

    /// Ends one of the regions, not the innermost perhaps: then those inside go on as if they were nested in the one
    /// around it.
    #[inline]
    fn end(&mut self, index: usize, now: &Reading) -> RegionStats {
        self.charge_innermost(now);
        let peak_bytes = self.end_peak(index);
        let region = &mut self.regions[index];
        let figures = now.since(&region.start);
        let is_counted = region.was_counting && alloc::is_counting();
        match region.execution.take() {
            Some(execution) => self.credit(execution, &figures, peak_bytes),
            None if region.place.is_own && region.start_resets == lanes::resets() => {
                region.figures.add_execution(figures.wall_ns, peak_bytes);
            }
            None => {}
        }
        if index + 1 == self.regions.len() {
            self.regions.truncate(index);
        } else {
            self.regions.remove(index);
        }
        RegionStats::new(&figures, is_counted.then_some(peak_bytes))
    }

    /// What happened since the last start or end. After a reset it is not known which part of that counts: none does.
    #[inline]
    fn charge_innermost(&mut self, now: &Reading) {
        let resets = lanes::resets();
        if let (Some(innermost), Some(last)) = (self.regions.last(), &self.last)
            && self.last_resets == resets
        {
            innermost.figures.charge(&now.since(last));
        }
        self.last = Some(*now);
        self.last_resets = resets;
    }

    /// The highest that the region at `index` has had live of what its thread allocated in it.
    #[inline]
    fn end_peak(&mut self, index: usize) -> u64 {
        let OpenRegion {
            start_level: start,
            outer_peak: outer,
            ..
        } = self.regions[index];
        let peak = match self.regions.get_mut(index + 1) {
            None => alloc::end_peak(outer),
            // The thread's peak is that of the innermost region, and stays so. The peak of the region that ends was
            // put aside by those inside.
            Some(next) => {
                let put_aside = next.outer_peak;
                next.outer_peak = put_aside.max(outer);
                let inside = self.regions[index + 2..].iter();
                let now = peak_so_far();
                inside.fold(put_aside.max(now), |peak, region| {
                    peak.max(region.outer_peak)
                })
            }
        };
        peak.saturating_sub(start).max(0) as u64
    }

    /// Adds a poll to an execution, and to those around it which it did not run inside of: what a span had on another
    /// thread belongs to its parent, too.
    fn credit(&self, execution: Arc<Execution>, figures: &Figures, peak_bytes: u64) {
        let mut next = Some(&execution);
        while let Some(execution) = next {
            if self
                .regions
                .iter()
                .any(|region| region.is_of(Arc::as_ptr(execution)))
            {
                return;
            }
            execution.add_poll(figures, peak_bytes);
            next = execution.parent();
        }
    }

    #[inline]
    fn last_index(&self, is_wanted: impl Fn(&OpenRegion) -> bool) -> Option<usize> {
        self.regions.iter().rposition(is_wanted)
    }
}

impl OpenRegion {
    #[inline]
    fn is_of(&self, execution: *const Execution) -> bool {
        self.execution
            .as_ref()
            .is_some_and(|own| ptr::eq(Arc::as_ptr(own), execution))
    }
}

/// The peak that is looked for goes on.
#[inline]
fn peak_so_far() -> i64 {
    alloc::end_peak(i64::MIN)
}

/// By the place of the name, not by its characters: those are compared.
#[inline]
fn recent_index(parent: Option<&'static Row>, name: &str) -> usize {
    let parent = parent.map_or(ptr::null(), ptr::from_ref).addr() >> 4;
    let name = name.as_ptr().addr();
    (parent ^ name ^ name >> 6) % RECENT_ROWS
}
