//! `completions`: a script that teaches a shell our verbs and options.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::CommandLine;
use crate::console::Console;
use crate::exit::Outcome;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    // By way of memory, since the generator panics when it cannot write.
    let mut script = Vec::new();
    let mut definition = CommandLine::command();
    clap_complete::generate(args.shell, &mut definition, "heapatlas", &mut script);
    console.print(|out| out.write_all(&script))?;
    Ok(Outcome::Fine)
}
