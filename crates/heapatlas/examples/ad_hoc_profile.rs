//! Who asks for how much of anything: here, who copies how many bytes.
//!
//! `cargo run --release --example ad_hoc_profile` writes `heapatlas-ad-hoc.json`.

#![allow(clippy::print_stdout)]

use heapatlas::{AdHocStats, Profiler, ad_hoc_event};

/// What is to be found out: from where is this called?
fn copy(bytes: &[u8]) -> Vec<u8> {
    ad_hoc_event(bytes.len());
    bytes.to_vec()
}

#[inline(never)]
fn headers() -> usize {
    (0..100)
        .map(|_| copy(b"content-type: text/plain").len())
        .sum()
}

#[inline(never)]
fn bodies() -> usize {
    copy(&[b'x'; 10_000]).len() + copy(&[b'y'; 20_000]).len()
}

fn main() {
    let _profiler = Profiler::new_ad_hoc();
    let copied = headers() + bodies();
    let stats = AdHocStats::get();
    assert_eq!(stats.total_units, copied as u64);
    println!(
        "{} bytes in {} copies",
        stats.total_units, stats.total_events
    );
}
