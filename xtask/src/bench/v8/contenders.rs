//! Who takes part, and how each is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bench::measure::Run;
use crate::peers::Peers;

/// Opens a snapshot in one way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    HeapatlasSummary,
    HeapatlasQuick,
    DevTools,
    Memlab,
    V8HeapParser,
}

impl Contender {
    pub const ALL: [Contender; 5] = [
        Contender::HeapatlasSummary,
        Contender::HeapatlasQuick,
        Contender::DevTools,
        Contender::Memlab,
        Contender::V8HeapParser,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Contender::HeapatlasSummary => "heapatlas summary",
            Contender::HeapatlasQuick => "heapatlas summary --quick",
            Contender::DevTools => "DevTools worker",
            Contender::Memlab => "memlab",
            Contender::V8HeapParser => "v8-heap-parser",
        }
    }
}

/// Where the programs are.
pub struct Programs<'a> {
    pub peers: &'a Peers,
    pub heapatlas: PathBuf,
    /// JavaScript's heap limit: most of the machine, so that no rival fails for want of a flag.
    pub heap_limit_megabytes: u64,
}

impl Programs<'_> {
    pub fn open(&self, contender: Contender, file: &Path) -> Command {
        let mut command = match contender {
            Contender::HeapatlasSummary => self.heapatlas(&["summary", "--json"]),
            Contender::HeapatlasQuick => self.heapatlas(&["summary", "--quick", "--json"]),
            Contender::DevTools => self.devtools(),
            Contender::Memlab => self.node(&self.peers.memlab()),
            Contender::V8HeapParser => Command::new(self.peers.v8_heap_parser()),
        };
        command.arg(file);
        command
    }

    pub fn heapatlas(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.heapatlas);
        command.args(arguments).env("HEAPATLAS_TIMINGS", "1");
        command
    }

    pub fn devtools(&self) -> Command {
        let mut command = self.node(&self.peers.devtools_oracle());
        command.args(["--brief", "--timings"]);
        command
    }

    fn node(&self, script: &Path) -> Command {
        let mut command = Command::new(self.peers.node(20));
        command
            .arg(format!(
                "--max-old-space-size={}",
                self.heap_limit_megabytes
            ))
            .arg(script);
        command
    }
}

/// Whether heapatlas and the DevTools worker say the same about a file, and what they differ in.
pub fn differences(heapatlas: &Run, devtools: &Run) -> Option<Vec<String>> {
    let ours: Value = serde_json::from_str(&heapatlas.stdout).ok()?;
    let theirs: Value = serde_json::from_str(&devtools.stdout).ok()?;
    let pairs = [
        ("nodes", "/nodes", "/nodes"),
        ("edges", "/edges", "/edges"),
        ("total", "/total_bytes", "/total"),
        ("code", "/statistics/code", "/statistics/v8heap/code"),
        (
            "strings",
            "/statistics/strings",
            "/statistics/v8heap/strings",
        ),
        (
            "JS arrays",
            "/statistics/js_arrays",
            "/statistics/v8heap/jsArrays",
        ),
        (
            "typed arrays",
            "/statistics/typed_arrays",
            "/statistics/native/typedArrays",
        ),
        ("native", "/statistics/native", "/statistics/native/total"),
        ("system", "/statistics/system", "/statistics/v8heap/system"),
    ];
    let differing = pairs.iter().filter_map(|(name, our_path, their_path)| {
        let (our_value, their_value) = (ours.pointer(our_path), theirs.pointer(their_path));
        (our_value != their_value).then(|| format!("{name}: {our_value:?}, not {their_value:?}"))
    });
    Some(differing.collect())
}

/// The CPU milliseconds of a phase in a line `timing: <phase> cpu_ms=<n> wall_ms=<n>`.
pub fn heapatlas_phase_cpu_ms(stderr: &str, phase: &str) -> Option<f64> {
    let line = stderr.lines().find_map(|line| {
        let rest = line.strip_prefix("timing: ")?.strip_prefix(phase)?;
        rest.starts_with(' ').then_some(rest)
    })?;
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("cpu_ms="))?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_found_by_its_whole_name() {
        let stderr = "note\ntiming: compare-classes cpu_ms=9 wall_ms=9\n\
                      timing: compare cpu_ms=12.5 wall_ms=7\n";
        assert_eq!(heapatlas_phase_cpu_ms(stderr, "compare"), Some(12.5));
        assert_eq!(heapatlas_phase_cpu_ms(stderr, "open"), None);
    }
}
