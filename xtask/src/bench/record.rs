//! `cargo xtask bench record`: heapatlas and its rivals record the same programs, in turn.

mod contenders;
mod goals;
mod inputs;
pub mod programs;
pub mod redis;
mod report;

use std::fs;
use std::path::Path;

use clap::{Args, ValueEnum};

use super::document;
use super::measure::{self, Run, Runs, print_run};
use crate::peers;
use crate::steps;
use contenders::{Contender, Recorders};
use programs::{Key, Program, Workshop};

#[derive(Args)]
pub struct Options {
    /// Some minutes: an eighth of the work, no valgrind, and docs/benchmarks.md stays as it is
    #[arg(long)]
    quick: bool,
    /// Leave valgrind out, which takes more than half of the time
    #[arg(long)]
    no_valgrind: bool,
    /// How often each program runs under each recorder [default: 5; with --quick 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// Only this program, and docs/benchmarks.md stays as it is; can be repeated
    #[arg(long, value_name = "PROGRAM")]
    only: Vec<Key>,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    fn keys(&self) -> Vec<Key> {
        let is_wanted = |key: &&Key| self.only.is_empty() || self.only.contains(key);
        Key::value_variants()
            .iter()
            .filter(is_wanted)
            .copied()
            .collect()
    }
}

pub fn bench_record(options: &Options) -> anyhow::Result<()> {
    let target = peers::target_folder()?;
    let folder = target.join("bench/record");
    fs::create_dir_all(&folder)?;
    install_missing();
    steps::announce("building heapatlas");
    steps::run(steps::cargo().args(["build", "--release", "--package", "heapatlas-cli"]))?;
    let bench = Bench {
        recorders: Recorders {
            heapatlas: target.join("release/heapatlas"),
            folder: &folder,
        },
        workshop: Workshop {
            folder: &folder,
            is_quick: options.quick,
        },
        rounds: options.rounds(),
        has_valgrind: !options.quick && !options.no_valgrind,
    };
    let sections = options
        .keys()
        .into_iter()
        .map(|key| bench.section(key))
        .collect();
    let results = Results {
        sections,
        rounds: options.rounds(),
        is_quick: options.quick,
        has_valgrind: bench.has_valgrind,
    };
    publish(&results, options, &folder)
}

/// What has to be there, and the Debian package that brings it.
const PACKAGES: [(&str, &str); 10] = [
    ("sqlite3", "sqlite3"),
    ("jq", "jq"),
    ("g++", "g++"),
    ("/usr/bin/python3", "python3"),
    ("redis-server", "redis-server"),
    ("heaptrack", "heaptrack"),
    ("zstd", "zstd"),
    ("valgrind", "valgrind"),
    (contenders::JEMALLOC, "libjemalloc2"),
    (contenders::TCMALLOC, "libgoogle-perftools4"),
];

/// What cannot be installed is missing in the tables, with the reason.
fn install_missing() {
    let is_there = |name: &str| match name.contains(".so") {
        true => contenders::library(name).is_ok(),
        false => contenders::program(name).is_ok(),
    };
    let missing = PACKAGES.iter().filter(|(name, _)| !is_there(name));
    for (_, package) in missing {
        steps::announce(&format!("installing {package}"));
        if let Err(error) = peers::install_apt_packages(&[package]) {
            println!("not installed: {error:#}");
        }
    }
}

/// Everything that was measured.
pub struct Results {
    pub sections: Vec<Section>,
    pub rounds: usize,
    pub is_quick: bool,
    pub has_valgrind: bool,
}

/// One program under all recorders.
pub struct Section {
    pub key: Key,
    /// Those who take part; or why the program could not be made.
    pub rows: Result<Vec<Row>, String>,
}

/// One program under one recorder.
pub struct Row {
    pub contender: Contender,
    pub runs: Runs,
    pub report: Runs,
    /// Of the last run.
    pub trace_bytes: Option<u64>,
    /// How many allocations its trace tells of.
    pub allocations: Option<u64>,
}

struct Bench<'a> {
    recorders: Recorders<'a>,
    workshop: Workshop<'a>,
    rounds: usize,
    has_valgrind: bool,
}

impl Bench<'_> {
    fn section(&self, key: Key) -> Section {
        steps::announce(key.title());
        let rows = self.workshop.make(key).map(|program| self.rows(&program));
        let rows = rows.map_err(|error| format!("{error:#}"));
        if let Err(error) = &rows {
            println!("not measured: {error}");
        }
        Section { key, rows }
    }

    fn rows(&self, program: &Program) -> Vec<Row> {
        let taking_part = Contender::ALL
            .into_iter()
            .filter(|contender| contender.takes_part(program.key, self.has_valgrind));
        let mut rows: Vec<Row> = taking_part.map(Row::new).collect();
        for round in 1..=self.rounds {
            for row in &mut rows {
                if row.runs.failure.is_none() && round <= row.contender.rounds(self.rounds) {
                    self.round(round, program, row);
                }
            }
        }
        for row in &mut rows {
            self.count(program, row);
        }
        rows
    }

    /// Records once and reports once.
    fn round(&self, round: usize, program: &Program, row: &mut Row) {
        let recorders = &self.recorders;
        let title = row.contender.title();
        if let Some(old) = recorders.trace(row.contender, program.key) {
            // Should that fail, the recorder says so or writes over it.
            fs::remove_file(old).ok();
        }
        let run = recorders
            .command(row.contender, program)
            .and_then(|mut command| match &program.load {
                Some(load) => measure::measure_while(&mut command, || load.run()),
                None => measure::measure(&mut command),
            });
        if !add(&mut row.runs, run, round, title) {
            return;
        }
        let Some(trace) = recorders.trace(row.contender, program.key) else {
            return;
        };
        row.trace_bytes = fs::metadata(&trace).ok().map(|metadata| metadata.len());
        recorders.forget_names();
        let run = measure::measure(&mut recorders.report(row.contender, &trace));
        if let (Contender::Heaptrack, Ok(run)) = (row.contender, &run) {
            row.allocations = contenders::heaptrack_allocations(&run.stdout);
        }
        add(&mut row.report, run, round, &format!("{title}, report"));
    }

    /// Not measured, and the same in each round.
    fn count(&self, program: &Program, row: &mut Row) {
        let Contender::Heapatlas(_) = row.contender else {
            return;
        };
        let Some(trace) = self.recorders.trace(row.contender, program.key) else {
            return;
        };
        match self.recorders.allocations(&trace) {
            Ok(allocations) => row.allocations = Some(allocations),
            Err(error) => row.report.failure = Some(format!("{error:#}")),
        }
    }
}

/// Whether the run succeeded.
fn add(runs: &mut Runs, run: anyhow::Result<Run>, round: usize, title: &str) -> bool {
    match run {
        Ok(run) => {
            print_run(round, title, &run);
            runs.add(&run);
        }
        Err(error) => {
            println!("{round}  {title:<30} FAILED: {error:#}");
            runs.failure = Some(format!("{error:#}"));
        }
    }
    runs.failure.is_none()
}

impl Row {
    fn new(contender: Contender) -> Self {
        Row {
            contender,
            runs: Runs::default(),
            report: Runs::default(),
            trace_bytes: None,
            allocations: None,
        }
    }
}

/// A part of the programs, or less work, is no benchmark to keep.
fn publish(results: &Results, options: &Options, folder: &Path) -> anyhow::Result<()> {
    let text = report::markdown(results);
    println!("\n{text}");
    fs::write(folder.join("report.md"), &text)?;
    if !options.quick && options.only.is_empty() {
        document::replace_part(report::TITLE, &text)?;
    }
    Ok(())
}
