//! What a program pays that records itself: `cargo bench -p heapatlas-record --bench local`.
//!
//! Nanoseconds of processor time of all threads for each pair of an allocation and a free, medians of rounds that are run one after
//! the other for all modes. With arguments (`MODE THREADS ROUNDS`) one mode runs once, for valgrind to count instructions.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Instant;

use heapatlas_record::hooks;
use heapatlas_record::local::LocalMode;
use heapatlas_record::recorder::Recorder;

static RECORDER: Recorder = Recorder::new(0);

/// The system's allocator, recorded.
struct Recorded;

// SAFETY: hands on what the system's allocator gives.
unsafe impl GlobalAlloc for Recorded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc(layout) };
        hooks::allocated(&RECORDER, block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        hooks::freeing(&RECORDER, block);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let begun = hooks::reallocating(&RECORDER, old);
        // SAFETY: the caller's promise.
        let new = unsafe { System.realloc(old, layout, bytes) };
        hooks::reallocated(&RECORDER, begun, [old, new], bytes);
        new
    }
}

#[global_allocator]
static ALLOCATOR: Recorded = Recorded;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Off,
    Sampled,
    Exact,
}

/// So many pairs of an allocation and a free.
type Work = fn(pairs: usize);

/// One block after the other, from one place.
fn micro(pairs: usize) {
    for _ in 0..pairs {
        drop(black_box(Box::new([0_u8; 64])));
    }
}

/// A tree of texts, made and dropped: some thousand blocks live, from some ten places.
fn texts(pairs: usize) {
    const TEXTS: usize = 2000;
    // About 1.2 blocks a text: one of its own, and its part of the nodes.
    for round in 0..pairs / (TEXTS + TEXTS / 5) {
        let mut texts = BTreeMap::new();
        for number in 0..TEXTS {
            let key = number.wrapping_mul(0x9E37_79B9) % 65_536;
            texts.insert((key, round), format_text(number));
        }
        black_box(&texts);
    }
}

#[inline(never)]
fn format_text(number: usize) -> String {
    let mut text = String::with_capacity(40);
    text.push_str("a text of a few words: ");
    text.push(char::from(b'a' + (number % 26) as u8));
    text
}

fn run(work: Work, mode: Mode, threads: usize, pairs: usize) -> f64 {
    let path = env::temp_dir().join(format!("heapatlas-bench-{}", std::process::id()));
    let file = File::create(&path).expect("a temporary file");
    match mode {
        Mode::Off => {}
        Mode::Sampled => start(
            &file,
            LocalMode::Sampled {
                interval_bytes: 512 << 10,
            },
        ),
        Mode::Exact => start(&file, LocalMode::Exact),
    }
    let (wall, cpu) = (Instant::now(), cpu_ns());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(move || work(pairs));
        }
        work(pairs);
    });
    let (spent, elapsed) = (cpu_ns() - cpu, wall.elapsed());
    black_box(elapsed);
    if let Some(stats) = RECORDER.stop_local() {
        assert_eq!(stats.error, None);
    }
    std::fs::remove_file(path).expect("the temporary file");
    spent as f64 / (pairs * threads) as f64
}

fn start(file: &File, mode: LocalMode) {
    RECORDER
        .start_local(file.as_raw_fd(), mode)
        .expect("a start");
}

/// Processor time of the whole process.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one such structure.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

const MODES: [Mode; 3] = [Mode::Off, Mode::Sampled, Mode::Exact];

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|text| text != "--bench")
        .collect();
    if let [work, mode, threads, pairs] = &arguments[..] {
        let work = if work == "micro" {
            micro
        } else {
            texts as Work
        };
        let mode = MODES
            .into_iter()
            .find(|known| format!("{known:?}").eq_ignore_ascii_case(mode));
        let numbers = [threads, pairs].map(|text| text.parse().expect("a number"));
        run(work, mode.expect("a mode"), numbers[0], numbers[1]);
        return;
    }
    println!(
        "{:8} {:>7} {:>8} {:>9} {:>8}",
        "", "threads", "off", "sampled", "exact"
    );
    for (name, work) in [("micro", micro as Work), ("texts", texts)] {
        for threads in [1, 2] {
            let mut spent = MODES.map(|_| Vec::new());
            for _ in 0..15 {
                for (mode, spent) in MODES.into_iter().zip(&mut spent) {
                    spent.push(run(work, mode, threads, 400_000));
                }
            }
            let [off, sampled, exact] = spent.map(median);
            println!(
                "{name:8} {threads:>7} {off:>8.1} {:>+9.1} {:>+8.1}",
                sampled - off,
                exact - off
            );
        }
    }
}
