//! Time as the events of an allocator need it: cheap to read, turned into microseconds when it is told.
//!
//! On x86-64 it is the processor's time stamp counter (7 ns); elsewhere, and under Miri, the system's monotonic clock.

use std::time::{Duration, Instant};

/// A moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tick(pub(crate) u64);

#[cfg(all(target_arch = "x86_64", not(any(miri, heapatlas_fallback))))]
impl Tick {
    #[inline(always)]
    pub(crate) fn now() -> Self {
        // SAFETY: every x86-64 processor has the instruction.
        Self(unsafe { std::arch::x86_64::_rdtsc() })
    }
}

#[cfg(not(all(target_arch = "x86_64", not(any(miri, heapatlas_fallback)))))]
impl Tick {
    #[inline]
    pub(crate) fn now() -> Self {
        static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let elapsed = FIRST.get_or_init(Instant::now).elapsed();
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// What turns ticks into time: one moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    tick: Tick,
    instant: Instant,
}

impl Start {
    pub(crate) fn now() -> Self {
        Self {
            tick: Tick::now(),
            instant: Instant::now(),
        }
    }

    /// The scale as it is now.
    pub(crate) fn scale(&self) -> Scale {
        let elapsed = self.instant.elapsed();
        Scale {
            start: self.tick,
            ticks: Tick::now().0.saturating_sub(self.tick.0).max(1),
            elapsed,
        }
    }
}

/// So many ticks were so much time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    start: Tick,
    ticks: u64,
    elapsed: Duration,
}

impl Scale {
    /// A sum of ticks.
    pub(crate) fn microseconds(&self, ticks: i128) -> u128 {
        let ticks = u128::try_from(ticks).unwrap_or(0);
        let elapsed_ns = self.elapsed.as_nanos().max(1);
        // Sums over many blocks are too large for a product: what is whole comes first.
        let whole = ticks / u128::from(self.ticks);
        let rest = ticks % u128::from(self.ticks);
        (whole * elapsed_ns + rest * elapsed_ns / u128::from(self.ticks)) / 1000
    }

    /// A moment, since the start.
    pub(crate) fn microseconds_at(&self, tick: Tick) -> u128 {
        let since = tick.0.saturating_sub(self.start.0).min(self.ticks);
        self.microseconds(i128::from(since))
    }

    /// Since the start.
    pub(crate) fn total_microseconds(&self) -> u128 {
        self.elapsed.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_microseconds() {
        let scale = Scale {
            start: Tick(1000),
            ticks: 3_000,
            elapsed: Duration::from_micros(1),
        };
        assert_eq!(scale.microseconds(3_000_000), 1000);
        assert_eq!(scale.microseconds(4_500), 1);
        assert_eq!(scale.microseconds(-7), 0);
        // A billion blocks that lived for a week.
        let week = 7 * 24 * 3600 * 1_000_000_u128;
        let ticks = i128::try_from(week * 3000 * 1_000_000_000).unwrap();
        assert_eq!(scale.microseconds(ticks), week * 1_000_000_000);
        assert_eq!(scale.microseconds_at(Tick(900)), 0);
        assert_eq!(scale.microseconds_at(Tick(99_000)), 1);
    }
}
