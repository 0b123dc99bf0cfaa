//! Who records, and how each is called.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::programs::{Key, Program};
use crate::steps;

/// A way of calling `heapatlas record`.
#[derive(PartialEq, Eq, Debug)]
pub struct Mode {
    pub title: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
}

/// Every allocation with its stack: the mode that the goals are for.
pub static EXACT: Mode = Mode {
    title: "heapatlas record",
    name: "exact",
    arguments: &[],
};

/// The sums of it.
pub static AGGREGATE: Mode = Mode {
    title: "heapatlas, aggregate",
    name: "aggregate",
    arguments: &["--mode", "aggregate"],
};

/// As the samplers of allocators do it.
pub static SAMPLED: Mode = Mode {
    title: "heapatlas, sampled at 512 KiB",
    name: "sampled",
    arguments: &["--mode", "sampled", "--sample", "512KiB"],
};

/// The recorder is loaded, and waits until it is switched on.
pub static IDLE: Mode = Mode {
    title: "heapatlas, idle",
    name: "idle",
    arguments: &["--idle"],
};

/// Runs a program, and in most cases records it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contender {
    Bare,
    Heapatlas(&'static Mode),
    Heaptrack,
    HeaptrackPreload,
    ValgrindDhat,
    DhatRs,
    Jemalloc,
    JemallocSampling,
    Tcmalloc,
    TcmallocSampling,
}

impl Contender {
    pub const ALL: [Contender; 13] = [
        Contender::Bare,
        Contender::Heapatlas(&EXACT),
        Contender::Heapatlas(&AGGREGATE),
        Contender::Heapatlas(&SAMPLED),
        Contender::Heapatlas(&IDLE),
        Contender::Heaptrack,
        Contender::HeaptrackPreload,
        Contender::ValgrindDhat,
        Contender::DhatRs,
        Contender::Jemalloc,
        Contender::JemallocSampling,
        Contender::Tcmalloc,
        Contender::TcmallocSampling,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Contender::Bare => "bare",
            Contender::Heapatlas(mode) => mode.title,
            Contender::Heaptrack => "heaptrack",
            Contender::HeaptrackPreload => "heaptrack, preload only",
            Contender::ValgrindDhat => "valgrind --tool=dhat",
            Contender::DhatRs => "dhat-rs",
            Contender::Jemalloc => "jemalloc",
            Contender::JemallocSampling => "jemalloc, sampling at 512 KiB",
            Contender::Tcmalloc => "tcmalloc",
            Contender::TcmallocSampling => "tcmalloc, sampling at 512 KiB",
        }
    }

    /// What its cost is added to: profilers of another allocator are not blamed for the allocator.
    pub fn baseline(self) -> Contender {
        match self {
            Contender::JemallocSampling => Contender::Jemalloc,
            Contender::TcmallocSampling => Contender::Tcmalloc,
            _ => Contender::Bare,
        }
    }

    /// The slowest runs once.
    pub fn rounds(self, rounds: usize) -> usize {
        match self {
            Contender::ValgrindDhat | Contender::DhatRs => 1,
            _ => rounds,
        }
    }

    /// Whether it makes sense for this program, in such a run.
    pub fn takes_part(self, key: Key, has_valgrind: bool) -> bool {
        match self {
            Contender::ValgrindDhat => has_valgrind,
            Contender::DhatRs => matches!(key, Key::Rust1 | Key::Rust2),
            _ => true,
        }
    }
}

/// Where the recorders are, and where they write.
pub struct Recorders<'a> {
    pub heapatlas: PathBuf,
    pub folder: &'a Path,
}

