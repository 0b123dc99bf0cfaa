//! How the program ends: exit code, error line, hints.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process;

/// The answer to what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Fine, or no check was asked for.
    Fine,
    /// A check (`--fail-on`) failed.
    CheckFailed,
    /// The command line made no sense; it was said why.
    Misused,
    /// A program was started: as it ended, so do we.
    #[cfg(has_recorder)]
    AsProgram(heapatlas_capture::Outcome),
}

impl Outcome {
    fn code(self) -> i32 {
        match self {
            Self::Fine => 0,
            Self::CheckFailed => 1,
            Self::Misused => ERROR_CODE,
            #[cfg(has_recorder)]
            Self::AsProgram(outcome) => outcome.pass_on(),
        }
    }
}

/// The exit code of an error.
pub const ERROR_CODE: i32 = 2;

/// Ends the program: says what went wrong, if anything did, and sets the exit code.
///
/// Leaves without running destructors: a heap is gigabytes of columns that the system takes back
/// faster than we can free them. Whatever must be done at the end (a temporary file removed, output
/// flushed) is done before.
pub fn leave(result: anyhow::Result<Outcome>) -> ! {
    let code = match result {
        Ok(outcome) => outcome.code(),
        Err(error) => {
            // Nothing is left to be told when stderr is gone, too.
            let _ = io::stderr().lock().write_all(report(&error).as_bytes());
            ERROR_CODE
        }
    };
    process::exit(code)
}

/// The error's chain on one line, then its hints.
fn report(error: &anyhow::Error) -> String {
    let chain: Vec<String> = error
        .chain()
        .map(|cause| one_line(&cause.to_string()))
        .collect();
    let mut text = format!("error: {}\n", chain.join(": "));
    for hinted in error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Hinted>())
    {
        for hint in &hinted.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
    }
    text
}

/// Without line breaks and whatever else a hostile file name might do to a terminal.
fn one_line(text: &str) -> String {
    crate::render::text::printable(text).into_owned()
}

/// An error for which we know a way out.
#[derive(Debug)]
pub struct Hinted {
    error: anyhow::Error,
    hints: Vec<String>,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Adds ways out to an error.
pub trait Hint {
    /// The error with hints; each becomes a line of its own below it.
    fn hint<S: Into<String>>(self, hints: impl IntoIterator<Item = S>) -> anyhow::Error;
}

impl<E: Into<anyhow::Error>> Hint for E {
    fn hint<S: Into<String>>(self, hints: impl IntoIterator<Item = S>) -> anyhow::Error {
        Hinted {
            error: self.into(),
            hints: hints.into_iter().map(Into::into).collect(),
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_report_is_one_line_and_hints() {
        let error = anyhow!("the file\nends")
            .hint(["use `--salvage`"])
            .context("while reading `x`");
        assert_eq!(
            report(&error),
            "error: while reading `x`: the file\\nends\nhint: use `--salvage`\n"
        );
    }
}
