//! Regions as text for people and as JSON for programs.

use std::fmt::{self, Write};
use std::time::Duration;

use super::{RegionMemory, RegionRow, RegionStats, RegionTable};
use crate::json::Writer;

impl fmt::Display for RegionStats {
    /// One line: `1.24 ms (1.20 ms cpu), allocated 1.2 MiB in 12 blocks, freed 1.0 MiB in 10, peak 1.1 MiB`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Time(self.wall))?;
        if let Some(cpu) = self.cpu {
            write!(formatter, " ({} cpu)", Time(cpu))?;
        }
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        write!(
            formatter,
            ", allocated {} in {} blocks, freed {} in {}, peak {}",
            Bytes(memory.allocated_bytes.into()),
            Count(memory.allocated_blocks),
            Bytes(memory.freed_bytes.into()),
            Count(memory.freed_blocks),
            Bytes(memory.peak_bytes.into())
        )
    }
}

impl fmt::Display for RegionTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return formatter.write_str("no regions\n");
        }
        self.write_aligned(formatter)?;
        if !self.counts_memory {
            formatter.write_str(
                "times only: memory is counted while a heapatlas::Alloc is the global allocator and its mode counts\n",
            )?;
        }
        if self.without_row > 0 {
            writeln!(
                formatter,
                "{} executions are part of the row around them: there are too many names, or they are nested too deep",
                Count(self.without_row)
            )?;
        }
        Ok(())
    }
}

impl RegionTable {
    fn write_aligned(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&Column> = COLUMNS
            .iter()
            .filter(|column| (column.is_shown)(self))
            .collect();
        let header = columns.iter().map(|column| column.title.to_owned());
        let mut lines = vec![header.collect::<Vec<String>>()];
        let cells = |row| columns.iter().map(|column| (column.cell)(row)).collect();
        lines.extend(self.rows.iter().map(cells));
        let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max();
        let widths: Vec<usize> = (0..columns.len())
            .map(|index| width(index).unwrap_or(0))
            .collect();
        for line in &lines {
            write_line(formatter, line, &widths)?;
        }
        Ok(())
    }

    /// The table as JSON, one line. Times are in nanoseconds. Members are added, never renamed or taken away, as long
    /// as `version` is 1.
    ///
    /// ```json
    /// {"version":1,"counts_memory":true,"without_row":0,"rows":[
    ///   {"path":["request","parse"],"level":1,"parent":0,"count":12,
    ///    "wall_ns":{"total":5200,"own":5200,"mean":433,"max":900},
    ///    "cpu_ns":{"total":5100,"own":5100},
    ///    "memory":{"allocated":{"bytes":4096,"blocks":12},"freed":{"bytes":4096,"blocks":12},
    ///              "net":{"bytes":0,"blocks":0},"peak_bytes":1024},
    ///    "own_memory":{"allocated":…,"freed":…,"net":…}}]}
    /// ```
    ///
    /// `cpu_ns`, `memory` and `own_memory` are `null` where they are not known; `parent` is an index into `rows`, or
    /// `null`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Writer::new();
        json.open('{').key("version").number(1_u64);
        json.key("counts_memory").bool(self.counts_memory);
        json.key("without_row").number(self.without_row);
        json.key("rows").open('[');
        for index in 0..self.rows.len() {
            self.write_row(&mut json, index);
        }
        json.close(']').close('}');
        json.finish()
    }

    fn write_row(&self, json: &mut Writer, index: usize) {
        let row = &self.rows[index];
        json.open('{').key("path").open('[');
        for name in self.path(index) {
            json.string(name);
        }
        json.close(']').key("level").number(row.level as u64);
        json.key("parent");
        match row.parent {
            Some(parent) => json.number(parent as u64),
            None => json.null(),
        };
        json.key("count").number(row.count);
        json.key("wall_ns").open('{');
        json.key("total").number(row.total.wall.as_nanos());
        json.key("own").number(row.own.wall.as_nanos());
        json.key("mean").number(row.wall_mean.as_nanos());
        json.key("max").number(row.wall_max.as_nanos()).close('}');
        write_cpu(json, row);
        write_memory(json.key("memory"), row.total.memory, true);
        write_memory(json.key("own_memory"), row.own.memory, false);
        json.close('}');
    }
}

fn write_cpu(json: &mut Writer, row: &RegionRow) {
    json.key("cpu_ns");
    let (Some(total), Some(own)) = (row.total.cpu, row.own.cpu) else {
        json.null();
        return;
    };
    json.open('{').key("total").number(total.as_nanos());
    json.key("own").number(own.as_nanos()).close('}');
}

fn write_memory(json: &mut Writer, memory: Option<RegionMemory>, with_peak: bool) {
    let Some(memory) = memory else {
        json.null();
        return;
    };
    json.open('{').key("allocated").open('{');
    json.key("bytes").number(memory.allocated_bytes);
    json.key("blocks").number(memory.allocated_blocks);
    json.close('}').key("freed").open('{');
    json.key("bytes").number(memory.freed_bytes);
    json.key("blocks").number(memory.freed_blocks);
    json.close('}').key("net").open('{');
    json.key("bytes").signed(memory.net_bytes());
    json.key("blocks").signed(memory.net_blocks()).close('}');
    if with_peak {
        json.key("peak_bytes").number(memory.peak_bytes);
    }
    json.close('}');
}

