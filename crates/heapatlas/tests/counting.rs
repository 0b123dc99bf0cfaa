//! Counting is exact: each thread's totals, the process's, the peak while one thread allocates; places of threads that
//! have ended are used again. (Without the test harness, whose thread allocates, too.)

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::thread;

use heapatlas::{
    Alloc, Mode, ProcessTotals, ThreadTotals, process_totals, set_mode, thread_totals,
};

#[global_allocator]
static ALLOC: Alloc = Alloc::system();

fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

/// Bytes and blocks allocated, then freed, by `work`.
fn counted(work: impl FnOnce()) -> [u64; 4] {
    let ThreadTotals {
        allocated_bytes,
        allocated_blocks,
        freed_bytes,
        freed_blocks,
        ..
    } = thread_totals();
    work();
    let after = thread_totals();
    [
        after.allocated_bytes - allocated_bytes,
        after.allocated_blocks - allocated_blocks,
        after.freed_bytes - freed_bytes,
        after.freed_blocks - freed_blocks,
    ]
}

fn peak() -> i64 {
    process_totals().peak_bytes
}

fn main() {
    assert!(heapatlas::is_installed() && !heapatlas::is_counting());
    assert_eq!(counted(|| drop(block(10))), [0; 4]);
    set_mode(Mode::Counting).unwrap();
    assert!(heapatlas::is_counting());

    assert_eq!(counted(|| drop(block(10))), [10, 1, 10, 1]);
    assert_eq!(
        counted(|| {
            let mut grown = block(100);
            grown.reserve_exact(300);
            grown.push(1);
            grown.shrink_to(50);
        }),
        [450, 3, 450, 3]
    );
    assert_eq!(counted(|| drop(black_box(vec![0_u8; 77]))), [77, 1, 77, 1]);
    requests_that_fail_count_nothing();
    the_peak_of_one_thread();
    threads();

    set_mode(Mode::Off).unwrap();
    assert_eq!(counted(|| drop(block(10))), [0; 4]);
}

fn requests_that_fail_count_nothing() {
    let small = Layout::from_size_align(16, 8).unwrap();
    let endless = Layout::from_size_align(isize::MAX as usize - 4096, 8).unwrap();
    let work = || {
        // SAFETY: sound layouts; the block is freed with the one it was made with.
        unsafe {
            assert!(ALLOC.alloc(endless).is_null());
            assert!(ALLOC.alloc_zeroed(endless).is_null());
            let block = ALLOC.alloc(small);
            assert!(ALLOC.realloc(block, small, endless.size()).is_null());
            ALLOC.dealloc(block, small);
        }
    };
    assert_eq!(counted(work), [16, 1, 16, 1]);
}

fn the_peak_of_one_thread() {
    let before = process_totals();
    let high = (before.peak_bytes - before.live_bytes) as usize;
    // Below the step at which a thread tells the process, and far above.
    for more in [1, 100, 10_000, 1 << 20] {
        let live = process_totals().live_bytes;
        let expected = live + (high + more) as i64;
        let one = block(high + more);
        assert_eq!(process_totals().live_bytes, expected);
        drop(one);
        assert_eq!((process_totals().live_bytes, peak()), (live, expected));
    }
}

fn threads() {
    const THREADS: u64 = 20;
    let before = process_totals();
    for _ in 0..50 {
        let work = || {
            let own = thread_totals();
            assert_eq!(counted(|| drop(block(1000))), [1000, 1, 1000, 1]);
            assert!(thread_totals().allocated_blocks > own.allocated_blocks);
            // What is handed to another thread is freed there.
            block(500)
        };
        let threads: Vec<_> = (0..THREADS).map(|_| thread::spawn(work)).collect();
        for thread in threads {
            let block = thread.join().unwrap();
            assert_eq!(counted(|| drop(block)), [0, 0, 500, 1]);
        }
    }
    let ProcessTotals {
        live_bytes,
        live_blocks,
        allocated_bytes,
        allocated_blocks,
        ..
    } = process_totals();
    assert_eq!(
        (live_bytes, live_blocks),
        (before.live_bytes, before.live_blocks)
    );
    assert!(allocated_bytes - before.allocated_bytes >= 50 * THREADS * 1500);
    assert!(allocated_blocks - before.allocated_blocks >= 50 * THREADS * 2);
}
