//! The clock of the events, read on our side.

use std::thread;
use std::time::{Duration, Instant};

use heapatlas_trace::shared::TICK_SHIFT;

/// Ticks as the recorder counts them.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    (unsafe { core::arch::x86_64::_rdtsc() }) >> TICK_SHIFT
}

/// Ticks in a second, to about a percent: readers have better from the blocks of a long recording.
pub fn ticks_per_second() -> u64 {
    let (start, first) = (Instant::now(), ticks());
    thread::sleep(Duration::from_millis(2));
    let (elapsed, last) = (start.elapsed(), ticks());
    ((last - first) as f64 / elapsed.as_secs_f64()) as u64
}