struct Column {
    title: &'static str,
    is_shown: fn(&RegionTable) -> bool,
    cell: fn(&RegionRow) -> String,
}

const ALWAYS: fn(&RegionTable) -> bool = |_| true;
const WITH_CPU: fn(&RegionTable) -> bool =
    |table| table.rows.iter().any(|row| row.total.cpu.is_some());
const WITH_MEMORY: fn(&RegionTable) -> bool = |table| table.counts_memory;

#[rustfmt::skip]
const COLUMNS: [Column; 13] = [
    Column { title: "region", is_shown: ALWAYS, cell: |row| format!("{:1$}{2}", "", 2 * row.level, printable(&row.name)) },
    Column { title: "count", is_shown: ALWAYS, cell: |row| Count(row.count).to_string() },
    Column { title: "wall", is_shown: ALWAYS, cell: |row| Time(row.total.wall).to_string() },
    Column { title: "(own)", is_shown: ALWAYS, cell: |row| Time(row.own.wall).to_string() },
    Column { title: "mean", is_shown: ALWAYS, cell: |row| Time(row.wall_mean).to_string() },
    Column { title: "max", is_shown: ALWAYS, cell: |row| Time(row.wall_max).to_string() },
    Column { title: "cpu", is_shown: WITH_CPU, cell: |row| row.total.cpu.map_or_else(String::new, |cpu| Time(cpu).to_string()) },
    Column { title: "allocated", is_shown: WITH_MEMORY, cell: |row| memory(&row.total, |memory| memory.allocated_bytes.into()) },
    Column { title: "(own)", is_shown: WITH_MEMORY, cell: |row| memory(&row.own, |memory| memory.allocated_bytes.into()) },
    Column { title: "blocks", is_shown: WITH_MEMORY, cell: |row| Count(row.total.memory.unwrap_or_default().allocated_blocks).to_string() },
    Column { title: "freed", is_shown: WITH_MEMORY, cell: |row| memory(&row.total, |memory| memory.freed_bytes.into()) },
    Column { title: "net", is_shown: WITH_MEMORY, cell: |row| memory(&row.total, |memory| memory.net_bytes().into()) },
    Column { title: "peak", is_shown: WITH_MEMORY, cell: |row| memory(&row.total, |memory| memory.peak_bytes.into()) },
];

fn memory(stats: &RegionStats, bytes: fn(&RegionMemory) -> i128) -> String {
    Bytes(bytes(&stats.memory.unwrap_or_default())).to_string()
}

/// The name is to the left, figures are to the right.
fn write_line(
    formatter: &mut fmt::Formatter<'_>,
    line: &[String],
    widths: &[usize],
) -> fmt::Result {
    for (index, (cell, &width)) in line.iter().zip(widths).enumerate() {
        match index {
            0 => write!(formatter, "{cell:width$}")?,
            _ => write!(formatter, "  {cell:>width$}")?,
        }
    }
    formatter.write_char('\n')
}

/// A name may hold anything; a line of the table stays one line.
fn printable(name: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            '\u{fffd}'
        } else {
            character
        }
    };
    name.chars().map(shown).collect()
}

/// Three digits and a unit.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        if nanoseconds < 1000 {
            return write!(formatter, "{nanoseconds} ns");
        }
        let (value, unit) = if nanoseconds < 999_500 {
            (nanoseconds as f64 / 1e3, "µs")
        } else if nanoseconds < 999_500_000 {
            (nanoseconds as f64 / 1e6, "ms")
        } else {
            (nanoseconds as f64 / 1e9, "s")
        };
        if value < 9.995 {
            write!(formatter, "{value:.2} {unit}")
        } else if value < 99.95 {
            write!(formatter, "{value:.1} {unit}")
        } else {
            write!(formatter, "{} {unit}", Count(value.round() as u64))
        }
    }
}

/// `1.2 MiB`, `-512 B`.
struct Bytes(i128);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0.abs() < 1024 {
            return write!(formatter, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // 1023.95 would be shown as 1024.0.
        while value.abs() >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(formatter, "{value:.1} {}", UNITS[unit])
    }
}

