//! Which allocations are recorded when not all are, and which frees are of such.
//!
//! Each thread counts bytes down to its next sample. The distance is drawn anew after each, exponentially
//! distributed with a mean of `T`: so a block of `s` bytes is recorded with a probability of
//! `1 - exp(-s / T)`, whatever came before it. What is not sampled costs a subtraction.
//!
//! The frees of recorded blocks are found by a filter of counters, one byte for many addresses, which says "no" for
//! nearly all, and behind it a table of the addresses.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64};

use crate::clock::ticks;
use crate::counters::CounterPlace;
use crate::os;

/// What a thread knows of its next sample; the exported functions use `countdown` and `mode` by their offsets.
#[repr(C)]
pub struct ThreadDraw {
    /// Bytes until the next sample: a block of so many or more is one. Never 0 once it was drawn.
    countdown: u64,
    /// The mode byte under which it was drawn: another one, and it is drawn again.
    mode: u64,
    /// The state of the random numbers; 0 before the first.
    random: u64,
    /// The mean distance that it was drawn with.
    interval: u64,
    /// Where this thread counts, see [`crate::counters`].
    pub(crate) counters: Option<CounterPlace>,
    /// The allocator is being asked for a block's size, see [`crate::counters::size_of_block`].
    pub(crate) asks_size: bool,
}

const _: () = assert!(size_of::<ThreadDraw>() <= 64);

impl ThreadDraw {
    /// Bytes until the next sample: another number later says that an allocation was drawn for meanwhile.
    pub fn countdown(&self) -> u64 {
        self.countdown
    }

    /// Whether a block of so many bytes is sampled, and with which mean distance that was decided. `mode` is the
    /// mode byte now, and `interval` gives the mean distance that belongs to it.
    #[inline(always)]
    pub fn is_due(
        &mut self,
        size_bytes: usize,
        mode: u8,
        interval: impl Fn() -> u64,
    ) -> Option<u64> {
        if self.mode != u64::from(mode) {
            self.draw(mode, interval());
        }
        let left = self.countdown;
        if (size_bytes as u64) < left {
            self.countdown = left - size_bytes as u64;
            return None;
        }
        let drawn_with = self.interval;
        self.draw(mode, interval());
        Some(drawn_with)
    }

    /// Whether a block of so many bytes is not sampled, as far as that needs no drawing; then it was counted down.
    #[inline(always)]
    pub(crate) fn skips(&mut self, size_bytes: usize, mode: u8) -> bool {
        let skips = self.mode == u64::from(mode) && (size_bytes as u64) < self.countdown;
        if skips {
            self.countdown -= size_bytes as u64;
        }
        skips
    }

    #[cold]
    #[inline(never)]
    fn draw(&mut self, mode: u8, interval: u64) {
        if self.random == 0 {
            // The address tells threads apart that begin in the same tick.
            let place = core::ptr::from_ref(self).addr() as u64;
            self.random = mix(ticks() ^ place.rotate_left(32)) | 1;
        }
        let interval = interval.max(1);
        self.interval = interval;
        self.countdown = distance(next_random(&mut self.random), interval);
        self.mode = u64::from(mode);
    }
}

