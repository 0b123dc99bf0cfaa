//! `cargo xtask check-stacks`: every stack that the recorder takes, against a full walk.
//!
//! The recorder walks only the part of a stack that is new (`heapatlas-record/src/unwind`). Here the
//! programs of the benchmark and programs that unwinders dislike are recorded with every capture
//! compared, until enough were. The full walk itself is held against libgcc's in the tests of that crate.

mod cases;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::bench::document;
use crate::bench::measure;
use crate::{peers, steps};
use cases::{Case, Workbench};
use table::Row;

/// The least share of allocations whose stacks reach the entry of the process, thread or coroutine.
const WHOLE_SHARE: f64 = 0.995;

#[derive(Args)]
pub struct Options {
    /// How many captures to compare in all
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    captures: u64,
    /// Only programs whose name contains this, and docs/benchmarks.md stays as it is
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// An eighth of the work, each program once, and docs/benchmarks.md stays as it is
    #[arg(long)]
    quick: bool,
}

/// # Errors
/// When a capture differed, too many stacks were cut off, or a program could not be recorded.
pub fn check_stacks(options: &Options) -> anyhow::Result<()> {
    let target = peers::target_folder()?;
    let folder = target.join("check-stacks");
    fs::create_dir_all(&folder)?;
    steps::run(steps::cargo().args(["build", "--release", "--package", "heapatlas-cli"]))?;
    let recorder = Recorder {
        heapatlas: target.join("release/heapatlas"),
        trace: folder.join("trace"),
    };
    let workbench = Workbench {
        folder: &folder,
        is_quick: options.quick,
    };
    let mut rows = Vec::new();
    table::print_heading();
    let is_wanted = |case: &Case| {
        let is_named = |name: &String| case.title().contains(name.as_str());
        options.only.as_ref().is_none_or(is_named)
    };
    for case in cases::all().into_iter().filter(is_wanted) {
        match workbench.obstacle(case) {
            Some(obstacle) => println!("not recorded: {}: {obstacle}", case.title()),
            None => rows.push(recorder.row(case, &workbench)),
        }
    }
    recorder.repeat(&mut rows, &workbench, options);
    let text = table::markdown(&rows);
    println!("\n{text}");
    if !options.quick && options.only.is_none() {
        document::replace_part(table::TITLE, &text)?;
    }
    verdict(&rows)
}

fn verdict(rows: &[Row]) -> anyhow::Result<()> {
    let bad: Vec<_> = rows.iter().filter(|row| !row.is_good()).collect();
    if !bad.is_empty() {
        let names: Vec<_> = bad.iter().map(|row| row.case.title()).collect();
        bail!("not as it should be: {}", names.join("; "));
    }
    Ok(())
}

struct Recorder {
    heapatlas: PathBuf,
    trace: PathBuf,
}

impl Recorder {
    /// Records a program once and prints what came of it.
    fn row(&self, case: Case, workbench: &Workbench) -> Row {
        let mut row = Row::new(case);
        self.record(&mut row, workbench);
        row.print();
        row
    }

    /// Records those programs again that do something else each time, until enough was compared.
    fn repeat(&self, rows: &mut [Row], workbench: &Workbench, options: &Options) {
        let is_enough = |rows: &[Row]| {
            let compared: u64 = rows.iter().map(|row| row.compared).sum();
            options.quick || compared >= options.captures
        };
        let can_go_on = |row: &Row| row.case.has_seed() && row.failure.is_none();
        while !is_enough(rows) && rows.iter().any(can_go_on) {
            for index in 0..rows.len() {
                if can_go_on(&rows[index]) && !is_enough(rows) {
                    self.record(&mut rows[index], workbench);
                    rows[index].print();
                }
            }
        }
    }

    fn record(&self, row: &mut Row, workbench: &Workbench) {
        let start = Instant::now();
        let recorded = self.try_record(row, workbench);
        row.seconds += start.elapsed().as_secs_f64();
        if let Err(error) = recorded {
            row.failure = Some(format!("{error:#}"));
        }
    }

    fn try_record(&self, row: &mut Row, workbench: &Workbench) -> anyhow::Result<()> {
        let program = workbench.make(row.case, row.runs + 1)?;
        let mut command = Command::new(&self.heapatlas);
        command.args(["record", "--no-summary", "--check-stacks", "1", "-o"]);
        command.arg(&self.trace).arg("--").args(&program.command);
        command.envs(program.environment.iter().copied());
        command.current_dir(workbench.folder);
        let run = match &program.load {
            Some(load) => measure::measure_while(&mut command, || load.run())?,
            None => measure::measure(&mut command)?,
        };
        if let Some(failure) = run.failure {
            bail!("{failure}");
        }
        row.runs += 1;
        let (compared, differences) = compared(&run.stderr)
            .with_context(|| format!("nothing was compared: {}", run.stderr.trim()))?;
        row.compared += compared;
        row.differences += differences;
        let dropped = dropped(&run.stderr);
        row.dropped += dropped;
        let recorded = row.add(&self.summary(&self.trace)?)?;
        if recorded + dropped < compared {
            bail!(
                "{compared} stacks were taken, {recorded} are in the trace, and {dropped} are said to be \
                 missing; the trace is kept: `{}`",
                self.trace.display()
            );
        }
        fs::remove_file(&self.trace).context("while removing the trace")
    }

    fn summary(&self, trace: &Path) -> anyhow::Result<Value> {
        let mut summary = Command::new(&self.heapatlas);
        summary.args(["summary", "--json", "--histogram", "--top", "0"]);
        Ok(serde_json::from_str(&steps::output_of(
            summary.arg(trace),
        )?)?)
    }
}

/// The numbers in `compared 12 stacks with full walks: 0 differed`.
fn compared(said: &str) -> Option<(u64, u64)> {
    let (_, rest) = said.split_once("compared ")?;
    let (compared, rest) = rest.split_once(" stacks with full walks: ")?;
    let (differences, _) = rest.split_once(" differed")?;
    Some((compared.parse().ok()?, differences.parse().ok()?))
}

/// The number in `warning: 12 events could not be recorded; …`; 0 when nothing was dropped.
fn dropped(said: &str) -> u64 {
    let number = |line: &str| {
        let (before, _) = line.split_once(" events could not be recorded")?;
        before.rsplit(' ').next()?.parse().ok()
    };
    said.lines().find_map(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorder_says_how_many_were_compared() {
        let said =
            "warning: x\nremark: compared 120 stacks with full walks: 3 differed\nwrote `t`\n";
        assert_eq!(compared(said), Some((120, 3)));
        assert_eq!(compared("wrote `t`"), None);
    }

    #[test]
    fn and_how_many_were_lost() {
        let said = "warning: 51 events could not be recorded; figures are too small by so many\n";
        assert_eq!(dropped(said), 51);
        assert_eq!(dropped("wrote `t`"), 0);
    }
}
