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

use crate::guard;
use mode::{COUNTS, OFF, SAMPLES, SUMS, TRACES};

pub use counters::{ProcessTotals, ThreadTotals, process_totals, thread_totals};
pub(crate) use counters::{begin_peak, end_peak, thread_level};
pub(crate) use mode::set_base;
pub use mode::{Mode, NotInstalled, is_counting, is_installed};
pub(crate) use mode::{record, stop_recording};

/// An allocator that can tell what a program allocates. It forwards every request to another one, the system's unless
/// said otherwise.
///
/// While its mode is [`Mode::Off`], as it is at first, an allocation costs six instructions more.
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

    /// What is recorded by a call while something is (or while nobody knows).
    #[inline]
    fn bits(&self) -> u8 {
        match mode::bits() {
            bits if mode::is_unknown(bits) => mode::begin_with(self.first_mode),
            bits => bits,
        }
    }
}

/// What is done while something is recorded, or perhaps. Apart, so that nothing of it is in the way while nothing is.
impl<A: GlobalAlloc> Alloc<A> {
    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[inline(always)]
    unsafe fn make<const IS_ZEROED: bool>(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            match IS_ZEROED {
                true => self.inner.alloc_zeroed(layout),
                false => self.inner.alloc(layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[inline(never)]
    unsafe fn make_watched<const IS_ZEROED: bool>(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            match mode::bits() == SAMPLES && trace::skips_allocation(layout.size()) {
                true => self.make::<IS_ZEROED>(layout),
                false => self.make_recorded::<IS_ZEROED>(layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn free_watched(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe {
            match mode::bits() == SAMPLES && trace::skips_free(block) {
                true => self.inner.dealloc(block, layout),
                false => self.free_recorded(block, layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(never)]
    unsafe fn resize_watched(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let skips = mode::bits() == SAMPLES
            && trace::skips_free(block)
            && trace::skips_allocation(new_size);
        // SAFETY: the caller's promise.
        unsafe {
            match skips {
                true => self.inner.realloc(block, layout, new_size),
                false => self.resize_recorded(block, layout, new_size),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[inline(never)]
    unsafe fn make_recorded<const IS_ZEROED: bool>(&self, layout: Layout) -> *mut u8 {
        let bits = self.bits();
        if bits & (SUMS | TRACES) == 0 {
            // SAFETY: the caller's promise.
            let block = unsafe { self.make::<IS_ZEROED>(layout) };
            events::allocated_counted(bits, block, layout.size());
            return block;
        }
        let guard = guard::enter();
        // SAFETY: the caller's promise.
        let block = unsafe { self.make::<IS_ZEROED>(layout) };
        let Some(guard) = guard else { return block };
        if bits & (COUNTS | SUMS) != 0 {
            events::allocated(&guard, bits, block, layout.size());
        }
        if bits & TRACES != 0 {
            trace::allocated(block, layout.size());
        }
        block
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn free_recorded(&self, block: *mut u8, layout: Layout) {
        let bits = self.bits();
        let mut _guard = None;
        if bits & (SUMS | TRACES) == 0 {
            events::freeing_counted(bits, layout.size());
        } else if let Some(guard) = guard::enter() {
            if bits & TRACES != 0 {
                trace::freeing(block);
            }
            if bits & (COUNTS | SUMS) != 0 {
                events::freeing(&guard, bits, block, layout.size());
            }
            _guard = Some(guard);
        }
        // SAFETY: the caller's promise.
        unsafe { self.inner.dealloc(block, layout) };
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(never)]
    unsafe fn resize_recorded(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let bits = self.bits();
        let Some(guard) = guard::enter() else {
            // SAFETY: the caller's promise.
            return unsafe { self.inner.realloc(block, layout, new_size) };
        };
        let begun = (bits & TRACES != 0).then(|| trace::resizing(block));
        let known = events::resizing(&guard, bits, block);
        // SAFETY: the caller's promise.
        let new_block = unsafe { self.inner.realloc(block, layout, new_size) };
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

// SAFETY: every request goes to `inner` as it came, and what that gives goes back as it came. What is told beside does
// not touch the blocks and does not unwind.
//
// Not inlined: else the compiler puts them into the program's own code, which then inlines less of itself (6 ns an
// allocation in a program that parses JSON, with nothing recorded).
unsafe impl<A: GlobalAlloc> GlobalAlloc for Alloc<A> {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        unsafe {
            match mode::bits() == OFF {
                true => self.inner.alloc(layout),
                false => self.make_watched::<false>(layout),
            }
        }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        unsafe {
            match mode::bits() == OFF {
                true => self.inner.alloc_zeroed(layout),
                false => self.make_watched::<true>(layout),
            }
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `inner` asks for.
        unsafe {
            match mode::bits() == OFF {
                true => self.inner.dealloc(block, layout),
                false => self.free_watched(block, layout),
            }
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those that `inner` asks for.
        unsafe {
            match mode::bits() == OFF {
                true => self.inner.realloc(block, layout, new_size),
                false => self.resize_watched(block, layout, new_size),
            }
        }
    }
}
