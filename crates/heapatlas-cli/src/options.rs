//! Options that several verbs share.

use std::path::Path;

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use crate::exit::Hint;
use crate::paths::quoted;
use crate::render::text::plural;

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
    /// The options that were given.
    pub fn given(&self) -> Vec<&'static str> {
        given(&[
            (self.no_owned_sizes, "--no-owned-sizes"),
            (self.class_by_name, "--class-by-name"),
        ])
    }

    /// For [`heapatlas_analysis::Heap::open`], with all figures.
    pub fn open_options(&self) -> heapatlas_analysis::OpenOptions {
        heapatlas_analysis::OpenOptions {
            owned_sizes: !self.no_owned_sizes,
            class_by_name: self.class_by_name,
            ..Default::default()
        }
    }
}

/// The names of those options that were given.
pub fn given(options: &[(bool, &'static str)]) -> Vec<&'static str> {
    let given = options.iter().filter(|(is_given, _)| *is_given);
    given.map(|(_, name)| *name).collect()
}

/// Refuses options that say nothing about the file at hand.
///
/// # Errors
/// When there is any.
pub fn refuse(options: &[&str], are_for: &str, file: &Path, this_is: &str) -> anyhow::Result<()> {
    if options.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = options.iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    let verb = plural(options.len(), "is", "are");
    let refusal = anyhow!(
        "{names} {verb} for {are_for}; {} is {this_is}",
        quoted(file)
    );
    Err(refusal.hint([format!("leave {names} out")]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_say_nothing() {
        let check = |options: &[&str]| {
            let result = refuse(
                options,
                "heap snapshots",
                Path::new("a"),
                "an allocation profile",
            );
            result.map_err(|error| error.to_string())
        };
        assert_eq!(check(&[]), Ok(()));
        let expected = "`--quick`, `--sort` are for heap snapshots; `a` is an allocation profile";
        assert_eq!(check(&["--quick", "--sort"]), Err(expected.to_owned()));
        assert_eq!(given(&[(true, "--a"), (false, "--b")]), ["--a"]);
    }
}
