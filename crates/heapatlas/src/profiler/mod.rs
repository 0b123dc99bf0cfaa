//! Profiles of a program by itself: what `dhat` users know, and what they asked for.
//!
//! In reading order: `state` (the one profiler that may run), `stats` (its figures), `assertions`, `dhat` (the file),
//! `frames` (names, and what is left out), `triggers` and `signals` (saves while it goes on), `limits` and `baseline` (tests of a piece of code), `file`.

pub(crate) mod assertions;
mod baseline;
mod dhat;
mod error;
mod file;
mod frames;
mod limits;
#[cfg(unix)]
mod signals;
mod state;
mod stats;
mod triggers;

use std::fmt::Arguments;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::time::Duration;

pub use baseline::{Baseline, BaselineError};
pub use error::ProfilerError;
pub use limits::{HeapLimitError, HeapLimits, HeapUsage, expect_heap, heap_usage};
pub use stats::{AdHocStats, HeapStats};

use crate::alloc::{self, Mode, sums};
use crate::guard;
use crate::stack;
use state::{End, Plan};
use triggers::Request;

/// A profile from when it is built until it is dropped; then the profile is saved.
///
/// There is one at a time. What was allocated before it began is no part of it, nor is what happens to such blocks.
///
/// `std::process::exit` ends it, too, and saves the profile. A forked child goes on with the sums, but saves nothing.
///
/// ```no_run
/// #[global_allocator]
/// static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();
///
/// fn main() {
///     let _profiler = heapatlas::Profiler::new_heap();
///     println!("{}", "what the program does ".repeat(3));
/// } // Here `heapatlas-heap.json` is written.
/// ```
#[derive(Debug)]
pub struct Profiler {
    session: u64,
}

impl Profiler {
    /// Begins heap profiling: `heapatlas-heap.json` in the current folder will have it.
    ///
    /// # Panics
    ///
    /// When another profiler is running.
    #[must_use = "the profile ends when the profiler is dropped"]
    pub fn new_heap() -> Self {
        Self::builder().build()
    }

    /// Begins ad hoc profiling, see [`ad_hoc_event`]: `heapatlas-ad-hoc.json` in the current folder will have it.
    ///
    /// # Panics
    ///
    /// When another profiler is running.
    #[must_use = "the profile ends when the profiler is dropped"]
    pub fn new_ad_hoc() -> Self {
        Self::builder().ad_hoc().build()
    }

    /// More choices than the two above.
    #[must_use]
    pub fn builder() -> ProfilerBuilder {
        ProfilerBuilder::default()
    }

    /// The profile as it is now, while it goes on: the text of a DHAT file.
    ///
    /// # Errors
    ///
    /// When it has ended, see [`take_profile`].
    pub fn take_profile(&self) -> Result<String, ProfilerError> {
        take_profile()
    }

    /// Ends the profile and gives it instead of saving it: the text of a DHAT file; empty if it has ended before.
    pub fn drop_and_get_memory_output(&mut self) -> String {
        hand_over(state::finish(Some(self.session), &End::Give).unwrap_or_default())
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        state::finish(Some(self.session), &End::Save);
        state::forget_assertion(self.session);
    }
}

/// The profile of the running profiler as it is now, while it goes on: the text of a DHAT file. A server can give it
/// out when asked.
///
/// # Errors
///
/// When no profiler is running, or it ended with a failed assertion.
pub fn take_profile() -> Result<String, ProfilerError> {
    let guard = guard::enter();
    let profile = state::profile_now();
    drop(guard);
    profile.map(hand_over)
}

/// Counts an event for ad hoc profiling; what its weight means is up to the program. Without an ad hoc profiler it
/// does nothing.
#[inline(never)]
pub fn ad_hoc_event(weight: usize) {
    if let Some(guard) = guard::enter()
        && state::is_ad_hoc()
    {
        sums::add_ad_hoc_event(stack::capture(&guard), weight);
    }
}

/// What a [`Profiler`] is to do.
#[derive(Clone, Debug, Default)]
pub struct ProfilerBuilder {
    is_ad_hoc: bool,
    is_testing: bool,
    file_name: Option<PathBuf>,
    mode: Option<Mode>,
    output: Option<Output>,
    sample_interval: Option<NonZeroU64>,
    trim_backtraces: Trimming,
    saves_on_exit: Exit,
    request: Request,
}

