//! `cargo xtask bench SUITE`: heapatlas against its rivals, on the same inputs, in turn.
//!
//! What is measured is a whole process from start to exit: processor time of all its threads and
//! children, wall time, and the largest resident set. Rounds are interleaved, so that a noisy
//! minute hits everyone; the tables show medians, lowest and highest. Each suite writes its own part
//! of docs/benchmarks.md.

pub mod document;
mod instructions;
mod library;
pub mod machine;
pub mod measure;
pub mod record;
mod statistics;
mod v8;
mod verdict;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum Suite {
    /// Opening and comparing V8 heap snapshots
    V8(v8::Options),
    /// Recording what native programs allocate
    Record(record::Options),
    /// Adding the library to a Rust program: its build, and its modes at run time
    Library(library::Options),
    /// Instructions that the recorder adds to a block made and freed, counted exactly
    Instructions,
}

pub fn bench(suite: &Suite) -> anyhow::Result<()> {
    match suite {
        Suite::V8(options) => v8::bench_v8(options),
        Suite::Record(options) => record::bench_record(options),
        Suite::Library(options) => library::bench_library(options),
        Suite::Instructions => instructions::bench_instructions(),
    }
}
