//! The processes of a recording that followed forks, one row for each trace.

use std::cmp::Reverse;
use std::fs;
use std::io::{self, Write};

use anyhow::Context;
use heapatlas_formats::trace;
use heapatlas_model::{Amount, Bytes, Count};

use crate::console::Console;
use crate::paths;
use crate::recording::FinishedTrace;
use crate::render::text::{Paint, Table, plural, short_name};

/// So many rows fit a screen.
const MOST_ROWS: usize = 30;

/// The traces of a recording, most bytes allocated first.
pub struct ProcessTable {
    rows: Vec<Row>,
}

struct Row {
    trace: FinishedTrace,
    total: Amount,
    peak_bytes: u64,
    live_bytes: u64,
}

impl ProcessTable {
    /// Reads the traces for their totals.
    pub fn read(traces: &[FinishedTrace]) -> anyhow::Result<Self> {
        let rows: anyhow::Result<Vec<_>> = traces.iter().map(Row::read).collect();
        let mut rows = rows?;
        rows.sort_by_key(|row| Reverse(row.total.bytes));
        Ok(Self { rows })
    }

    /// The trace with the most bytes allocated.
    pub fn largest(&self) -> Option<&FinishedTrace> {
        self.rows.first().map(|row| &row.trace)
    }

    /// Shows it.
    pub fn print(&self, console: &Console) -> anyhow::Result<()> {
        let paint = Paint {
            is_on: console.has_colors,
        };
        console.print(|out| self.write(out, paint))
    }

    fn write(&self, out: &mut dyn Write, paint: Paint) -> io::Result<()> {
        let count = self.rows.len();
        let programs = plural(count, "program was", "programs were");
        writeln!(
            out,
            "{} {programs} recorded, each to its own file:",
            Count(count as u64)
        )?;
        let titles = [
            "pid",
            "program",
            "allocations",
            "bytes",
            "peak",
            "live at end",
            "file",
        ];
        let mut table = Table::new(&titles);
        for row in self.rows.iter().take(MOST_ROWS) {
            table.row(vec![
                row.trace.pid.to_string(),
                short_name(&row.trace.program),
                Count(row.total.blocks).to_string(),
                Bytes(row.total.bytes).to_string(),
                Bytes(row.peak_bytes).to_string(),
                Bytes(row.live_bytes).to_string(),
                paths::quoted(&row.trace.path),
            ]);
        }
        table.write(out, paint)?;
        if count > MOST_ROWS {
            writeln!(out, "and {} more", Count((count - MOST_ROWS) as u64))?;
        }
        writeln!(out)
    }
}

impl Row {
    fn read(finished: &FinishedTrace) -> anyhow::Result<Self> {
        let while_reading = || format!("while reading {}", paths::quoted(&finished.path));
        let bytes = fs::read(&finished.path).with_context(while_reading)?;
        let (profile, _) =
            trace::read(&bytes, &trace::ReadOptions::default()).with_context(while_reading)?;
        Ok(Self {
            trace: finished.clone(),
            total: profile.total,
            peak_bytes: profile.peak.bytes,
            live_bytes: profile.live_at_end.bytes,
        })
    }
}