/// What a heap profiler writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Sums for each stack at the end, for DHAT's viewer: of [`Mode::Aggregate`].
    Dhat,
    /// Events while the program runs, for `heapatlas summary` and its sisters: of [`Mode::Exact`] and
    /// [`Mode::Sampled`].
    Trace,
}

/// How stacks are shortened.
#[derive(Clone, Copy, Debug)]
struct Trimming(Option<usize>);

impl Default for Trimming {
    fn default() -> Self {
        Self(Some(10))
    }
}

#[derive(Clone, Copy, Debug)]
struct Exit(bool);

impl Default for Exit {
    fn default() -> Self {
        Self(true)
    }
}

impl ProfilerBuilder {
    /// Profiles [`ad_hoc_event`]s, not the heap.
    #[must_use]
    pub fn ad_hoc(mut self) -> Self {
        self.is_ad_hoc = true;
        self
    }

    /// For tests: [`heapatlas::assert!`](crate::assert) and its sisters may be used, and the profile is saved when one of
    /// them fails and not otherwise.
    #[must_use]
    pub fn testing(mut self) -> Self {
        self.is_testing = true;
        self
    }

    /// The file that is written; `heapatlas-heap.json` or `heapatlas-ad-hoc.json` unless said otherwise.
    #[must_use]
    pub fn file_name(mut self, file_name: impl AsRef<Path>) -> Self {
        self.file_name = Some(file_name.as_ref().to_path_buf());
        self
    }

    /// What is recorded of the heap, [`Mode::Aggregate`] unless said otherwise.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// What is written. Unless said otherwise, what goes with the mode.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = Some(output);
        self
    }

    /// The mean number of bytes from one sample to the next in [`Mode::Sampled`], 512 KiB unless said otherwise.
    #[must_use]
    pub fn sample_interval(mut self, bytes: NonZeroU64) -> Self {
        self.sample_interval = Some(bytes);
        self
    }

    /// How stacks are shortened, `Some(10)` unless said otherwise.
    ///
    /// - `Some(n)`: frames that are the same everywhere are left out (those outside the function that built the
    ///   profiler, those between the program and its allocator), and of the rest the `n` innermost are kept, 4
    ///   at least. Inlined frames come on top of that. Stacks that are equal then are one.
    /// - `Some(usize::MAX)`: the same, but whole stacks. This costs no more time here.
    /// - `None`: every frame.
    #[must_use]
    pub fn trim_backtraces(mut self, max_frames: Option<usize>) -> Self {
        self.trim_backtraces = Trimming(max_frames.map(|frames| frames.max(4)));
        self
    }

    /// Whether `std::process::exit` and a return from `main` save the profile of a profiler that is not dropped: yes,
    /// unless said otherwise.
    #[must_use]
    pub fn save_on_exit(mut self, saves: bool) -> Self {
        self.saves_on_exit = Exit(saves);
        self
    }

    /// Saves the profile whenever this time has gone by, and goes on. A thread of heapatlas' own does it.
    #[must_use]
    pub fn save_every(mut self, time: Duration) -> Self {
        self.request.every = Some(time);
        self
    }

    /// Saves the profile when this signal comes (such as `libc::SIGUSR1`), and goes on. SIGINT, SIGTERM, SIGHUP and
    /// SIGQUIT then end the process, unless the program had an action of its own for them; such actions are still
    /// taken. A thread of heapatlas' own saves. For several signals, call this for each.
    #[cfg(unix)]
    #[must_use]
    pub fn save_on_signal(mut self, signal: i32) -> Self {
        self.request.signals.push(signal);
        self
    }

    /// Begins the profile.
    ///
    /// # Panics
    ///
    /// When another profiler is running, and where [`Self::try_build`] gives an error.
    #[must_use = "the profile ends when the profiler is dropped"]
    #[track_caller]
    pub fn build(self) -> Profiler {
        match self.try_build() {
            Ok(profiler) => profiler,
            Err(error) => panic!("heapatlas: creating a profiler: {error}"),
        }
    }

    /// Begins the profile.
    ///
    /// # Errors
    ///
    /// When another profiler is running; when in testing mode no [`Alloc`](crate::Alloc) is the global allocator (else
    /// that is only a warning on stderr); when the system refuses the thread or the signal.
    pub fn try_build(self) -> Result<Profiler, ProfilerError> {
        if !self.is_ad_hoc && !alloc::is_installed() {
            if self.is_testing {
                return Err(ProfilerError::NotInstalled);
            }
            say(format_args!("warning: {}", ProfilerError::NotInstalled));
        }
        save_at_exit();
        let plan = self.plan()?;
        let request = &self.request;
        let session = state::start(&plan, request)?;
        Ok(Profiler { session })
    }

    fn plan(&self) -> Result<Plan, ProfilerError> {
        let mode = match (self.mode, self.output) {
            (None, None | Some(Output::Dhat)) => Mode::Aggregate,
            (None, Some(Output::Trace)) => Mode::Exact,
            (Some(mode), None) => mode,
            (Some(Mode::Aggregate), Some(Output::Dhat)) => Mode::Aggregate,
            (Some(mode @ (Mode::Sampled | Mode::Exact)), Some(Output::Trace)) => mode,
            (Some(mode), Some(_)) => return Err(ProfilerError::Mode(mode)),
        };
        let default_name = match mode {
            _ if self.is_ad_hoc => "heapatlas-ad-hoc.json",
            Mode::Aggregate => "heapatlas-heap.json",
            Mode::Sampled | Mode::Exact if !self.is_testing => "heapatlas-heap.heaptrace",
            // Nothing to write, or nothing to assert.
            _ => return Err(ProfilerError::Mode(mode)),
        };
        let file_name = self.file_name.clone();
        Ok(Plan {
            is_ad_hoc: self.is_ad_hoc,
            mode,
            sample_interval: self.sample_interval.map_or(512 << 10, NonZeroU64::get),
            is_testing: self.is_testing,
            file_name: file_name.unwrap_or_else(|| default_name.into()),
            trim_backtraces: self.trim_backtraces.0,
            saves_on_exit: self.saves_on_exit.0,
        })
    }
}

