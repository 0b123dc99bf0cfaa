//! What an event costs to write and to read: `cargo run --release -p heapatlas-trace --example encode_cost`.
//! Sizes, distances and times are spread as in real programs, so that lengths vary from event to event.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use heapatlas_trace::{Decoder, Encoder, Event, MAX_EVENT_BYTES};

const EVENTS: usize = 50_000;
const ROUNDS: usize = 100;
const CHUNK_BYTES: usize = 32 << 10;

fn main() {
    let allocations: Vec<_> = random_numbers().take(EVENTS).map(allocation).collect();
    let expected = allocations.iter().fold(0, |sum, a| sum ^ a.1 ^ a.2 ^ a.3);
    let mut stream = Vec::with_capacity(EVENTS * 12);
    let write_ns = ns_per_event(|| write(&allocations, &mut stream));
    let read_ns = ns_per_event(|| assert_eq!(read(&stream), expected));
    let bytes = stream.len() as f64 / EVENTS as f64;
    println!("allocation: {bytes:.2} bytes, written in {write_ns:.2} ns, read in {read_ns:.2} ns");
}

/// The best of some rounds: others may be at work on this machine.
fn ns_per_event(mut round: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed()
    });
    rounds.min().expect("there are rounds").as_nanos() as f64 / EVENTS as f64
}

/// Stack, size, address, tick.
type Allocation = (u32, u64, u64, u64);

fn allocation(random: u64) -> Allocation {
    let stack = (random & 0xFFFF) as u32 >> (random >> 60);
    let size = (random >> 16 & 0xFFF) >> (random >> 56 & 7);
    let address = 0x5555_5555_0000 + ((random >> 28 & 0xF_FFFF) << 4 >> (random >> 53 & 15));
    (stack, size, address & !7, random >> 48 & 0x3FF)
}

fn write(allocations: &[Allocation], stream: &mut Vec<u8>) {
    stream.clear();
    let mut encoder = Encoder::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut at, mut now) = (0, 0);
    for &(stack, size, address, ticks) in allocations {
        if at + MAX_EVENT_BYTES > CHUNK_BYTES {
            stream.extend_from_slice(&chunk[..at]);
            at = 0;
        }
        now += ticks;
        let out = chunk[at..]
            .first_chunk_mut()
            .expect("there is room for one event");
        at += encoder.allocation(out, stack, size, address, now);
    }
    stream.extend_from_slice(&chunk[..at]);
}

/// The sum of everything, so that nothing is left out.
fn read(stream: &[u8]) -> u64 {
    let (mut decoder, mut rest) = (Decoder::new(), stream);
    let (mut sum, mut before) = (0, 0);
    while let Some(event) = decoder.next(&mut rest).expect("we wrote it") {
        if let Event::Allocation {
            size_bytes,
            address,
            tick,
            ..
        } = black_box(event)
        {
            sum ^= size_bytes ^ address ^ (tick - before);
            before = tick;
        }
    }
    sum
}

/// Xorshift.
fn random_numbers() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0x9E37_79B9_7F4A_7C15_u64), |&x| {
        let x = x ^ x << 13;
        let x = x ^ x >> 7;
        Some(x ^ x << 17)
    })
}
