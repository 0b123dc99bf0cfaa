//! What a recording is written as: its events as they come, or its sums.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use heapatlas_formats::trace::{Aggregator, Writer};
use heapatlas_trace::payload::{
    End, EventsHeader, Mode, ModuleInfo, ProcessInfo, Segment, ThreadInfo,
};

use crate::output_file;

/// A launcher that is killed loses the sums of about so long.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// Saving takes at most one part in so many of the time.
const SHARE_OF_TIME: u32 = 100;

/// Where what was gathered goes.
pub enum TraceOutput<W> {
    /// Each event goes to the file at once.
    Events(Box<Writer<W>>),
    /// The sums are kept here, and the whole file is written anew now and then.
    Sums(Box<SavedSums>),
}

/// Sums, and when they were written.
pub struct SavedSums {
    aggregator: Aggregator,
    saved: Instant,
    /// How long that took.
    cost: Duration,
}

impl<W: Write> TraceOutput<W> {
    /// Begins a recording whose file is `file`, which is found at `path`: of sums where the process' mode is
    /// [`Mode::Aggregate`].
    ///
    /// # Errors
    /// When the file cannot be written. So do all methods.
    pub fn new<A>(file: W, path: &Path, process: &ProcessInfo<'_, A>) -> io::Result<Self>
    where
        A: Clone + IntoIterator<Item: AsRef<[u8]>>,
    {
        if process.mode != Mode::Aggregate {
            return Ok(Self::Events(Box::new(Writer::new(file, process)?)));
        }
        let mut sums = SavedSums {
            aggregator: Aggregator::new(process),
            saved: Instant::now(),
            cost: Duration::ZERO,
        };
        // A folder that cannot be written to is told before the program has run for weeks.
        sums.save(path)?;
        Ok(Self::Sums(Box::new(sums)))
    }

    /// See [`Writer::thread`].
    pub fn thread(&mut self, thread: &ThreadInfo<'_>) -> io::Result<()> {
        match self {
            Self::Events(writer) => writer.thread(thread)?,
            Self::Sums(sums) => sums.aggregator.thread(thread),
        }
        Ok(())
    }

    /// See [`Writer::modules`].
    pub fn modules(&mut self, tick: u64, modules: &[ModuleInfo<'_>]) -> io::Result<()> {
        match self {
            Self::Events(writer) => writer.modules(tick, modules)?,
            Self::Sums(sums) => sums.aggregator.modules(tick, modules),
        }
        Ok(())
    }

    /// See [`Writer::events`]; `path` is where the file is now.
    pub fn events(
        &mut self,
        header: EventsHeader,
        segments: &[Segment<'_>],
        path: &Path,
    ) -> io::Result<()> {
        let EventsHeader {
            tick,
            elapsed_ns,
            resident_bytes,
        } = header;
        let segments = segments.iter().copied();
        match self {
            Self::Events(writer) => writer.events(tick, elapsed_ns, resident_bytes, segments)?,
            Self::Sums(sums) => {
                let aggregator = &mut sums.aggregator;
                aggregator.events(tick, elapsed_ns, resident_bytes, segments);
                sums.save_if_due(path);
            }
        }
        Ok(())
    }

    /// See [`Writer::map`].
    pub fn map(&mut self, path: &[u8], contents: &[u8]) -> io::Result<()> {
        match self {
            Self::Events(writer) => writer.map(path, contents)?,
            Self::Sums(sums) => sums.aggregator.map(path, contents),
        }
        Ok(())
    }

    /// Ends the file at `path`.
    pub fn end(self, end: &End, path: &Path) -> io::Result<()> {
        match self {
            Self::Events(writer) => writer.end(end).map(drop),
            Self::Sums(sums) => {
                let aggregator = sums.aggregator;
                output_file::write(path, |out| aggregator.end(end, out).map(drop))
            }
        }
    }
}

impl SavedSums {
    /// A disk that is full now may have room again: what cannot be saved is told at the end.
    fn save_if_due(&mut self, path: &Path) {
        let pause = SAVE_INTERVAL.max(self.cost * SHARE_OF_TIME);
        if self.saved.elapsed() >= pause {
            let _ = self.save(path);
        }
    }

    /// Replaces the file: whoever reads it finds either the sums of now or those before.
    fn save(&mut self, path: &Path) -> io::Result<()> {
        let start = Instant::now();
        let saved = output_file::write(path, |out| self.aggregator.write_so_far(out).map(drop));
        self.saved = Instant::now();
        self.cost = self.saved - start;
        saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;

    use heapatlas_formats::trace::{ReadOptions, read};

    fn sums(path: &Path) -> TraceOutput<File> {
        let process = ProcessInfo {
            mode: Mode::Aggregate,
            arguments: ["program"],
            ..ProcessInfo::default()
        };
        TraceOutput::new(File::create(path).unwrap(), path, &process).unwrap()
    }

    /// An allocation of 9 bytes on the empty stack at address 8, at tick 7.
    const ALLOCATION: Segment<'static> = Segment {
        thread: 1,
        base_tick: Some(0),
        bytes: &[1, 9, 2, 7],
        is_exclusive: false,
    };

    fn allocated_bytes(path: &Path) -> u64 {
        let file = fs::read(path).unwrap();
        read(&file, &ReadOptions::default()).unwrap().0.total.bytes
    }

    #[test]
    fn a_killed_launcher_loses_what_was_not_saved_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        let mut output = sums(&path);
        let header = EventsHeader {
            tick: 10,
            ..EventsHeader::default()
        };
        output.events(header, &[ALLOCATION], &path).unwrap();
        assert_eq!(allocated_bytes(&path), 0);
        let TraceOutput::Sums(saved) = &mut output else {
            panic!("sums were asked for")
        };
        saved.saved -= SAVE_INTERVAL;
        output.events(header, &[], &path).unwrap();
        assert_eq!(allocated_bytes(&path), 9);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn saving_has_its_share_of_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        let mut output = sums(&path);
        let TraceOutput::Sums(saved) = &mut output else {
            panic!("sums were asked for")
        };
        saved.saved -= 2 * SAVE_INTERVAL;
        saved.cost = SAVE_INTERVAL;
        let before = saved.saved;
        saved.save_if_due(&path);
        assert_eq!(saved.saved, before);
    }

    #[test]
    fn what_cannot_be_saved_leaves_the_sums_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        let mut output = sums(&path);
        let header = EventsHeader::default();
        output.events(header, &[ALLOCATION], &path).unwrap();
        let elsewhere = folder.path().join("no").join("trace");
        assert!(output.end(&End::default(), &elsewhere).is_err());
        assert_eq!(allocated_bytes(&path), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let process = ProcessInfo {
            mode: Mode::Aggregate,
            arguments: ["program"],
            ..ProcessInfo::default()
        };
        let path = folder.path().join("no").join("trace");
        assert!(TraceOutput::new(io::sink(), &path, &process).is_err());
    }
}
