//! Options that several verbs share.

use clap::{Args, ValueEnum};

/// Options of every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every verb")]
pub struct GlobalArgs {
    /// Print JSON, whose fields docs/reference/json.md describes
    #[arg(long, global = true)]
    pub json: bool,
    /// When to color text
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Keep what is whole of a damaged file
    #[arg(long, global = true)]
    pub salvage: bool,
    /// Show no progress, and warnings only where something is missing from the answer
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// When to color text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a pipe
    Always,
    /// Nowhere
    Never,
}

/// How figures are computed.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// Charge each object with its own bytes only, not with backing stores it alone owns
    #[arg(long)]
    pub no_owned_sizes: bool,
    /// Take classes of one name as one class, wherever they were defined
    #[arg(long)]
    pub class_by_name: bool,
}

impl RuleArgs {
    /// For [`heapatlas_analysis::Heap::open`], with all figures.
    pub fn open_options(&self) -> heapatlas_analysis::OpenOptions {
        heapatlas_analysis::OpenOptions {
            owned_sizes: !self.no_owned_sizes,
            class_by_name: self.class_by_name,
            ..Default::default()
        }
    }
}
