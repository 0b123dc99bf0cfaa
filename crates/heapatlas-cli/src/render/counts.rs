//! What was counted without stacks, as text and JSON.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use heapatlas_capture::Counts;
use heapatlas_model::{Bytes, Count};
use serde::Serialize;

use super::json::{VERSION, write};
use crate::console::Console;
use crate::duration::duration;

/// Shows the sums of a recording.
///
/// # Errors
/// When stdout does not take it.
pub fn show(counts: &Counts, elapsed_ns: u64, console: &Console) -> anyhow::Result<()> {
    console.print(|out| match console.is_json {
        true => json(out, counts, elapsed_ns),
        false => text(out, counts, elapsed_ns),
    })
}

fn text(out: &mut dyn Write, counts: &Counts, elapsed_ns: u64) -> io::Result<()> {
    writeln!(
        out,
        "counted for {}: {} allocations of {} in all; {} freed",
        duration(elapsed_ns),
        Count(counts.allocations),
        Bytes(counts.bytes),
        Count(counts.frees)
    )?;
    writeln!(
        out,
        "live {}, at most {} (usable bytes, to within {})",
        signed(counts.live_bytes),
        signed(counts.peak_bytes),
        Bytes(counts.peak_error_bytes)
    )
}

/// Blocks that were there before may have been given back.
fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", Bytes(bytes.unsigned_abs()))
}

fn json(out: &mut dyn Write, counts: &Counts, elapsed_ns: u64) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object {
        version: u32,
        mode: &'static str,
        duration_ns: u64,
        totals: Totals,
        live_usable_bytes: i64,
        peak_usable_bytes: i64,
        peak_error_bytes: u64,
    }
    #[derive(Serialize)]
    struct Totals {
        allocations: u64,
        frees: u64,
        bytes: u64,
    }
    let object = Object {
        version: VERSION,
        mode: "counting",
        duration_ns: elapsed_ns,
        totals: Totals {
            allocations: counts.allocations,
            frees: counts.frees,
            bytes: counts.bytes,
        },
        live_usable_bytes: counts.live_bytes,
        peak_usable_bytes: counts.peak_bytes,
        peak_error_bytes: counts.peak_error_bytes,
    };
    write(out, &object)
}

/// Intervals between samples.
pub fn intervals(bytes: &RangeInclusive<u64>) -> String {
    let (least, most) = (Bytes(*bytes.start()), Bytes(*bytes.end()));
    if bytes.start() == bytes.end() {
        return least.to_string();
    }
    format!("{least} to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: Counts = Counts {
        allocations: 12_345,
        frees: 12_000,
        bytes: 2_000_000,
        live_bytes: -4096,
        peak_bytes: 1 << 20,
        peak_error_bytes: 128 << 10,
    };

    fn shown(show: fn(&mut dyn Write, &Counts, u64) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        show(&mut out, &COUNTS, 2_000_000_000).expect("memory takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn sums() {
        let expected = "counted for 2.00 s: 12,345 allocations of 1.9 MiB in all; 12,000 freed\n\
            live -4.0 KiB, at most 1.0 MiB (usable bytes, to within 128.0 KiB)\n";
        assert_eq!(shown(text), expected);
        let expected = concat!(
            r#"{"version":1,"mode":"counting","duration_ns":2000000000,"#,
            r#""totals":{"allocations":12345,"frees":12000,"bytes":2000000},"#,
            r#""live_usable_bytes":-4096,"peak_usable_bytes":1048576,"peak_error_bytes":131072}"#,
            "\n"
        );
        assert_eq!(shown(json), expected);
    }

    #[test]
    fn one_interval_or_a_range() {
        assert_eq!(intervals(&(512 << 10..=512 << 10)), "512.0 KiB");
        assert_eq!(intervals(&(1024..=1 << 20)), "1.0 KiB to 1.0 MiB");
    }
}
