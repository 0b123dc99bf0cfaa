//! What a capture costs: `cargo bench -p heapatlas-record`.
//!
//! "remembered" is what a recorder does; "full walk" is the same without remembered frames.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::time::Instant;

use heapatlas_record::stack_table::NodeSink;
use heapatlas_record::unwind::{self, Registers, ThreadStacks};

#[unsafe(naked)]
extern "C" fn probe() {
    naked_asm!(
        "lea rdi, [rsp + 8]",
        "mov rsi, [rsp]",
        "mov rdx, rbp",
        "jmp {}",
        sym probe_at,
    )
}

struct State {
    stacks: Option<ThreadStacks>,
    is_full: bool,
    is_off: bool,
    captures: u64,
    sum: u64,
}

struct Shared(UnsafeCell<State>);

// SAFETY: this program has one thread.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State {
    stacks: None,
    is_full: false,
    is_off: true,
    captures: 0,
    sum: 0,
}));

struct Ignore;

impl NodeSink for Ignore {
    fn node(&mut self, _: u32, _: u64) {}
}

extern "C" fn probe_at(sp: u64, pc: u64, rbp: u64) {
    // SAFETY: one thread, and nothing below comes back here.
    let state = unsafe { &mut *STATE.0.get() };
    state.captures += 1;
    if state.is_off {
        return;
    }
    let registers = Registers { pc, sp, rbp };
    let stacks = state.stacks.as_mut().expect("set in main");
    if state.is_full {
        state.sum += stacks.check(registers) as u64;
    } else {
        state.sum += u64::from(stacks.capture(registers, &mut Ignore).stack);
    }
}

/// `DEPTH` frames, and then calls of the probe from two places.
#[inline(never)]
fn deep(depth: u32, rounds: u32) -> u32 {
    if depth == 0 {
        for _ in 0..rounds / 2 {
            black_box(first(1));
            black_box(second(2));
        }
        return 0;
    }
    black_box(deep(depth - 1, rounds)) + 1
}

#[inline(never)]
fn first(salt: u32) -> u32 {
    probe();
    black_box(salt)
}

#[inline(never)]
fn second(salt: u32) -> u32 {
    let frame = black_box([salt; 9]);
    probe();
    black_box(frame)[3]
}

/// A tree of calls: captures at every leaf, of which the frames in common vary.
#[inline(never)]
fn tree(depth: u32, seed: u64) -> u64 {
    if depth == 0 {
        probe();
        return black_box(seed);
    }
    let mut seed = seed;
    for _ in 0..2 {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        seed ^= match seed >> 62 {
            0 => tree_a(depth - 1, seed),
            1 => tree_b(depth - 1, seed),
            _ => tree(depth - 1, seed),
        };
    }
    seed
}

#[inline(never)]
fn tree_a(depth: u32, seed: u64) -> u64 {
    let frame = black_box([seed; 5]);
    black_box(tree(depth, seed)) ^ black_box(frame)[2]
}

#[inline(never)]
fn tree_b(depth: u32, seed: u64) -> u64 {
    black_box(tree(depth, seed ^ 1)).wrapping_add(1)
}

fn measure(name: &str, work: impl Fn()) {
    let filter = std::env::args().nth(1).unwrap_or_default();
    if !filter.starts_with('-') && !name.contains(&filter) {
        return;
    }
    let mut times = [(true, false), (false, false), (false, true)].map(|(is_off, is_full)| {
        let mut best = f64::MAX;
        for _ in 0..7 {
            // SAFETY: as in `probe_at`; the reference ends before `work` begins.
            unsafe {
                let state = &mut *STATE.0.get();
                state.captures = 0;
                state.is_off = is_off;
                state.is_full = is_full;
            }
            let start = Instant::now();
            work();
            let elapsed = start.elapsed().as_nanos() as f64;
            // SAFETY: as above.
            best = best.min(elapsed / unsafe { (*STATE.0.get()).captures } as f64);
        }
        best
    });
    let bare = times[0];
    times.iter_mut().for_each(|time| *time -= bare);
    println!(
        "{name:<28} remembered {:6.1} ns   full walk {:6.1} ns",
        times[1], times[2]
    );
}

fn main() {
    unwind::prepare();
    let marker = 0u64;
    let here = &raw const marker as u64;
    let stacks = ThreadStacks::new(here - (1 << 20)..here + 4096).expect("there is memory");
    // SAFETY: one thread.
    unsafe { (*STATE.0.get()).stacks = Some(stacks) };
    for depth in [5, 20, 30, 60, 200] {
        measure(&format!("two leaves, {depth} frames below"), || {
            black_box(deep(depth, 1_000_000 / (depth + 10)));
        });
    }
    measure("tree of calls", || {
        black_box(tree(14, 7));
    });
}
