//! A chart of a value over time, drawn with characters.

use std::ops::Range;

use heapatlas_model::Bytes;

use crate::duration::duration;

/// Rows of a chart.
const HEIGHT: usize = 8;

/// The parts of a cell that can be filled, from the bottom: eighths, or nothing and all.
const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const PLAIN: [&str; 2] = [" ", "#"];

/// The marks of the axes.
struct Axes {
    tick: &'static str,
    side: &'static str,
    corner: &'static str,
    bottom: &'static str,
    mark: char,
}

const LINES: Axes = Axes {
    tick: "┤",
    side: "│",
    corner: "└",
    bottom: "─",
    mark: '▲',
};
const PLAIN_LINES: Axes = Axes {
    tick: "+",
    side: "|",
    corner: "+",
    bottom: "-",
    mark: '^',
};

/// How many columns a chart of a width has for values.
pub fn columns(width: usize, largest: u64) -> usize {
    let label = label_width(largest);
    width.saturating_sub(label + 1).max(20)
}

/// The lines of a chart: one column a value, labeled with the largest value and the times of both ends. Below it
/// the places of `marks`, which are times.
pub fn lines(values: &[u64], time_ns: Range<u64>, marks: &[u64], is_unicode: bool) -> Vec<String> {
    let largest = values.iter().copied().max().unwrap_or(0);
    let axes = if is_unicode { LINES } else { PLAIN_LINES };
    let cells: &[&str] = if is_unicode { &BLOCKS } else { &PLAIN };
    let label_width = label_width(largest);
    let mut lines: Vec<String> = (0..HEIGHT)
        .rev()
        .map(|row| {
            let (label, side) = match row + 1 {
                HEIGHT => (Bytes(largest).to_string(), axes.tick),
                half if half == HEIGHT / 2 => (Bytes(largest / 2).to_string(), axes.tick),
                _ => (String::new(), axes.side),
            };
            let bars: String = values
                .iter()
                .map(|&value| cell(value, largest, row, cells))
                .collect();
            format!("{label:>label_width$}{side}{}", bars.trim_end())
        })
        .collect();
    let bottom = axes.bottom.repeat(values.len());
    lines.push(format!("{:>label_width$}{}{bottom}", "0 B", axes.corner));
    let places = mark_places(marks, &time_ns, values.len(), axes.mark);
    lines.extend(places.map(|places| format!("{:label_width$} {places}", "")));
    let (from, to) = (duration(time_ns.start), duration(time_ns.end));
    let gap = values
        .len()
        .saturating_sub(from.chars().count())
        .max(to.chars().count() + 1);
    lines.push(format!("{:label_width$} {from}{to:>gap$}", ""));
    lines
}

/// A line with a mark in each column in whose time there is one; `None` when there is no such column.
fn mark_places(marks: &[u64], time_ns: &Range<u64>, columns: usize, mark: char) -> Option<String> {
    let length = u128::from(time_ns.end.saturating_sub(time_ns.start)).max(1);
    let mut line = vec![' '; columns];
    // What was set when the recording ended belongs to the last column.
    for &at in marks
        .iter()
        .filter(|&at| (time_ns.start..=time_ns.end).contains(at))
    {
        let column = u128::from(at - time_ns.start) * columns as u128 / length;
        if let Some(place) = line.get_mut((column as usize).min(columns.saturating_sub(1))) {
            *place = mark;
        }
    }
    let line: String = line.into_iter().collect();
    let line = line.trim_end();
    (!line.is_empty()).then(|| line.to_owned())
}

fn label_width(largest: u64) -> usize {
    let half = Bytes(largest / 2).to_string().len();
    Bytes(largest).to_string().len().max(half).max(3)
}

/// What a value fills of the cell of a row; anything but nothing fills at least a part of the lowest.
fn cell<'a>(value: u64, largest: u64, row: usize, cells: &[&'a str]) -> &'a str {
    let parts = cells.len() - 1;
    let all = (HEIGHT * parts) as u128;
    let filled = (u128::from(value) * all).div_ceil(u128::from(largest.max(1))) as usize;
    cells[filled.saturating_sub(row * parts).min(parts)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [u64; 12] = [0, 1, 128, 256, 512, 768, 1024, 900, 640, 1024, 512, 0];

    #[test]
    fn blocks() {
        let expected = [
            "1.0 KiB┤      █▁ █",
            "       │      ██ █",
            "       │     ███ █",
            "       │     █████",
            "  512 B┤    ███████",
            "       │    ███████",
            "       │   ████████",
            "       │ ▁█████████",
            "    0 B└────────────",
            "        0 s   2.00 s",
        ];
        assert_eq!(lines(&VALUES, 0..2_000_000_000, &[], true), expected);
    }

    #[test]
    fn plain_characters() {
        let lines = lines(&VALUES, 0..2_000_000_000, &[], false);
        assert!(lines.iter().all(|line| line.is_ascii()));
        assert_eq!(lines[0], "1.0 KiB+      ## #");
    }

    #[test]
    fn nothing_and_too_much() {
        assert_eq!(lines(&[0; 3], 0..0, &[], true)[7], "   │");
        assert_eq!(
            lines(&[u64::MAX], 0..u64::MAX, &[], true)[0].chars().last(),
            Some('█')
        );
        assert_eq!(lines(&[], 0..5, &[3], true).len(), HEIGHT + 2);
    }

    #[test]
    fn marks_stand_below_their_times() {
        let line = |marks: &[u64], is_unicode| {
            lines(&VALUES, 1000..2200, marks, is_unicode)[HEIGHT + 1].clone()
        };
        // 100 ns a column.
        let marks = [0, 1000, 1050, 1399, 1400, 2200, 2201];
        assert_eq!(line(&marks, true), "        ▲  ▲▲      ▲");
        assert_eq!(line(&marks, false), "        ^  ^^      ^");
        assert_eq!(line(&[5], true), "        1.0 µs 2.2 µs");
    }
}
