//! When something was recorded.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, by the clock and in the order of all threads.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds since 1970. The clock is read cheaply: it may be some milliseconds late.
    pub nanoseconds: u64,
    /// What happens later has a larger one.
    pub order: u64,
}

impl Moment {
    pub(crate) fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.nanoseconds)
    }
}

/// 15 ns here; the precise clock takes 23.
#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    not(any(miri, heapatlas_fallback))
))]
#[inline]
pub(crate) fn now() -> Moment {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a live place for the result; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut time) };
    Moment {
        nanoseconds: (time.tv_sec as u64).saturating_mul(1_000_000_000) + time.tv_nsec as u64,
        // SAFETY: every x86-64 processor has the instruction. They count at one rate and agree.
        order: unsafe { core::arch::x86_64::_rdtsc() },
    }
}

/// By the standard library, and a count that threads share.
#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    not(any(miri, heapatlas_fallback))
)))]
pub(crate) fn now() -> Moment {
    use std::sync::atomic::{AtomicU64, Ordering};

    static ORDER: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Moment {
        nanoseconds: since.map_or(0, |since| since.as_nanos() as u64),
        order: ORDER.fetch_add(1, Ordering::Relaxed),
    }
}
