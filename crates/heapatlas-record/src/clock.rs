//! Ticks.

use heapatlas_trace::shared::TICK_SHIFT;

/// The time stamp counter, coarsened. Processors since 2008 count at one rate and agree on it.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; programs may be forbidden to use it
    // (prctl PR_SET_TSC), which no known program asks for.
    (unsafe { core::arch::x86_64::_rdtsc() }) >> TICK_SHIFT
}
