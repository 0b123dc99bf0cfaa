//! Programs to be recorded: compiled for the test, run bare, under the recorder, or under a peer.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, answer, heapatlas, run};

/// Loud even when the test passes; a failure where peers are required.
pub fn report_missing(peer: &str) {
    let message = format!("SKIPPED, a peer is missing: {peer}\n");
    let is_required = env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!is_required, "{message}");
    // Not `eprintln!`, which the test runner keeps to itself.
    io::stderr()
        .write_all(message.as_bytes())
        .expect("stderr takes a line");
}

/// Whether all of these can be called; says so if not.
pub fn has_peers(programs: &[&str]) -> bool {
    let is_missing = |program: &&&str| {
        let output = Command::new(program).arg("--version").output();
        !output.is_ok_and(|output| output.status.success())
    };
    let missing = programs.iter().find(is_missing);
    if let Some(program) = missing {
        report_missing(program);
    }
    missing.is_none()
}

/// A source file among the fixtures.
pub fn source(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/record");
    fs::canonicalize(folder.join(name)).expect("the fixture is there")
}

/// The number of the first line of a text that holds `marker`.
#[track_caller]
pub fn line_of(text: &str, marker: &str) -> u64 {
    let line = text.lines().position(|line| line.contains(marker));
    line.expect("the marker is there") as u64 + 1
}

/// A folder for programs and traces, gone when it is dropped.
pub struct Workshop {
    folder: TempDir,
}

/// What came of a recording.
pub struct Recorded {
    /// How `record` ended.
    pub answer: Answer,
    /// What `summary --json` says of the trace.
    pub profile: Value,
}

impl Workshop {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles a fixture with a compiler and its arguments; the program is called as the source without
    /// its ending.
    #[track_caller]
    pub fn compile(&self, command: &str, source_name: &str) -> PathBuf {
        let name = Path::new(source_name).file_stem().expect("a name");
        let program = self.folder.path().join(name);
        let mut words = command.split_whitespace();
        let mut compiler = Command::new(words.next().expect("a compiler"));
        compiler.args(words).arg("-o").arg(&program);
        let output = compiler.arg(source(source_name)).output();
        let output = output.expect("the compiler starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        program
    }

    /// `record` of a program, ready to be changed and run; the trace goes to `trace()`.
    pub fn recorder(&self, command: &[&OsStr]) -> Command {
        let mut recorder = heapatlas();
        recorder.args(["record", "--no-summary", "--check-stacks", "1", "-o"]);
        recorder.arg(self.trace()).arg("--").args(command);
        recorder.current_dir(self.folder.path());
        recorder
    }

    /// Where traces are written.
    pub fn trace(&self) -> PathBuf {
        self.path("trace")
    }

    /// Records a command to its end.
    #[track_caller]
    pub fn record(&self, command: &[&OsStr]) -> Recorded {
        self.record_with(&mut self.recorder(command))
    }

    /// Runs a recorder to its end.
    #[track_caller]
    pub fn record_with(&self, recorder: &mut Command) -> Recorded {
        let answer = answer(recorder, None);
        assert!(self.trace().exists(), "{recorder:?}: {}", answer.stderr);
        let profile = profile(&self.trace());
        Recorded { answer, profile }
    }
}

/// What a trace says.
#[track_caller]
pub fn profile(trace: &Path) -> Value {
    let path = trace.to_str().expect("UTF-8");
    run(["summary", "--json", "--top", "0", path]).json()
}

impl Recorded {
    pub fn figure(&self, path: &str) -> u64 {
        let value = self.profile.pointer(path);
        value.and_then(Value::as_u64).expect("a figure")
    }

    /// The stacks that were compared were equal, and all of them were whole.
    #[track_caller]
    pub fn assert_stacks(&self) {
        let said = &self.answer.stderr;
        assert!(said.contains("with full walks: 0 differed"), "{said}");
        assert_eq!(self.profile["truncated_stacks"], 0);
    }
}