impl Recorders<'_> {
    /// # Errors
    /// The reason when something is missing without which the program would run unrecorded.
    pub fn command(&self, contender: Contender, program: &Program) -> anyhow::Result<Command> {
        if contender == Contender::Heaptrack {
            ensure_no_window()?;
        }
        let output = self.output(contender, program.key);
        let mut words = self.words_before(contender, &output);
        words.extend(match (contender, &program.with_dhat_rs) {
            (Contender::DhatRs, Some(command)) => command.iter().cloned(),
            _ => program.command.iter().cloned(),
        });
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.folder);
        command.envs(program.environment.iter().copied());
        command.envs(environment(contender, &output)?);
        Ok(command)
    }

    /// What stands before the program and its arguments.
    fn words_before(&self, contender: Contender, output: &Path) -> Vec<OsString> {
        let output = output.as_os_str();
        match contender {
            Contender::Heapatlas(mode) => {
                let heapatlas = self.heapatlas.as_os_str();
                let options = ["record", "--no-summary"].iter().chain(mode.arguments);
                let mut words = vec![heapatlas.into()];
                words.extend(options.map(OsString::from));
                words.extend(["-o".into(), output.into(), "--".into()]);
                words
            }
            Contender::Heaptrack => vec!["heaptrack".into(), "-o".into(), output.into()],
            Contender::ValgrindDhat => {
                let mut option = OsString::from("--dhat-out-file=");
                option.push(output);
                vec!["valgrind".into(), "--tool=dhat".into(), option]
            }
            _ => Vec::new(),
        }
    }

    fn output(&self, contender: Contender, key: Key) -> PathBuf {
        let program = key.name();
        self.folder.join(match contender {
            Contender::Heapatlas(mode) => format!("{program}.{}.heaptrace", mode.name),
            Contender::Heaptrack => format!("{program}.heaptrack"),
            Contender::HeaptrackPreload => format!("{program}.heaptrack-raw"),
            Contender::ValgrindDhat => format!("{program}.dhat"),
            _ => format!("{program}.jemalloc"),
        })
    }

    /// The file that `heapatlas` or `heaptrack` made of a program.
    pub fn trace(&self, contender: Contender, key: Key) -> Option<PathBuf> {
        let output = self.output(contender, key);
        let ends: &[&str] = match contender {
            Contender::Heapatlas(_) => &[""],
            // Whichever compressor its script found.
            Contender::Heaptrack => &[".zst", ".gz"],
            _ => &[],
        };
        let named = |end: &&str| {
            let mut path = output.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        ends.iter().map(named).find(|path| path.exists())
    }

    /// Reads the trace and prints what is in it.
    pub fn report(&self, contender: Contender, trace: &Path) -> Command {
        let mut command = match contender {
            Contender::Heapatlas(_) => self.heapatlas_summary(),
            _ => Command::new("heaptrack_print"),
        };
        command.arg(trace);
        command
    }

    fn heapatlas_summary(&self) -> Command {
        let mut command = Command::new(&self.heapatlas);
        command.arg("summary").env("XDG_CACHE_HOME", self.cache());
        command
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// As it is when a program is recorded for the first time: heapatlas remembers the names it found.
    pub fn forget_names(&self) {
        // It was not there yet if that fails.
        fs::remove_dir_all(self.cache()).ok();
    }

    /// How many allocations a trace of ours holds.
    pub fn allocations(&self, trace: &Path) -> anyhow::Result<u64> {
        let json = steps::output_of(self.heapatlas_summary().arg("--json").arg(trace))?;
        let summary: Value = serde_json::from_str(&json)?;
        let allocations = summary.pointer("/totals/allocations");
        let allocations = allocations.and_then(Value::as_u64);
        allocations.context("the summary tells no number of allocations")
    }
}

fn environment(
    contender: Contender,
    output: &Path,
) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    Ok(match contender {
        Contender::HeaptrackPreload => vec![
            ("LD_PRELOAD", heaptrack_preload()?),
            ("DUMP_HEAPTRACK_OUTPUT", output.into()),
        ],
        Contender::Jemalloc => vec![("LD_PRELOAD", library(JEMALLOC)?)],
        Contender::JemallocSampling => {
            ensure_jemalloc_samples()?;
            let mut options =
                OsString::from("prof:true,lg_prof_sample:19,prof_final:true,prof_prefix:");
            options.push(output);
            vec![("LD_PRELOAD", library(JEMALLOC)?), ("MALLOC_CONF", options)]
        }
        Contender::Tcmalloc => vec![("LD_PRELOAD", library(TCMALLOC)?)],
        Contender::TcmallocSampling => vec![
            ("LD_PRELOAD", library(TCMALLOC)?),
            ("TCMALLOC_SAMPLE_PARAMETER", "524288".into()),
        ],
        _ => Vec::new(),
    })
}

pub const JEMALLOC: &str = "libjemalloc.so.2";
/// The full one: libtcmalloc_minimal cannot sample.
pub const TCMALLOC: &str = "libtcmalloc.so.4";

/// Its full path: the loader skips a library to preload that it does not find, and goes on.
pub fn library(name: &str) -> anyhow::Result<OsString> {
    let path = steps::output_of(Command::new("gcc").arg(format!("-print-file-name={name}")))?;
    let path = path.trim();
    // Asked for a file that it does not know, the compiler repeats the name.
    if !path.contains('/') {
        bail!("`{name}` is not installed");
    }
    Ok(path.into())
}

/// Where a program is that can be called.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let script = format!("command -v {name}");
    let path = steps::output_of(Command::new("sh").args(["-c", &script]));
    let path = path.map_err(|_| anyhow!("`{name}` is not installed"))?;
    Ok(path.trim().into())
}

/// The library beside the script, wherever that is.
fn heaptrack_preload() -> anyhow::Result<OsString> {
    let script = fs::canonicalize(program("heaptrack")?)?;
    let path = script.with_file_name("../lib/heaptrack/libheaptrack_preload.so");
    let path = fs::canonicalize(&path).with_context(|| format!("no `{}`", path.display()))?;
    Ok(path.into())
}

/// heaptrack's script ends with a window when there is one, and waits until it is closed.
fn ensure_no_window() -> anyhow::Result<()> {
    let script = fs::canonicalize(program("heaptrack")?)?;
    if script.with_file_name("heaptrack_gui").exists() {
        bail!("heaptrack would open heaptrack_gui and wait: remove that");
    }
    Ok(())
}

/// A jemalloc that was built without profiling would warn and go on.
fn ensure_jemalloc_samples() -> anyhow::Result<()> {
    let output = Command::new("true")
        .env("LD_PRELOAD", library(JEMALLOC)?)
        .env("MALLOC_CONF", "prof:true,abort_conf:true")
        .output()?;
    if !output.status.success() {
        bail!("this jemalloc was built without profiling");
    }
    Ok(())
}

/// The number in heaptrack_print's line `calls to allocation functions: 27 (13/s)`.
pub fn heaptrack_allocations(printed: &str) -> Option<u64> {
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix("calls to allocation functions: "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_allocations_is_found() {
        let printed = "total runtime: 2.00s.\ncalls to allocation functions: 27 (13/s)\n";
        assert_eq!(heaptrack_allocations(printed), Some(27));
        assert_eq!(heaptrack_allocations("nothing"), None);
    }
}
