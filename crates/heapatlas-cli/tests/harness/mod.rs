//! Runs the binary and looks at what comes out.

// Each test file uses a part of this.
#![allow(dead_code)]

pub mod programs;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A run that takes longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// What a run left behind.
#[derive(Debug)]
pub struct Answer {
    pub status: ExitStatus,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// Fails unless the run went well.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// The one `error:` line, of a run that ended with exit code 2 and without a panic.
    #[track_caller]
    pub fn error(&self) -> &str {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "");
        let lines: Vec<_> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        let [line] = lines[..] else {
            panic!("not one error line: {}", self.stderr)
        };
        line
    }

    #[track_caller]
    pub fn json(self) -> Value {
        let answer = self.fine();
        serde_json::from_str(&answer.stdout).expect("stdout is JSON")
    }
}

/// The binary in an environment that changes nothing.
pub fn heapatlas() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heapatlas"));
    for variable in ["NO_COLOR", "HEAPATLAS_TIMINGS", "RUST_BACKTRACE"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs with these arguments.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Answer {
    answer(heapatlas().args(args), None)
}

/// Runs with these arguments and this on stdin.
pub fn run_with_stdin<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    stdin: Vec<u8>,
) -> Answer {
    answer(heapatlas().args(args), Some(stdin))
}

/// Runs a command to its end.
#[track_caller]
pub fn answer(command: &mut Command, stdin: Option<Vec<u8>>) -> Answer {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().expect("the binary starts");
    if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
        // A program that does not want all of it is free to close the pipe.
        thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let stdout = read_all(child.stdout.take().expect("piped"));
    let stderr = read_all(child.stderr.take().expect("piped"));
    let status = wait(&mut child);
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8(reader.join().expect("readers do not panic")).expect("output is UTF-8")
    };
    let answer = Answer {
        status,
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    };
    assert!(
        !answer.stderr.contains("panicked"),
        "{command:?}: {}",
        answer.stderr
    );
    answer
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// How it ended; fails when the time limit passes.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if start.elapsed() > TIME_LIMIT {
            let _ = child.kill();
            panic!("still running after {TIME_LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The folder of the V8 fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v8")
}

/// A fixture's path, as an argument.
pub fn fixture(name: &str) -> String {
    fixtures()
        .join(name)
        .to_str()
        .expect("fixture paths are UTF-8")
        .to_owned()
}

/// A fixture's text, unpacked.
pub fn fixture_text(name: &str) -> Vec<u8> {
    let bytes = fs::read(fixtures().join(name)).expect("the fixture is there");
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..])
        .read_to_end(&mut text)
        .expect("whole gzip");
    text
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text).expect("memory takes everything");
    packer.finish().expect("memory takes everything")
}

/// The names in a folder of fixtures that end like this, sorted.
pub fn fixture_names(folder: &str, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(fixtures().join(folder)).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| name.ends_with(ending))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no {ending} in {folder}");
    names
}

/// A fixture of JSON.
pub fn fixture_json(name: &str) -> Value {
    serde_json::from_slice(&fixture_text(name)).expect("the fixture is JSON")
}

/// A file with this content, gone when it is dropped.
pub fn temporary_file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(content).expect("room for a temporary file");
    file
}

/// A list's rows.
#[track_caller]
pub fn rows(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
