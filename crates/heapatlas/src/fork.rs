//! What a forked child may rely on: no table of ours is in the middle of a change.
//!
//! Handlers hold every table that threads share while a process forks by `fork`, in one order: whoever locks two of
//! them locks the one with the lower [`Rank`] first. A child that was made past the handlers (by a raw `clone`) finds
//! a lock that stays locked at worst, waits two seconds once, and does without.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};

/// Whose tables they are, in the order in which they are locked.
#[derive(Clone, Copy)]
pub(crate) enum Rank {
    Profiler,
    LeakTracker,
    Sums,
    Stacks,
}

const RANKS: usize = 4;

/// How some tables are held, and let go in the parent and in the child.
pub(crate) struct Tables {
    pub(crate) hold: fn(),
    pub(crate) open: fn(),
}

static TABLES: [AtomicPtr<Tables>; RANKS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; RANKS];

/// A bit for each rank that is held: tables may be included while a process forks, and are not held then.
static HELD: AtomicUsize = AtomicUsize::new(0);

static IS_PREPARED: AtomicBool = AtomicBool::new(false);

/// Has every fork from here on find these tables at rest. To be called before one of them is first used.
pub(crate) fn include(rank: Rank, tables: &'static Tables) {
    let place = &TABLES[rank as usize];
    if place.load(Relaxed).is_null() {
        place.store(std::ptr::from_ref(tables).cast_mut(), Release);
    }
    if !IS_PREPARED.swap(true, AcqRel) {
        prepare();
    }
}

fn prepare() {
    #[cfg(all(unix, not(miri)))]
    // SAFETY: the handlers live as long as the process; where there is no memory for them, a child may have to
    // wait as written above.
    unsafe {
        libc::pthread_atfork(Some(before), Some(after), Some(after));
    }
}

#[cfg(all(unix, not(miri)))]
extern "C" fn before() {
    let mut held = 0;
    for (rank, place) in TABLES.iter().enumerate() {
        if let Some(tables) = tables(place) {
            (tables.hold)();
            held |= 1 << rank;
        }
    }
    // Another thread that forks now waits for one of them, so this is ours until they are open.
    HELD.store(held, Relaxed);
}

#[cfg(all(unix, not(miri)))]
extern "C" fn after() {
    let held = HELD.swap(0, Relaxed);
    for (rank, place) in TABLES.iter().enumerate().rev() {
        if let Some(tables) = tables(place).filter(|_| held & 1 << rank != 0) {
            (tables.open)();
        }
    }
}

#[cfg(all(unix, not(miri)))]
fn tables(place: &AtomicPtr<Tables>) -> Option<&'static Tables> {
    // SAFETY: null, or what `include` was given, which lives for ever.
    unsafe { place.load(Acquire).as_ref() }
}
