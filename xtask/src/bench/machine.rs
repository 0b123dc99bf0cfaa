//! What the figures were measured on: enough to judge them, nothing that names the machine.

use std::fs;
use std::process::Command;

use crate::steps;

pub fn memory_megabytes() -> u64 {
    let kilobytes = field("/proc/meminfo", "MemTotal").and_then(|value| {
        let number = value.split_whitespace().next()?;
        number.parse::<u64>().ok()
    });
    kilobytes.unwrap_or(8_000_000) / 1000
}

/// Processor, cores, memory, kernel.
pub fn description() -> String {
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = memory_megabytes() as f64 / 1e3;
    format!(
        "{processor}, {cores} cores, {memory:.0} GB of memory, Linux {}",
        kernel()
    )
}

/// The numbers of the kernel's release; what follows them may name a provider.
fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect()
}

pub fn date() -> String {
    let date = steps::output_of(Command::new("date").args(["-u", "+%Y-%m-%d"]));
    date.map_or_else(|_| "unknown date".into(), |date| date.trim().to_owned())
}

/// The value of the first line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
