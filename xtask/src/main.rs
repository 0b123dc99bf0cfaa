//! Repository chores: `cargo xtask CHORE`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "telling how a chore goes is its job"
)]

mod bench;
mod check_stacks;
mod generate;
#[cfg(test)]
mod layering;
mod peers;
mod steps;
mod survive;
mod test_all;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Repository chores
#[derive(Parser)]
struct Xtask {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the peers that tests compare with, then run every check
    Test,
    /// Measure heapatlas against its rivals
    #[command(subcommand)]
    Bench(bench::Suite),
    /// Run large programs under the recorder: each must do what it does without
    Survive(survive::Options),
    /// Record many programs and compare every stack with a full walk: takes half an hour
    CheckStacks(check_stacks::Options),
    /// Write a large, realistic V8 heap snapshot
    GenerateSnapshot(generate::Options),
}

fn main() -> ExitCode {
    match run(Xtask::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> anyhow::Result<()> {
    match chore {
        Chore::Test => test_all::test_all(),
        Chore::Bench(suite) => bench::bench(&suite),
        Chore::CheckStacks(options) => check_stacks::check_stacks(&options),
        Chore::Survive(options) => survive::survive(&options),
        Chore::GenerateSnapshot(options) => generate::generate_snapshot(&options),
    }
}
