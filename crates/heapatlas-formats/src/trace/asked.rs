//! What of a recording is asked for, and what of that it cannot tell.

use std::ops::Range;

use heapatlas_trace::payload::ProcessInfo;

use super::ReadOptions;
use super::clock::Clock;
use super::error::Warning;
use super::facts::Facts;

/// The times that are asked for, as ticks.
pub(super) fn range(clock: &Clock, options: &ReadOptions) -> Range<u64> {
    let from = options.from_ns.map_or(0, |ns| clock.tick_at(ns));
    let to = options.to_ns.map_or(u64::MAX, |ns| clock.tick_at(ns));
    from..to
}

/// Whether the allocations of a thread are asked for.
pub(super) fn is_counted(facts: &Facts, wanted: Option<u64>, thread: u64) -> impl FnOnce() -> bool {
    move || wanted.is_none_or(|wanted| facts.is_os_thread(thread, wanted))
}

/// What a reader should know about a recording that is whole.
pub(super) fn notes<A>(
    process: &ProcessInfo<'_, A>,
    facts: &Facts,
    options: &ReadOptions,
) -> Vec<Warning> {
    let mut notes = Vec::new();
    if process.ticks_per_second == 0 {
        notes.push(Warning::note(
            "the clock of the recording does not say how fast it ticks: ticks are taken as nanoseconds"
                .to_owned(),
        ));
    }
    if let Some(id) = options.thread.filter(|&id| !facts.has_os_thread(id)) {
        notes.push(Warning::note(format!(
            "no thread of the recording has the number {id}"
        )));
    }
    notes
}
