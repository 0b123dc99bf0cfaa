//! What clap answers instead of a command: help, version, or why the command line makes no sense.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use clap::error::Error;

use crate::exit::Outcome;

/// Shows the answer where it belongs.
pub fn run(answer: &Error) -> anyhow::Result<Outcome> {
    let mut text = answer.render();
    // Examples are the last thing on a page, and clap ends no line after them.
    if !text.to_string().ends_with('\n') {
        text.push_str("\n");
    }
    if answer.use_stderr() {
        let text = pick(&text, io::stderr().is_terminal());
        let _ = io::stderr().lock().write_all(text.as_bytes());
        return Ok(Outcome::Misused);
    }
    let mut out = io::stdout().lock();
    let text = pick(&text, out.is_terminal());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::Fine),
        result => result
            .map(|()| Outcome::Fine)
            .context("while writing to stdout"),
    }
}

fn pick(text: &clap::builder::StyledStr, is_terminal: bool) -> String {
    let has_colors = is_terminal && std::env::var_os(crate::env_vars::NO_COLOR.name).is_none();
    if has_colors {
        text.ansi().to_string()
    } else {
        text.to_string()
    }
}
