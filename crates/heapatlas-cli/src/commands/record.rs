//! `record`: a program under the recorder.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use heapatlas_capture::{self as capture, LaunchError};

use crate::commands::profile_summary::{self, ProfileArgs};
use crate::commands::row_choice::RowArgs;
use crate::console::Console;
use crate::exit::{Hint, Outcome};
use crate::input;
use crate::paths;
use crate::recording::{FileNames, TraceSink};

/// Record the allocations of a program, then summarize them
///
/// The program needs no rebuild: any dynamically linked one for Linux with glibc will do. Its exit code is
/// passed on, and the summary goes to stderr, so that its output can be piped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas record -- ./server --port 8080
  heapatlas record -o server.%p.heaptrace -- ./server
  heapatlas summary server.4711.heaptrace --tree bottom-up")]
pub struct Args {
    /// Where to write the trace; `%p` stands for the process number
    /// [default: heapatlas.PROGRAM.PID.heaptrace]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to record
    #[arg(long, value_name = "MODE", default_value = "exact")]
    mode: Mode,
    /// Compare every N-th stack with a full walk, and say how many differed: a check of the recorder itself
    #[arg(long, value_name = "N", default_value_t = 0)]
    check_stacks: u32,
    /// Write the trace only
    #[arg(long)]
    no_summary: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What a recording holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// Every allocation with its stack
    Exact,
    /// Some allocations by chance, more likely the larger they are; figures are estimates
    Sampled,
    /// Numbers of allocations, frees and bytes: no stacks, no file
    Counting,
    /// Sums by stack, for weeks of running
    Aggregate,
}

impl Mode {
    /// Refuses what cannot be recorded yet.
    fn check(self) -> anyhow::Result<()> {
        match self {
            Self::Exact => Ok(()),
            _ => Err(anyhow!("this mode is not there yet").hint(["use `--mode exact`"])),
        }
    }
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    args.mode.check()?;
    let mut command = args.command.into_iter();
    let program = command.next().expect("clap asks for one");
    let recording = Recording {
        program,
        arguments: command.collect(),
        output: args.output,
        check_stacks: args.check_stacks,
    };
    let recorded = recording.run(console)?;
    if let Some(trace) = &recorded.trace {
        if !args.no_summary {
            summarize(trace, &console.on_stderr())?;
        }
        console.tell(&format!("wrote {}", paths::quoted(trace)));
    }
    Ok(Outcome::AsProgram(recorded.outcome))
}

/// Shows what a trace says.
pub fn summarize(trace: &Path, console: &Console) -> anyhow::Result<()> {
    let file = input::open_any(trace, console)?;
    profile_summary::run(file, &ProfileArgs::default(), &RowArgs::default(), console)?;
    Ok(())
}

/// What to record, and where to.
pub struct Recording {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    /// Where to write; `%p` stands for the process number.
    pub output: Option<PathBuf>,
    /// Every how many captures a stack is compared with a full walk; 0 for never.
    pub check_stacks: u32,
}

/// What came of it.
pub struct Recorded {
    pub outcome: capture::Outcome,
    /// Absent when the recorder was not loaded.
    pub trace: Option<PathBuf>,
}

impl Recording {
    /// Starts the program and records until it ends.
    pub fn run(self, console: &Console) -> anyhow::Result<Recorded> {
        if let Some(obstacle) = capture::examine(&self.program) {
            let program = Path::new(&self.program).display();
            return Err(
                anyhow!("`{program}` cannot be recorded: {}", obstacle.reason())
                    .hint([obstacle.way_out()]),
            );
        }
        let options = capture::Options {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            check_interval: self.check_stacks,
        };
        let launched = capture::launch(&options).map_err(with_hint)?;
        let names = FileNames::new(self.output, &self.program);
        let mut sink = TraceSink::new(
            &launched,
            names,
            [vec![self.program], self.arguments].concat(),
        );
        let ended = launched.run(&mut sink);
        let outcome = ended.map_err(|error| not_written(error, sink.path()))?;
        report(&outcome, console);
        let trace = sink.finish(&outcome).context("while ending the trace")?;
        for replaced in sink.replaced() {
            console.remark(replaced);
        }
        Ok(Recorded { outcome, trace })
    }
}

/// The program has run to its end all the same.
fn not_written(error: io::Error, path: Option<&Path>) -> anyhow::Error {
    let path = path.map_or_else(|| "the trace".to_owned(), paths::quoted);
    anyhow::Error::from(error)
        .context(format!("while writing {path}"))
        .hint([
            "the program ran to its end; what was written before can be read",
            "write to another folder with `--output`",
        ])
}

fn with_hint(error: LaunchError) -> anyhow::Error {
    let hint = match &error {
        LaunchError::Program { source, .. } => way_out(source),
        LaunchError::Recorder(_) => "set XDG_CACHE_HOME to a folder that you can write to",
        LaunchError::Region(_) => {
            "close other programs, or raise the limits of this shell (`ulimit -a`)"
        }
    };
    anyhow::Error::from(error).hint([hint])
}

/// What helps when the system does not start a program.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "give a path, or the name of a program in PATH; of a script, its first line must name one"
        }
        io::ErrorKind::PermissionDenied => {
            "give a file (not a folder) that you may execute, see `chmod +x`"
        }
        _ => "give a program, or a script whose first line is `#!` and its interpreter",
    }
}

/// What the recorder has to say of itself.
fn report(outcome: &capture::Outcome, console: &Console) {
    if !outcome.was_recorded {
        console.warn(
            "the program did not load the recorder, so nothing was recorded \
             (does it clear its environment, or is it linked statically?)",
        );
    }
    if outcome.dropped_events > 0 {
        console.warn(&format!(
            "{} events could not be recorded; figures are too small by so many",
            outcome.dropped_events
        ));
    }
    if outcome.checked > 0 {
        console.remark(&format!(
            "compared {} stacks with full walks: {} differed",
            outcome.checked, outcome.differences
        ));
    }
}