/// With separators: `1,024`.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index != 0 && (digits.len() - index).is_multiple_of(3) {
                formatter.write_char(',')?;
            }
            formatter.write_char(digit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let check = |nanoseconds, expected: &str| {
            assert_eq!(
                Time(Duration::from_nanos(nanoseconds)).to_string(),
                expected
            );
        };
        check(0, "0 ns");
        check(999, "999 ns");
        check(1_000, "1.00 µs");
        check(9_994, "9.99 µs");
        check(9_996, "10.0 µs");
        check(99_960, "100 µs");
        check(999_499, "999 µs");
        check(999_500, "1.00 ms");
        check(12_345_678, "12.3 ms");
        check(999_600_000, "1.00 s");
        check(1_234_567_000_000, "1,235 s");
    }

    #[test]
    fn bytes_have_units() {
        let check = |bytes, expected: &str| assert_eq!(Bytes(bytes).to_string(), expected);
        check(0, "0 B");
        check(-1023, "-1023 B");
        check(1024, "1.0 KiB");
        check(-1536, "-1.5 KiB");
        check(1_048_575, "1.0 MiB");
        check(u64::MAX.into(), "16.0 EiB");
    }

    #[test]
    fn counts_have_separators() {
        let check = |count, expected: &str| assert_eq!(Count(count).to_string(), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
    }

    fn stats(wall_ns: u64, bytes: u64, freed_bytes: u64) -> RegionStats {
        RegionStats {
            wall: Duration::from_nanos(wall_ns),
            cpu: Some(Duration::from_nanos(wall_ns / 2)),
            memory: Some(RegionMemory {
                allocated_bytes: bytes,
                allocated_blocks: bytes / 100,
                freed_bytes,
                freed_blocks: freed_bytes / 100,
                peak_bytes: bytes,
            }),
        }
    }

    fn two_rows() -> RegionTable {
        let outer = RegionRow {
            name: "load \"all\"\n".to_owned(),
            count: 1,
            wall_mean: Duration::from_nanos(3000),
            wall_max: Duration::from_nanos(3000),
            total: stats(3000, 2000, 1500),
            own: stats(1000, 1000, 0),
            ..RegionRow::default()
        };
        let inner = RegionRow {
            name: "parse".to_owned(),
            level: 1,
            parent: Some(0),
            count: 1200,
            wall_mean: Duration::from_nanos(1),
            wall_max: Duration::from_nanos(2),
            total: stats(2000, 1000, 1500),
            own: stats(2000, 1000, 1500),
        };
        RegionTable {
            rows: vec![outer, inner],
            counts_memory: true,
            without_row: 0,
        }
    }

    #[test]
    fn a_table_is_aligned() {
        let expected = "\
region       count     wall    (own)     mean      max      cpu  allocated   (own)  blocks    freed     net     peak
load \"all\"\u{fffd}      1  3.00 µs  1.00 µs  3.00 µs  3.00 µs  1.50 µs    2.0 KiB  1000 B      20  1.5 KiB   500 B  2.0 KiB
  parse      1,200  2.00 µs  2.00 µs     1 ns     2 ns  1.00 µs     1000 B  1000 B      10  1.5 KiB  -500 B   1000 B
";
        assert_eq!(two_rows().to_string(), expected);
    }

    #[test]
    fn a_table_without_memory_says_so() {
        let mut table = two_rows();
        table.counts_memory = false;
        table.rows.truncate(1);
        table.without_row = 1234;
        let expected = "\
region       count     wall    (own)     mean      max      cpu
load \"all\"\u{fffd}      1  3.00 µs  1.00 µs  3.00 µs  3.00 µs  1.50 µs
times only: memory is counted while a heapatlas::Alloc is the global allocator and its mode counts
1,234 executions are part of the row around them: there are too many names, or they are nested too deep
";
        assert_eq!(table.to_string(), expected);
        assert_eq!(RegionTable::default().to_string(), "no regions\n");
    }

    #[test]
    fn json_has_all_of_it() {
        let mut table = two_rows();
        table.rows[1].total.memory = None;
        table.rows[1].own.cpu = None;
        let expected = concat!(
            r#"{"version":1,"counts_memory":true,"without_row":0,"rows":["#,
            r#"{"path":["load \"all\"\n"],"level":0,"parent":null,"count":1,"#,
            r#""wall_ns":{"total":3000,"own":1000,"mean":3000,"max":3000},"cpu_ns":{"total":1500,"own":500},"#,
            r#""memory":{"allocated":{"bytes":2000,"blocks":20},"freed":{"bytes":1500,"blocks":15},"#,
            r#""net":{"bytes":500,"blocks":5},"peak_bytes":2000},"#,
            r#""own_memory":{"allocated":{"bytes":1000,"blocks":10},"freed":{"bytes":0,"blocks":0},"#,
            r#""net":{"bytes":1000,"blocks":10}}},"#,
            r#"{"path":["load \"all\"\n","parse"],"level":1,"parent":0,"count":1200,"#,
            r#""wall_ns":{"total":2000,"own":2000,"mean":1,"max":2},"cpu_ns":null,"memory":null,"#,
            r#""own_memory":{"allocated":{"bytes":1000,"blocks":10},"freed":{"bytes":1500,"blocks":15},"#,
            r#""net":{"bytes":-500,"blocks":-5}}}]}"#
        );
        assert_eq!(table.to_json(), expected);
        assert_eq!(
            RegionTable::default().to_json(),
            r#"{"version":1,"counts_memory":false,"without_row":0,"rows":[]}"#
        );
    }

    #[test]
    fn stats_are_one_line() {
        assert_eq!(
            stats(3000, 2000, 1500).to_string(),
            "3.00 µs (1.50 µs cpu), allocated 2.0 KiB in 20 blocks, freed 1.5 KiB in 15, peak 2.0 KiB"
        );
        assert_eq!(RegionStats::default().to_string(), "0 ns");
    }
}
