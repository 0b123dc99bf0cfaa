//! `completions`: a script that teaches a shell our verbs and options.

use clap::Command;
use clap_complete::Shell;

use crate::console::Console;
use crate::exit::Outcome;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: Args, mut definition: Command, console: &Console) -> anyhow::Result<Outcome> {
    // By way of memory, since the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "heapatlas", &mut script);
    console.print(|out| out.write_all(&script))?;
    Ok(Outcome::Fine)
}
