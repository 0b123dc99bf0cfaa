//! Limits hold for a thread's own allocations in a piece of code: tests side by side do not disturb each other.

use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use heapatlas::{Alloc, Baseline, HeapLimits, HeapUsage, expect_heap, heap_usage};

#[global_allocator]
static ALLOC: Alloc = Alloc::system();

#[inline(never)]
fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

fn message_of(work: impl FnOnce()) -> String {
    let payload = panic::catch_unwind(AssertUnwindSafe(work)).expect_err("a panic");
    payload.downcast_ref::<String>().expect("text").clone()
}

#[test]
fn usage_is_exact() {
    let (kept, usage) = heap_usage(|| {
        let mut kept = block(100);
        drop(block(1000));
        kept.reserve_exact(200);
        kept
    });
    let HeapUsage {
        allocated_bytes,
        allocated_blocks,
        freed_bytes,
        freed_blocks,
        peak_bytes,
        ..
    } = usage;
    assert_eq!((allocated_bytes, allocated_blocks), (1300, 3));
    assert_eq!((freed_bytes, freed_blocks), (1100, 2));
    assert_eq!(peak_bytes, 1100);
    assert_eq!((usage.live_bytes(), usage.live_blocks()), (200, 1));
    // What was there before is not in it, and may be freed.
    let ((), usage) = heap_usage(|| drop(kept));
    assert_eq!((usage.live_bytes(), usage.live_blocks()), (-200, -1));
    assert_eq!(usage.peak_bytes, 0);
}

#[test]
fn inner_pieces_have_their_own_peak() {
    let (inner, outer) = heap_usage(|| {
        drop(block(5000));
        let kept = block(100);
        let ((), inner) = heap_usage(|| drop(block(300)));
        drop(block(400));
        drop(kept);
        inner
    });
    assert_eq!((inner.peak_bytes, inner.allocated_blocks), (300, 1));
    assert_eq!((outer.peak_bytes, outer.allocated_blocks), (5000, 4));
}

#[test]
fn each_limit_that_is_passed_is_told() {
    let limits = HeapLimits::new()
        .peak_bytes(50)
        .live_bytes(10)
        .live_blocks(0)
        .allocated_bytes(100)
        .allocated_blocks(1);
    let mut kept = Vec::new();
    let message = message_of(|| {
        expect_heap(limits, || {
            drop(block(60));
            kept = block(50);
        });
    });
    assert_eq!(
        message,
        "heapatlas: too much of the heap: 60 bytes at the peak where 50 are allowed, 50 bytes live at the end where \
         10 are allowed, 1 blocks live at the end where 0 are allowed, 110 bytes allocated where 100 are allowed, \
         2 blocks allocated where 1 are allowed"
    );
    expect_heap(limits, || drop(block(50)));
    expect_heap(HeapLimits::new(), || drop(block(1 << 20)));
}

#[test]
fn a_panic_inside_goes_on() {
    let message = message_of(|| {
        expect_heap(HeapLimits::new().allocated_blocks(0), || {
            panic!("of the test itself: {}", black_box(7));
        });
    });
    assert_eq!(message, "of the test itself: 7");
    expect_heap(HeapLimits::new().peak_bytes(10), || drop(block(10)));
}

/// A hundred at once, every seventh passes its limit.
#[test]
fn exactly_those_that_pass_a_limit_fail() {
    let work = |number: usize| {
        move || {
            let limits = HeapLimits::new().peak_bytes(1000 + number as u64);
            let work = || {
                for _ in 0..100 {
                    drop(block(1000 + number + usize::from(number.is_multiple_of(7))));
                    thread::yield_now();
                }
            };
            match number % 7 {
                0 => message_of(|| expect_heap(limits, work)),
                _ => {
                    expect_heap(limits, work);
                    String::new()
                }
            }
        }
    };
    let threads: Vec<_> = (0..100).map(|number| thread::spawn(work(number))).collect();
    for (number, thread) in threads.into_iter().enumerate() {
        let message = thread.join().unwrap();
        let expected = format!(
            "{} bytes at the peak where {} are allowed",
            1001 + number,
            1000 + number
        );
        assert_eq!(message.ends_with(&expected), number % 7 == 0, "{message}");
    }
}

#[test]
fn a_baseline_holds_an_increase_against_a_test() {
    let name = format!("heapatlas-limits-{}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    let baseline = Baseline::in_file(&path);
    let ((), usage) = heap_usage(|| drop(block(100)));
    baseline.update("a test", &usage).unwrap();
    baseline.compare("a test", &usage).unwrap();
    let ((), more) = heap_usage(|| drop(block(101)));
    let error = baseline.compare("a test", &more).unwrap_err().to_string();
    assert!(
        error.contains("101 bytes at the peak where 100 are allowed"),
        "{error}"
    );
    std::fs::remove_file(path).unwrap();
}
