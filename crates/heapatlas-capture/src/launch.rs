//! Starts a program with the recorder in front, and gathers until it ends.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::time::{Duration, Instant};

use heapatlas_trace::payload::EventsHeader;
use heapatlas_trace::shared::MODE_EXACT;
use thiserror::Error;

use crate::clock;
use crate::gather::{Gatherer, Sink};
use crate::recorder_file;
use crate::region::Region;

/// The variable by which the recorder finds the region.
const REGION_VARIABLE: &str = "HEAPATLAS_REGION";
/// How long events wait at most before they are gathered. What a killed launcher loses is less than this and
/// the time of one gathering.
const PAUSE: Duration = Duration::from_millis(80);
/// How many full chunks are gathered sooner: 2 MiB. In small pieces events pack badly.
const MANY_CHUNKS: u32 = 64;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program, by path or by name.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Every how many captures a stack is compared with a full walk; 0 for never.
    pub check_interval: u32,
}

/// Why a program was not started.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The recorder cannot be put where the dynamic linker finds it.
    #[error("cannot write the recorder to the cache folder or to /tmp")]
    Recorder(#[source] io::Error),
    /// No memory to share.
    #[error("cannot make memory to share with the program")]
    Region(#[source] io::Error),
    /// The program does not start.
    #[error("cannot start `{program}`")]
    Program {
        /// Its name as given.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A program that runs under the recorder.
pub struct Launched {
    child: Child,
    region: Arc<Region>,
    gatherer: Gatherer,
    started: Instant,
    start_tick: u64,
    ticks_per_second: u64,
}

/// How it ended, and what the recorder has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// As the system tells.
    pub status: ExitStatus,
    /// The tick at the end.
    pub tick: u64,
    /// Nanoseconds since the start.
    pub elapsed_ns: u64,
    /// Whether the recorder was there at all: a static program, say, does not load it.
    pub was_recorded: bool,
    /// Events that could not be recorded.
    pub dropped_events: u64,
    /// Nanoseconds that threads waited for us.
    pub waited_ns: u64,
    /// Captures that were compared with a full walk.
    pub checked: u64,
    /// Those that differed.
    pub differences: u64,
}

/// Starts a program.
///
/// Signals that are meant to end this process go to the program from here on (`SIGTERM`, `SIGHUP`); those of
/// the keyboard reach it by themselves, and this process stays to save the data.
///
/// # Errors
/// When the program or the recorder cannot be started.
pub fn launch(options: &Options) -> Result<Launched, LaunchError> {
    let recorder = recorder_file::place().map_err(LaunchError::Recorder)?;
    let region = Arc::new(Region::new().map_err(LaunchError::Region)?);
    let ticks_per_second = clock::ticks_per_second();
    region.header().mode.store(MODE_EXACT, Relaxed);
    region
        .header()
        .check_interval
        .store(options.check_interval, Relaxed);
    handle_signals();
    let mut command = Command::new(&options.program);
    command
        .args(&options.arguments)
        .env("LD_PRELOAD", preload_list(recorder.as_os_str()))
        .env(REGION_VARIABLE, os(&region.path()));
    let shared = Arc::clone(&region);
    // SAFETY: the closure stores to memory that is mapped in the child, too, and calls `getpid`.
    unsafe {
        command.pre_exec(move || {
            let pid = libc::getpid().cast_unsigned();
            shared.header().target_pid.store(pid, Release);
            Ok(())
        });
    }
    let (started, start_tick) = (Instant::now(), clock::ticks());
    let child = command.spawn().map_err(|source| LaunchError::Program {
        program: options.program.to_string_lossy().into_owned(),
        source,
    })?;
    CHILD.store(child.id().cast_signed(), Release);
    Ok(Launched {
        child,
        region,
        gatherer: Gatherer::default(),
        started,
        start_tick,
        ticks_per_second,
    })
}

impl Launched {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The tick when it was started.
    pub fn start_tick(&self) -> u64 {
        self.start_tick
    }

    /// Ticks in a second, to about a percent.
    pub fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }

    fn now(&self) -> EventsHeader {
        EventsHeader {
            tick: clock::ticks(),
            elapsed_ns: self.started.elapsed().as_nanos() as u64,
            resident_bytes: resident_bytes(self.pid()).unwrap_or(0),
        }
    }

    /// Gathers until the program ends. When the sink fails, the recording ends and the program goes on.
    ///
    /// # Errors
    /// What the sink says, after the program has ended.
    pub fn run(mut self, sink: &mut dyn Sink) -> io::Result<Outcome> {
        let mut sunk = Ok(());
        let status = loop {
            let seen = self.region.header().closed.load(Acquire);
            let ended = self.child.try_wait()?;
            let now = self.now();
            let mut gathered = 0;
            if sunk.is_ok() {
                // A thread that has waited too long has the others not wait.
                self.region.header().launcher_reads.store(1, Release);
                match self.gatherer.pass(&self.region, now, sink) {
                    Ok(bytes) => gathered = bytes,
                    Err(error) => {
                        // Nobody shall wait for us any more.
                        self.region.header().launcher_reads.store(0, Release);
                        self.region.tell_freed();
                        sunk = Err(error);
                    }
                }
            }
            match ended {
                Some(status) if gathered == 0 => break status,
                Some(_) => {}
                None => self.wait(seen),
            }
        };
        CHILD.store(0, Release);
        sunk.map(|()| self.outcome(status))
    }

    /// Waits until there is much to gather, or something for long enough, or the program has ended.
    fn wait(&mut self, gathered_closed: u32) {
        let start = Instant::now();
        loop {
            let left = PAUSE.saturating_sub(start.elapsed());
            let closed = self.region.header().closed.load(Acquire);
            let is_much = closed.wrapping_sub(gathered_closed) >= MANY_CHUNKS;
            if is_much || left.is_zero() || HAS_ENDED.swap(false, Relaxed) {
                return;
            }
            self.region.wait_for_closed(closed, left);
        }
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        let header = self.region.header();
        let now = self.now();
        Outcome {
            status,
            tick: now.tick,
            elapsed_ns: now.elapsed_ns,
            was_recorded: header.next_process.load(Relaxed) > 0,
            dropped_events: header.dropped.load(Relaxed),
            waited_ns: header.waited_ns.load(Relaxed),
            checked: header.checked.load(Relaxed),
            differences: header.differences.load(Relaxed),
        }
    }
}

impl Outcome {
    /// Ends this process as the program ended: with its exit code, or by the signal that killed it.
    pub fn pass_on(&self) -> ! {
        if let Some(signal) = self.status.signal() {
            let no_core = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: changes nothing but how this process ends. The program has left its core.
            unsafe {
                libc::setrlimit(libc::RLIMIT_CORE, &no_core);
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
        std::process::exit(self.status.code().unwrap_or(1))
    }
}

/// Pages of the process that are in memory.
fn resident_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: cannot fail.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page_bytes).ok()?)
}

