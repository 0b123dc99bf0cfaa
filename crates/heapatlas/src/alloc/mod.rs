//! The allocator: it forwards to another one, and tells what it was asked for.
//!
//! In reading order: `mode` (what is told, a byte), `events` (what is done for an allocation), `counters` (sums
//! without stacks), `sums` (sums for each stack), `trace` (every event, or samples, into a file), `clock`.

mod clock;
mod counters;
mod events;
mod mode;
pub(crate) mod sums;
#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(any(miri, heapatlas_fallback))
))]
pub(crate) mod trace;
#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(any(miri, heapatlas_fallback))
)))]
#[path = "no_trace.rs"]
pub(crate) mod trace;

use std::alloc::{GlobalAlloc, Layout, System};

use crate::guard::{self, Guard};
use mode::{COUNTS, OFF, SUMS, TRACES};

pub use counters::{ProcessTotals, ThreadTotals, process_totals, thread_totals};
pub(crate) use counters::{begin_peak, end_peak, thread_level};
pub(crate) use mode::set_base;
pub use mode::{Mode, NotInstalled, is_counting, is_installed};
pub(crate) use mode::{record, stop_recording};
pub(crate) use sums::{hold_for_fork, open_after_fork};

/// An allocator that can tell what a program allocates. It forwards every request to another one, the system's unless
/// said otherwise.
///
/// While its mode is [`Mode::Off`], as it is at first, an allocation costs three instructions more.
///
/// ```
/// #[global_allocator]
/// static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();
///
/// heapatlas::set_mode(heapatlas::Mode::Counting)?;
/// let before = heapatlas::thread_totals();
/// let text = String::with_capacity(100);
/// let after = heapatlas::thread_totals();
/// assert_eq!(after.allocated_bytes - before.allocated_bytes, 100);
/// # drop(text);
/// # Ok::<(), heapatlas::ProfilerError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Alloc<A = System> {
    inner: A,
    first_mode: Mode,
}

impl Alloc {
    /// Around the system's allocator.
    #[must_use]
    pub const fn system() -> Self {
        Self::new(System)
    }
}

impl<A> Alloc<A> {
    /// Around `inner`.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self {
            inner,
            first_mode: Mode::Off,
        }
    }

    /// Counts from the first allocation of the process on, which comes before `main`.
    #[must_use]
    pub const fn counting(mut self) -> Self {
        self.first_mode = Mode::Counting;
        self
    }

    /// For a call while something is recorded (or while nobody knows): what is, unless this thread is inside
    /// heapatlas.
    #[inline]
    fn enter(&self) -> Option<(Guard, u8)> {
        let mut bits = mode::bits();
        if mode::is_unknown(bits) {
            bits = mode::begin_with(self.first_mode);
        }
        Some((guard::enter()?, bits))
    }

    /// Has a block made, and tells of it.
    #[inline(always)]
    fn make(&self, size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
        if mode::bits() == OFF {
            return allocate();
        }
        let Some((guard, bits)) = self.enter() else {
            return allocate();
        };
        let block = allocate();
        if bits & (COUNTS | SUMS) != 0 {
            events::allocated(&guard, bits, block, size);
        }
        if bits & TRACES != 0 {
            trace::allocated(block, size);
        }
        block
    }
}

// SAFETY: every request goes to `inner` as it came, and what that gives goes back as it came. What is told beside does
// not touch the blocks and does not unwind.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Alloc<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        self.make(layout.size(), || unsafe { self.inner.alloc(layout) })
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        self.make(layout.size(), || unsafe { self.inner.alloc_zeroed(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `inner` asks for.
        let free = || unsafe { self.inner.dealloc(block, layout) };
        if mode::bits() == OFF {
            return free();
        }
        let Some((guard, bits)) = self.enter() else {
            return free();
        };
        if bits & TRACES != 0 {
            trace::freeing(block);
        }
        if bits & (COUNTS | SUMS) != 0 {
            events::freeing(&guard, bits, block, layout.size());
        }
        free();
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        let reallocate = || unsafe { self.inner.realloc(block, layout, new_size) };
        if mode::bits() == OFF {
            return reallocate();
        }
        let Some((guard, bits)) = self.enter() else {
            return reallocate();
        };
        let begun = (bits & TRACES != 0).then(|| trace::resizing(block));
        let known = events::resizing(&guard, bits, block);
        let new_block = reallocate();
        if bits & (COUNTS | SUMS) != 0 {
            let sizes = [layout.size(), new_size];
            events::resized(&guard, bits, [block, new_block], known, sizes);
        }
        if let Some(begun) = begun {
            trace::resized(begun, [block, new_block], new_size);
        }
        new_block
    }
}
