//! Starts a program with the recorder in front, and gathers until it ends.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::time::Instant;

use thiserror::Error;

use crate::clock;
use crate::control::{Bound, Control};
use crate::recorder_file;
use crate::recordings::Wanted;
use crate::region::Region;
use crate::session::{Recordings, Session};

/// The variable by which the recorder finds the region.
const REGION_VARIABLE: &str = "HEAPATLAS_REGION";
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
    /// The recording that begins with the program; `None` for an idle recorder, which waits to be asked.
    pub first: Option<Wanted>,
    /// What a recording is that `SIGUSR1` turns on.
    pub by_signal: Wanted,
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
    recorder: Session,
    control: Option<Control>,
}

/// How it ended, and whether it could be recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// As the system tells.
    pub status: ExitStatus,
    /// Whether the recorder was there at all: a static program, say, does not load it.
    pub was_recorded: bool,
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
    let shared = Arc::clone(&region);
    // Other processes that inherit the environment stay idle, unless they are followed.
    let is_alone = !options.follow_forks;
    // Without it a signal is left.
    let socket = Bound::new().ok();
    let link = socket.as_ref().and_then(|socket| socket.link().ok());
    // SAFETY: the closure stores to memory that is mapped in the child, too, and makes a few system calls.
    unsafe {
        command.pre_exec(move || {
            let pid = libc::getpid().cast_unsigned();
            if is_alone {
                shared.header().target_pid.store(pid, Release);
            }
            if let Some(link) = &link {
                link.make();
            }
            Ok(())
        });
    }
    let mut recorder = Session::new(
        Arc::clone(&region),
        options.by_signal,
        options.follow_forks,
        ticks_per_second,
    );
    if let Some(first) = options.first {
        recorder.turn_on(first);
    }
    let child = command.spawn().map_err(|source| LaunchError::Program {
        program: options.program.to_string_lossy().into_owned(),
        source,
    })?;
    CHILD.store(child.id().cast_signed(), Release);
    recorder.set_pid(child.id());
    // Not before the program is started, which must find the signal as it was.
    handle(libc::SIGUSR1, toggle);
    let control = socket.and_then(|socket| socket.serve(child.id(), &region).ok());
    if options.follow_forks {
        allow_many_files();
    }
    Ok(Launched {
        child,
        region,
        recorder,
        control,
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

impl Launched {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether recordings can be turned on and off through a socket; where no folder for it can be made, a signal is
    /// left.
    pub fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// Records and answers requests until the program has ended, and all processes that are followed, or, when the
    /// program itself has ended, until a signal asks for the end. When a recording cannot be kept it ends, and the
    /// program goes on.
    ///
    /// # Errors
    /// What `recordings` say of the recording that began with the program, after that has ended.
    pub fn run(mut self, recordings: &mut dyn Recordings) -> io::Result<Outcome> {
        self.recorder.begin_first(recordings);
        let mut was_told = false;
        let status = loop {
            let seen = self.region.header().closed.load(Acquire);
            let ended = self.child.try_wait()?;
            self.recorder.set_status(ended);
            if TOGGLE.swap(false, Relaxed) {
                self.recorder.toggle(recordings);
            }
            for request in self.control.iter().flat_map(Control::requests) {
                self.recorder.answer(&request, recordings);
            }
            let gathered = self.recorder.gather(recordings);
            if let Some(status) = ended {
                // From here on signals are for us.
                CHILD.store(0, Release);
                let running = self.recorder.running();
                match (running.is_empty() || SHALL_END.load(Acquire), gathered) {
                    (true, 0) => break status,
                    (true, _) => continue,
                    (false, _) => {}
                }
                if !std::mem::replace(&mut was_told, true) {
                    recordings.waits_for(&running);
                }
            }
            self.wait(seen);
        };
        let finished = self.recorder.finish(recordings);
        self.leave_alone();
        finished?;
        Ok(Outcome {
            status,
            was_recorded: self.region.header().next_process.load(Relaxed) > 0,
        })
    }

    /// Processes that go on are not recorded any more, and have nobody to wait for.
    fn leave_alone(&self) {
        self.region.header().follow_forks.store(0, Release);
        self.region.take_free_chunks();
        self.region.tell_freed();
    }

    /// Waits until there is much to gather, or something for long enough, or the program has ended, or somebody
    /// asks for something.
    fn wait(&mut self, gathered_closed: u32) {
        let start = Instant::now();
        let pause = self.recorder.pause();
        loop {
            let left = pause.saturating_sub(start.elapsed());
            let closed = self.region.header().closed.load(Acquire);
            let is_much = closed.wrapping_sub(gathered_closed) >= MANY_CHUNKS;
            let is_asked =
                TOGGLE.load(Relaxed) || self.control.as_ref().is_some_and(Control::has_requests);
            let is_over = HAS_ENDED.swap(false, Relaxed) || SHALL_END.load(Acquire);
            if is_much || left.is_zero() || is_asked || is_over {
                return;
            }
            self.region.wait_for_closed(closed, left);
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

/// Set by the signal that turns recordings on and off.
static TOGGLE: AtomicBool = AtomicBool::new(false);

extern "C" fn toggle(_: i32) {
    TOGGLE.store(true, Relaxed);
}

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
    extern "C" fn stay(_: i32) {
        if CHILD.load(Acquire) == 0 {
            SHALL_END.store(true, Release);
        }
    }
    handle(libc::SIGTERM, pass_on);
    handle(libc::SIGHUP, pass_on);
    handle(libc::SIGINT, stay);
    handle(libc::SIGQUIT, stay);
    handle(libc::SIGCHLD, note_end);
}

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: a handler that does what handlers may do. System calls that it interrupts are
    // begun again, but for the wait for chunks.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}
