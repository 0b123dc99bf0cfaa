//! The profile, put together when all events were applied.

use heapatlas_model::{
    AllocationProfile, Amount, ProfileFormat, StackFigures, StackTable, ThreadFigures,
};
use heapatlas_trace::payload::{ProcessInfo, Strings};

use super::error::Warning;
use super::facts::Facts;
use super::ledger::{Histogram, Ledger, StackRow};
use super::replay::{Replay, Stream};

/// The profile of a recording whose last events were gathered at `elapsed_ns`.
pub(super) fn profile(
    replay: Replay,
    process: &ProcessInfo<'_, Strings<'_>>,
    facts: &Facts,
    elapsed_ns: u64,
) -> AllocationProfile {
    let Replay {
        mut ledger,
        code,
        streams,
        last_tick,
        ..
    } = replay;
    let end_tick = last_tick.max(ledger.clock().tick_at(elapsed_ns));
    let end_tick = facts.end.map_or(end_tick, |end| end.tick.max(last_tick));
    let end_tick = ledger.finish(end_tick);
    let figures = stack_figures(&ledger);
    AllocationProfile {
        format: ProfileFormat::Heaptrace,
        command: command(process),
        pid: process.pid,
        start_unix_ns: process.start_unix_ns,
        duration_ns: match facts.end {
            Some(end) => end.elapsed_ns,
            None => elapsed_ns.max(ledger.clock().ns_at(last_tick)),
        },
        exit_status: facts
            .end
            .and_then(|end| end.status)
            .map(|status| status as i32),
        total: ledger.total,
        frees: ledger.frees,
        peak: ledger.peak,
        peak_time_ns: ledger.clock().ns_at(ledger.peak_tick),
        live_at_end: ledger.live,
        temporary: ledger.temporary,
        truncated_stacks: truncated(&code.stacks, &figures),
        dropped_events: facts.end.map_or(0, |end| end.dropped_events),
        modules: code.modules,
        locations: code.locations,
        stacks: code.stacks,
        figures,
        mappings: ledger.mappings.figures(|tick| ledger.clock().ns_at(tick)),
        threads: thread_figures(&ledger, &streams, facts),
        sizes: rows(&ledger.sizes),
        lifetimes: rows(&ledger.lifetimes),
        timeline: ledger.take_timeline(end_tick),
        frames: Vec::new(),
    }
}

impl Replay {
    /// What does not fit together in the events.
    pub fn ledger_warnings(&self) -> Vec<Warning> {
        let Ledger {
            unknown_frees,
            missed_frees,
            ..
        } = self.ledger;
        let mut warnings = Vec::new();
        if unknown_frees > 0 {
            warnings.push(Warning::note(format!(
                "{unknown_frees} frees of blocks whose allocation was not recorded; they are not counted"
            )));
        }
        if missed_frees > 0 {
            warnings.push(Warning::loss(format!(
                "{missed_frees} blocks were allocated where another one was live, whose free was not \
                 recorded: it counts neither as live from then on nor as freed"
            )));
        }
        warnings
    }
}

fn command(process: &ProcessInfo<'_, Strings<'_>>) -> Vec<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let arguments: Vec<_> = process.arguments.map(text).collect();
    if arguments.is_empty() && !process.executable.is_empty() {
        return vec![text(process.executable)];
    }
    arguments
}

fn stack_figures(ledger: &Ledger) -> Vec<StackFigures> {
    let figures = |row: &StackRow| {
        let (peak, live_at_end) = ledger.peak_and_live(&row.balance);
        StackFigures {
            total: row.total,
            peak,
            live_at_end,
            temporary: row.temporary,
            lifetime_ns: ledger.clock().ns(row.lifetime_ticks),
        }
    };
    ledger.stacks.iter().map(figures).collect()
}

fn thread_figures(ledger: &Ledger, streams: &[Stream], facts: &Facts) -> Vec<ThreadFigures> {
    let rows = ledger.threads.iter().zip(streams);
    let figures = rows.map(|(row, stream)| {
        let (peak, live_at_end) = ledger.peak_and_live(&row.balance);
        let thread = facts.thread(stream.number);
        ThreadFigures {
            os_thread_id: thread.os_thread_id,
            name: thread.name,
            total: row.total,
            peak,
            live_at_end,
            frees: row.frees,
            temporary: row.temporary,
        }
    });
    figures.collect()
}

/// Allocations whose stack is cut off. Parents come before their children.
fn truncated(stacks: &StackTable, figures: &[StackFigures]) -> u64 {
    let mut is_cut_off = vec![false; stacks.len()];
    is_cut_off[StackTable::CUT_OFF.index()] = true;
    for index in 2..is_cut_off.len() {
        let parent = stacks.parent(heapatlas_model::StackId::from_index(index));
        is_cut_off[index] = is_cut_off[parent.index()];
    }
    let cut_off = figures
        .iter()
        .zip(&is_cut_off)
        .filter(|(_, is_cut_off)| **is_cut_off);
    cut_off.map(|(figures, _)| figures.total.blocks).sum()
}

/// A histogram up to its last row with blocks.
fn rows(histogram: &Histogram) -> Vec<Amount> {
    let used = histogram.iter().rposition(|amount| amount.blocks > 0);
    histogram[..used.map_or(0, |last| last + 1)].to_vec()
}