/// The recorder comes first, whatever the user preloads.
fn preload_list(recorder: &OsStr) -> OsString {
    let mut list = recorder.to_owned();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

fn os(text: &CString) -> &OsStr {
    OsStr::from_bytes(text.as_bytes())
}

/// The child that signals go to; 0 for none.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// Set when a child ends (or stops).
static HAS_ENDED: AtomicBool = AtomicBool::new(false);

/// Handlers and not `SIG_IGN`, which the program would inherit.
fn handle_signals() {
    extern "C" fn pass_on(signal: i32) {
        let child = CHILD.load(Acquire);
        if child > 0 {
            // SAFETY: allowed in a handler.
            unsafe { libc::kill(child, signal) };
        }
    }
    extern "C" fn note_end(_: i32) {
        HAS_ENDED.store(true, Relaxed);
    }
    // The keyboard's signals reach the program by themselves; we stay.
    extern "C" fn stay(_: i32) {}
    let handlers: [(i32, extern "C" fn(i32)); 5] = [
        (libc::SIGTERM, pass_on),
        (libc::SIGHUP, pass_on),
        (libc::SIGINT, stay),
        (libc::SIGQUIT, stay),
        (libc::SIGCHLD, note_end),
    ];
    for (signal, handler) in handlers {
        // SAFETY: a handler that does what handlers may do. System calls that it interrupts are
        // begun again, but for the wait for chunks.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}
