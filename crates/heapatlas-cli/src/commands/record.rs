//! `record`: a program under the recorder.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::ValueEnum;
use heapatlas_capture::control::DEFAULT_INTERVAL_BYTES;
use heapatlas_capture::{self as capture, How, LaunchError, Wanted};

use crate::commands::process_table::ProcessTable;
use crate::commands::profile_summary;
use crate::commands::record_pid;
use crate::commands::thresholds::parse_size;
use crate::console::Console;
use crate::duration::parse_duration;
use crate::exit::{Hint, Outcome};
use crate::paths;
use crate::recording::FinishedTrace;
use crate::recordings::Traces;
use crate::trace_names::TraceNames;

/// Record the allocations of a program, then summarize them
///
/// The program needs no rebuild: any dynamically linked one for Linux with glibc will do. Its exit code is
/// passed on, and the summary goes to stderr, so that its output can be piped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Turning recordings on and off while the program runs: `kill -USR1` to the process of heapatlas (not the \
program) begins and ends one; `record --pid` to either of the two records for a while.

Examples:
  heapatlas record --overhead 2% -o server.%p.heaptrace -- ./server --port 8080
  heapatlas record --follow-fork -o build.%p.heaptrace -- make
  heapatlas record --idle -- ./server & heapatlas record --pid $(pidof server) --duration 30s")]
pub struct Args {
    /// Where to write the trace; `%p` stands for the process number
    /// [default: heapatlas.PROGRAM.PID.heaptrace]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to record [default: exact]
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// Record samples, one in so many bytes on average: 512KiB, 64KB, 100000
    #[arg(long, value_name = "SIZE", value_parser = parse_interval)]
    sample: Option<u64>,
    /// Record samples, as many as cost no more than this share of the program's time: 2%
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    overhead: Option<f64>,
    /// Load the recorder, and record nothing until asked to
    #[arg(long)]
    idle: bool,
    /// End the recording after this time: 30s, 5min. The program runs on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<u64>,
    /// Record a process that runs under heapatlas already, until it ends, Ctrl-C, or `--duration`
    #[arg(long, value_name = "PID", conflicts_with_all = ["command", "idle", "check_stacks", "follow_fork", "max_size", "mmap"])]
    pid: Option<u32>,
    /// Record forked children and the programs that they start as well, each to a file of its own. When the
    /// program ends before them the recording goes on until they end, or until Ctrl-C
    #[arg(long)]
    follow_fork: bool,
    /// Record mappings that the program makes itself (mmap, mremap, munmap), and show them apart from blocks
    #[arg(long)]
    mmap: bool,
    /// End the recording when about so much was written: 100MB, 2GiB. The program goes on
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Give this moment a name in the recording of the process that `--pid` tells: `summary --from mark:TEXT` begins there
    #[arg(long, value_name = "TEXT", requires = "pid", conflicts_with_all = ["output", "mode", "sample", "overhead", "duration"])]
    mark: Option<String>,
    /// Compare every N-th stack with a full walk, and say how many differed: a check of the recorder itself
    #[arg(long, value_name = "N", default_value_t = 0)]
    check_stacks: u32,
    /// Write the trace only
    #[arg(long)]
    no_summary: bool,
    /// The program and its arguments
    #[arg(
        required_unless_present = "pid",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
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

fn parse_interval(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("0 bytes are no distance; `--mode exact` records everything".to_owned()),
        bytes => Ok(bytes),
    }
}

/// `2%`, `0.5%`, `2`: a share of 1.
fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is no share; shares look like 2%, 0.5%")),
    }
}

impl Args {
    /// What a recording is to hold.
    fn how(&self) -> anyhow::Result<How> {
        let is_sampling = self.sample.is_some() || self.overhead.is_some();
        let default = if is_sampling {
            Mode::Sampled
        } else {
            Mode::Exact
        };
        let mode = self.mode.unwrap_or(default);
        if is_sampling && mode != Mode::Sampled {
            return Err(anyhow!(
                "`--sample` and `--overhead` are for samples, and `--mode` asks for something else"
            )
            .hint(["leave `--mode` out, or use `--mode sampled`"]));
        }
        Ok(match mode {
            Mode::Exact => How::Exact,
            Mode::Sampled => How::Sampled {
                interval_bytes: self.sample.unwrap_or(DEFAULT_INTERVAL_BYTES),
                overhead: self.overhead,
            },
            Mode::Counting => How::Counting,
            Mode::Aggregate => How::Aggregate,
        })
    }

