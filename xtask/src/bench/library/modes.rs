//! The serde_json program with the library's allocator in each of its modes, and with dhat-rs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::bench::measure::{self, Runs, print_run};
use crate::bench::record::programs::Workshop;
use crate::steps;

/// How the program's allocations are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contender {
    /// Without our library in it.
    Bare,
    /// With the library's allocator, in a mode by its name in the program.
    Heapatlas(&'static str),
    DhatRs,
}

impl Contender {
    pub const ALL: [Self; 7] = [
        Self::Bare,
        Self::Heapatlas("off"),
        Self::Heapatlas("counting"),
        Self::Heapatlas("sampled"),
        Self::Heapatlas("aggregate"),
        Self::Heapatlas("exact"),
        Self::DhatRs,
    ];

    pub fn title(self) -> String {
        match self {
            Self::Bare => "bare".into(),
            Self::Heapatlas("sampled") => "heapatlas, sampled at 512 KiB".into(),
            Self::Heapatlas(mode) => format!("heapatlas, {mode}"),
            Self::DhatRs => "dhat-rs".into(),
        }
    }

    /// dhat-rs takes most of the time.
    fn rounds(self, rounds: usize) -> usize {
        match self {
            Self::DhatRs => rounds.min(2),
            _ => rounds,
        }
    }
}

/// One number of threads.
pub struct Section {
    pub threads: u32,
    pub rows: Vec<(Contender, Runs)>,
    /// Allocations of one run, by construction the same in all.
    pub allocations: Option<u64>,
}

impl Section {
    pub fn runs(&self, contender: Contender) -> Option<&Runs> {
        let row = self.rows.iter().find(|(found, _)| *found == contender);
        row.map(|(_, runs)| runs)
    }

    /// CPU seconds beyond those of the bare program.
    pub fn added_seconds(&self, contender: Contender) -> Option<f64> {
        Some(self.runs(contender)?.cpu_seconds()? - self.runs(Contender::Bare)?.cpu_seconds()?)
    }
}

struct Binaries {
    bare: PathBuf,
    with_heapatlas: PathBuf,
    with_dhat_rs: PathBuf,
}

/// Runs the program with one and with two threads under all contenders, in turn.
pub fn measure_all(workshop: &Workshop<'_>, rounds: usize) -> anyhow::Result<Vec<Section>> {
    steps::announce("building the serde_json program three times");
    let build = |name: &str, features: &[&str]| workshop.build_serde_json(name, features);
    let binaries = Binaries {
        bare: build("serde-json", &[])?,
        with_heapatlas: build("serde-json-heapatlas", &["--features", "heapatlas"])?,
        with_dhat_rs: build("serde-json-dhat", &["--features", "dhat"])?,
    };
    let sections = [1, 2].map(|threads| section(workshop, &binaries, threads, rounds));
    sections.into_iter().collect()
}

fn section(
    workshop: &Workshop<'_>,
    binaries: &Binaries,
    threads: u32,
    rounds: usize,
) -> anyhow::Result<Section> {
    steps::announce(&format!("serde_json program, threads: {threads}"));
    let documents = workshop.amount(8_000);
    let mut rows: Vec<_> = Contender::ALL
        .map(|contender| (contender, Runs::default()))
        .into();
    let mut allocations = None;
    for round in 1..=rounds {
        for (contender, runs) in &mut rows {
            if runs.failure.is_some() || round > contender.rounds(rounds) {
                continue;
            }
            let mut command = command(binaries, *contender, threads, documents);
            let run = measure::measure(command.current_dir(workshop.folder))?;
            print_run(round, &contender.title(), &run);
            if *contender == Contender::Heapatlas("counting") {
                allocations = counted(&run.stderr).or(allocations);
            }
            runs.add(&run);
        }
    }
    Ok(Section {
        threads,
        rows,
        allocations,
    })
}

fn command(binaries: &Binaries, contender: Contender, threads: u32, documents: u32) -> Command {
    let program = match contender {
        Contender::Bare => &binaries.bare,
        Contender::Heapatlas(_) => &binaries.with_heapatlas,
        Contender::DhatRs => &binaries.with_dhat_rs,
    };
    let mut command = Command::new(program);
    command.args([threads, documents].map(|number| OsString::from(number.to_string())));
    if let Contender::Heapatlas(mode) = contender {
        command.arg(mode);
    }
    command
}

/// The program says `allocations: N` on stderr when it counts.
fn counted(stderr: &str) -> Option<u64> {
    let line = stderr
        .lines()
        .find_map(|line| line.strip_prefix("allocations: "))?;
    line.trim().parse().ok()
}
