//! From what a recorder gathers to a trace file.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use heapatlas_capture::{Begun, Ended, How, Sink};
use heapatlas_formats::trace::Writer;
use heapatlas_trace::payload::{
    End, EventsHeader, Mode, ProcessInfo, Segment, ThreadInfo, read_modules,
};

/// What traces are called.
#[derive(Clone)]
pub struct FileNames {
    output: Option<PathBuf>,
    program: String,
}

impl FileNames {
    /// By what the user asked for, else by the program.
    pub fn new(output: Option<PathBuf>, program: &OsStr) -> Self {
        let name = Path::new(program).file_name().unwrap_or(program);
        Self {
            output,
            program: name.to_string_lossy().into_owned(),
        }
    }

    /// The file of a process' recording with this number, from 1: later ones have it in their names, lest they take the
    /// place of the first.
    fn of(&self, pid: u32, number: usize) -> PathBuf {
        let path = self.of_first(pid);
        if number <= 1 {
            return path;
        }
        match path.extension().map(OsStr::to_owned) {
            Some(extension) => {
                let mut ending = OsString::from(format!("{number}."));
                ending.push(extension);
                path.with_extension(ending)
            }
            None => with_suffix(&path, &format!(".{number}")),
        }
    }

    fn of_first(&self, pid: u32) -> PathBuf {
        match &self.output {
            Some(path) => {
                let path = path.as_os_str().to_string_lossy();
                PathBuf::from(path.replace("%p", &pid.to_string()))
            }
            None => PathBuf::from(format!("heapatlas.{}.{pid}.heaptrace", self.program)),
        }
    }
}

/// Writes what is gathered to a file.
///
/// While it is written its name ends in `.unfinished`: such a file can be read, too.
pub struct TraceSink {
    names: FileNames,
    number: usize,
    how: How,
    command: Vec<OsString>,
    parent_pid: u32,
    start_tick: u64,
    ticks_per_second: u64,
    /// The file that is being written, or was not to be written.
    unfinished: Option<PathBuf>,
    trace: Option<Trace>,
    replaced: Vec<String>,
}

struct Trace {
    writer: Writer<File>,
    path: PathBuf,
    unfinished: PathBuf,
    arguments: Vec<Vec<u8>>,
}

impl TraceSink {
    /// A sink without a file: the first process image makes one.
    /// `number` is that of the recording, from 1.
    pub fn new(begun: &Begun, names: FileNames, number: usize, command: Vec<OsString>) -> Self {
        Self {
            names,
            number,
            how: begun.how,
            command,
            parent_pid: std::process::id(),
            start_tick: begun.start_tick,
            ticks_per_second: begun.ticks_per_second,
            unfinished: None,
            trace: None,
            replaced: Vec::new(),
        }
    }

    /// The file that is being written, also when it could not be made.
    pub fn path(&self) -> Option<&Path> {
        self.unfinished.as_deref()
    }

    /// Programs that replaced themselves by another one, in words.
    pub fn replaced(&self) -> &[String] {
        &self.replaced
    }

    /// Ends the file and gives it its name.
    pub fn finish(&mut self, ended: &Ended) -> io::Result<Option<PathBuf>> {
        let Some(trace) = self.trace.take() else {
            return Ok(None);
        };
        let file = trace.writer.end(&End {
            tick: ended.tick,
            elapsed_ns: ended.elapsed_ns,
            status: ended.status.map(|status| status.into_raw().cast_unsigned()),
            dropped_events: ended.dropped_events,
            waited_ns: ended.waited_ns,
            captures: 0,
            checked: ended.checked,
            differences: ended.differences,
        })?;
        file.sync_all()?;
        fs::rename(&trace.unfinished, &trace.path)?;
        Ok(Some(trace.path))
    }

    /// The trace of a program that another one replaced in its process is not what was asked for.
    fn drop_replaced(&mut self) {
        if let Some(trace) = self.trace.take() {
            let name = trace
                .arguments
                .first()
                .map_or(Cow::Borrowed("a program"), |name| {
                    String::from_utf8_lossy(name)
                });
            self.replaced.push(format!(
                "`{name}` replaced itself by another program; what it allocated is not in the trace"
            ));
            let _ = fs::remove_file(&trace.unfinished);
        }
    }
}

impl Sink for TraceSink {
    fn image(&mut self, pid: u32) -> io::Result<()> {
        self.drop_replaced();
        let path = self.names.of(pid, self.number);
        let unfinished = with_suffix(&path, ".unfinished");
        self.unfinished = Some(unfinished.clone());
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        let arguments = arguments_of(pid).unwrap_or_else(|| {
            let bytes = |argument: &OsString| argument.as_bytes().to_vec();
            self.command.iter().map(bytes).collect()
        });
        let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let process = ProcessInfo {
            pid: u64::from(pid),
            parent_pid: u64::from(self.parent_pid),
            start_unix_ns: since_epoch.as_nanos() as u64,
            ticks_per_second: self.ticks_per_second,
            start_tick: self.start_tick,
            page_bytes: 4096,
            pointer_bytes: 8,
            mode: match self.how {
                How::Exact => Mode::Exact,
                How::Sampled { .. } => Mode::Sampled,
                How::Aggregate => Mode::Aggregate,
                How::Counting => Mode::Counting,
            },
            sample_interval_bytes: self.how.interval_bytes(),
            executable: executable.as_os_str().as_bytes(),
            arguments: &arguments,
            recorder_version: env!("CARGO_PKG_VERSION").as_bytes(),
        };
        let writer = Writer::new(file, &process)?;
        self.trace = Some(Trace {
            writer,
            path,
            unfinished,
            arguments,
        });
        Ok(())
    }

    fn thread(&mut self, thread: ThreadInfo<'_>) -> io::Result<()> {
        self.writer()?.thread(&thread)
    }

    fn modules(&mut self, payload: &[u8]) -> io::Result<()> {
        let damaged = |_| io::Error::other("the program sent a damaged list of modules");
        let (tick, modules) = read_modules(payload).map_err(damaged)?;
        let modules: Result<Vec<_>, _> = modules.collect();
        self.writer()?.modules(tick, &modules.map_err(damaged)?)
    }

    fn events(&mut self, header: EventsHeader, segments: &[Segment<'_>]) -> io::Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let EventsHeader {
            tick,
            elapsed_ns,
            resident_bytes,
        } = header;
        let segments = segments.iter().copied();
        self.writer()?
            .events(tick, elapsed_ns, resident_bytes, segments)
    }
}

impl TraceSink {
    fn writer(&mut self) -> io::Result<&mut Writer<File>> {
        let trace = self.trace.as_mut();
        trace
            .map(|trace| &mut trace.writer)
            .ok_or_else(|| io::Error::other("events of no process image"))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What the process was started with; `None` when it has ended already.
fn arguments_of(pid: u32) -> Option<Vec<Vec<u8>>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let bytes = bytes.strip_suffix(b"\0")?;
    Some(bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect())
}
