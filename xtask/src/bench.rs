//! `cargo xtask bench SUITE`: heapatlas against its rivals, on the same inputs, in turn.
//!
//! What is measured is a whole process from start to exit: processor time of all its threads and
//! children, wall time, and the largest resident set. Rounds are interleaved, so that a noisy
//! minute hits everyone; the tables show medians, lowest and highest. Each suite writes its own part
//! of docs/benchmarks.md.

pub mod document;
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
}

pub fn bench(suite: &Suite) -> anyhow::Result<()> {
    match suite {
        Suite::V8(options) => v8::bench_v8(options),
        Suite::Record(options) => record::bench_record(options),
    }
}
