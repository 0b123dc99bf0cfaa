//! Repository chores: `cargo xtask CHORE`.

mod generate;
#[cfg(test)]
mod layering;

use clap::{Parser, Subcommand};

/// Repository chores
#[derive(Parser)]
struct Xtask {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write a large, realistic V8 heap snapshot
    GenerateSnapshot(generate::Options),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse().chore {
        Chore::GenerateSnapshot(options) => generate::generate_snapshot(&options),
    }
}
