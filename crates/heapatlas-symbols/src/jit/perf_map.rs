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
            Some(entry) => {
                unnamed.name(entry.start..entry.start.saturating_add(entry.size), |_| {
                    Frame {
                        function: entry.name.to_owned(),
                        ..Frame::default()
                    }
                })
            }
            None if line.is_empty() => {}
            None => damaged = Some(offset),
        }
        end = offset.saturating_sub(1);
    }
    damaged.map(|offset| Warning::DamagedJitFile {
        path: path.to_owned(),
        offset,
        problem: "expected a line `START SIZE NAME` with hexadecimal numbers; it was skipped"
            .to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jit::tests::names;

    fn check(map: &str, expected: &[(u64, &str)], damage: Option<usize>) {
        let (warning, found) = names(expected, |unnamed| resolve("perf-1.map", map, unnamed));
        let trimmed: Vec<_> = found
            .iter()
            .map(|name| name.trim_end_matches("  0"))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(_, name)| *name).collect();
        assert_eq!(trimmed, expected);
        let offset = warning.map(|warning| match warning {
            Warning::DamagedJitFile { offset, .. } => offset,
            other => panic!("{other}"),
        });
        assert_eq!(offset, damage);
    }

    #[test]
    fn the_last_function_at_an_address_is_right() {
        let map = "100 20 old\n110 20 new\n200 1 x\n";
        check(
            map,
            &[
                (0x10f, "old"),
                (0x110, "new"),
                (0x12f, "new"),
                (0x130, ""),
                (0x200, "x"),
            ],
            None,
        );
        check("0x100 0x20 with prefix", &[(0x11f, "with prefix")], None);
    }

    #[test]
    fn names_are_left_as_they_are() {
        check("1 1 JS:~f /a b.js:1:2 ", &[(1, "JS:~f /a b.js:1:2 ")], None);
        check("1 1 py::f:/a.py\n2 1 \n", &[(1, "py::f:/a.py")], None);
    }

    #[test]
    fn lines_that_are_none_are_skipped_and_told() {
        check(
            "1 1 a\nnonsense\n2 1 b\n3\n",
            &[(1, "a"), (2, "b"), (3, "")],
            Some(6),
        );
        check("ffffffffffffffff ffffffffffffffff a\n", &[(1, "")], None);
        check("", &[(1, "")], None);
    }
}
