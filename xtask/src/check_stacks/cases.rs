//! The programs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::bench::record::programs::{self, Key};
use crate::bench::record::redis::RedisLoad;
use crate::steps;

/// A program to record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// One of the benchmark's.
    Bench(Key),
    /// One that unwinders dislike; each run is another.
    Hard(Hard),
}

/// What is hard about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hard {
    Calls,
    CallsWithFramePointers,
    Deep,
    Exceptions,
    Reload,
    Node,
    PythonPerf,
}

/// Every program, those of the benchmark first.
pub fn all() -> Vec<Case> {
    let bench = Key::value_variants().iter().copied().map(Case::Bench);
    let hard = [
        Hard::Calls,
        Hard::CallsWithFramePointers,
        Hard::Deep,
        Hard::Exceptions,
        Hard::Reload,
        Hard::Node,
        Hard::PythonPerf,
    ];
    bench.chain(hard.map(Case::Hard)).collect()
}

impl Case {
    pub fn title(self) -> &'static str {
        match self {
            Case::Bench(key) => key.title(),
            Case::Hard(Hard::Calls) => {
                "random calls: alloca, realigned stacks, longjmp, tail calls, signals (alternate \
                 stack), swapcontext, CFA in other registers"
            }
            Case::Hard(Hard::CallsWithFramePointers) => {
                "the same, compiled with frame pointers and without optimization"
            }
            Case::Hard(Hard::Deep) => "recursion to 1,000 frames, now and then to 3,000",
            Case::Hard(Hard::Exceptions) => "C++ exceptions, allocations while they pass",
            Case::Hard(Hard::Reload) => "libraries loaded and unloaded at the same addresses",
            Case::Hard(Hard::Node) => "node: native allocations from compiled JavaScript",
            Case::Hard(Hard::PythonPerf) => {
                "python3 -X perf: a generated trampoline for each function"
            }
        }
    }

    /// Whether another run does something else.
    pub fn has_seed(self) -> bool {
        matches!(self, Case::Hard(_))
    }
}

/// A program, ready to be run.
pub struct Program {
    pub command: Vec<OsString>,
    pub environment: &'static [(&'static str, &'static str)],
    /// Uses the program while it runs, then ends it, if it is a server.
    pub load: Option<RedisLoad>,
}

/// Where programs are made.
pub struct Workbench<'a> {
    pub folder: &'a Path,
    pub is_quick: bool,
}

impl Workbench<'_> {
    /// # Errors
    /// When a compiler or an interpreter is missing.
    pub fn make(&self, case: Case, seed: u32) -> anyhow::Result<Program> {
        match case {
            Case::Bench(key) => self.bench(key),
            Case::Hard(hard) => self.hard(hard, seed),
        }
    }

    /// Why a program is left out: an interpreter that not every machine has.
    pub fn obstacle(&self, case: Case) -> Option<String> {
        match case {
            Case::Hard(Hard::PythonPerf) => python_with_perf().err().map(|error| error.to_string()),
            Case::Hard(Hard::Node) if !steps::succeeds(Command::new("node").arg("--version")) => {
                Some("no `node` here".to_owned())
            }
            _ => None,
        }
    }

    fn bench(&self, key: Key) -> anyhow::Result<Program> {
        let workshop = programs::Workshop {
            folder: self.folder,
            is_quick: self.is_quick,
        };
        let program = workshop.make(key)?;
        Ok(Program {
            command: program.command,
            environment: program.environment,
            load: program.load,
        })
    }

    fn hard(&self, hard: Hard, seed: u32) -> anyhow::Result<Program> {
        let mut command: Vec<OsString> = match hard {
            Hard::Calls => vec![self.calls("calls", &["-O2"])?.into()],
            Hard::CallsWithFramePointers => {
                let flags = ["-O0", "-fno-omit-frame-pointer"];
                vec![self.calls("calls-fp", &flags)?.into()]
            }
            Hard::Deep => vec![self.compile("gcc", "deep", &["-O2"], "deep.c")?.into()],
            Hard::Exceptions => {
                let flags = ["-O2", "-std=c++17"];
                vec![
                    self.compile("g++", "exceptions", &flags, "exceptions.cpp")?
                        .into(),
                ]
            }
            Hard::Reload => vec![self.compile("gcc", "reload", &["-O2"], "reload.c")?.into()],
            Hard::Node => vec!["node".into(), sources().join("generated.js").into()],
            Hard::PythonPerf => {
                let script = sources().join("generated.py");
                vec![
                    python_with_perf()?,
                    "-X".into(),
                    "perf".into(),
                    script.into(),
                ]
            }
        };
        let captures = if self.is_quick { 250_000 } else { 2_000_000 };
        command.extend([seed.to_string(), captures.to_string()].map(OsString::from));
        if hard == Hard::Reload {
            for (name, words) in [("one.so", "-DWORDS=2"), ("two.so", "-DWORDS=23")] {
                let flags = ["-O2", "-shared", "-fPIC", words];
                command.push(self.compile("gcc", name, &flags, "reloaded.c")?.into());
            }
        }
        Ok(Program {
            command,
            environment: match hard {
                Hard::PythonPerf => &[("PYTHONMALLOC", "malloc")],
                _ => &[],
            },
            load: None,
        })
    }

    /// The calls of the unwinder's own tests, with a driver that allocates.
    fn calls(&self, name: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
        let calls = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates/heapatlas-record/tests/unwind/calls.c");
        let calls = fs::canonicalize(calls)?;
        let calls = calls
            .to_str()
            .context("the path of the sources is not UTF-8")?;
        self.compile("gcc", name, &[flags, &[calls]].concat(), "calls.c")
    }

    fn compile(
        &self,
        compiler: &str,
        name: &str,
        flags: &[&str],
        source: &str,
    ) -> anyhow::Result<PathBuf> {
        let output = self.folder.join(name);
        let mut command = Command::new(compiler);
        command.args(flags).arg(sources().join(source));
        steps::run(command.arg("-o").arg(&output))?;
        Ok(output)
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/stacks")
}

/// A Python of 3.12 or later: the one in the path, or one with its version in its name.
fn python_with_perf() -> anyhow::Result<OsString> {
    let has_perf = |name: &str| {
        let support = "import sys; sys.exit(not sys.is_stack_trampoline_active())";
        steps::succeeds(Command::new(name).args(["-X", "perf", "-c", support]))
    };
    let names = ["python3", "python3.12", "python3.13", "python3.14"];
    match names.iter().find(|name| has_perf(name)) {
        Some(name) => real_program(name),
        None => bail!("no Python here that knows `-X perf` (3.12 and later)"),
    }
}

/// The program itself, where the one in the path is a script of a version manager.
fn real_program(name: &str) -> anyhow::Result<OsString> {
    let executable = "import sys; print(sys.executable)";
    let path = steps::output_of(Command::new(name).args(["-c", executable]))?;
    Ok(path.trim().into())
}
