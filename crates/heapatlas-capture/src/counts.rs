//! What a process counted, summed over its threads.

use std::sync::atomic::Ordering::Relaxed;

use heapatlas_trace::shared::LIVE_STEP;

use crate::region::Region;

/// Sums of the blocks that were made and given back while counting was on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Blocks that were made. (A reallocation is one more, and one given back.)
    pub allocations: u64,
    /// Blocks that were given back, also such that were made before.
    pub frees: u64,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// Usable bytes that were made less those that were given back; below 0 when more was given back of what
    /// was there before.
    pub live_bytes: i64,
    /// The most that `live_bytes` was, to within `peak_error_bytes`.
    pub peak_bytes: i64,
    /// Threads tell what they hold in steps: what all of them together may have held in addition.
    pub peak_error_bytes: u64,
}

/// The sums up to now, all of which began at 0.
pub(crate) fn read(region: &Region) -> Counts {
    let header = region.header();
    let mut counts = Counts {
        live_bytes: header.counted_live.load(Relaxed),
        ..Counts::default()
    };
    for counters in region.counters() {
        let allocations = counters.allocations.load(Relaxed);
        counts.allocations = counts.allocations.wrapping_add(allocations);
        counts.frees = counts.frees.wrapping_add(counters.frees.load(Relaxed));
        counts.bytes = counts.bytes.wrapping_add(counters.bytes.load(Relaxed));
        counts.live_bytes = counts.live_bytes.wrapping_add(counters.live.load(Relaxed));
        counts.peak_error_bytes += LIVE_STEP.unsigned_abs() * u64::from(allocations != 0);
    }
    let peak = header.counted_peak.load(Relaxed);
    counts.peak_bytes = peak.max(counts.live_bytes).max(0);
    counts
}

/// Begins anew. What threads add at this moment may be lost.
pub(crate) fn reset(region: &Region) {
    let header = region.header();
    header.counted_live.store(0, Relaxed);
    header.counted_peak.store(0, Relaxed);
    for counters in region.counters() {
        counters.allocations.store(0, Relaxed);
        counters.frees.store(0, Relaxed);
        counters.bytes.store(0, Relaxed);
        counters.live.store(0, Relaxed);
    }
}
