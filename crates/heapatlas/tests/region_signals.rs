//! Regions in a signal handler, between and within those of the thread that it interrupts.
#![cfg(unix)]

mod known_blocks;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use heapatlas::{Alloc, Region, measure};
use known_blocks::{block, check, row};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Allocates nothing: its row is there already, and a region that cannot be had is none.
extern "C" fn handle(_: i32) {
    measure!("handler", {
        HANDLED.fetch_add(1, Relaxed);
    });
}

#[test]
fn a_handler_may_have_regions() {
    const ROUNDS: u64 = 300_000;
    let once = || {
        measure!("outer", {
            let kept = block(10);
            measure!("inner", drop(block(7)));
            drop(kept);
        });
    };
    // All rows, before anything is interrupted: below each region there is one for the handler.
    once();
    for outer in [None, Some("outer")] {
        let _outer = outer.map(Region::start);
        handle(0);
        measure!("inner", handle(0));
    }
    let begun = HANDLED.load(Relaxed);

    let handler = handle as extern "C" fn(i32);
    // SAFETY: the handler allocates nothing and takes no lock.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    // SAFETY: always allowed.
    let interrupted = unsafe { libc::pthread_self() };
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Relaxed) {
                // SAFETY: the thread waits for this one.
                unsafe { libc::pthread_kill(interrupted, libc::SIGUSR1) };
            }
        });
        (0..ROUNDS).for_each(|_| once());
        is_done.store(true, Relaxed);
    });

    assert!(HANDLED.load(Relaxed) > begun, "nothing was interrupted");
    let times = ROUNDS + 1;
    assert_eq!(row(&["outer"]).count, times + 1);
    let own = (10 * times, times);
    check(row(&["outer"]).own.memory, own, own, 17);
    let own = (7 * times, times);
    check(row(&["outer", "inner"]).own.memory, own, own, 7);
    let after = Region::start("after");
    drop(after);
    assert_eq!(row(&["after"]).level, 0);
}
