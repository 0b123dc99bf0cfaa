//! A thousand threads at once: what does the recorder take for each?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::steps;

pub const NAME: &str = "a thousand threads";

const THREADS: i64 = 1000;

/// The most that a thread may begin with, in KiB.
const LIMIT_KIB: i64 = 100;

/// Resident memory in KiB: the process's own, and of files that it maps.
#[derive(Clone, Copy)]
struct Resident {
    own: i64,
    shared: i64,
}

/// # Errors
/// When the program fails, or the recorder takes too much for a thread.
pub fn check(heapatlas: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("threads");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/threads.c");
    let mut compiler = Command::new("gcc");
    compiler.args(["-O1", "-pthread"]).arg(source);
    steps::run(compiler.arg("-o").arg(&program))?;
    let trace = folder.path().join("trace");
    let recorder = || {
        let mut recorder = Command::new(heapatlas);
        recorder.args(["record", "--no-summary", "-o"]);
        recorder.arg(&trace).arg("--").arg(&program);
        recorder
    };
    let bare = per_thread(|| Command::new(&program))?;
    let recorded = per_thread(recorder)?;
    let (own, shared) = (recorded.own - bare.own, recorded.shared - bare.shared);
    println!(
        "{NAME:<24} the recorder takes {} KiB for each: {own} of the process's own, {shared} shared \
         with the launcher; trace {} KiB",
        own + shared,
        fs::metadata(&trace)?.len() / 1024,
    );
    if own + shared >= LIMIT_KIB {
        bail!(
            "{} KiB for a thread, not less than {LIMIT_KIB}",
            own + shared
        );
    }
    readable(heapatlas, trace)
}

/// What each thread beyond the first takes.
fn per_thread(command: impl Fn() -> Command) -> anyhow::Result<Resident> {
    let many = resident(command().arg(THREADS.to_string()))?;
    let one = resident(command().arg("1"))?;
    let share = |many: i64, one: i64| (many - one) / (THREADS - 1);
    Ok(Resident {
        own: share(many.own, one.own),
        shared: share(many.shared, one.shared),
    })
}

fn resident(command: &mut Command) -> anyhow::Result<Resident> {
    let printed = steps::output_of(command)?;
    let numbers: Vec<i64> = printed
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [own, shared] = numbers[..] else {
        bail!("no figures: {printed}");
    };
    Ok(Resident { own, shared })
}

fn readable(heapatlas: &Path, trace: PathBuf) -> anyhow::Result<()> {
    let mut summary = Command::new(heapatlas);
    steps::output_of(summary.args(["summary", "--json"]).arg(trace))
        .context("the trace cannot be read")?;
    Ok(())
}
