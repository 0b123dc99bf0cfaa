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

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::dhat::{self, Form};
use super::error::ProfilerError;
use super::triggers::{Request, Triggers};
use super::{file, say};
use crate::alloc::sums::{self, Report, Totals};
use crate::alloc::{self, Mode};
use crate::guard;
use crate::stack::{self, StackId};

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) is_ad_hoc: bool,
    pub(super) is_testing: bool,
    pub(super) file_name: PathBuf,
    pub(super) trim_backtraces: Option<usize>,
    pub(super) saves_on_exit: bool,
}

/// A profiler that runs.
struct Session {
    number: u64,
    plan: Plan,
    start: StackId,
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

static PHASE: Mutex<Phase> = Mutex::new(Phase::Ready);

fn phase() -> MutexGuard<'static, Phase> {
    PHASE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a session and gives its number.
#[inline(never)]
pub(super) fn start(plan: &Plan, request: &Request) -> Result<u64, ProfilerError> {
    let Some(guard) = guard::enter() else {
        return Err(ProfilerError::AlreadyRunning);
    };
    let mut phase = phase();
    if !matches!(*phase, Phase::Ready) {
        return Err(ProfilerError::AlreadyRunning);
    }
    let number = next_number();
    let session = Session {
        number,
        plan: plan.clone(),
        start: stack::capture(&guard),
        process: std::process::id(),
        // Its thread looks at the state no sooner than we let it go.
        triggers: request.start(number).map_err(ProfilerError::System)?,
    };
    sums::begin(plan.trim_backtraces.unwrap_or(usize::MAX));
    *phase = Phase::Running(session);
    IS_AD_HOC.store(plan.is_ad_hoc, Relaxed);
    if !plan.is_ad_hoc {
        alloc::record(Mode::Aggregate);
    }
    Ok(number)
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
    let found = match &*phase() {
        Phase::Ready | Phase::Ending => Err(ProfilerError::NotRunning),
        Phase::Asserted(_) => Err(ProfilerError::HasAsserted),
        Phase::Running(session) => match (session.plan.is_ad_hoc, ad_hoc) {
            (true, false) => Err(ProfilerError::IsAdHoc),
            (false, true) => Err(ProfilerError::IsHeap),
            _ => sums::totals().ok_or(ProfilerError::NotRunning),
        },
    };
    drop(guard);
    found
}

/// The profile as it is now.
pub(super) fn profile_now() -> Result<String, ProfilerError> {
    let (report, form) = match &*phase() {
        Phase::Ready | Phase::Ending => return Err(ProfilerError::NotRunning),
        Phase::Asserted(_) => return Err(ProfilerError::HasAsserted),
        Phase::Running(session) => (session.report()?, session.form()),
    };
    // Without the lock: names take their time.
    Ok(dhat::write(&report, form))
}

/// Saves the profile of a session that goes on. Nothing if it has ended.
pub(super) fn save(number: u64) {
    let (report, form, name) = match &*phase() {
        Phase::Running(session) if session.number == number => {
            let Ok(report) = session.report() else { return };
            (report, session.form(), session.plan.file_name.clone())
        }
        _ => return,
    };
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
    *phase() = Phase::Ready;
    drop(guard);
    profile
}

/// An assertion is about to be made; `holds` says whether it fails. Whether it did: then the profile is saved.
pub(super) fn has_failed(holds: &mut dyn FnMut() -> bool) -> Result<bool, ProfilerError> {
    let guard = guard::enter();
    let number = match &*phase() {
        Phase::Ready | Phase::Ending => return Err(ProfilerError::NotRunning),
        Phase::Asserted(_) => return Err(ProfilerError::HasAsserted),
        Phase::Running(session) if !session.plan.is_testing => {
            return Err(ProfilerError::NotTesting);
        }
        Phase::Running(session) => session.number,
    };
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
    let mut phase = phase();
    if matches!(*phase, Phase::Asserted(asserted) if asserted == number) {
        *phase = Phase::Ready;
    }
}

/// The process ends. Whoever holds the state may be the thread that this interrupted, so nobody waits for ever.
pub(super) fn finish_at_exit() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        // Another thread that is writing is waited for.
        let is_free = match PHASE.try_lock() {
            Ok(phase) => !matches!(*phase, Phase::Ending),
            Err(TryLockError::Poisoned(_)) => true,
            Err(TryLockError::WouldBlock) => false,
        };
        if is_free {
            finish(None, &End::Exit);
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    say(format_args!(
        "error: the profile is not saved at exit, since it was in use"
    ));
}

/// Takes the running session out, if it has this number.
fn take(number: Option<u64>, next: Phase) -> Option<Session> {
    let mut phase = phase();
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

    fn report(&self) -> Result<Report, ProfilerError> {
        sums::report().ok_or(ProfilerError::NotRunning)
    }

    fn form(&self) -> Form {
        Form {
            is_ad_hoc: self.plan.is_ad_hoc,
            is_trimmed: self.plan.trim_backtraces.is_some(),
            start: self.start,
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
