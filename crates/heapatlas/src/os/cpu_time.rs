//! The processor time of a thread.
//!
//! By `clock_gettime` on Linux, Android, macOS, iOS and FreeBSD. Fallback elsewhere and under Miri: it is not known, and
//! regions show wall time only.

/// The processor time that this thread has had, in nanoseconds; `None` where it is not known.
///
/// A call into the kernel, half a microsecond: see `region::cpu_clock`, which asks seldom.
#[cfg(all(
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    ),
    not(any(miri, heapatlas_fallback))
))]
mod system {
    pub(crate) const IS_KNOWN: bool = true;

    pub(crate) fn of_this_thread() -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes one `timespec`. (The clock is there on these systems; `errno` stays as it is then.)
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        (time.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec as u64)
    }
}

#[cfg(not(all(
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    ),
    not(any(miri, heapatlas_fallback))
)))]
mod system {
    pub(crate) const IS_KNOWN: bool = false;

    pub(crate) fn of_this_thread() -> u64 {
        0
    }
}

/// Whether there is such a clock.
pub(crate) const IS_KNOWN: bool = system::IS_KNOWN;

/// The processor time that this thread has had, in nanoseconds; 0 where it is not known.
///
/// A call into the kernel, half a microsecond: see `region::cpu_clock`, which asks seldom.
pub(crate) fn of_this_thread() -> u64 {
    system::of_this_thread()
}
