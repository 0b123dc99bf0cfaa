//! `cargo xtask bench v8`: heapatlas and its rivals open the same snapshots, in turn.
//!
//! What is measured is a whole process from start to exit: processor time of all its threads and
//! children, wall time, and the largest resident set. Rounds are interleaved, so that a noisy
//! minute hits everyone; the tables show medians, lowest and highest.

mod contenders;
mod goals;
mod inputs;
mod report;

use std::fs;
use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::document;
use super::machine;
use super::measure::{self, Run, Runs, print_run};
use crate::peers::{self, Peers};
use crate::steps;
use contenders::{Contender, Programs};
use inputs::{Input, Inputs};

#[derive(Args)]
pub struct Options {
    /// A few minutes instead of an hour: small inputs, and docs/benchmarks.md stays as it is
    #[arg(long)]
    quick: bool,
    /// How often each program opens each file
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only make the inputs and install the rivals
    #[arg(long)]
    prepare: bool,
}

pub fn bench_v8(options: &Options) -> anyhow::Result<()> {
    let target = peers::target_folder()?;
    let peers = Peers::locate()?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    steps::announce("installing the rivals");
    peers.install_devtools()?;
    peers.install_for_bench()?;
    let inputs = match options.quick {
        true => inputs::make_quick(&peers, &folder)?,
        false => inputs::make_all(&peers, &folder)?,
    };
    if options.prepare {
        return Ok(());
    }
    steps::announce("building heapatlas");
    steps::run(steps::cargo().args(["build", "--release", "--package", "heapatlas-cli"]))?;
    let programs = Programs {
        peers: &peers,
        heapatlas: target.join("release/heapatlas"),
        heap_limit_megabytes: machine::memory_megabytes() * 7 / 10,
    };
    let results = Results {
        opened: open_all(&programs, &inputs, options.rounds)?,
        compared: compare(&programs, &inputs.series, options.rounds)?,
        leaks: leaks(&programs, &inputs.series, options.rounds)?,
        series: inputs.series,
        rounds: options.rounds,
        is_quick: options.quick,
    };
    publish(&results)
}

/// Everything that was measured.
pub struct Results {
    pub opened: Vec<Opened>,
    pub compared: Compared,
    pub leaks: Runs,
    pub series: Vec<Input>,
    pub rounds: usize,
    pub is_quick: bool,
}

/// One input, opened by all.
pub struct Opened {
    pub input: Input,
    pub runs: Vec<(Contender, Runs)>,
    /// Where heapatlas' figures are not those of the DevTools worker; `None` if one of them failed.
    pub differences: Option<Vec<String>>,
}

/// CPU seconds of the comparison alone, of two snapshots that are open already.
#[derive(Default)]
pub struct Compared {
    pub heapatlas_seconds: Vec<f64>,
    pub devtools_seconds: Vec<f64>,
    pub million_nodes: f64,
    pub failures: Vec<String>,
}

fn open_all(
    programs: &Programs<'_>,
    inputs: &Inputs,
    rounds: usize,
) -> anyhow::Result<Vec<Opened>> {
    let all = inputs.opened.iter().chain(&inputs.long_strings);
    all.map(|input| open(programs, input, rounds)).collect()
}

/// The largest files take some programs a minute: they are opened twice at most.
fn rounds_for(input: &Input, rounds: usize) -> usize {
    if input.megabytes() > 1000.0 {
        rounds.min(2)
    } else {
        rounds
    }
}

fn open(programs: &Programs<'_>, input: &Input, rounds: usize) -> anyhow::Result<Opened> {
    steps::announce(&format!("{} ({:.0} MB)", input.title, input.megabytes()));
    read_into_page_cache(&input.path)?;
    let mut runs: Vec<_> = Contender::ALL
        .map(|contender| (contender, Runs::default()))
        .into();
    let (mut ours, mut theirs) = (None, None);
    for round in 1..=rounds_for(input, rounds) {
        for (contender, runs) in &mut runs {
            if runs.failure.is_some() {
                continue;
            }
            let run = measure::measure_json(&mut programs.open(*contender, &input.path))?;
            print_run(round, contender.title(), &run);
            runs.add(&run);
            match contender {
                Contender::HeapatlasSummary => ours = Some(run),
                Contender::DevTools => theirs = Some(run),
                _ => {}
            }
        }
    }
    let differences = ours
        .zip(theirs)
        .and_then(|(a, b)| contenders::differences(&a, &b));
    Ok(Opened {
        input: input.clone(),
        runs,
        differences,
    })
}

fn compare(programs: &Programs<'_>, series: &[Input], rounds: usize) -> anyhow::Result<Compared> {
    steps::announce("compare");
    let [base, current] = [&series[0].path, &series[1].path];
    let mut compared = Compared::default();
    for round in 1..=rounds {
        let mut heapatlas = programs.heapatlas(&["compare", "--json"]);
        let run = measure::measure_json(heapatlas.arg(base).arg(current))?;
        print_run(round, "heapatlas compare", &run);
        match contenders::heapatlas_phase_cpu_ms(&run.stderr, "compare") {
            Some(cpu_ms) => compared.heapatlas_seconds.push(cpu_ms / 1e3),
            None => compared.failures.push(failure_text("heapatlas", &run)),
        }
        let run = measure::measure_json(programs.devtools().arg(base).arg(current))?;
        print_run(round, "DevTools compare", &run);
        match devtools_comparison(&run) {
            Some((seconds, million_nodes)) => {
                compared.devtools_seconds.push(seconds);
                compared.million_nodes = million_nodes;
            }
            None => compared
                .failures
                .push(failure_text("DevTools worker", &run)),
        }
    }
    Ok(compared)
}

fn failure_text(who: &str, run: &Run) -> String {
    format!(
        "{who}: {}",
        run.failure
            .as_deref()
            .unwrap_or("printed no timing of `compare`")
    )
}

/// CPU seconds, and millions of nodes in both snapshots together.
fn devtools_comparison(run: &Run) -> Option<(f64, f64)> {
    let report: Value = serde_json::from_str(&run.stdout).ok()?;
    let number = |pointer| report.pointer(pointer).and_then(Value::as_f64);
    let cpu_ms = number("/compare/timings/compare/cpu_ms")?;
    let nodes = number("/base/nodes")? + number("/current/nodes")?;
    Some((cpu_ms / 1e3, nodes / 1e6))
}

fn leaks(programs: &Programs<'_>, series: &[Input], rounds: usize) -> anyhow::Result<Runs> {
    steps::announce("leaks");
    let mut runs = Runs::default();
    for round in 1..=rounds {
        let mut command = programs.heapatlas(&["leaks", "--json"]);
        let run = measure::measure_json(command.args(series.iter().map(|input| &input.path)))?;
        print_run(round, "heapatlas leaks", &run);
        runs.add(&run);
    }
    Ok(runs)
}

/// The first to open a file should not be the one who waits for the disk.
fn read_into_page_cache(path: &Path) -> anyhow::Result<()> {
    let mut file = fs::File::open(path)?;
    std::io::copy(&mut file, &mut std::io::sink())?;
    Ok(())
}

fn publish(results: &Results) -> anyhow::Result<()> {
    let text = report::markdown(results);
    println!("\n{text}");
    if !results.is_quick {
        document::replace_part(report::TITLE, &text)?;
    }
    Ok(())
}
