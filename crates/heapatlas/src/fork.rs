//! What a forked child may rely on: no table of ours is in the middle of a change.
//!
//! The handlers hold every shared table while a process forks by `fork`. A child that was made past them (by a raw
//! `clone`) finds a lock that stays locked at worst, waits two seconds once, and does without.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

static IS_PREPARED: AtomicBool = AtomicBool::new(false);

/// Has every fork from here on find the tables at rest. Called before one of them is first used.
pub(crate) fn prepare() {
    if IS_PREPARED.swap(true, Relaxed) {
        return;
    }
    #[cfg(all(unix, not(miri)))]
    // SAFETY: the handlers live as long as the process; where there is no memory for them, a child may have to
    // wait as written above.
    unsafe {
        libc::pthread_atfork(Some(before), Some(after), Some(after));
    }
}

#[cfg(all(unix, not(miri)))]
extern "C" fn before() {
    crate::profiler::hold_for_fork();
    crate::leak_tracker::hold_for_fork();
    crate::alloc::hold_for_fork();
    crate::stack::hold_for_fork();
}

#[cfg(all(unix, not(miri)))]
extern "C" fn after() {
    crate::stack::open_after_fork();
    crate::alloc::open_after_fork();
    crate::leak_tracker::open_after_fork();
    crate::profiler::open_after_fork();
}
