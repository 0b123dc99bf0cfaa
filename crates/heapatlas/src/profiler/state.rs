//! The one profiler that may run.
//!
//! ```text
//!        Profiler is built                an assertion fails
//! Ready ------------------> Running -----------------> Asserted
//!   ^                          | dropped, exit            | dropped
//!   |                          v                          |
//!   +---------------------- Ending                        |
//!   +-----------------------------------------------------+
//! ```
//!
//! `Ending` is left without the lock: the profile is written meanwhile, and the helper thread may look at the state.

use std::cell::UnsafeCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use heapatlas_record::shard_lock::{ShardGuard, ShardLock};

use super::dhat::{self, Form};
use super::error::ProfilerError;
use super::triggers::{Request, Triggers};
use super::{file, say};
use crate::alloc::sums::{self, Report, Totals};
use crate::alloc::{self, Mode, trace};
use crate::fork;
use crate::guard;
use crate::stack;

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) is_ad_hoc: bool,
    /// Of a heap profiler.
    pub(super) mode: Mode,
    pub(super) sample_interval: u64,
    pub(super) is_testing: bool,
    pub(super) file_name: PathBuf,
    pub(super) trim_backtraces: Option<usize>,
    pub(super) saves_on_exit: bool,
}

/// A profiler that runs.
struct Session {
    number: u64,
    plan: Plan,
    process: u32,
    triggers: Option<Triggers>,
}

enum Phase {
    Ready,
    Running(Session),
    Ending,
    /// The number of the session that did.
    Asserted(u64),
}

/// Behind a lock that a fork holds: another thread's, held while a process forks, would stay locked in the child.
struct LockedPhase {
    lock: ShardLock,
    phase: UnsafeCell<Phase>,
}

// SAFETY: the phase is reached under the lock only, and what is in it may be sent.
unsafe impl Sync for LockedPhase {}

static PHASE: LockedPhase = LockedPhase {
    lock: ShardLock::new(),
    phase: UnsafeCell::new(Phase::Ready),
};

struct PhaseGuard {
    _guard: ShardGuard<'static>,
}

impl Deref for PhaseGuard {
    type Target = Phase;

    fn deref(&self) -> &Phase {
        // SAFETY: the lock is held.
        unsafe { &*PHASE.phase.get() }
    }
}

impl DerefMut for PhaseGuard {
    fn deref_mut(&mut self) -> &mut Phase {
        // SAFETY: the lock is held, and `self` is borrowed.
        unsafe { &mut *PHASE.phase.get() }
    }
}

/// `None` if whoever has it does not come back: a signal handler interrupted it, say, and asks here.
fn phase() -> Option<PhaseGuard> {
    let guard = PHASE.lock.lock()?;
    Some(PhaseGuard { _guard: guard })
}

static TABLES: fork::Tables = fork::Tables {
    hold: hold_for_fork,
    open: open_after_fork,
};

/// Nobody changes the state until [`open_after_fork`].
fn hold_for_fork() {
    if let Some(guard) = PHASE.lock.lock() {
        ShardLock::hold(guard);
    }
}

/// In the parent and in the child.
fn open_after_fork() {
    PHASE.lock.open();
}

/// Starts a session and gives its number.
#[inline(never)]
pub(super) fn start(plan: &Plan, request: &Request) -> Result<u64, ProfilerError> {
    let Some(guard) = guard::enter() else {
        return Err(ProfilerError::AlreadyRunning);
    };
    fork::include(fork::Rank::Profiler, &TABLES);
    let Some(mut phase) = phase().filter(|phase| matches!(**phase, Phase::Ready)) else {
        return Err(ProfilerError::AlreadyRunning);
    };
    if plan.is_trace() {
        start_trace(plan).map_err(ProfilerError::System)?;
    }
    let number = next_number();
    // Its thread looks at the state no sooner than we let it go.
    let triggers = request.start(number).map_err(|error| {
        trace::stop();
        ProfilerError::System(error)
    })?;
    let session = Session {
        number,
        plan: plan.clone(),
        process: std::process::id(),
        triggers,
    };
    if !plan.is_trace() {
        let start = stack::capture(&guard);
        match plan.trim_backtraces {
            Some(frames) => sums::begin(frames, Some(start)),
            None => sums::begin(usize::MAX, None),
        }
    }
    *phase = Phase::Running(session);
    IS_AD_HOC.store(plan.is_ad_hoc, Relaxed);
    if !plan.is_ad_hoc {
        alloc::record(plan.mode);
    }
    Ok(number)
}

