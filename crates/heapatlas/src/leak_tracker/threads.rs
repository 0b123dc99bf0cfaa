//! Numbers and names of the threads that use the tracker.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use super::allocation::ThreadLabel;
use super::locked::Locked;
use super::sorted::Numbered;
use crate::guard::Guard;

thread_local! {
    // Constant and without a destructor, so that it can be asked while the thread ends.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    /// Gone when the thread's values are: then its name may be gone, too, and must not be asked for.
    static ALIVE: Alive = const { Alive };
}

struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {}
}

static LAST: AtomicU32 = AtomicU32::new(0);

/// By number. Blocks outlive their threads, so names are kept; but not without a limit.
static NAMES: Locked<Numbered<String>> = Locked::new(Numbered::new());
const MOST_NAMES: usize = 16_384;

/// The number of this thread.
#[inline]
pub(crate) fn number(_: &Guard) -> u32 {
    match NUMBER.get() {
        0 => give_number(),
        number => number,
    }
}

#[cold]
fn give_number() -> u32 {
    // After four billion threads numbers are given again.
    let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    NUMBER.set(number);
    if ALIVE.try_with(|_| ()).is_ok()
        && let Some(name) = std::thread::current().name()
    {
        let name = name.to_owned();
        let dropped = NAMES.with(|names| names.insert(number, name, MOST_NAMES));
        drop(dropped);
    }
    number
}

pub(crate) fn label(number: u32) -> ThreadLabel {
    let name = NAMES.with(|names| names.get(number).cloned()).flatten();
    ThreadLabel { number, name }
}

pub(crate) fn hold_for_fork() {
    NAMES.hold_for_fork();
}

pub(crate) fn open_after_fork() {
    NAMES.open_after_fork();
}
