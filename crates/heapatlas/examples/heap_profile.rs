//! Which lines allocate, and what is live at the peak: a profile for DHAT's viewer.
//!
//! `cargo run --release --example heap_profile` writes `heapatlas-heap.json`.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;

use heapatlas::{HeapStats, Profiler};

#[global_allocator]
static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();

/// Holds memory to the end.
#[inline(never)]
fn build_index(text: &str) -> HashMap<String, usize> {
    let mut index = HashMap::new();
    for word in text.split(' ') {
        *index.entry(word.to_owned()).or_default() += 1;
    }
    index
}

/// Holds most of the memory at the peak.
#[inline(never)]
fn reverse(text: &str) -> usize {
    let reversed: String = text.chars().rev().collect();
    reversed.len()
}

fn main() {
    // From here to the end of `main`; `exit` would save it, too.
    let _profiler = Profiler::new_heap();
    let text = "the quick brown fox jumps over the lazy dog ".repeat(10_000);
    let index = build_index(&text);
    let length = reverse(&text);
    drop(text);

    let stats = HeapStats::get();
    println!("{} words, {length} characters", index.len());
    println!(
        "live: {} bytes in {} blocks",
        stats.curr_bytes, stats.curr_blocks
    );
    println!(
        "peak: {} bytes in {} blocks",
        stats.max_bytes, stats.max_blocks
    );
}