    /// Refuses options that contradict each other.
    fn check(&self, how: How) -> anyhow::Result<()> {
        if how == How::Counting && self.output.is_some() && !self.idle {
            return Err(
                anyhow!("`--mode counting` writes no file, so `--output` says nothing")
                    .hint(["leave `--output` out"]),
            );
        }
        if self.mmap && how != How::Exact {
            return Err(anyhow!(
                "`--mmap` records each mapping, and `--mode {}` keeps no events",
                how.name()
            )
            .hint(["use `--mode exact`"]));
        }
        if self.idle && self.duration.is_some() {
            return Err(
                anyhow!("`--idle` begins no recording that `--duration` could end")
                    .hint(["use `record --pid PID --duration TIME` once the program runs"]),
            );
        }
        Ok(())
    }
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    let how = args.how()?;
    args.check(how)?;
    let duration = args.duration.map(Duration::from_nanos);
    if let (Some(pid), Some(text)) = (args.pid, &args.mark) {
        return record_pid::mark(pid, text);
    }
    if let Some(pid) = args.pid {
        let asked = record_pid::Asked {
            pid,
            how,
            duration,
            output: args.output,
            has_summary: !args.no_summary,
        };
        return asked.run(console);
    }
    let mut command = args.command.into_iter();
    let program = command.next().expect("clap asks for one");
    let recording = Recording {
        program,
        arguments: command.collect(),
        output: args.output,
        check_stacks: args.check_stacks,
        first: (!args.idle).then_some(Wanted { how, duration }),
        by_signal: how,
        follow_forks: args.follow_fork,
        record_pages: args.mmap,
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
            Some(last) => profile_summary::of_trace(&last.path, console),
            None => Ok(()),
        };
    }
    let table = ProcessTable::read(&recorded.traces)?;
    table.print(console)?;
    match table.largest() {
        Some(largest) => profile_summary::of_trace(&largest.path, console),
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

/// What to record, and where to.
pub struct Recording {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    /// Where to write; `%p` stands for the process number.
    pub output: Option<PathBuf>,
    /// Every how many captures a stack is compared with a full walk; 0 for never.
    pub check_stacks: u32,
    /// The recording that begins with the program; `None` for an idle recorder.
    pub first: Option<Wanted>,
    /// What a recording holds that a signal begins.
    pub by_signal: How,
    /// Whether children are recorded, too.
    pub follow_forks: bool,
    /// Whether mappings are recorded, too.
    pub record_pages: bool,
    /// How much may be written.
    pub max_bytes: Option<u64>,
}

/// What came of it.
pub struct Recorded {
    pub outcome: capture::Outcome,
    /// The files of the recording that began with the program, in the order in which their programs began.
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
            record_pages: self.record_pages,
            first: self.first,
            by_signal: Wanted {
                how: self.by_signal,
                duration: None,
            },
        };
        let launched = capture::launch(&options).map_err(with_hint)?;
        if self.first.is_none() {
            say_how_to_begin(&launched, console);
        }
        let names = TraceNames::new(self.output, &self.program);
        let command = [vec![self.program], self.arguments].concat();
        let mut traces = Traces::new(names, command, console);
        traces = traces.with_limits(self.follow_forks, self.max_bytes);
        let outcome = launched.run(&mut traces).map_err(not_written)?;
        if !outcome.was_recorded {
            console.warn(
                "the program did not load the recorder, so nothing was recorded \
                 (does it clear its environment, or is it linked statically?)",
            );
        } else if traces.begun() == 0 {
            console.tell("no recording was asked for, so none was made");
        }
        let traces = traces.into_first();
        Ok(Recorded { outcome, traces })
    }
}

fn say_how_to_begin(launched: &capture::Launched, console: &Console) {
    let own_pid = std::process::id();
    let by_socket = match launched.has_control() {
        true => format!("`heapatlas record --pid {}` or ", launched.pid()),
        false => String::new(),
    };
    console.tell(&format!(
        "the recorder is idle; {by_socket}`kill -USR1 {own_pid}` begins a recording"
    ));
}

/// The program has run to its end all the same.
fn not_written(error: io::Error) -> anyhow::Error {
    anyhow::Error::from(error).hint([
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_intervals() {
        assert_eq!(parse_share("2%"), Ok(0.02));
        assert_eq!(parse_share(" 0.5 % "), Ok(0.005));
        assert_eq!(parse_share("3"), Ok(0.03));
        for text in ["", "%", "0%", "101%", "-1%", "two"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
        assert_eq!(parse_interval("512KiB"), Ok(512 << 10));
        assert!(parse_interval("0").is_err());
    }
}
