//! The clock, and the processor time of a thread, in nanoseconds.
//!
//! | system | clock | processor time |
//! |---|---|---|
//! | Linux, Android | `CLOCK_MONOTONIC`, directly | `CLOCK_THREAD_CPUTIME_ID` |
//! | macOS, iOS, FreeBSD | the standard library's [`Instant`] | the same |
//! | elsewhere, under Miri | the standard library's [`Instant`] | not known: regions show the clock only |

/// Now, since some moment in the past.
#[inline]
pub(crate) fn now() -> u64 {
    wall::now()
}

/// Whether [`cpu_time_of_this_thread`] is known.
pub(crate) const IS_CPU_TIME_KNOWN: bool = cpu::IS_KNOWN;

/// The processor time that this thread has had; 0 where it is not known.
///
/// A call into the kernel, half a microsecond: see `region::cpu_clock`, which asks seldom.
pub(crate) fn cpu_time_of_this_thread() -> u64 {
    cpu::of_this_thread()
}

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(any(miri, heapatlas_fallback))
))]
mod wall {
    /// An `Instant` costs half as much again until it is a number.
    #[inline]
    pub(super) fn now() -> u64 {
        super::read(libc::CLOCK_MONOTONIC)
    }
}

#[cfg(not(all(
    any(target_os = "linux", target_os = "android"),
    not(any(miri, heapatlas_fallback))
)))]
mod wall {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(super) fn now() -> u64 {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

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
mod cpu {
    pub(super) const IS_KNOWN: bool = true;

    pub(super) fn of_this_thread() -> u64 {
        super::read(libc::CLOCK_THREAD_CPUTIME_ID)
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
mod cpu {
    pub(super) const IS_KNOWN: bool = false;

    pub(super) fn of_this_thread() -> u64 {
        0
    }
}

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
#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one `timespec`. (The clocks asked for are there; `errno` stays as it is then.)
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}
