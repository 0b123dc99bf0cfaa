//! Running other programs as named steps, with the time each took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Prints a headline, so that a step's own output is found again.
pub fn announce(name: &str) {
    println!("\n=== {name}");
}

/// Runs `command` with its output going straight to ours.
///
/// # Errors
/// When it does not start or ends with anything but 0.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = shown(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// What `command` prints on stdout.
///
/// # Errors
/// When it does not start or ends with anything but 0; the error holds what it said on stderr.
pub fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let shown = shown(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The cargo that runs us, or else the one in the path.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether `command` starts and ends with 0; says nothing.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The steps taken so far and their times.
#[derive(Default)]
pub struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// # Errors
    /// When `work` fails: with the step's name and time.
    pub fn step(
        &mut self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        announce(name);
        let start = Instant::now();
        let result = work();
        let elapsed = start.elapsed();
        self.done.push((name.to_owned(), elapsed));
        result.with_context(|| format!("step `{name}` failed after {:.1} s", elapsed.as_secs_f64()))
    }

    /// One line for each step.
    pub fn print_times(&self) {
        println!();
        for (name, elapsed) in &self.done {
            println!("{:>8.1} s  {name}", elapsed.as_secs_f64());
        }
    }
}
