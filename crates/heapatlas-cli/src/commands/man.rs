//! `man`: the man page of heapatlas, or of one verb.

use anyhow::anyhow;
use clap::Command;
use clap_mangen::Man;

use crate::console::Console;
use crate::exit::{Hint, Outcome};

/// Print the man page of heapatlas or of one verb
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The verb; none for heapatlas itself
    verb: Option<String>,
}

pub fn run(args: Args, definition: Command, console: &Console) -> anyhow::Result<Outcome> {
    let page = Man::new(page_of(definition, args.verb.as_deref())?);
    console.print(|out| page.render(out))?;
    Ok(Outcome::Fine)
}

fn page_of(mut whole: Command, verb: Option<&str>) -> anyhow::Result<Command> {
    // Gives the global options to each verb.
    whole.build();
    let Some(verb) = verb else {
        return Ok(whole);
    };
    let verbs: Vec<&str> = whole.get_subcommands().map(Command::get_name).collect();
    let known = format!("verbs are: {}", verbs.join(", "));
    let definition = whole.find_subcommand(verb).cloned();
    let definition = definition.ok_or_else(|| anyhow!("no verb `{verb}`").hint([known]))?;
    Ok(definition.display_name(format!("heapatlas-{verb}")))
}
