//! The allocator: it forwards to another one, and tells what it was asked for.
//!
//! In reading order: `mode` (what is told, a byte), `events` (what is done for an allocation), `counters` (sums
//! without stacks), `sums` (sums for each stack), `clock`.

mod clock;
mod counters;
mod events;
mod mode;
pub(crate) mod sums;

use std::alloc::{GlobalAlloc, Layout, System};

use crate::guard::{self, Guard};

pub use counters::{ProcessTotals, ThreadTotals, process_totals, thread_totals};
pub(crate) use counters::{begin_peak, end_peak};
pub use mode::set_mode;
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
/// # Ok::<(), heapatlas::NotInstalled>(())
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
}

// SAFETY: every request goes to `inner` as it came, and what that gives goes back as it came. What is told beside does
// not touch the blocks and does not unwind.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Alloc<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        let allocate = || unsafe { self.inner.alloc(layout) };
        if mode::bits() == mode::OFF {
            return allocate();
        }
        let Some((guard, bits)) = self.enter() else {
            return allocate();
        };
        let block = allocate();
        events::allocated(&guard, bits, block, layout.size());
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        let allocate = || unsafe { self.inner.alloc_zeroed(layout) };
        if mode::bits() == mode::OFF {
            return allocate();
        }
        let Some((guard, bits)) = self.enter() else {
            return allocate();
        };
        let block = allocate();
        events::allocated(&guard, bits, block, layout.size());
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `inner` asks for.
        let free = || unsafe { self.inner.dealloc(block, layout) };
        if mode::bits() == mode::OFF {
            return free();
        }
        let entered = self.enter();
        if let Some((guard, bits)) = &entered {
            events::freeing(guard, *bits, block, layout.size());
        }
        free();
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        let reallocate = || unsafe { self.inner.realloc(block, layout, new_size) };
        if mode::bits() == mode::OFF {
            return reallocate();
        }
        let Some((guard, bits)) = self.enter() else {
            return reallocate();
        };
        let sizes = [layout.size(), new_size];
        let known = events::resizing(&guard, bits, block);
        let new_block = reallocate();
        if new_block.is_null() {
            events::not_resized(&guard, block, known, layout.size());
        } else {
            events::resized(&guard, bits, new_block, known, sizes);
        }
        new_block
    }
}
