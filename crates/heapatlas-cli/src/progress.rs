//! A progress bar on stderr, when somebody sits there.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a command has come.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar over the bytes of all files; a mere sign of life when the total is unknown. Hidden
    /// unless stderr is a terminal.
    pub fn over_bytes(is_wanted: bool, total_bytes: Option<u64>) -> Self {
        if !is_wanted || !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = match total_bytes {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{msg} {bar:30} {bytes} of {total_bytes}, {eta} left")),
            None => ProgressBar::new_spinner().with_style(style("{msg} {spinner} {bytes}")),
        };
        bar.set_message("reading");
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// A counter for one of the files: it is told absolute positions, from any thread, in any order.
    pub fn of_file(&self) -> FileProgress<'_> {
        FileProgress {
            bar: &self.bar,
            highest: AtomicU64::new(0),
        }
    }

    /// Reading is over; what follows takes a while, too.
    pub fn start(&self, phase: &'static str) {
        if !self.bar.is_hidden() {
            self.bar.set_style(style("{msg} {spinner}"));
            self.bar.set_message(phase);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How far one file has been read.
pub struct FileProgress<'a> {
    bar: &'a ProgressBar,
    highest: AtomicU64,
}

impl FileProgress<'_> {
    /// Takes the position in this file.
    pub fn at(&self, position: u64) {
        let before = self.highest.fetch_max(position, Ordering::Relaxed);
        self.bar.inc(position.saturating_sub(before));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates are ours and constant")
}
