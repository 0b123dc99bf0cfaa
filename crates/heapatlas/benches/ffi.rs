//! What a tracked pair of allocation and free costs: `cargo bench -p heapatlas --bench ffi`.
//!
//! Plain pairs of the C library and tracked ones take turns; shown are the medians of processor time. (By the clock on the
//! wall a busy machine would look like threads that wait for each other; those that do spin, and their time shows.) All are
//! called 20 frames deep. The number behind the time is the factor over `malloc` and `free`.
#![expect(
    clippy::print_stdout,
    clippy::undocumented_unsafe_blocks,
    reason = "a benchmark prints; each block is freed at once"
)]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

use heapatlas::{Filter, LeakScope, LeakTracker, diagnostic_free, diagnostic_malloc_bytes};

const PAIRS: u32 = 100_000;
const ROUNDS: usize = 15;
const DEPTH: u32 = 20;

#[inline(never)]
fn deep(depth: u32, work: &dyn Fn()) {
    if depth == 0 {
        work();
    } else {
        deep(black_box(depth - 1), work);
        // Something to come back for: no tail call.
        black_box(depth);
    }
}

fn plain() {
    for _ in 0..PAIRS {
        unsafe { libc::free(black_box(libc::malloc(black_box(64)))) };
    }
}

fn tracked() {
    for _ in 0..PAIRS {
        let block = black_box(diagnostic_malloc_bytes(black_box(64), 16));
        unsafe { diagnostic_free(block.map_or(std::ptr::null_mut(), |block| block.as_ptr())) };
    }
}

/// 64 blocks live at any time: each free is of another block than the last one.
fn tracked_ring() {
    let mut ring = [std::ptr::null_mut(); 64];
    for turn in 0..PAIRS as usize {
        let slot = &mut ring[turn % 64];
        unsafe { diagnostic_free(*slot) };
        let block = black_box(diagnostic_malloc_bytes(black_box(64), 16));
        *slot = block.map_or(std::ptr::null_mut(), |block| block.as_ptr());
    }
    for block in ring {
        unsafe { diagnostic_free(block) };
    }
}

/// Nanoseconds of processor time for a pair, while so many threads do the same.
fn nanoseconds_per_pair(threads: usize, work: fn()) -> f64 {
    let barrier = Barrier::new(threads);
    let one = || {
        deep(DEPTH, &work);
        barrier.wait();
        let start = processor_nanoseconds();
        deep(DEPTH, &work);
        (processor_nanoseconds() - start) as f64 / f64::from(PAIRS)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let times: Vec<f64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        times.iter().sum::<f64>() / times.len() as f64
    })
}

/// Of this thread.
#[cfg(unix)]
fn processor_nanoseconds() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Elsewhere the clock on the wall has to do.
#[cfg(not(unix))]
fn processor_nanoseconds() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START
        .get_or_init(std::time::Instant::now)
        .elapsed()
        .as_nanos() as u64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Of each of several, taking turns.
fn medians(threads: usize, works: &[fn()]) -> Vec<f64> {
    let mut times = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        for (work, times) in works.iter().zip(&mut times) {
            times.push(nanoseconds_per_pair(threads, *work));
        }
    }
    times.into_iter().map(median).collect()
}

/// Shows a line for each, with the plain pairs that took turns with them.
fn show(names: &[&str], works: &[fn()]) {
    let all: Vec<fn()> = [plain as fn()].iter().chain(works).copied().collect();
    let [one, two] = [1, 2].map(|threads| medians(threads, &all));
    for (name, (one_time, two_time)) in names.iter().zip(one.iter().zip(&two).skip(1)) {
        println!(
            "{name:<32} {one_time:>8.1} ({:>5.1}) {two_time:>8.1} ({:>5.1})",
            one_time / one[0],
            two_time / two[0]
        );
    }
}

fn main() {
    println!("ns per pair of allocation and free of 64 bytes, medians of {ROUNDS} rounds");
    println!("{:<32} {:>16} {:>16}", "", "1 thread", "2 threads");
    show(&["malloc, free"], &[plain]);
    show(&["tracking disabled"], &[tracked]);
    LeakTracker::enable();
    show(
        &["tracked", "tracked, 64 blocks live"],
        &[tracked, tracked_ring],
    );
    LeakTracker::hold_freed_blocks(false);
    show(&["tracked, freed blocks not held"], &[tracked]);
    LeakTracker::hold_freed_blocks(true);
    LeakTracker::set_global_filter(Filter::ignore_types(["a::Type"]));
    show(&["tracked, with a filter"], &[tracked]);
    LeakTracker::clear_global_filter();
    show(
        &["tracked, in a scope"],
        &[|| LeakScope::new().run(tracked)],
    );
}