fn start_trace(plan: &Plan) -> io::Result<()> {
    let interval = (plan.mode == Mode::Sampled).then_some(plan.sample_interval);
    let name = &plan.file_name;
    let started = file::create(name).and_then(|file| trace::start(&file, interval));
    started.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", name.display())))
}

impl Plan {
    /// Whether events are written while the program runs.
    fn is_trace(&self) -> bool {
        !self.is_ad_hoc && matches!(self.mode, Mode::Sampled | Mode::Exact)
    }
}

/// Whether events of ad hoc profiling are recorded.
pub(super) fn is_ad_hoc() -> bool {
    IS_AD_HOC.load(Relaxed)
}

static IS_AD_HOC: AtomicBool = AtomicBool::new(false);

fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// The figures of the running profiler, which is of the kind that is asked for.
pub(super) fn totals_of(ad_hoc: bool) -> Result<Totals, ProfilerError> {
    let guard = guard::enter();
    let phase = phase().ok_or(ProfilerError::NotRunning)?;
    let found = match &*phase {
        Phase::Ready | Phase::Ending => Err(ProfilerError::NotRunning),
        Phase::Asserted(_) => Err(ProfilerError::HasAsserted),
        Phase::Running(session) => match (session.plan.is_ad_hoc, ad_hoc) {
            (true, false) => Err(ProfilerError::IsAdHoc),
            (false, true) => Err(ProfilerError::IsHeap),
            _ if session.plan.is_trace() => Err(ProfilerError::NoSums),
            _ => sums::totals().ok_or(ProfilerError::NotRunning),
        },
    };
    drop((phase, guard));
    found
}

/// The profile as it is now.
pub(super) fn profile_now() -> Result<String, ProfilerError> {
    let phase = phase().ok_or(ProfilerError::NotRunning)?;
    let (report, form) = match &*phase {
        Phase::Ready | Phase::Ending => return Err(ProfilerError::NotRunning),
        Phase::Asserted(_) => return Err(ProfilerError::HasAsserted),
        Phase::Running(session) => (session.report()?, session.form()),
    };
    // Names take their time.
    drop(phase);
    Ok(dhat::write(&report, form))
}

/// Saves the profile of a session that goes on. Nothing if it has ended.
pub(super) fn save(number: u64) {
    let Some(phase) = phase() else { return };
    let (report, form, name) = match &*phase {
        Phase::Running(session) if session.number == number && session.plan.is_trace() => {
            trace::flush();
            return;
        }
        Phase::Running(session) if session.number == number => {
            let Ok(report) = session.report() else { return };
            (report, session.form(), session.plan.file_name.clone())
        }
        _ => return,
    };
    drop(phase);
    let profile = dhat::write(&report, form);
    if let Err(error) = file::write(&name, profile.as_bytes()) {
        let name = name.display();
        say(format_args!("error: writing to {name} failed: {error}"));
    }
}

/// What becomes of a session that ends.
pub(super) enum End {
    /// The profile is saved, but not in testing mode.
    Save,
    /// The profile is given.
    Give,
    /// As `Save`, if exit is to save.
    Exit,
}

/// Ends a session: the one with this number, or whichever runs. The profile, if it is to be given.
pub(super) fn finish(number: Option<u64>, end: &End) -> Option<String> {
    let guard = guard::enter();
    let session = take(number, Phase::Ending)?;
    let profile = session.finish(end);
    if let Some(mut phase) = phase() {
        *phase = Phase::Ready;
    }
    drop(guard);
    profile
}

/// An assertion is about to be made; `holds` says whether it fails. Whether it did: then the profile is saved.
pub(super) fn has_failed(holds: &mut dyn FnMut() -> bool) -> Result<bool, ProfilerError> {
    let guard = guard::enter();
    let phase = phase().ok_or(ProfilerError::NotRunning)?;
    let number = match &*phase {
        Phase::Ready | Phase::Ending => return Err(ProfilerError::NotRunning),
        Phase::Asserted(_) => return Err(ProfilerError::HasAsserted),
        Phase::Running(session) if !session.plan.is_testing => {
            return Err(ProfilerError::NotTesting);
        }
        Phase::Running(session) => session.number,
    };
    drop(phase);
    if holds() {
        return Ok(false);
    }
    if let Some(session) = take(Some(number), Phase::Asserted(number)) {
        session.stop();
        session.save();
        session.end();
    }
    drop(guard);
    Ok(true)
}

/// A profiler is dropped whose assertion has failed.
pub(super) fn forget_assertion(number: u64) {
    if let Some(mut phase) = phase()
        && matches!(*phase, Phase::Asserted(asserted) if asserted == number)
    {
        *phase = Phase::Ready;
    }
}

