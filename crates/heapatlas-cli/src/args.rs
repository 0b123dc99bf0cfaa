//! The command line, defined once: help, completions and man pages are made from this.

use clap::{Parser, Subcommand};

use crate::commands::{compare, completions, demo, export, leaks, man, record, show, summary};
use crate::env_vars;
use crate::options::GlobalArgs;

/// Points at what grows in a heap, who holds it, and how to find the line that allocated it.
#[derive(Debug, Parser)]
#[command(
    name = "heapatlas",
    version,
    about = "Finds out what grows in a heap and who holds it",
    long_about = "Finds out what grows in a heap and who holds it.\n\n\
        Every verb takes whatever file it is given, recognizes it by its content, and reads .gz, \
        .zst and stdin (`-`) as well.",
    after_help = AFTER_HELP,
    after_long_help = after_long_help(),
    max_term_width = 100,
    disable_help_subcommand = true,
)]
pub struct CommandLine {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  heapatlas leaks before.heapsnapshot after.heapsnapshot
  heapatlas summary app.heapsnapshot.gz
  heapatlas show app.heapsnapshot @12345";

fn after_long_help() -> String {
    let mut text = format!("{AFTER_HELP}\n\nEnvironment:\n");
    for variable in &env_vars::ALL {
        text.push_str(&format!("  {:20}{}\n", variable.name, variable.purpose));
    }
    text.push_str(
        "\nExit codes: 0 fine; 1 a check failed that was asked for (`--fail-on`); 2 an error.",
    );
    text
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Leaks(leaks::Args),
    Summary(summary::Args),
    Compare(compare::Args),
    Show(show::Args),
    Export(export::Args),
    Record(record::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    /// House style: each help page ends with two or three examples.
    #[test]
    fn every_verb_shows_examples() {
        for verb in CommandLine::command()
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
        {
            let examples = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let count = examples.matches("\n  heapatlas ").count();
            assert!(
                (2..=3).contains(&count),
                "{}: {examples:?}",
                verb.get_name()
            );
        }
    }
}
