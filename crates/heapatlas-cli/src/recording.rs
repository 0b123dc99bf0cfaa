//! From what a recorder gathers to trace files, one for each process image.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heapatlas_capture::{Begun, How, Image, ImageEnd, Sink};
use heapatlas_trace::payload::{
    End, EventsHeader, Mode, ProcessInfo, Segment, ThreadInfo, read_modules,
};

use crate::trace_names::{TraceNames, with_number, with_suffix};
use crate::trace_output::TraceOutput;

/// Writes what is gathered to files.
///
/// While a file is written its name ends in `.unfinished`: such a file can be read, too.
pub struct TraceSink {
    names: TraceNames,
    command: Vec<OsString>,
    how: How,
    main_pid: u32,
    clock: Clock,
    max_bytes: u64,
    bytes_written: Arc<AtomicU64>,
    /// By number of image.
    traces: BTreeMap<u32, Trace>,
    finished: Vec<FinishedTrace>,
    /// How many images each file's name had before the one that has it now.
    replaced: HashMap<PathBuf, u32>,
    /// By number of image, also of those that have ended.
    code_pids: HashMap<u32, Vec<u32>>,
    /// The file that is being written, or was not to be written.
    last: Option<PathBuf>,
}

/// A trace that is whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FinishedTrace {
    pub pid: u32,
    /// The program's name.
    pub program: String,
    pub path: PathBuf,
    /// Its place among the images of the recording.
    pub image: u32,
    /// The program that went on in its place without being recorded.
    pub went_on_as: Option<PathBuf>,
}

/// A trace that is being written.
struct Trace {
    output: TraceOutput<Counted>,
    /// What it will be.
    finished: FinishedTrace,
    unfinished: PathBuf,
    /// When the image began, in nanoseconds since the recording did.
    began_ns: u64,
    /// The processes whose code it may run: its own, and those that it was forked off from.
    code_pids: Vec<u32>,
}

/// When the recording began.
struct Clock {
    tick: u64,
    ticks_per_second: u64,
    time: SystemTime,
}

impl TraceSink {
    /// A sink without files: each process image makes one. When about `max_bytes` were written to all of
    /// them it is full.
    pub fn new(
        begun: &Begun,
        main_pid: u32,
        names: TraceNames,
        command: Vec<OsString>,
        max_bytes: Option<u64>,
    ) -> Self {
        Self {
            names,
            command,
            how: begun.how,
            main_pid,
            clock: Clock {
                tick: begun.start_tick,
                ticks_per_second: begun.ticks_per_second,
                time: SystemTime::now(),
            },
            max_bytes: max_bytes.unwrap_or(u64::MAX),
            bytes_written: Arc::default(),
            traces: BTreeMap::new(),
            finished: Vec::new(),
            replaced: HashMap::new(),
            code_pids: HashMap::new(),
            last: None,
        }
    }

    /// The file that was written to last, also when it could not be made.
    pub fn path(&self) -> Option<&Path> {
        self.last.as_deref()
    }

    /// The traces in the order in which their images began, now that all have ended.
    pub fn finish(mut self) -> io::Result<Vec<FinishedTrace>> {
        self.finished.sort_by_key(|trace| trace.image);
        for trace in &self.finished {
            File::open(&trace.path)?.sync_all()?;
        }
        Ok(self.finished)
    }

    /// The last image of a process gets the name that was asked for; those before it get numbers.
    fn make_way(&mut self, path: &Path) -> io::Result<()> {
        let is_old = |trace: &&mut Trace| trace.finished.path == path;
        if let Some(old) = self.traces.values_mut().find(is_old) {
            let numbered = next_number(&mut self.replaced, path);
            let unfinished = with_suffix(&numbered, UNFINISHED);
            fs::rename(&old.unfinished, &unfinished)?;
            old.unfinished = unfinished;
            old.finished.path = numbered;
        } else if let Some(old) = self.finished.iter_mut().find(|trace| trace.path == path) {
            let numbered = next_number(&mut self.replaced, path);
            fs::rename(&old.path, &numbered)?;
            old.path = numbered;
        }
        Ok(())
    }

    fn trace(&mut self, image: u32) -> io::Result<&mut Trace> {
        let trace = self.traces.get_mut(&image);
        let trace = trace.ok_or_else(|| io::Error::other("events of no process image"))?;
        self.last = Some(trace.unfinished.clone());
        Ok(trace)
    }

    /// A forked child runs what its parent compiled, too.
    fn code_pids_of(&mut self, image: &Image) -> Vec<u32> {
        let parent = image
            .forked_from
            .and_then(|image| self.code_pids.get(&image));
        let inherited = parent.into_iter().flatten().copied();
        let pids: Vec<u32> = iter::once(image.pid).chain(inherited).collect();
        self.code_pids.insert(image.number, pids.clone());
        pids
    }

    fn arguments(&self, image: &Image, is_main: bool) -> Vec<Vec<u8>> {
        if is_main && image.arguments.is_empty() {
            let bytes = |argument: &OsString| argument.as_bytes().to_vec();
            return self.command.iter().map(bytes).collect();
        }
        image.arguments.clone()
    }
}

const UNFINISHED: &str = ".unfinished";

fn next_number(replaced: &mut HashMap<PathBuf, u32>, path: &Path) -> PathBuf {
    let count = replaced.entry(path.to_owned()).or_default();
    *count += 1;
    with_number(path, *count)
}

