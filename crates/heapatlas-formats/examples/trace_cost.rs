//! What an event costs to read, all included: `cargo run --release -p heapatlas-formats --example trace_cost`.
//! A made-up program of some threads, each with a thousand stacks and many live blocks.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

use std::time::{Duration, Instant};

use heapatlas_formats::trace::{End, ProcessInfo, ReadOptions, Segment, Writer, read};
use heapatlas_trace::{Encoder, MAX_EVENT_BYTES};

const EVENTS: u64 = 8_000_000;
const STACKS: u32 = 1000;

fn main() {
    println!("threads  live blocks  bytes/event  in file  write ns/event  read ns/event (wall)");
    for (threads, live_blocks) in [(1, 1_000), (1, 100_000), (1, 3_000_000), (4, 100_000)] {
        let (trace, raw_bytes, writing) = record(threads, live_blocks);
        let start = Instant::now();
        let (profile, warnings) = read(&trace, &ReadOptions::default()).expect("we wrote it");
        let reading = start.elapsed();
        assert!(warnings.is_empty() && profile.total.blocks + profile.frees == EVENTS);
        println!(
            "{threads:7}  {live_blocks:11}  {:11.2}  {:7.2}  {:14.1}  {:13.1}",
            per_event(raw_bytes as f64),
            per_event(trace.len() as f64),
            per_event(writing.as_nanos() as f64),
            per_event(reading.as_nanos() as f64),
        );
    }
}

fn per_event(sum: f64) -> f64 {
    sum / EVENTS as f64
}

struct Thread {
    encoder: Encoder,
    bytes: Vec<u8>,
    base_tick: Option<u64>,
    /// Addresses of live blocks, and of freed ones behind them.
    addresses: Vec<u64>,
    live: usize,
}

/// The trace, the bytes of its streams, and the time that writing blocks took.
fn record(threads: u64, live_blocks: u64) -> (Vec<u8>, u64, Duration) {
    let process = ProcessInfo {
        ticks_per_second: 3_000_000_000,
        arguments: ["made-up"],
        ..Default::default()
    };
    let mut writer = Writer::new(Vec::new(), &process).expect("a vector takes everything");
    let mut pool: Vec<_> = (0..threads)
        .map(|thread| Thread::new(thread, live_blocks / threads))
        .collect();
    let (mut tick, mut raw_bytes, mut writing) = (0, 0, Duration::ZERO);
    for (index, random) in random_numbers().take(EVENTS as usize).enumerate() {
        tick += random >> 40 & 0x1FF;
        let thread = &mut pool[(random >> 56) as usize % threads as usize];
        thread.event(random, tick);
        if index % 200_000 == 199_999 {
            let segments = pool
                .iter()
                .enumerate()
                .map(|(number, thread)| thread.segment(number));
            raw_bytes += segments
                .clone()
                .map(|segment| segment.bytes.len() as u64)
                .sum::<u64>();
            let start = Instant::now();
            writer
                .events(tick, tick / 3, 0, segments)
                .expect("a vector takes everything");
            writing += start.elapsed();
            pool.iter_mut().for_each(Thread::clear);
        }
    }
    let end = End {
        tick,
        elapsed_ns: tick / 3,
        ..End::default()
    };
    (
        writer.end(&end).expect("a vector takes everything"),
        raw_bytes,
        writing,
    )
}

impl Thread {
    fn new(number: u64, live_blocks: u64) -> Self {
        let heap = 0x7F00_0000_0000 + (number << 32);
        let mut thread = Self {
            encoder: Encoder::new(),
            bytes: Vec::new(),
            base_tick: Some(0),
            addresses: (0..2 * live_blocks)
                .map(|index| heap + 48 * index)
                .collect(),
            live: 0,
        };
        for stack in 0..STACKS {
            let address = 0x5555_0000_0000 + u64::from(stack) * 77;
            thread.put(|encoder, out| encoder.node(out, stack.saturating_sub(7), address));
        }
        thread
    }

    /// Frees a block when half of the addresses are taken, else allocates one; recent blocks more often.
    fn event(&mut self, random: u64, tick: u64) {
        if self.live * 2 >= self.addresses.len() && random & 1 == 0
            || self.live == self.addresses.len()
        {
            let distance = ((random >> 8) as usize % self.live) >> (random >> 60);
            let index = self.live - 1 - distance;
            self.live -= 1;
            self.addresses.swap(index, self.live);
            let address = self.addresses[self.live];
            self.put(|encoder, out| encoder.free(out, address, tick));
            return;
        }
        let address = self.addresses[self.live];
        self.live += 1;
        let stack = ((random >> 8) as u32 % STACKS) >> (random >> 61);
        let size = (random >> 20 & 0xFFF) >> (random >> 57 & 7);
        self.put(|encoder, out| encoder.allocation(out, stack, size, address, tick));
    }

    fn put(&mut self, write: impl FnOnce(&mut Encoder, &mut [u8; MAX_EVENT_BYTES]) -> usize) {
        let mut out = [0; MAX_EVENT_BYTES];
        let length = write(&mut self.encoder, &mut out);
        self.bytes.extend_from_slice(&out[..length]);
    }

    fn segment(&self, number: usize) -> Segment<'_> {
        Segment {
            thread: number as u64,
            base_tick: self.base_tick,
            bytes: &self.bytes,
            is_exclusive: false,
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.base_tick = None;
    }
}

/// Xorshift.
fn random_numbers() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0x9E37_79B9_7F4A_7C15_u64), |&x| {
        let x = x ^ x << 13;
        let x = x ^ x >> 7;
        Some(x ^ x << 17)
    })
}