/// Sets what is recorded from now on, for programs that switch while they run.
///
/// [`Mode::Off`] and [`Mode::Counting`] leave nothing to be written. The others begin a profile with a
/// [`Profiler`]'s defaults, which ends, and is saved, with the next call or the process.
///
/// # Errors
///
/// When no [`Alloc`](crate::Alloc) is the global allocator, and where [`ProfilerBuilder::try_build`] gives an error;
/// then what was on before is off.
pub fn set_mode(mode: Mode) -> Result<(), ProfilerError> {
    /// The session that is kept; 0 for none.
    static KEPT: AtomicU64 = AtomicU64::new(0);
    let kept = KEPT.swap(0, AcqRel);
    if kept != 0 {
        drop(Profiler { session: kept });
    }
    match mode {
        Mode::Off | Mode::Counting => alloc::set_base(mode)?,
        _ if !alloc::is_installed() => return Err(ProfilerError::NotInstalled),
        _ => {
            let profiler = Profiler::builder().mode(mode).try_build()?;
            KEPT.store(profiler.session, Release);
            std::mem::forget(profiler);
        }
    }
    Ok(())
}

/// Gives this moment a name in a running trace, which shows it, and which can be looked at from there or until there.
/// Elsewhere it does nothing.
pub fn mark(name: &str) {
    if let Some(_guard) = guard::enter() {
        alloc::trace::mark(name);
    }
}

/// Has `exit` end the profile of a profiler that was not dropped.
fn save_at_exit() {
    extern "C" fn at_exit() {
        state::finish_at_exit();
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: a function that does not unwind. Without memory for it, exit does not save.
        unsafe { libc::atexit(at_exit) };
    });
}

/// A copy that counts as the program's own, since it will be freed as such.
fn hand_over(text: String) -> String {
    let copy = text.clone();
    let guard = guard::enter();
    drop(text);
    drop(guard);
    copy
}

/// Tells the user something. If stderr is closed, nobody hears it.
pub(crate) fn say(message: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "heapatlas: {message}");
}
