//! Programs and launchers that are killed at any moment: what they leave can be read.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::steps;

const MOMENTS: u64 = 20;

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    Program,
    Launcher,
}

/// Never ends by itself; says who it is. A launcher that is killed leaves it behind, so it looks after that.
const PROGRAM: &str = "\
import json, os, sys
parent = os.getppid()
print(os.getpid(), flush=True)
kept = []
while os.getppid() == parent:
    kept.append(json.loads(json.dumps({'n': [str(n) * 100 for n in range(200)]})))
    if len(kept) > 50: kept.clear()
";

impl Kill {
    pub const ALL: [Kill; 2] = [Kill::Program, Kill::Launcher];

    pub fn name(self) -> &'static str {
        match self {
            Kill::Program => "the program is killed",
            Kill::Launcher => "the launcher is killed",
        }
    }

    /// # Errors
    /// When what was left cannot be read, or the launcher does not end as the program did.
    pub fn check(self, heapatlas: &Path) -> anyhow::Result<()> {
        let mut allocations = Vec::new();
        // In no visible order (Knuth's multiplicative hash), from at once to a second.
        for moment in 1..=MOMENTS {
            let milliseconds = (moment * 2_654_435_761 >> 8) % 1000;
            let found = self
                .once(heapatlas, Duration::from_millis(milliseconds))
                .with_context(|| format!("killed after {milliseconds} ms"))?;
            allocations.extend(found);
        }
        allocations.sort_unstable();
        println!(
            "{:<24} {MOMENTS} moments, {} traces, all can be read: {} to {} allocations",
            self.name(),
            allocations.len(),
            allocations.first().unwrap_or(&0),
            allocations.last().unwrap_or(&0),
        );
        Ok(())
    }

    /// The number of allocations in the trace; None when it ended before there was one.
    fn once(self, heapatlas: &Path, after: Duration) -> anyhow::Result<Option<u64>> {
        let folder = tempfile::tempdir()?;
        let trace = folder.path().join("trace");
        let mut recorder = Command::new(heapatlas);
        recorder.args(["record", "--no-summary", "-o"]).arg(&trace);
        recorder.args(["--", "/usr/bin/python3", "-c", PROGRAM]);
        let mut recorder = recorder
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env("PYTHONMALLOC", "malloc")
            .spawn()?;
        let program = first_line(&mut recorder);
        // A random moment is what is wanted here.
        thread::sleep(after);
        match self {
            Kill::Program => kill(&program?)?,
            Kill::Launcher => recorder.kill()?,
        }
        let status = recorder.wait()?;
        if self == Kill::Program && status.to_string() != "signal: 9 (SIGKILL)" {
            bail!("the launcher ends with {status}");
        }
        match self {
            Kill::Program => allocations(heapatlas, trace).map(Some),
            Kill::Launcher => {
                let unfinished = folder.path().join("trace.unfinished");
                match unfinished.metadata().map_or(0, |file| file.len()) {
                    0 => Ok(None),
                    _ => allocations(heapatlas, unfinished).map(Some),
                }
            }
        }
    }
}

fn first_line(recorder: &mut Child) -> anyhow::Result<String> {
    use std::io::{BufRead, BufReader};
    let stdout = recorder.stdout.as_mut().context("it is piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn kill(program: &str) -> anyhow::Result<()> {
    steps::run(Command::new("kill").args(["-KILL", program]))
}

fn allocations(heapatlas: &Path, trace: PathBuf) -> anyhow::Result<u64> {
    let mut summary = Command::new(heapatlas);
    let text = steps::output_of(summary.args(["summary", "--json", "--top", "1"]).arg(trace))?;
    let profile: Value = serde_json::from_str(&text)?;
    let allocations = profile.pointer("/totals/allocations");
    (allocations.and_then(Value::as_u64)).context("no number of allocations")
}
