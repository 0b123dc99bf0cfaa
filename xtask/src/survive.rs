//! `cargo xtask survive`: large programs and their own tests under the recorder, killed programs and
//! launchers, and a thousand threads.

mod cases;
mod kills;
mod threads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::peers::{Peers, target_folder};
use crate::steps;
use cases::{CASES, Case, Compare};

#[derive(clap::Args)]
pub struct Options {
    /// Only what has this in its name; can be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

/// # Errors
/// When a program did not do what it does without the recorder, after all were run.
pub fn survive(options: &Options) -> anyhow::Result<()> {
    Peers::locate()?.install_for_survival()?;
    let mut build = steps::cargo();
    steps::run(build.args(["build", "--release", "--package", "heapatlas-cli"]))?;
    let heapatlas = target_folder()?.join("release/heapatlas");
    let mut failures = Vec::new();
    let mut note = |name: &'static str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            println!("{name:<24} FAILED: {error:#}");
            failures.push(name);
        }
    };
    if options.wants(threads::NAME) {
        note(threads::NAME, threads::check(&heapatlas));
    }
    for kill in kills::Kill::ALL {
        if options.wants(kill.name()) {
            note(kill.name(), kill.check(&heapatlas));
        }
    }
    println!(
        "{:<24} {:>8} {:>9} {:>12} {:>12} {:>9} {:>8} {:>8}  ends",
        "program", "bare", "recorded", "allocations", "frees", "trace", "differ", "cut off"
    );
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        note(case.name, case.run(&heapatlas));
    }
    if !failures.is_empty() {
        bail!("not the same under the recorder: {}", failures.join(", "));
    }
    Ok(())
}

impl Case {
    fn run(&self, heapatlas: &Path) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let trace = folder.path().join("trace");
        let mut bare = Command::new(self.command[0]);
        bare.args(&self.command[1..]);
        let (bare, bare_time) = run(bare.env("HEAPATLAS_FOLDER", folder.path()))?;
        // Tests that this machine fails, fail with the recorder, too.
        if !bare.status.success() && self.compare == Compare::Output {
            let said = String::from_utf8_lossy(&bare.stderr);
            bail!("it fails without the recorder: {}", said.trim());
        }
        let mut recorder = Command::new(heapatlas);
        recorder.args(["record", "--no-summary", "--check-stacks", "100", "-o"]);
        recorder.arg(&trace).arg("--").args(self.command);
        let (recorded, time) = run(recorder.env("HEAPATLAS_FOLDER", folder.path()))?;
        self.compare(&bare, &recorded)?;
        let row = Row::new(heapatlas, trace, &recorded)?;
        println!(
            "{:<24} {:>6.2} s {:>7.2} s {row}  {}",
            self.name,
            bare_time.as_secs_f64(),
            time.as_secs_f64(),
            recorded.status
        );
        Ok(())
    }

    fn compare(&self, bare: &Output, recorded: &Output) -> anyhow::Result<()> {
        let said = String::from_utf8_lossy(&recorded.stderr);
        same_end(bare.status, recorded.status).with_context(|| said.trim().to_owned())?;
        let (bare, recorded) = (self.compared(&bare.stdout), self.compared(&recorded.stdout));
        let difference = bare
            .iter()
            .zip(&recorded)
            .find(|(bare, recorded)| bare != recorded);
        if let Some((bare, recorded)) = difference {
            bail!("it prints `{recorded}` where it prints `{bare}` bare");
        }
        if bare.len() != recorded.len() {
            bail!(
                "it prints {} lines, and {} bare",
                recorded.len(),
                bare.len()
            );
        }
        Ok(())
    }

    /// Those of the printed lines that must be the same.
    fn compared(&self, printed: &[u8]) -> Vec<String> {
        let printed = String::from_utf8_lossy(printed);
        let mut lines = printed.lines().map(str::to_owned);
        match self.compare {
            Compare::Output => lines.collect(),
            Compare::PythonTests => {
                lines
                    .by_ref()
                    .find(|line| line.starts_with("== Tests result"));
                lines
                    .filter(|line| !line.starts_with("Total duration"))
                    .collect()
            }
        }
    }
}

fn same_end(bare: ExitStatus, recorded: ExitStatus) -> anyhow::Result<()> {
    if bare != recorded {
        bail!("it ends with {bare} bare and with {recorded} recorded");
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<(Output, Duration)> {
    let start = Instant::now();
    let output = command.output().context("cannot start it")?;
    Ok((output, start.elapsed()))
}

/// What a trace says.
struct Row {
    allocations: u64,
    frees: u64,
    trace_bytes: u64,
    cut_off: u64,
    differences: String,
}

impl Row {
    fn new(heapatlas: &Path, trace: PathBuf, recorded: &Output) -> anyhow::Result<Self> {
        let mut summary = Command::new(heapatlas);
        let text = steps::output_of(summary.args(["summary", "--json"]).arg(&trace))?;
        let profile: Value = serde_json::from_str(&text)?;
        let figure = |path: &str| profile.pointer(path).and_then(Value::as_u64);
        let figure = |path: &str| figure(path).with_context(|| format!("no {path}"));
        let said = String::from_utf8_lossy(&recorded.stderr);
        let differences = said
            .lines()
            .find_map(|line| line.split_once("full walks: ")?.1.strip_suffix(" differed"));
        Ok(Self {
            allocations: figure("/totals/allocations")?,
            frees: figure("/totals/frees")?,
            trace_bytes: fs::metadata(&trace)?.len(),
            cut_off: figure("/truncated_stacks")?,
            differences: differences.unwrap_or("?").to_owned(),
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.trace_bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:>12} {:>12} {mib:>5.1} MiB {:>8} {:>8}",
            self.allocations, self.frees, self.differences, self.cut_off
        )
    }
}