impl Sink for TraceSink {
    fn image(&mut self, image: &Image) -> io::Result<()> {
        let is_main = image.pid == self.main_pid;
        let path = self.names.of(image, is_main);
        let unfinished = with_suffix(&path, UNFINISHED);
        self.last = Some(unfinished.clone());
        self.make_way(&path)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        // The first one began when the recording did, before it could say so.
        let start_tick = match image.number {
            0 => self.clock.tick,
            _ => image.start_tick.max(self.clock.tick),
        };
        let began_ns = self.clock.elapsed_ns(start_tick);
        let arguments = self.arguments(image, is_main);
        let process = ProcessInfo {
            pid: u64::from(image.pid),
            parent_pid: u64::from(image.parent_pid),
            start_unix_ns: self.clock.unix_ns(began_ns),
            ticks_per_second: self.clock.ticks_per_second,
            start_tick,
            page_bytes: 4096,
            pointer_bytes: 8,
            mode: mode(self.how),
            sample_interval_bytes: self.how.interval_bytes(),
            executable: &image.executable,
            arguments: &arguments,
            recorder_version: env!("CARGO_PKG_VERSION").as_bytes(),
        };
        let counted = Counted {
            file,
            bytes_written: Arc::clone(&self.bytes_written),
        };
        let trace = Trace {
            output: TraceOutput::new(counted, &unfinished, &process)?,
            finished: FinishedTrace {
                pid: image.pid,
                program: self.names.program(image),
                path,
                image: image.number,
                went_on_as: None,
            },
            unfinished,
            began_ns,
            code_pids: self.code_pids_of(image),
        };
        self.traces.insert(image.number, trace);
        Ok(())
    }

    fn thread(&mut self, image: u32, thread: ThreadInfo<'_>) -> io::Result<()> {
        self.trace(image)?.output.thread(&thread)
    }

    fn modules(&mut self, image: u32, payload: &[u8]) -> io::Result<()> {
        let damaged = |_| io::Error::other("the program sent a damaged list of modules");
        let (tick, modules) = read_modules(payload).map_err(damaged)?;
        let modules: Result<Vec<_>, _> = modules.collect();
        let output = &mut self.trace(image)?.output;
        output.modules(tick, &modules.map_err(damaged)?)
    }

    fn events(
        &mut self,
        image: u32,
        header: EventsHeader,
        segments: &[Segment<'_>],
    ) -> io::Result<()> {
        let trace = self.trace(image)?;
        let header = EventsHeader {
            elapsed_ns: header.elapsed_ns.saturating_sub(trace.began_ns),
            ..header
        };
        trace.output.events(header, segments, &trace.unfinished)
    }

    fn ended(&mut self, image: u32, end: &ImageEnd) -> io::Result<()> {
        self.trace(image)?;
        let Some(mut trace) = self.traces.remove(&image) else {
            return Ok(());
        };
        for &pid in &trace.code_pids {
            if let Some(map) = CodeMapFile::of(pid, self.clock.time) {
                trace.output.map(map.path.as_bytes(), &map.contents)?;
            }
        }
        let end_of_trace = End {
            tick: end.tick,
            elapsed_ns: end.elapsed_ns.saturating_sub(trace.began_ns),
            status: end.status.map(i32::cast_unsigned),
            dropped_events: end.counters.dropped_events,
            waited_ns: end.counters.waited_ns,
            captures: 0,
            checked: end.counters.checked,
            differences: end.counters.differences,
        };
        trace.output.end(&end_of_trace, &trace.unfinished)?;
        // They are synced when all have ended: that takes time, and threads may be waiting.
        fs::rename(&trace.unfinished, &trace.finished.path)?;
        self.finished.push(FinishedTrace {
            went_on_as: end.went_on_as.clone(),
            ..trace.finished
        });
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes_written.load(Relaxed) >= self.max_bytes
    }
}

/// What a JIT compiler tells of its code while the process runs: lines of address, size and name.
struct CodeMapFile {
    path: String,
    contents: Vec<u8>,
}

impl CodeMapFile {
    /// Larger ones are cut.
    const MOST_BYTES: u64 = 1 << 30;

    /// The file where compilers write it for `perf`. None that was left before the recording began, and none
    /// that is not what it should be: everybody can write to that folder.
    fn of(pid: u32, began: SystemTime) -> Option<Self> {
        let path = format!("/tmp/perf-{pid}.map");
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut options = File::options();
        options.read(true).custom_flags(flags.bits().cast_signed());
        let file = options.open(&path).ok()?;
        let metadata = file.metadata().ok()?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        // File systems tell times in steps.
        let is_new = metadata.modified().ok()? + Duration::from_secs(1) >= began;
        if !metadata.is_file() || !is_ours || !is_new {
            return None;
        }
        let mut contents = Vec::new();
        let mut file = file.take(Self::MOST_BYTES);
        file.read_to_end(&mut contents).ok()?;
        Some(Self { path, contents })
    }
}

/// What the trace says of it.
fn mode(how: How) -> Mode {
    match how {
        How::Exact => Mode::Exact,
        How::Sampled { .. } => Mode::Sampled,
        How::Aggregate => Mode::Aggregate,
        How::Counting => Mode::Counting,
    }
}

impl Clock {
    fn elapsed_ns(&self, tick: u64) -> u64 {
        let ticks = u128::from(tick.saturating_sub(self.tick));
        let per_second = u128::from(self.ticks_per_second.max(1));
        u64::try_from(ticks * 1_000_000_000 / per_second).unwrap_or(u64::MAX)
    }

    fn unix_ns(&self, elapsed_ns: u64) -> u64 {
        let since_epoch = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        (since_epoch + Duration::from_nanos(elapsed_ns)).as_nanos() as u64
    }
}

/// A file that tells how much is written to it.
struct Counted {
    file: File,
    bytes_written: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes_written.fetch_add(written as u64, Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
