//! `cargo xtask bench library`: what the library costs whoever adds it, when they build and when they run.

mod build_cost;
mod modes;
mod regions;
mod report;

use std::fs;
use std::path::Path;

use clap::Args;

use super::document;
use super::measure::Runs;
use super::record::programs::Workshop;
use crate::peers;
use build_cost::BuildCost;
use modes::Section;

#[derive(Args)]
pub struct Options {
    /// An eighth of the work, and docs/benchmarks.md stays as it is
    #[arg(long)]
    quick: bool,
    /// How often each program is built and runs [default: 5; with --quick 2]
    #[arg(long)]
    rounds: Option<usize>,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }
}

/// Everything that was measured.
pub struct Results {
    builds: Vec<(BuildCost, Runs)>,
    sections: Vec<Section>,
    regions: Vec<regions::Cost>,
    rounds: usize,
    is_quick: bool,
}

pub fn bench_library(options: &Options) -> anyhow::Result<()> {
    let folder = peers::target_folder()?.join("bench/library");
    fs::create_dir_all(&folder)?;
    let workshop = Workshop {
        folder: &folder,
        is_quick: options.quick,
    };
    let results = Results {
        builds: build_cost::measure_all(&folder, options.rounds())?,
        sections: modes::measure_all(&workshop, options.rounds())?,
        regions: regions::measure_all()?,
        rounds: options.rounds(),
        is_quick: options.quick,
    };
    publish(&results, &folder)
}

/// Less work is no benchmark to keep.
fn publish(results: &Results, folder: &Path) -> anyhow::Result<()> {
    let text = report::markdown(results);
    println!("\n{text}");
    fs::write(folder.join("report.md"), &text)?;
    if !results.is_quick {
        document::replace_part(report::TITLE, &text)?;
    }
    Ok(())
}
