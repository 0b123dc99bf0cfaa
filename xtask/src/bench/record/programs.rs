//! The programs that are recorded: programs that people run, and one loop of nothing but `malloc`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;

use super::inputs;
use super::redis::RedisLoad;
use crate::steps;

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Key {
    Sqlite,
    Jq,
    Rust1,
    Rust2,
    Cc1plus,
    Python,
    PythonMalloc,
    Redis,
    Micro,
}

impl Key {
    pub fn title(self) -> &'static str {
        match self {
            Key::Sqlite => "sqlite3: inserts, an index, grouping",
            Key::Jq => "jq: grouping the records of a large JSON file",
            Key::Rust1 => "Rust, serde_json: documents parsed and written, 1 thread",
            Key::Rust2 => "Rust, serde_json: documents parsed and written, 2 threads",
            Key::Cc1plus => "cc1plus -O1: standard headers",
            Key::Python => "python3: JSON, dicts, sorting",
            Key::PythonMalloc => "python3 with PYTHONMALLOC=malloc: the same",
            Key::Redis => "redis-server under redis-benchmark (jemalloc)",
            Key::Micro => "micro loop: malloc and free, 30 frames deep",
        }
    }

    /// What its files are called.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no key is hidden");
        value.get_name().to_owned()
    }
}

/// A program, ready to be run.
pub struct Program {
    pub key: Key,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    pub environment: &'static [(&'static str, &'static str)],
    /// The same work by a build with dhat-rs in it.
    pub with_dhat_rs: Option<Vec<OsString>>,
    /// Uses the program while it runs, then ends it, if it is a server.
    pub load: Option<RedisLoad>,
}

impl Program {
    fn new(key: Key, program: impl Into<OsString>, arguments: &[&str]) -> Self {
        Program {
            key,
            command: words(program, arguments),
            environment: &[],
            with_dhat_rs: None,
            load: None,
        }
    }
}

fn words(program: impl Into<OsString>, arguments: &[&str]) -> Vec<OsString> {
    let arguments = arguments.iter().map(OsString::from);
    std::iter::once(program.into()).chain(arguments).collect()
}

/// Makes programs and their inputs below a folder.
pub struct Workshop<'a> {
    pub folder: &'a Path,
    pub is_quick: bool,
}

impl Workshop<'_> {
    /// # Errors
    /// When a compiler or something else that this program needs is missing.
    pub fn make(&self, key: Key) -> anyhow::Result<Program> {
        match key {
            Key::Sqlite => self.sqlite(),
            Key::Jq => self.jq(),
            Key::Rust1 => self.rust(key, 1),
            Key::Rust2 => self.rust(key, 2),
            Key::Cc1plus => self.cc1plus(),
            Key::Python => Ok(self.python(key)),
            Key::PythonMalloc => Ok(Program {
                environment: &[("PYTHONMALLOC", "malloc")],
                ..self.python(key)
            }),
            Key::Redis => self.redis(),
            Key::Micro => self.micro(),
        }
    }

    /// How much work: in a quick run an eighth.
    pub fn amount(&self, full: u32) -> u32 {
        if self.is_quick { full / 8 } else { full }
    }

    fn sqlite(&self) -> anyhow::Result<Program> {
        let script = self.folder.join("sqlite.sql");
        inputs::write_sql(&script, self.amount(100_000))?;
        let read = format!(".read {}", script.display());
        Ok(Program::new(Key::Sqlite, "sqlite3", &[":memory:", &read]))
    }

    fn jq(&self) -> anyhow::Result<Program> {
        let file = self.folder.join("jq.json");
        inputs::write_json(&file, u64::from(self.amount(50_000_000)))?;
        let filter = "group_by(.group) | map({group: .[0].group, count: length, total: (map(.score) | add)})";
        let file = file.display().to_string();
        Ok(Program::new(Key::Jq, "jq", &["-c", filter, &file]))
    }

    fn rust(&self, key: Key, threads: u32) -> anyhow::Result<Program> {
        let plain = self.build_serde_json("serde-json", &[])?;
        let with_dhat_rs = self.build_serde_json("serde-json-dhat", &["--features", "dhat"])?;
        let (threads, documents) = (threads.to_string(), self.amount(8_000).to_string());
        let arguments = [threads.as_str(), documents.as_str()];
        Ok(Program {
            with_dhat_rs: Some(words(with_dhat_rs, &arguments)),
            ..Program::new(key, plain, &arguments)
        })
    }

    /// Builds the serde_json program in a folder of that name.
    pub fn build_serde_json(&self, target: &str, features: &[&str]) -> anyhow::Result<PathBuf> {
        let target = self.folder.join("programs").join(target);
        let mut cargo = steps::cargo();
        cargo.args(["build", "--quiet", "--release", "--locked"]);
        cargo.args(features).arg("--target-dir").arg(&target);
        // Flags of whoever calls us, such as frame pointers, would make it another program.
        cargo.env_remove("RUSTFLAGS");
        steps::run(cargo.current_dir(sources().join("serde-json")))?;
        Ok(target.join("release/serde-json-workload"))
    }

    fn cc1plus(&self) -> anyhow::Result<Program> {
        let preprocessed = self.folder.join("cc1plus.ii");
        let mut gxx = Command::new("g++");
        gxx.args(["-std=c++20", "-E"]);
        if self.is_quick {
            gxx.arg("-DQUICK");
        }
        gxx.arg(sources().join("headers.cpp"));
        steps::run(gxx.arg("-o").arg(&preprocessed))?;
        let asked = ["-print-prog-name=cc1plus"];
        let compiler = steps::output_of(Command::new("g++").args(asked))?;
        let input = preprocessed.display().to_string();
        let options = ["-quiet", "-O1", "-std=c++20", "-fpreprocessed"];
        let arguments = [&options[..], &[&input, "-o", "/dev/null"]].concat();
        Ok(Program::new(Key::Cc1plus, compiler.trim(), &arguments))
    }

    /// The system's own, not one that a version manager puts before it.
    fn python(&self, key: Key) -> Program {
        let script = sources().join("dicts.py").display().to_string();
        let rounds = self.amount(80).to_string();
        Program::new(key, "/usr/bin/python3", &[&script, &rounds])
    }

    fn redis(&self) -> anyhow::Result<Program> {
        let load = RedisLoad::new(self.amount(200_000))?;
        let socket = load.socket().display().to_string();
        let arguments = ["--port", "0", "--unixsocket", &socket, "--save", ""];
        Ok(Program {
            load: Some(load),
            ..Program::new(Key::Redis, "redis-server", &arguments)
        })
    }

    fn micro(&self) -> anyhow::Result<Program> {
        let binary = self.build_micro()?;
        let pairs = self.amount(20_000_000).to_string();
        Ok(Program::new(Key::Micro, binary, &[&pairs]))
    }

    /// Compiles the micro loop.
    pub fn build_micro(&self) -> anyhow::Result<PathBuf> {
        let binary = self.folder.join("programs/micro");
        fs::create_dir_all(self.folder.join("programs"))?;
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-g"]).arg(sources().join("micro.c"));
        steps::run(gcc.arg("-o").arg(&binary)).context("the micro loop is not compiled")?;
        Ok(binary)
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}
