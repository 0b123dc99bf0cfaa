//! `cargo xtask bench instructions`: how many instructions a block made and freed costs more, counted by callgrind.
//!
//! Time cannot tell six instructions from none. A count can, and it is the same in every run: a loop of nothing but
//! `malloc` and `free` is run for two numbers of blocks, and what the difference took is divided by that of the numbers.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::document;
use super::machine;
use super::record::programs::Workshop;
use super::verdict::{self, at_most};
use crate::peers;
use crate::steps;

/// The heading of this part of the document.
const TITLE: &str = "Instructions of a block made and freed";

/// The first number gets everything started: names are bound, tables have their size.
const FEW: u64 = 100_000;
const MANY: u64 = 300_000;

/// A way of calling the program, and the most instructions that may be added, if there is a goal.
struct Contender {
    title: &'static str,
    recorder: Option<&'static [&'static str]>,
    limit: Option<f64>,
}

const CONTENDERS: [Contender; 5] = [
    contender("bare", None, None),
    contender("heapatlas record --idle", Some(&["--idle"]), Some(10.0)),
    contender(
        "heapatlas record --sample 512KiB",
        Some(&["--sample", "512KiB"]),
        None,
    ),
    contender(
        "heapatlas record --mode counting",
        Some(&["--mode", "counting"]),
        None,
    ),
    contender("heapatlas record", Some(&[]), None),
];

const fn contender(
    title: &'static str,
    recorder: Option<&'static [&'static str]>,
    limit: Option<f64>,
) -> Contender {
    Contender {
        title,
        recorder,
        limit,
    }
}

pub fn bench_instructions() -> anyhow::Result<()> {
    let target = peers::target_folder()?;
    let folder = target.join("bench/instructions");
    fs::create_dir_all(&folder)?;
    if !steps::succeeds(Command::new("valgrind").arg("--version")) {
        peers::install_apt_packages(&["valgrind"])?;
    }
    steps::announce("building heapatlas and the loop");
    steps::run(steps::cargo().args(["build", "--release", "--package", "heapatlas-cli"]))?;
    let workshop = Workshop {
        folder: &folder,
        is_quick: false,
    };
    let bench = Bench {
        heapatlas: target.join("release/heapatlas"),
        program: workshop.build_micro()?,
        folder: &folder,
    };
    let counts = CONTENDERS.iter().map(|contender| bench.count(contender));
    let counts: Vec<f64> = counts.collect::<anyhow::Result<_>>()?;
    let text = markdown(&counts);
    println!("\n{text}");
    document::replace_part(TITLE, &text)
}

struct Bench<'a> {
    heapatlas: PathBuf,
    program: PathBuf,
    folder: &'a Path,
}

impl Bench<'_> {
    /// Instructions of the program for one block made and freed.
    fn count(&self, contender: &Contender) -> anyhow::Result<f64> {
        steps::announce(contender.title);
        let few = self.run(contender, FEW)?;
        let many = self.run(contender, MANY)?;
        ensure!(
            many > few,
            "more blocks took fewer instructions: {few}, {many}"
        );
        Ok((many - few) as f64 / (MANY - FEW) as f64)
    }

    fn run(&self, contender: &Contender, pairs: u64) -> anyhow::Result<u64> {
        let counts = self.folder.join("counts");
        if counts.exists() {
            fs::remove_dir_all(&counts)?;
        }
        fs::create_dir_all(&counts)?;
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["-q", "--tool=callgrind", "--trace-children=yes"]);
        let pattern = counts.join("%p");
        valgrind.arg(format!("--callgrind-out-file={}", pattern.display()));
        if let Some(arguments) = contender.recorder {
            let trace = self.folder.join("trace.heaptrace");
            if trace.exists() {
                fs::remove_file(&trace)?;
            }
            valgrind.arg(&self.heapatlas).arg("record").args(arguments);
            // Counting writes no file, and says so where one is asked for.
            if !arguments.contains(&"counting") {
                valgrind.arg("-o").arg(trace);
            }
            valgrind.arg("--");
        }
        valgrind.arg(&self.program).arg(pairs.to_string());
        // heapatlas says what it recorded, which is not of interest here.
        steps::output_of(&mut valgrind)?;
        self.instructions_of_program(&counts)
    }

    /// There is a file for each process: the one of the program counts.
    fn instructions_of_program(&self, counts: &Path) -> anyhow::Result<u64> {
        for entry in fs::read_dir(counts)? {
            let text = fs::read_to_string(entry?.path())?;
            if is_of_program(&text, self.program.as_os_str()) {
                return total(&text).context("callgrind counted nothing");
            }
        }
        anyhow::bail!("callgrind left no count for `{}`", self.program.display())
    }
}

/// Whether the process was the program itself, not its launcher.
fn is_of_program(counts: &str, program: &OsStr) -> bool {
    let command = counts.lines().find_map(|line| line.strip_prefix("cmd:"));
    command
        .is_some_and(|command| command.split_whitespace().next().map(OsStr::new) == Some(program))
}

fn total(counts: &str) -> Option<u64> {
    let total = counts
        .lines()
        .find_map(|line| line.strip_prefix("totals:"))?;
    total.trim().parse().ok()
}

fn markdown(counts: &[f64]) -> String {
    let bare = counts[0];
    let rows = || CONTENDERS.iter().zip(counts.iter().copied());
    let mut text = format!(
        "Written by `cargo xtask bench instructions`, {}. Counted by callgrind in the program itself, for a loop of \
         `malloc` and `free` 30 frames deep; the launcher's work beside it is not in these numbers.\n\n",
        machine::date()
    );
    let verdicts: Vec<_> = rows()
        .filter_map(|(contender, count)| {
            let goal = format!("{}: at most 10 more", contender.title);
            Some(at_most(goal, contender.limit?, Some(count - bare), ""))
        })
        .collect();
    verdict::write_table(&mut text, &verdicts);
    text.push_str("| | instructions | more than bare |\n|---|---|---|\n");
    for (contender, count) in rows() {
        let line = format!(
            "| {} | {count:.1} | {:.1} |\n",
            contender.title,
            count - bare
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_from_its_launcher() {
        let of = |command: &str| format!("version: 1\ncmd: {command}\npart: 1\ntotals: 157\n");
        let program = OsStr::new("/x/micro");
        assert!(is_of_program(&of("/x/micro 100"), program));
        assert!(!is_of_program(
            &of("heapatlas record -- /x/micro 100"),
            program
        ));
        assert_eq!(total(&of("x")), Some(157));
        assert_eq!(total("cmd: x\n"), None);
    }
}
