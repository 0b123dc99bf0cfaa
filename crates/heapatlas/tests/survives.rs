//! What the allocator must survive in every mode: threads that come and go, allocation while thread-locals are
//! destroyed, panics, unwinding out of profiles, a change of mode in the middle. Known figures are exact afterwards.
//! (Without the test harness, whose thread allocates, too.)

use std::cell::RefCell;
use std::hint::black_box;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use heapatlas::{Alloc, HeapStats, Mode, Profiler, process_totals, set_mode};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

static ENDED: AtomicU64 = AtomicU64::new(0);

/// Allocates while its thread ends, and hands a block on.
struct Last(Vec<u8>);

impl Drop for Last {
    fn drop(&mut self) {
        let more: Vec<Vec<u8>> = (1..20).map(block).collect();
        black_box(&more);
        self.0.reserve_exact(3000);
        ENDED.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! {
    static LAST: RefCell<Vec<Last>> = const { RefCell::new(Vec::new()) };
}

#[inline(never)]
fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

fn work() {
    LAST.with(|last| last.borrow_mut().push(Last(block(100))));
    for bytes in 1..200 {
        let mut one = block(bytes);
        one.reserve_exact(2 * bytes);
        drop(black_box(vec![0_u8; bytes]));
    }
    let caught = panic::catch_unwind(|| {
        let _held = block(700);
        panic::resume_unwind(Box::new(block(50)));
    });
    drop(caught.unwrap_err());
}

fn in_threads(threads: usize) {
    let threads: Vec<_> = (0..threads).map(|_| thread::spawn(work)).collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn main() {
    // Counted from before `main`.
    assert!(heapatlas::is_counting() && process_totals().allocated_blocks > 0);
    panic::set_hook(Box::new(|_| {}));
    in_threads(4);
    let before = process_totals();
    for _ in 0..20 {
        in_threads(8);
    }
    let after = process_totals();
    assert_eq!(after.live_bytes, before.live_bytes);
    assert_eq!(after.live_blocks, before.live_blocks);
    assert_eq!(ENDED.load(Ordering::Relaxed), 4 + 160);

    in_profiles();
    while_modes_change();
    a_panic_ends_a_profile();
}

/// What one thread of `work` allocates is known from another one.
fn in_profiles() {
    let mut profiles: Vec<(u64, u64)> = Vec::new();
    for _ in 0..3 {
        let mut profiler = Profiler::new_heap();
        let expected = HeapStats::get();
        assert_eq!((expected.total_blocks, expected.curr_blocks), (0, 0));
        in_threads(6);
        let stats = HeapStats::get();
        assert_eq!((stats.curr_blocks, stats.curr_bytes), (0, 0), "{stats:?}");
        profiler.drop_and_get_memory_output();
        profiles.push((stats.total_blocks, stats.total_bytes));
    }
    assert!(
        profiles.iter().all(|profile| *profile == profiles[0]),
        "{profiles:?}"
    );
}

fn while_modes_change() {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        for round in 0..60 {
            set_mode([Mode::Off, Mode::Counting][round % 2]).unwrap();
            let mut profiler = Profiler::new_heap();
            let stats = HeapStats::get();
            assert!(stats.max_bytes >= stats.curr_bytes);
            let text = profiler.drop_and_get_memory_output();
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
        is_done.store(true, Ordering::Relaxed);
    });
    set_mode(Mode::Counting).unwrap();
}

fn a_panic_ends_a_profile() {
    let folder = std::env::temp_dir().join(format!("heapatlas-survives-{}", std::process::id()));
    let result = panic::catch_unwind(|| {
        let _profiler = Profiler::builder().file_name(&folder).build();
        panic!("of the program");
    });
    assert!(result.is_err() && HeapStats::try_get().is_err());
    std::fs::remove_file(folder).unwrap();
    // The next one begins as if nothing had happened.
    let mut profiler = Profiler::new_heap();
    drop(block(10));
    assert_eq!(HeapStats::get().total_bytes, 10);
    profiler.drop_and_get_memory_output();
}
