//! Who is inside heapatlas: what it allocates itself is neither recorded nor counted.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    // Constant and without a destructor: it can be read while a thread ends, in a signal handler, and in an allocator.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Proof that this thread entered heapatlas once and not twice. It stays on its thread.
pub(crate) struct Guard(PhantomData<*mut ()>);

/// Enters; `None` if this thread is inside already.
#[inline]
pub(crate) fn enter() -> Option<Guard> {
    // Not `then_some`: a guard that is made and not given would leave.
    (!IS_INSIDE.replace(true)).then(|| Guard(PhantomData))
}

/// Whether this thread is inside.
#[inline]
pub(crate) fn is_inside() -> bool {
    IS_INSIDE.get()
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        IS_INSIDE.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_enters_once() {
        let guard = enter();
        assert!(guard.is_some() && is_inside() && enter().is_none());
        assert!(is_inside(), "a refusal changes nothing");
        std::thread::spawn(|| assert!(enter().is_some()))
            .join()
            .unwrap();
        drop(guard);
        assert!(!is_inside() && enter().is_some());
    }
}