/// The process ends. Another thread that is writing the profile is waited for, but not for ever.
pub(super) fn finish_at_exit() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let Some(phase) = phase() else { break };
        if !matches!(*phase, Phase::Ending) {
            drop(phase);
            finish(None, &End::Exit);
            return;
        }
        drop(phase);
        std::thread::sleep(Duration::from_millis(1));
    }
    say(format_args!(
        "error: the profile is not saved at exit, since it was in use"
    ));
}

/// Takes the running session out, if it has this number.
fn take(number: Option<u64>, next: Phase) -> Option<Session> {
    let mut phase = phase()?;
    match &*phase {
        Phase::Running(session) if number.is_none_or(|number| session.number == number) => {}
        _ => return None,
    }
    match std::mem::replace(&mut *phase, next) {
        Phase::Running(session) => Some(session),
        _ => None,
    }
}

impl Session {
    fn finish(mut self, end: &End) -> Option<String> {
        if self.process != std::process::id() {
            // A forked child: the profile is its parent's, and so is the helper thread.
            std::mem::forget(self.triggers.take());
            self.end();
            return None;
        }
        self.stop();
        if self.plan.is_trace() {
            self.end_trace();
            self.end();
            return None;
        }
        let given = match end {
            End::Give => (self.report().ok()).map(|report| dhat::write(&report, self.form())),
            End::Exit if !self.plan.saves_on_exit => None,
            End::Save | End::Exit => {
                if !self.plan.is_testing {
                    self.save();
                }
                None
            }
        };
        self.end();
        given
    }

    /// Nothing is recorded from now on, and the helper thread has gone.
    fn stop(&self) {
        alloc::stop_recording();
        if let Some(triggers) = &self.triggers {
            triggers.stop();
        }
    }

    fn end(self) {
        IS_AD_HOC.store(false, Relaxed);
        alloc::stop_recording();
        sums::end();
    }

    /// A trace is on the disk already, whatever is to become of it.
    fn end_trace(&self) {
        let name = self.plan.file_name.display();
        let Some(stats) = trace::stop() else {
            return;
        };
        if let Some(number) = stats.error {
            let error = io::Error::from_raw_os_error(number);
            say(format_args!(
                "error: writing to {name} failed, the trace ends there: {error}"
            ));
        }
        if stats.dropped_events > 0 {
            let dropped = with_commas(stats.dropped_events);
            say(format_args!(
                "warning: {dropped} events are not in the trace"
            ));
        }
        let bytes = with_commas(stats.bytes_written);
        say(format_args!(
            "{bytes} bytes of events have been saved to {name}; `heapatlas summary {name}` shows them"
        ));
    }

    fn report(&self) -> Result<Report, ProfilerError> {
        if self.plan.is_trace() {
            return Err(ProfilerError::NoSums);
        }
        sums::report().ok_or(ProfilerError::NotRunning)
    }

    fn form(&self) -> Form {
        Form {
            is_ad_hoc: self.plan.is_ad_hoc,
            is_trimmed: self.plan.trim_backtraces.is_some(),
        }
    }

    /// Saves the profile, and says what is in it.
    fn save(&self) {
        let Ok(report) = self.report() else {
            return;
        };
        self.say_totals(&report);
        let name = self.plan.file_name.display();
        let profile = dhat::write(&report, self.form());
        match file::write(&self.plan.file_name, profile.as_bytes()) {
            Ok(()) => say(format_args!(
                "The data has been saved to {name}, and is viewable with dhat/dh_view.html"
            )),
            Err(error) => say(format_args!("error: writing to {name} failed: {error}")),
        }
    }

    fn say_totals(&self, report: &Report) {
        let totals = &report.totals;
        let (units, events) = match self.plan.is_ad_hoc {
            true => ("units", "events"),
            false => ("bytes", "blocks"),
        };
        let say_amounts = |name: &str, amounts: sums::Amounts| {
            let (bytes, blocks) = (amounts.bytes, amounts.blocks);
            let [bytes, blocks] = [bytes, blocks].map(with_commas);
            say(format_args!("{name} {bytes} {units} in {blocks} {events}"));
        };
        say_amounts("Total:    ", totals.total);
        if !self.plan.is_ad_hoc {
            say_amounts("At t-gmax:", totals.max);
            say_amounts("At t-end: ", totals.current);
        }
        if totals.dropped_blocks > 0 {
            let dropped = with_commas(totals.dropped_blocks);
            say(format_args!(
                "warning: {dropped} {events} are missing, since there was no memory to note them"
            ));
        }
    }
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(with_commas(number), expected);
        }
    }
}
