//! The two ways out: stdout for data, stderr for talk.

use std::io::{self, BufWriter, IsTerminal, Write};

use anyhow::Context;

use crate::env_vars;
use crate::options::{ColorChoice, GlobalArgs};
use crate::progress::Progress;
use crate::render::text::printable;
use crate::timing::Timings;

/// Columns where there is no terminal to ask.
const DEFAULT_COLUMNS: usize = 80;
const MOST_COLUMNS: usize = 100;

/// How to talk, as asked for once for the whole run.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// Whether stdout is for programs.
    pub is_json: bool,
    /// Whether to keep what is whole of damaged files.
    pub salvages: bool,
    /// Whether text on stdout may have colors.
    pub has_colors: bool,
    is_quiet: bool,
    is_all_on_stderr: bool,
    timings: Timings,
}

impl Console {
    /// From the global options and the environment.
    pub fn new(global: &GlobalArgs) -> Self {
        Self {
            is_json: global.json,
            salvages: global.salvage,
            has_colors: wants_colors(global.color),
            is_quiet: global.quiet,
            is_all_on_stderr: false,
            timings: Timings::from_environment(),
        }
    }

    /// The same, but data goes to stderr, too: stdout belongs to a program that was started.
    #[cfg_attr(
        not(has_recorder),
        allow(dead_code, reason = "for programs that are started")
    )]
    pub fn on_stderr(self) -> Self {
        Self {
            has_colors: self.has_colors && io::stderr().is_terminal(),
            is_all_on_stderr: true,
            ..self
        }
    }

    /// Columns that charts may take: those of the terminal, as long as lines are still easy to read.
    pub fn width(&self) -> usize {
        terminal_columns()
            .unwrap_or(DEFAULT_COLUMNS)
            .clamp(40, MOST_COLUMNS)
    }

    /// Whether charts may have characters beyond ASCII.
    pub fn is_unicode(&self) -> bool {
        let values = env_vars::LOCALES.iter().filter_map(std::env::var_os);
        let locale = values.into_iter().find(|value| !value.is_empty());
        locale.is_none_or(|locale| is_utf8_locale(&locale.to_string_lossy()))
    }

    /// Writes to stdout. Whoever closed the other end of a pipe has read enough: that is no error.
    pub fn print(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let result = self.measure("render", || {
            let stream: Box<dyn Write> = if self.is_all_on_stderr {
                Box::new(io::stderr().lock())
            } else {
                Box::new(io::stdout().lock())
            };
            let mut out = BufWriter::with_capacity(64 << 10, stream);
            write(&mut out)?;
            out.flush()
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.context("while writing to stdout"),
        }
    }

    /// Says that something is missing from the answer.
    pub fn warn(&self, message: &str) {
        self.say("warning", message);
    }

    /// Says that something is odd, unless asked to be quiet.
    pub fn remark(&self, message: &str) {
        if !self.is_quiet {
            self.say("warning", message);
        }
    }

    /// Says what was done, unless asked to be quiet.
    #[cfg_attr(
        not(has_recorder),
        allow(dead_code, reason = "for programs that are started")
    )]
    pub fn tell(&self, message: &str) {
        if !self.is_quiet {
            self.say("heapatlas", message);
        }
    }

    /// Says why a check failed.
    pub fn fail(&self, message: &str) {
        self.say("failed", message);
    }

    /// A progress bar over so many bytes, if it is wanted.
    pub fn progress(&self, total_bytes: Option<u64>) -> Progress {
        Progress::over_bytes(!self.is_quiet, total_bytes)
    }

    /// Does a phase of the work; see [`Timings::measure`].
    pub fn measure<T>(&self, phase: &str, work: impl FnOnce() -> T) -> T {
        self.timings.measure(phase, work)
    }

    fn say(&self, kind: &str, message: &str) {
        // When stderr is gone there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{kind}: {}", printable(message));
    }
}

/// `en_US.UTF-8`, `C.utf8`. (Where nothing is set, as in containers, terminals still are UTF-8.)
fn is_utf8_locale(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(unix)]
fn terminal_columns() -> Option<usize> {
    let out = io::stdout();
    let is_terminal = out.is_terminal();
    let size = is_terminal
        .then(|| rustix::termios::tcgetwinsize(&out).ok())
        .flatten()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(not(unix))]
fn terminal_columns() -> Option<usize> {
    None
}

fn wants_colors(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let is_refused =
                std::env::var_os(env_vars::NO_COLOR.name).is_some_and(|value| !value.is_empty());
            !is_refused && io::stdout().is_terminal()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales() {
        for (locale, expected) in [
            ("en_US.UTF-8", true),
            ("C.utf8", true),
            ("C", false),
            ("POSIX", false),
            ("de_DE.ISO-8859-1", false),
        ] {
            assert_eq!(is_utf8_locale(locale), expected, "{locale}");
        }
    }
}
