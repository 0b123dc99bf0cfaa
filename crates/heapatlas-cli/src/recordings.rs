//! The recordings of one launch, one after the other: a file each, or what was counted.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use heapatlas_capture::{Asker, Begun, Ended, How, Recordings, Sink};

use crate::console::Console;
use crate::paths;
use crate::recording::{FileNames, TraceSink};
use crate::render::counts;

/// Keeps recordings, and says on stderr how each ended.
pub struct Traces<'c> {
    names: FileNames,
    command: Vec<OsString>,
    console: &'c Console,
    current: Option<Current>,
    /// Files so far.
    files: usize,
    /// The file of the recording that began with the program.
    first: Option<PathBuf>,
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
    pub fn new(names: FileNames, command: Vec<OsString>, console: &'c Console) -> Self {
        Self {
            names,
            command,
            console,
            current: None,
            files: 0,
            first: None,
            begun: 0,
        }
    }

    /// The file of the recording that began with the program, if it has ended well.
    pub fn first(&self) -> Option<&PathBuf> {
        self.first.as_ref()
    }

    /// How many recordings there were.
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// What the recorder has to say of itself.
    fn report(&self, ended: &Ended) {
        if ended.dropped_events > 0 {
            self.console.warn(&format!(
                "{} events could not be recorded; figures are too small by so many",
                ended.dropped_events
            ));
        }
        if ended.checked > 0 {
            self.console.remark(&format!(
                "compared {} stacks with full walks: {} differed",
                ended.checked, ended.differences
            ));
        }
        if let Some(intervals) = &ended.intervals_bytes {
            let said = counts::intervals(intervals);
            self.console
                .tell(&format!("sampled every {said} on average"));
        }
    }
}

impl Recordings for Traces<'_> {
    fn begin(&mut self, _pid: u32, begun: &Begun) -> io::Result<()> {
        if begun.how == How::Aggregate {
            return Err(io::Error::other("aggregate recordings are not there yet"));
        }
        self.begun += 1;
        let (names, number) = match &begun.output {
            Some(path) => {
                let program = self.command.first().cloned().unwrap_or_default();
                (FileNames::new(Some(path.clone()), &program), 1)
            }
            None => (self.names.clone(), self.files + 1),
        };
        self.current = Some(Current {
            asker: begun.asker,
            sink: TraceSink::new(begun, names, number, self.command.clone()),
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
        let Some(mut current) = self.current.take() else {
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
        let finished = current.sink.finish(ended);
        for replaced in current.sink.replaced() {
            self.console.remark(replaced);
        }
        let Some(path) = finished.map_err(|error| named(error, &current))? else {
            return Ok(None);
        };
        self.files += 1;
        if current.asker == Asker::Launch {
            self.first = Some(path.clone());
        }
        match current.asker {
            Asker::Launch if ended.status.is_none() => {
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

    fn fail(&mut self, error: io::Error) -> io::Error {
        let Some(current) = self.current.take() else {
            return error;
        };
        let is_first = current.asker == Asker::Launch;
        let error = named(error, &current);
        if !is_first {
            self.console.warn(&error.to_string());
        }
        error
    }
}

/// Says which file it was.
fn named(error: io::Error, current: &Current) -> io::Error {
    let path = current
        .sink
        .path()
        .map_or_else(|| "the trace".to_owned(), paths::quoted);
    io::Error::new(error.kind(), format!("while writing {path}: {error}"))
}
