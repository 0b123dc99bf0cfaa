//! The recordings of one launch, one after the other: a file each, or what was counted.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use heapatlas_capture::{Asker, Begun, Ended, Recordings, Sink};

use crate::console::Console;
use crate::duration::duration;
use crate::paths;
use crate::recording::{FinishedTrace, TraceSink};
use crate::render::counts;
use crate::render::text::plural;
use crate::trace_names::TraceNames;

/// Keeps recordings, and says on stderr how each ended.
pub struct Traces<'c> {
    names: TraceNames,
    command: Vec<OsString>,
    follows_forks: bool,
    max_bytes: Option<u64>,
    console: &'c Console,
    current: Option<Current>,
    /// Recordings with files so far.
    kept: u32,
    /// The files of the recording that began with the program.
    first: Vec<FinishedTrace>,
    /// How many recordings began.
    begun: usize,
}

/// The recording that is on.
struct Current {
    asker: Asker,
    sink: TraceSink,
}

impl<'c> Traces<'c> {
    /// None yet.
    pub fn new(names: TraceNames, command: Vec<OsString>, console: &'c Console) -> Self {
        Self {
            names,
            command,
            follows_forks: false,
            max_bytes: None,
            console,
            current: None,
            kept: 0,
            first: Vec::new(),
            begun: 0,
        }
    }

    /// The same with what is asked for of each recording.
    pub fn with_limits(self, follows_forks: bool, max_bytes: Option<u64>) -> Self {
        Self {
            follows_forks,
            max_bytes,
            ..self
        }
    }

    /// The files of the recording that began with the program, if it has ended well, in the order in which their
    /// programs began.
    pub fn into_first(self) -> Vec<FinishedTrace> {
        self.first
    }

    /// How many recordings there were.
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// What the recorder has to say of itself.
    fn report(&self, ended: &Ended) {
        if ended.was_full {
            self.console.remark(&format!(
                "the recording ended {} after its start, when as much was written as may be (`--max-size`); the \
                 program went on unrecorded",
                duration(ended.elapsed_ns)
            ));
        }
        let counters = &ended.counters;
        if counters.dropped_events > 0 {
            self.console.warn(&format!(
                "{} events could not be recorded; figures are too small by so many",
                counters.dropped_events
            ));
        }
        if counters.checked > 0 {
            self.console.remark(&format!(
                "compared {} stacks with full walks: {} differed",
                counters.checked, counters.differences
            ));
        }
        if let Some(intervals) = &ended.intervals_bytes {
            let said = counts::intervals(intervals);
            self.console
                .tell(&format!("sampled every {said} on average"));
        }
    }

    /// Programs that replaced themselves by others.
    fn report_exec(&self, traces: &[FinishedTrace]) {
        for trace in traces {
            if let Some(program) = &trace.went_on_as {
                self.console.remark(&format!(
                    "process {} went on as {}, which did not load the recorder: what that allocated is in no trace",
                    trace.pid,
                    paths::quoted(program)
                ));
            }
        }
        let [before @ .., _] = traces else { return };
        for trace in before.iter().filter(|_| !self.follows_forks) {
            self.console.remark(&format!(
                "`{}` replaced itself by another program; what it allocated is in {}",
                trace.program,
                paths::quoted(&trace.path)
            ));
        }
    }
}

impl Recordings for Traces<'_> {
    fn begin(&mut self, pid: u32, begun: &Begun) -> io::Result<()> {
        self.begun += 1;
        let names = match &begun.output {
            Some(path) => {
                let program = self.command.first().cloned().unwrap_or_default();
                TraceNames::new(Some(path.clone()), &program)
            }
            None => self.names.clone().of_recording(self.kept + 1),
        };
        self.current = Some(Current {
            asker: begun.asker,
            sink: TraceSink::new(begun, pid, names, self.command.clone(), self.max_bytes),
        });
        Ok(())
    }

    fn sink(&mut self) -> &mut dyn Sink {
        let current = self.current.as_mut();
        &mut current
            .expect("a recording is on when it is asked for")
            .sink
    }

    fn end(&mut self, ended: &Ended) -> io::Result<Option<PathBuf>> {
        let Some(current) = self.current.take() else {
            return Ok(None);
        };
        if let Some(counted) = &ended.counts {
            // Whoever asked at the socket is told there.
            if current.asker != Asker::Socket {
                let shown = counts::show(counted, ended.elapsed_ns, &self.console.on_stderr());
                shown.map_err(io::Error::other)?;
            }
            return Ok(None);
        }
        self.report(ended);
        let last_path = current.sink.path().map(PathBuf::from);
        let traces = current.sink.finish();
        let traces = traces.map_err(|error| named(error, last_path.as_deref()))?;
        self.report_exec(&traces);
        let Some(path) = traces.last().map(|trace| trace.path.clone()) else {
            return Ok(None);
        };
        self.kept += 1;
        if current.asker == Asker::Launch {
            self.first = traces;
        }
        match current.asker {
            Asker::Launch if ended.status.is_none() && !ended.was_full => {
                self.console
                    .tell("the recording has ended; the program runs on");
            }
            // Its summary comes first.
            Asker::Launch => {}
            _ => self
                .console
                .tell(&format!("wrote {}", paths::quoted(&path))),
        }
        // Whoever asked may be in another folder.
        Ok(Some(std::path::absolute(&path).unwrap_or(path)))
    }

    fn waits_for(&mut self, pids: &[u32]) {
        let (count, some) = (pids.len(), 5);
        let mut list: Vec<String> = pids.iter().take(some).map(u32::to_string).collect();
        list.extend((count > some).then(|| "...".to_owned()));
        self.console.tell(&format!(
            "the program has ended, but not {} that it started: {} {}. The recording goes on until then; Ctrl-C \
             ends it now",
            plural(count, "a process", "processes"),
            plural(count, "process", "processes"),
            list.join(", ")
        ));
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        let Some(current) = self.current.take() else {
            return error;
        };
        let is_first = current.asker == Asker::Launch;
        let error = named(error, current.sink.path());
        if !is_first {
            self.console.warn(&error.to_string());
        }
        error
    }
}

/// Says which file it was.
fn named(error: io::Error, path: Option<&Path>) -> io::Error {
    let path = path.map_or_else(|| "the trace".to_owned(), paths::quoted);
    io::Error::new(error.kind(), format!("while writing {path}: {error}"))
}
