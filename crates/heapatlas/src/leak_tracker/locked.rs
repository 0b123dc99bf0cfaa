//! A value behind a lock that threads share, for what changes seldom: scopes, filters, names of threads.
//!
//! Unlike the standard library's, the lock is held while the process forks, so that no child finds it locked;
//! it is not poisoned by a panic; and who waits for two seconds in vain does without.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use heapatlas_record::shard_lock::ShardLock;

pub(crate) struct Locked<T> {
    lock: ShardLock,
    is_held_for_fork: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached under the lock only.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            lock: ShardLock::new(),
            is_held_for_fork: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// `work` may not use the same value once more, nor call what the user wrote.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let guard = self.lock.lock()?;
        // SAFETY: whoever holds the lock is alone with the value, and keeps it no longer than that.
        let result = work(unsafe { &mut *self.value.get() });
        drop(guard);
        Some(result)
    }

    /// Locks it until [`Self::open_after_fork`]. If somebody keeps it for very long, the child has to do without.
    pub(crate) fn hold_for_fork(&self) {
        if let Some(guard) = self.lock.lock() {
            self.is_held_for_fork.store(true, Ordering::Relaxed);
            ShardLock::hold(guard);
        }
    }

    /// In the parent and in the child.
    pub(crate) fn open_after_fork(&self) {
        if self.is_held_for_fork.swap(false, Ordering::Relaxed) {
            self.lock.open();
        }
    }
}
