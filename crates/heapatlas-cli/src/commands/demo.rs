//! `demo`: a leaking program that this binary carries, recorded and summarized.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use heapatlas_capture::{How, Wanted};

use crate::commands::{profile_summary, record};
use crate::console::Console;
use crate::demo_program;
use crate::exit::Outcome;

/// Record a leaking program that is part of heapatlas, and find its leaks
///
/// Needs nothing: the program has two leaks, a peak and a churn, and the summary names the line of each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas demo
  heapatlas demo --keep demo.heaptrace")]
pub struct Args {
    /// Keep the trace in this file
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Be the leaking program
    #[arg(long, hide = true)]
    leak: bool,
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    if args.leak {
        demo_program::run();
        return Ok(Outcome::Fine);
    }
    let program = env::current_exe().context("cannot find this program's own file")?;
    let arguments = ["demo", "--leak"].map(OsString::from).to_vec();
    let folder = tempfile::tempdir().context("cannot make a folder for the trace")?;
    let output = args
        .keep
        .unwrap_or_else(|| folder.path().join("demo.heaptrace"));
    let recording = record::Recording {
        program: program.into_os_string(),
        arguments,
        output: Some(output),
        check_stacks: 0,
        first: Some(Wanted {
            how: How::Exact,
            duration: None,
        }),
        by_signal: How::Exact,
        follow_forks: false,
        record_pages: false,
        max_bytes: None,
    };
    let recorded = recording.run(console)?;
    if let Some(trace) = recorded.traces.last() {
        profile_summary::of_trace(&trace.path, console)?;
    }
    Ok(Outcome::Fine)
}
