//! A lock of one word, for the few instructions in which a shard of a shared table changes.
//!
//! It allocates nothing, and it works before `main` and while a thread ends. Who waits spins, yields, and gives up
//! after about two seconds: then its holder is not there any more (a child that was forked past the handlers), and
//! the caller does without.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU32, Ordering};

use crate::pages;

const OPEN: u32 = 0;
const LOCKED: u32 = 1;

/// So often a waiter looks again before it yields.
const SPINS: u32 = 64;
/// So often it yields or sleeps before it gives up.
const TURNS: u32 = 3000;

/// The lock.
pub struct ShardLock(AtomicU32);

/// Holds the lock while it lives.
pub struct ShardGuard<'l>(&'l ShardLock);

impl ShardLock {
    /// An open lock.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(OPEN))
    }

    /// An open lock.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU32::new(OPEN))
    }

    /// Locks. None when it was never opened in all the time that a waiter waits.
    #[inline]
    pub fn lock(&self) -> Option<ShardGuard<'_>> {
        (self.try_lock() || self.wait()).then_some(ShardGuard(self))
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(OPEN, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn wait(&self) -> bool {
        for turn in 0..SPINS + TURNS {
            if self.0.load(Ordering::Relaxed) == OPEN && self.try_lock() {
                return true;
            }
            self.pause(turn);
        }
        false
    }

    #[cfg(not(loom))]
    fn pause(&self, turn: u32) {
        match turn.checked_sub(SPINS) {
            None => core::hint::spin_loop(),
            Some(turns) => pages::wait(turns),
        }
    }

    #[cfg(loom)]
    fn pause(&self, _turn: u32) {
        loom::thread::yield_now();
    }

    /// Keeps it locked when the guard is gone: for the time of a fork.
    pub fn hold(guard: ShardGuard<'_>) {
        core::mem::forget(guard);
    }

    /// Opens it, whoever holds it: after [`Self::hold`], in the parent and in the child.
    pub fn open(&self) {
        self.0.store(OPEN, Ordering::Release);
    }
}

impl Default for ShardLock {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ShardGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.open();
    }
}
