//! `record`: a program under the recorder.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use heapatlas_capture::{self as capture, LaunchError};
use heapatlas_trace::payload;

use crate::commands::process_table::ProcessTable;
use crate::commands::profile_summary::{self, ProfileArgs};
use crate::commands::row_choice::RowArgs;
use crate::commands::thresholds::parse_size;
use crate::console::Console;
use crate::duration::duration;
use crate::exit::{Hint, Outcome};
use crate::input;
use crate::paths;
use crate::recording::{FinishedTrace, TraceSink};
use crate::render::text::plural;
use crate::trace_names::TraceNames;

/// Record the allocations of a program, then summarize them
///
/// The program needs no rebuild: any dynamically linked one for Linux with glibc will do. Its exit code is
/// passed on, and the summary goes to stderr, so that its output can be piped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas record -o server.heaptrace -- ./server --port 8080
  heapatlas record --mode aggregate -- ./runs-for-weeks
  heapatlas record --follow-fork -o build.%p.heaptrace -- make")]
pub struct Args {
    /// Where to write the trace; `%p` stands for the process number
    /// [default: heapatlas.PROGRAM.PID.heaptrace]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to record
    #[arg(long, value_name = "MODE", default_value = "exact")]
    mode: Mode,
    /// Record forked children and the programs that they start as well, each to a file of its own. When the
    /// program ends before them the recording goes on until they end, or until Ctrl-C
    #[arg(long)]
    follow_fork: bool,
    /// End the recording when about so much was written: 100MB, 2GiB. The program goes on
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
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
    /// Sums by stack, kept up to date while the program runs: for weeks of running. Figures are those of `exact`, but
    /// no part of the time or thread can be chosen later
    Aggregate,
}

impl Mode {
    /// What the trace says of it. (Events are written as they come, whichever they are.)
    fn of_trace(self) -> payload::Mode {
        match self {
            Self::Exact => payload::Mode::Exact,
            Self::Sampled => payload::Mode::Sampled,
            Self::Counting => payload::Mode::Counting,
            Self::Aggregate => payload::Mode::Aggregate,
        }
    }

    /// Refuses what cannot be recorded yet.
    fn check(self) -> anyhow::Result<()> {
        match self {
            Self::Exact | Self::Aggregate => Ok(()),
            _ => Err(anyhow!("this mode is not there yet")
                .hint(["use `--mode exact` or `--mode aggregate`"])),
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
        mode: args.mode,
        follow_forks: args.follow_fork,
        max_bytes: args.max_size,
    };
    let recorded = recording.run(console)?;
    if !args.no_summary {
        show(&recorded, args.follow_fork, &console.on_stderr())?;
    }
    tell_files(&recorded.traces, args.follow_fork, console);
    Ok(Outcome::AsProgram(recorded.outcome))
}

/// Summarizes the trace that matters most: the program's last image, or the one with the most bytes.
fn show(recorded: &Recorded, follows_forks: bool, console: &Console) -> anyhow::Result<()> {
    if !follows_forks || recorded.traces.len() < 2 {
        return match recorded.traces.last() {
            Some(last) => summarize(&last.path, console),
            None => Ok(()),
        };
    }
    let table = ProcessTable::read(&recorded.traces)?;
    table.print(console)?;
    match table.largest() {
        Some(largest) => summarize(&largest.path, console),
        None => Ok(()),
    }
}

fn tell_files(traces: &[FinishedTrace], follows_forks: bool, console: &Console) {
    let Some(last) = traces.last() else { return };
    let path = paths::quoted(&last.path);
    console.tell(&match traces.len() {
        count @ 2.. if follows_forks => format!("wrote {count} traces, the last one {path}"),
        _ => format!("wrote {path}"),
    });
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
    /// What the trace holds.
    pub mode: Mode,
    /// Whether children are recorded, too.
    pub follow_forks: bool,
    /// How much may be written.
    pub max_bytes: Option<u64>,
}

/// What came of it.
pub struct Recorded {
    pub outcome: capture::Outcome,
    /// In the order in which their programs began; none when the recorder was not loaded.
    pub traces: Vec<FinishedTrace>,
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
            follow_forks: self.follow_forks,
        };
        let launched = capture::launch(&options).map_err(with_hint)?;
        let names = TraceNames::new(self.output, &self.program);
        let command = [vec![self.program], self.arguments].concat();
        let mut sink = TraceSink::new(
            &launched,
            names,
            command,
            self.mode.of_trace(),
            self.max_bytes,
        );
        let ended = launched.run(&mut sink, |pids| tell_waiting(pids, console));
        let outcome = ended.map_err(|error| not_written(error, sink.path()))?;
        report(&outcome, console);
        let traces = sink.finish().context("while ending the traces")?;
        report_exec(&traces, self.follow_forks, console);
        Ok(Recorded { outcome, traces })
    }
}

fn tell_waiting(pids: &[u32], console: &Console) {
    let (count, some) = (pids.len(), 5);
    let mut list: Vec<String> = pids.iter().take(some).map(u32::to_string).collect();
    list.extend((count > some).then(|| "...".to_owned()));
    console.tell(&format!(
        "the program has ended, but not {} that it started: {} {}. The recording goes on until then; Ctrl-C ends it \
         now",
        plural(count, "a process", "processes"),
        plural(count, "process", "processes"),
        list.join(", ")
    ));
}

/// Programs that replaced themselves by others.
fn report_exec(traces: &[FinishedTrace], follows_forks: bool, console: &Console) {
    for trace in traces {
        if let Some(program) = &trace.went_on_as {
            console.remark(&format!(
                "process {} went on as {}, which did not load the recorder: what that allocated is in no trace",
                trace.pid,
                paths::quoted(program)
            ));
        }
    }
    let [before @ .., _] = traces else { return };
    for trace in before.iter().filter(|_| !follows_forks) {
        console.remark(&format!(
            "`{}` replaced itself by another program; what it allocated is in {}",
            trace.program,
            paths::quoted(&trace.path)
        ));
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
    if outcome.was_full {
        console.remark(&format!(
            "the recording ended {} after its start, when as much was written as may be (`--max-size`); the \
             program went on unrecorded",
            duration(outcome.elapsed_ns)
        ));
    }
    let counters = &outcome.counters;
    if counters.dropped_events > 0 {
        console.warn(&format!(
            "{} events could not be recorded; figures are too small by so many",
            counters.dropped_events
        ));
    }
    if counters.checked > 0 {
        console.remark(&format!(
            "compared {} stacks with full walks: {} differed",
            counters.checked, counters.differences
        ));
    }
}
