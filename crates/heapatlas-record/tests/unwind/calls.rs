//! Random walks through functions that call each other, with frames of many sizes.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{panic, thread};

use heapatlas_record::unwind;

use crate::probe::{self, probe, probing};

/// A small generator of our own, so that a failure comes again.
pub struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

type Function = fn(&mut Random, u32) -> u64;

macro_rules! functions {
    ($($size:literal)*) => { [$(call::<$size>),*] };
}

/// Functions whose frames have from none to some hundred words.
const FUNCTIONS: [Function; 24] =
    functions!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 24 32 40 56 80 100 150);

/// Calls others, or the probe, one to three times.
#[inline(never)]
fn call<const WORDS: usize>(random: &mut Random, depth: u32) -> u64 {
    let mut frame = [0u64; WORDS];
    black_box(&mut frame);
    let mut sum = frame.iter().sum::<u64>();
    // With more than one call on average the tree would have no end.
    for _ in 0..=random.below(2) {
        sum += step(random, depth, WORDS as u64);
    }
    black_box(&mut frame);
    sum
}

fn step(random: &mut Random, depth: u32, salt: u64) -> u64 {
    match random.below(16) {
        _ if depth == 0 => probe(),
        0..=6 => probe(),
        7 => return through_closure(random, depth),
        8 => return through_trait(&Salted(salt), random, depth),
        9 if depth > 4 => return through_panic(random, depth),
        _ => {
            let function = FUNCTIONS[random.below(FUNCTIONS.len() as u64) as usize];
            return function(random, depth - 1) + salt;
        }
    }
    salt
}

#[inline(never)]
fn through_closure(random: &mut Random, depth: u32) -> u64 {
    let mut run: Box<dyn FnMut() -> u64> = Box::new(|| call::<3>(random, depth - 1));
    run() + 1
}

trait Calls {
    fn go(&self, random: &mut Random, depth: u32) -> u64;
}

struct Salted(u64);

impl Calls for Salted {
    #[inline(never)]
    fn go(&self, random: &mut Random, depth: u32) -> u64 {
        call::<5>(random, depth - 1) + self.0
    }
}

#[inline(never)]
fn through_trait(calls: &dyn Calls, random: &mut Random, depth: u32) -> u64 {
    black_box(calls).go(random, depth) + 1
}

/// Leaves many frames at once.
#[inline(never)]
fn through_panic(random: &mut Random, depth: u32) -> u64 {
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        call::<7>(random, depth - 1);
        panic::resume_unwind(Box::new(()));
    }));
    u64::from(result.is_err())
}

fn check(seed: u64, captures: u64, max_depth: u64) {
    let mut random = Random(seed);
    let summary = probing(|| {
        while probe::captures() < captures {
            let depth = random.below(max_depth) as u32 + 1;
            let function = FUNCTIONS[random.below(FUNCTIONS.len() as u64) as usize];
            black_box(function(&mut random, depth));
        }
    });
    assert_eq!(summary.cut_off, 0, "seed {seed}: {summary:?}");
}

#[test]
fn random_calls() {
    check(2, 200_000, 12);
    check(3, 200_000, 40);
}

#[test]
fn deep_calls() {
    check(4, 2_000, 300);
}

/// Threads share the rules; meanwhile somebody forgets them again and again.
#[test]
fn threads_with_rules_forgotten() {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads = [5, 6, 7].map(|seed| scope.spawn(move || check(seed, 50_000, 20)));
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                unwind::forget_all();
                thread::yield_now();
            }
        });
        let results = threads.map(thread::ScopedJoinHandle::join);
        is_done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
}
