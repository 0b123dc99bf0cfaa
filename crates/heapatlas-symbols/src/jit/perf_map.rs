//! Perf maps: lines `START SIZE NAME`, numbers in hexadecimal, as Linux' perf reads them from
//! `/tmp/perf-PID.map`.

use heapatlas_model::Frame;

use super::Unnamed;
use crate::Warning;

/// Names what a perf map knows. Lines that are none are skipped; the first one is told.
pub(super) fn resolve(path: &str, contents: &str, unnamed: &mut Unnamed<'_>) -> Option<Warning> {
    let mut damaged = None;
    let mut end = contents.len();
    for line in contents.split('\n').rev() {
        let offset = end - line.len();
        match parse(line) {
            Some(entry) => unnamed.name(entry.start..entry.start.saturating_add(entry.size), |_| Frame {
                function: entry.name.to_owned(),
                ..Frame::default()
            }),
            None if line.is_empty() => {}
            None => damaged = Some(offset),
        }
        end = offset.saturating_sub(1);
    }
    damaged.map(|offset| Warning::DamagedJitFile {
        path: path.to_owned(),
        offset,
        problem: "expected a line `START SIZE NAME` with hexadecimal numbers; it was skipped".to_owned(),
    })
}

struct Entry<'a> {
    start: u64,
    size: u64,
    name: &'a str,
}

fn parse(line: &str) -> Option<Entry<'_>> {
    let (start, rest) = line.split_once(' ')?;
    let (size, name) = rest.split_once(' ')?;
    Some(Entry {
        start: hexadecimal(start)?,
        size: hexadecimal(size)?,
        name,
    })
}

/// Some compilers write the prefix, perf's documentation has none.
fn hexadecimal(digits: &str) -> Option<u64> {
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    u64::from_str_radix(digits, 16).ok()
}
