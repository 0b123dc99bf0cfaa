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
use heapatlas_trace::shared::{MODE_EXACT, MODE_IDLE};
use thiserror::Error;

use crate::clock;
use crate::gather::{Counters, Gatherer, Main, Sink, counters};
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
    /// Whether forked children and the programs that they start are recorded, too.
    pub follow_forks: bool,
    /// Whether the program's own mappings are recorded, too.
    pub record_pages: bool,
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
    follows_forks: bool,
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
    /// What the recorder counted.
    pub counters: Counters,
    /// Whether the sink was full before the recording ended.
    pub was_full: bool,
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
    region
        .header()
        .follow_forks
        .store(options.follow_forks.into(), Relaxed);
    region
        .header()
        .record_pages
        .store(options.record_pages.into(), Relaxed);
    handle_signals();
    let mut command = Command::new(&options.program);
    command
        .args(&options.arguments)
        .env("LD_PRELOAD", preload_list(recorder.as_os_str()))
        .env(REGION_VARIABLE, os(&region.path()));
    if !options.follow_forks {
        record_only_this(&mut command, Arc::clone(&region));
    }
    let (started, start_tick) = (Instant::now(), clock::ticks());
    let child = command.spawn().map_err(|source| LaunchError::Program {
        program: options.program.to_string_lossy().into_owned(),
        source,
    })?;
    CHILD.store(child.id().cast_signed(), Release);
    if options.follow_forks {
        allow_many_files();
    }
    Ok(Launched {
        child,
        gatherer: Gatherer::new(&region),
        region,
        follows_forks: options.follow_forks,
        started,
        start_tick,
        ticks_per_second,
    })
}

/// Each process takes two descriptors: its trace, and one to see its end. The program, which runs already, keeps its
/// own limit.
fn allow_many_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads and writes a limit of ours. If that fails there are as many as there were.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Other processes that inherit the environment stay idle.
fn record_only_this(command: &mut Command, region: Arc<Region>) {
    // SAFETY: the closure stores to memory that is mapped in the child, too, and calls `getpid`.
    unsafe {
        command.pre_exec(move || {
            let pid = libc::getpid().cast_unsigned();
            region.header().target_pid.store(pid, Release);
            Ok(())
        });
    }
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
            resident_bytes: 0,
        }
    }

    /// Gathers until the program and all processes that are followed have ended, or until the sink is full, or,
    /// when the program itself has ended, until a signal asks for the end. When the sink fails, the recording ends and the
    /// program goes on.
    ///
    /// `tell_waiting` is called once, with the numbers of the processes that are waited for, when the program has
    /// ended before them.
    ///
    /// # Errors
    /// What the sink says, after the program has ended.
    pub fn run(
        mut self,
        sink: &mut dyn Sink,
        mut tell_waiting: impl FnMut(&[u32]),
    ) -> io::Result<Outcome> {
        let mut was_told = false;
        let status = loop {
            let seen = self.region.header().closed.load(Acquire);
            let ended = self.child.try_wait()?;
            // A thread that has waited too long has the others not wait.
            self.region.header().launcher_reads.store(1, Release);
            let now = self.now();
            let main = self.main(ended);
            let passed = self.gatherer.pass(&self.region, now, main, sink);
            let gathered = match passed {
                Ok(gathered) => gathered,
                Err(error) => {
                    self.stop();
                    self.child.wait()?;
                    return Err(error);
                }
            };
            if sink.is_full() {
                return self.end_before_the_program(sink);
            }
            if let Some(status) = ended {
                // From here on signals are for us.
                CHILD.store(0, Release);
                let running = self.gatherer.running(self.follows_forks);
                match (running.is_empty() || SHALL_END.load(Acquire), gathered) {
                    (true, 0) => break status,
                    (true, _) => continue,
                    (false, _) => {}
                }
                if !std::mem::replace(&mut was_told, true) {
                    tell_waiting(&running);
                }
            }
            self.wait(seen);
        };
        self.finish(Some(status), sink)?;
        self.stop();
        Ok(self.outcome(status, false))
    }

    fn main(&self, ended: Option<ExitStatus>) -> Main {
        Main {
            pid: self.pid(),
            status: ended.map(ExitStatusExt::into_raw),
        }
    }

    fn finish(&mut self, ended: Option<ExitStatus>, sink: &mut dyn Sink) -> io::Result<()> {
        let (now, main) = (self.now(), self.main(ended));
        self.gatherer.finish(&self.region, now, main, sink)
    }

    /// Ends the recording in good order while the program goes on, and waits for that.
    fn end_before_the_program(mut self, sink: &mut dyn Sink) -> io::Result<Outcome> {
        let ended = self.child.try_wait()?;
        let finished = self.finish(ended, sink);
        self.stop();
        let mut outcome = self.outcome(ExitStatus::default(), true);
        outcome.status = self.child.wait()?;
        CHILD.store(0, Release);
        finished.map(|()| outcome)
    }

    /// Nothing is recorded any more, and nobody shall wait for us.
    fn stop(&self) {
        let header = self.region.header();
        header.mode.store(MODE_IDLE, Release);
        header.follow_forks.store(0, Release);
        header.launcher_reads.store(0, Release);
        self.region.take_free_chunks();
        self.region.tell_freed();
    }

    /// Waits until there is much to gather, or something for long enough, or the program has ended.
    fn wait(&mut self, gathered_closed: u32) {
        let start = Instant::now();
        loop {
            let left = PAUSE.saturating_sub(start.elapsed());
            let closed = self.region.header().closed.load(Acquire);
            let is_much = closed.wrapping_sub(gathered_closed) >= MANY_CHUNKS;
            if is_much
                || left.is_zero()
                || HAS_ENDED.swap(false, Relaxed)
                || SHALL_END.load(Acquire)
            {
                return;
            }
            self.region.wait_for_closed(closed, left);
        }
    }

    fn outcome(&self, status: ExitStatus, was_full: bool) -> Outcome {
        let header = self.region.header();
        let now = self.now();
        Outcome {
            status,
            tick: now.tick,
            elapsed_ns: now.elapsed_ns,
            was_recorded: header.next_process.load(Relaxed) > 0,
            counters: counters(&self.region),
            was_full,
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
/// Set when a signal asks for the end and there is no child any more.
static SHALL_END: AtomicBool = AtomicBool::new(false);
/// Set when a child ends (or stops).
static HAS_ENDED: AtomicBool = AtomicBool::new(false);

/// Handlers and not `SIG_IGN`, which the program would inherit.
fn handle_signals() {
    extern "C" fn pass_on(signal: i32) {
        let child = CHILD.load(Acquire);
        if child > 0 {
            // SAFETY: allowed in a handler.
            unsafe { libc::kill(child, signal) };
        } else {
            SHALL_END.store(true, Release);
        }
    }
    extern "C" fn note_end(_: i32) {
        HAS_ENDED.store(true, Relaxed);
    }
    // The keyboard's signals reach the program by themselves; we stay.
    extern "C" fn stay(_: i32) {
        if CHILD.load(Acquire) == 0 {
            SHALL_END.store(true, Release);
        }
    }
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