/// A shift-register generator (Marsaglia), its output multiplied so that the high bits are good.
fn next_random(state: &mut u64) -> u64 {
    let mut x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    x.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

/// Spreads a number over all bits (the finalizer of splitmix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// A distance of at least 1 from a random number: one more than the whole part of an exponentially
/// distributed one. So the probability that it is at most `s` is exactly `1 - exp(-s / interval)`.
fn distance(random: u64, interval: u64) -> u64 {
    let scaled = u128::from(minus_ln(random)) * u128::from(interval);
    u64::try_from(scaled >> 32)
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

/// `-ln((random + 1/2) / 2^64)` about, in units of 2^-32: bit by bit, since it is asked for once a sample.
fn minus_ln(random: u64) -> u64 {
    const LN_2: u128 = 0xB172_17F7_D1CF_79AB;
    let random = random | 1;
    let zeros = random.leading_zeros();
    // Between 1 and 2, with 63 bits behind the point. Each squaring gives one bit of its logarithm.
    let mut mantissa = random << zeros;
    let mut log2 = 0_u64;
    for _ in 0..32 {
        let square = u128::from(mantissa) * u128::from(mantissa);
        let is_two_or_more = square >> 127 != 0;
        log2 = log2 << 1 | u64::from(is_two_or_more);
        mantissa = (square >> if is_two_or_more { 64 } else { 63 }) as u64;
    }
    let minus_log2 = ((u64::from(zeros) + 1) << 32) - log2;
    ((u128::from(minus_log2) * LN_2) >> 64) as u64
}

/// A power of two: for so many addresses there is a counter.
pub const FILTER_BITS: u32 = 20;

/// Blocks begin at multiples of this power of two, nearly all of them.
pub const FILTER_SHIFT: u32 = 4;

/// For each address a counter of recorded blocks, shared with others 16 MiB away. Neighbors have neighboring
/// counters: what a program frees is in its cache, and so are these.
#[repr(C, align(4096))]
pub struct Filter([AtomicU8; 1 << FILTER_BITS]);

impl Filter {
    /// Nothing is in it.
    pub const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; 1 << FILTER_BITS])
    }

    fn counter(&self, address: u64) -> &AtomicU8 {
        let index = (address >> FILTER_SHIFT) as usize;
        &self.0[index & ((1 << FILTER_BITS) - 1)]
    }

    /// Whether a block may be in it.
    #[inline(always)]
    pub fn may_hold(&self, address: u64) -> bool {
        self.counter(address).load(Relaxed) != 0
    }

    /// A counter that is full stays so: it has lost count.
    fn add(&self, address: u64) {
        let add = |count: u8| (count != u8::MAX).then(|| count + 1);
        let _ = self.counter(address).fetch_update(Relaxed, Relaxed, add);
    }

    fn subtract(&self, address: u64) {
        let subtract = |count: u8| (count != u8::MAX && count != 0).then(|| count - 1);
        let _ = self
            .counter(address)
            .fetch_update(Relaxed, Relaxed, subtract);
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// Addresses of a bucket: a cache line.
const BUCKET: usize = 8;
const BUCKETS_LOG2: u32 = 17;
const TABLE_BYTES: usize = (1 << BUCKETS_LOG2) * BUCKET * size_of::<AtomicU64>();

/// The recorded blocks that are live: the filter, and behind it a table in memory of its own. No thread waits
/// for another one. An address is in one of two buckets, so each question looks at sixteen words.
#[repr(C)]
pub struct Samples {
    /// At the start, since the exported `free` looks there, too.
    filter: Filter,
    table: AtomicPtr<AtomicU64>,
}

impl Samples {
    /// None, and no memory yet.
    pub const fn new() -> Self {
        Self {
            filter: Filter::new(),
            table: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Forgets all. Blocks that others add meanwhile may be forgotten, too.
    pub fn clear(&self) {
        let filter = NonNull::from(&self.filter).cast();
        // SAFETY: the filter is a page-aligned static of whole pages, and an empty one is zero; so is the table.
        unsafe {
            os::clear_pages(filter, size_of::<Filter>());
            if let Some(table) = NonNull::new(self.table.load(Acquire)) {
                os::clear_pages(table.cast(), TABLE_BYTES);
            }
        }
    }

    /// Adds a block that was just made. `false` when there is no room: then its free would not be found.
    pub fn add(&self, address: u64) -> bool {
        let Some(buckets) = self.buckets_or_new(address) else {
            return false;
        };
        let place = |slot: &AtomicU64| slot.compare_exchange(0, address, Relaxed, Relaxed).is_ok();
        // The emptier bucket first: so nine tenths of the table can be filled, and not a third.
        let [left, right] = buckets.map(|bucket| (room_in(bucket), bucket));
        let [first, second] = if left.0 < right.0 {
            [right.1, left.1]
        } else {
            [left.1, right.1]
        };
        let is_placed = first.iter().chain(second).any(place);
        if is_placed {
            self.filter.add(address);
        }
        is_placed
    }

    /// Whether a block may be one of them. Nearly always right.
    #[inline(always)]
    pub(crate) fn may_hold(&self, address: u64) -> bool {
        self.filter.may_hold(address)
    }

    /// Takes out a block that is about to be given back. `false` if it is none of ours.
    #[inline]
    pub fn take(&self, address: u64) -> bool {
        self.filter.may_hold(address) && self.take_from_table(address)
    }

    #[cold]
    fn take_from_table(&self, address: u64) -> bool {
        let take = |slot: &AtomicU64| slot.compare_exchange(address, 0, Relaxed, Relaxed).is_ok();
        let is_taken = self
            .buckets(address)
            .is_some_and(|buckets| buckets.into_iter().flatten().any(take));
        if is_taken {
            self.filter.subtract(address);
        }
        is_taken
    }

    fn buckets(&self, address: u64) -> Option<[&[AtomicU64; BUCKET]; 2]> {
        let table = NonNull::new(self.table.load(Acquire))?;
        let hash = mix(address >> FILTER_SHIFT);
        let bucket = |number: u64| {
            let number = (number & ((1 << BUCKETS_LOG2) - 1)) as usize;
            // SAFETY: the table has so many buckets, is never unmapped, and zeroes are good.
            unsafe { table.add(number * BUCKET).cast().as_ref() }
        };
        Some([bucket(hash), bucket(hash >> 32)])
    }

    fn buckets_or_new(&self, address: u64) -> Option<[&[AtomicU64; BUCKET]; 2]> {
        if self.table.load(Acquire).is_null() {
            self.make_table()?;
        }
        self.buckets(address)
    }

    #[cold]
    fn make_table(&self) -> Option<()> {
        let table = os::map_pages(TABLE_BYTES)?;
        let made = table.as_ptr().cast();
        let null = core::ptr::null_mut();
        if self
            .table
            .compare_exchange(null, made, Release, Relaxed)
            .is_err()
        {
            // Another thread was faster.
            // SAFETY: nobody has seen it.
            unsafe { os::unmap_pages(table, TABLE_BYTES) };
        }
        Some(())
    }
}

fn room_in(bucket: &[AtomicU64; BUCKET]) -> usize {
    let is_free = |slot: &&AtomicU64| slot.load(Relaxed) == 0;
    bucket.iter().filter(is_free).count()
}

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    #[test]
    fn logarithms() {
        for random in [1, 3, 1 << 20, 0x1234_5678_9ABC_DEF1, u64::MAX / 3, u64::MAX] {
            let expected = -((random | 1) as f64 / 2_f64.powi(64)).ln();
            let found = minus_ln(random) as f64 / 2_f64.powi(32);
            assert!(
                (found - expected).abs() < 1e-6,
                "{random}: {found} {expected}"
            );
        }
    }

    #[test]
    fn distances_are_at_least_one_and_as_far_as_they_should_be() {
        assert_eq!(distance(u64::MAX, 1 << 30), 1);
        let (mut state, draws, interval) = (7, 200_000, 1000);
        let distances: Vec<u64> = (0..draws)
            .map(|_| distance(next_random(&mut state), interval))
            .collect();
        // The mean of a geometric distribution with p = 1 - exp(-1/1000), and its deviation.
        let mean = 1.0 / (-(-1.0 / interval as f64).exp_m1());
        let found = distances.iter().sum::<u64>() as f64 / f64::from(draws);
        assert!(
            (found - mean).abs() < 4.0 * mean / f64::from(draws).sqrt(),
            "{found}"
        );
        // exp(-2) of them are farther than twice the mean distance.
        let far = distances.iter().filter(|&&one| one > 2 * interval).count() as f64;
        let (share, draws) = ((-2.0_f64).exp(), f64::from(draws));
        let deviation = (draws * share * (1.0 - share)).sqrt();
        assert!((far - draws * share).abs() < 4.0 * deviation, "{far}");
    }

    fn draw_of(seed: u64) -> ThreadDraw {
        ThreadDraw {
            countdown: 0,
            mode: 0,
            random: seed,
            interval: 0,
            counters: None,
            asks_size: false,
        }
    }

    /// Each size is sampled as often as its probability says, and so the weighted sum of the samples is the
    /// number of blocks, within four deviations.
    #[test]
    fn each_size_has_its_probability() {
        const MODE: u8 = 0x85;
        let interval = 4096;
        let sizes = [1, 8, 24, 100, 1000, 4096, 20_000, 100_000];
        let mut draw = draw_of(99);
        let mut samples = [0_u32; 8];
        let rounds = 300_000;
        for _ in 0..rounds {
            for (&size, count) in sizes.iter().zip(&mut samples) {
                if let Some(with) = draw.is_due(size, MODE, || interval) {
                    assert_eq!(with, interval);
                    *count += 1;
                }
            }
        }
        for (&size, &count) in sizes.iter().zip(&samples) {
            let share = -(-(size as f64) / interval as f64).exp_m1();
            let expected = f64::from(rounds) * share;
            let deviation = (expected * (1.0 - share)).sqrt().max(1.0);
            let off = (f64::from(count) - expected).abs();
            assert!(off < 4.0 * deviation, "{size}: {count}, not {expected}");
        }
    }

    /// What may be skipped without drawing is just what is not due.
    #[test]
    fn skipping_first_samples_the_same() {
        const MODE: u8 = 0x85;
        let (mut plain, mut skipping) = (draw_of(7), draw_of(7));
        let mut state = 3;
        let mut due = 0;
        for _ in 0..200_000 {
            let bytes = (next_random(&mut state) >> 50) as usize;
            let expected = plain.is_due(bytes, MODE, || 100_000);
            let found = match skipping.skips(bytes, MODE) {
                true => None,
                false => skipping.is_due(bytes, MODE, || 100_000),
            };
            assert_eq!(found, expected);
            due += u32::from(found.is_some());
        }
        assert!(due > 1000 && skipping.countdown == plain.countdown);
        // Another mode: it has to be drawn again.
        assert!(!skipping.skips(0, MODE + 1));
    }

    #[test]
    fn blocks_without_bytes_and_endless_ones() {
        let mut draw = draw_of(5);
        for _ in 0..1000 {
            assert_eq!(draw.is_due(0, 0x81, || 1), None);
        }
        assert_eq!(draw.is_due(usize::MAX, 0x81, || 1 << 30), Some(1));
        assert!(draw.countdown < 1 << 36, "{}", draw.countdown);
    }

    #[test]
    fn another_interval_holds_from_the_next_allocation_on() {
        let mut draw = draw_of(5);
        draw.is_due(1, 0x81, || 1 << 40);
        let due = (0..200).filter_map(|_| draw.is_due(1000, 0x82, || 1000));
        let due: Vec<u64> = due.collect();
        assert!(
            due.len() > 50 && due.iter().all(|&with| with == 1000),
            "{due:?}"
        );
    }

    #[test]
    fn samples_are_found_once() {
        let samples = Box::leak(Box::new(Samples::new()));
        let address = |number: u64| 0x7f00_0000_0000 + 48 * number;
        assert!(!samples.take(address(0)));
        for number in 0..300_000 {
            assert!(samples.add(address(number)), "{number}");
        }
        for number in 0..300_000 {
            assert!(!samples.take(address(number) + 16));
            assert!(samples.take(address(number)), "{number}");
            assert!(!samples.take(address(number)));
        }
        assert!((0..300_000).all(|number| !samples.filter.may_hold(address(number))));
    }

    #[test]
    fn a_full_table_says_so_and_a_full_counter_stays() {
        let samples = Box::leak(Box::new(Samples::new()));
        let mut taken = 0_u64;
        while samples.add(0x1000 + 16 * taken) {
            taken += 1;
        }
        assert!(taken > 500_000, "{taken}");
        for number in 0..taken {
            assert!(samples.take(0x1000 + 16 * number));
        }
        let filter = Box::new(Filter::new());
        (0..300).for_each(|_| filter.add(64));
        (0..300).for_each(|_| filter.subtract(64));
        assert!(filter.may_hold(64));
        samples.clear();
        assert!(samples.add(0x1000) && samples.take(0x1000));
    }

    #[test]
    fn threads_add_and_take_at_the_same_time() {
        let samples: &'static Samples = Box::leak(Box::new(Samples::new()));
        let work = |thread: u64| {
            move || {
                for round in 0..20_000 {
                    let address = (thread << 40) + round % 1000 * 32;
                    assert!(samples.add(address));
                    assert!(samples.take(address));
                }
            }
        };
        let threads: Vec<_> = (1..=4).map(|n| std::thread::spawn(work(n))).collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}
