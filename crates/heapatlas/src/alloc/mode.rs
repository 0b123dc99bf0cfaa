//! What an [`Alloc`](super::Alloc) does beside allocating: one byte, which every allocation looks at.

use std::error::Error;
use std::fmt;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// What the allocator records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing: an allocation costs a look at one byte.
    #[default]
    Off,
    /// Sums of each thread and of the process, without stacks.
    Counting,
    /// Sums for each stack, with the exact peak: what [`HeapStats`](crate::HeapStats) and a DHAT file need.
    Aggregate,
    /// Some allocations, chosen by chance so that each byte has the same one, with their stacks: a trace file that
    /// `heapatlas summary` reads. For programs in service. On Linux (x86-64, glibc).
    Sampled,
    /// Every allocation and every free, with its stack, thread and time: a trace file that `heapatlas summary` reads.
    /// On Linux (x86-64, glibc).
    Exact,
}

impl Mode {
    const fn bits(self) -> u8 {
        match self {
            Self::Off => OFF,
            Self::Counting => OFF | COUNTS,
            Self::Aggregate => OFF | COUNTS | SUMS,
            Self::Sampled => SAMPLES,
            Self::Exact => OFF | TRACES,
        }
    }
}

/// No `Alloc` has been called yet, so nobody knows whether there is one.
const UNKNOWN: u8 = 0;
/// Always there once an `Alloc` was called.
pub(super) const OFF: u8 = 1;
/// Each thread counts.
pub(super) const COUNTS: u8 = 2;
/// Sums by stack are kept.
pub(super) const SUMS: u8 = 4;
/// Events go to a trace.
pub(super) const TRACES: u8 = 8;
/// Of sampled blocks only, and that is all.
pub(super) const SAMPLES: u8 = OFF | TRACES | 16;

static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// What was asked for by [`set_base`]: a recording that ends leaves this.
static BASE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The bits now.
#[inline(always)]
pub(super) fn bits() -> u8 {
    MODE.load(Relaxed)
}

/// The bits, where an allocator says that it is there and what it begins with.
#[cold]
#[inline(never)]
pub(super) fn begin_with(first: Mode) -> u8 {
    let first = first.bits();
    match MODE.compare_exchange(UNKNOWN, first, AcqRel, Acquire) {
        Ok(_) => {
            // Whoever was faster and asked for a mode meant that one.
            let _ = BASE.compare_exchange(UNKNOWN, first, AcqRel, Acquire);
            first
        }
        Err(found) => found,
    }
}

#[inline(always)]
pub(super) const fn is_unknown(bits: u8) -> bool {
    bits == UNKNOWN
}

/// Whether allocations are counted: an [`Alloc`](super::Alloc) is the global allocator, and its mode counts.
#[must_use]
pub fn is_counting() -> bool {
    bits() & COUNTS != 0
}

/// Whether an [`Alloc`](super::Alloc) is the global allocator of this program.
#[must_use]
pub fn is_installed() -> bool {
    if is_unknown(bits()) {
        // An allocation shows it.
        drop(std::hint::black_box(Box::new(0_u64)));
    }
    !is_unknown(bits())
}

/// There is no [`Alloc`](super::Alloc) whose mode could be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotInstalled;

impl fmt::Display for NotInstalled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "`heapatlas::Alloc` is not the global allocator: add \
             `#[global_allocator] static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();` to the program",
        )
    }
}

impl Error for NotInstalled {}

/// Sets what is recorded when no profiler runs. Only for modes that leave nothing to be written.
pub(crate) fn set_base(mode: Mode) -> Result<(), NotInstalled> {
    if !is_installed() {
        return Err(NotInstalled);
    }
    BASE.store(mode.bits(), Relaxed);
    update();
    Ok(())
}

/// Records in this mode, above the one that [`set_base`] has set.
pub(crate) fn record(mode: Mode) {
    RECORDED.store(mode.bits(), Relaxed);
    update();
}

/// Goes back to the mode that [`set_base`] has set.
pub(crate) fn stop_recording() {
    RECORDED.store(0, Relaxed);
    update();
}

/// What a profiler wants.
static RECORDED: AtomicU8 = AtomicU8::new(0);

/// Without an allocator the byte stays unknown.
fn update() {
    let _ = MODE.fetch_update(AcqRel, Acquire, |now| {
        (!is_unknown(now)).then(|| OFF | BASE.load(Relaxed) | RECORDED.load(Relaxed))
    });
}
