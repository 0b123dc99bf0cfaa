//! The profile, put together when all events were applied.

use heapatlas_model::{
    AllocationProfile, Amount, ProfileFormat, RecordingMode, StackFigures, StackTable,
    ThreadFigures,
};
use heapatlas_trace::payload::{Mode, ProcessInfo, Strings};

use super::error::Warning;
use super::facts::{Facts, ThreadFacts};
use super::ledger::{Histogram, Ledger, StackRow, ThreadRow};
use super::replay::{Replay, Stream};

/// The profile of a recording whose last events were gathered at `elapsed_ns`.
pub(super) fn profile(
    replay: &mut Replay,
    process: &ProcessInfo<'_, Strings<'_>>,
    facts: &Facts,
    elapsed_ns: u64,
) -> AllocationProfile {
    let end_tick = end_tick(replay, facts, elapsed_ns);
    let end_tick = replay.ledger.finish(end_tick);
    books(replay, process, facts, elapsed_ns, end_tick)
}

/// The profile of a recording that goes on. (What is in the hands of `realloc` at this moment is not live.)
pub(super) fn profile_so_far(
    replay: &Replay,
    process: &ProcessInfo<'_, Strings<'_>>,
    facts: &Facts,
    elapsed_ns: u64,
) -> AllocationProfile {
    let end_tick = end_tick(replay, facts, elapsed_ns);
    books(replay, process, facts, elapsed_ns, end_tick)
}

fn end_tick(replay: &Replay, facts: &Facts, elapsed_ns: u64) -> u64 {
    let gathered = replay.ledger.clock().tick_at(elapsed_ns);
    let end_tick = facts.end.map_or(gathered, |end| end.tick);
    end_tick.max(replay.last_tick)
}

fn books(
    replay: &Replay,
    process: &ProcessInfo<'_, Strings<'_>>,
    facts: &Facts,
    elapsed_ns: u64,
    end_tick: u64,
) -> AllocationProfile {
    let Replay {
        ledger,
        code,
        streams,
        last_tick,
        ..
    } = replay;
    let figures = stack_figures(ledger);
    AllocationProfile {
        format: ProfileFormat::Heaptrace,
        mode: mode(process.mode),
        sample_interval_bytes: ledger.most_sample_interval(),
        command: command(process),
        pid: process.pid,
        start_unix_ns: process.start_unix_ns,
        duration_ns: match facts.end {
            Some(end) => end.elapsed_ns,
            None => elapsed_ns.max(ledger.clock().ns_at(*last_tick)),
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
        modules: code.modules.clone(),
        locations: code.locations.clone(),
        stacks: code.stacks.clone(),
        figures,
        threads: thread_figures(ledger, streams, facts),
        sizes: rows(&ledger.sizes),
        lifetimes: rows(&ledger.lifetimes),
        timeline: ledger.timeline(end_tick),
        marks: replay.marks().0,
        frames: Vec::new(),
    }
}

fn mode(mode: Mode) -> RecordingMode {
    match mode {
        Mode::Exact => RecordingMode::Exact,
        Mode::Sampled => RecordingMode::Sampled,
        Mode::Aggregate => RecordingMode::Aggregate,
        Mode::Counting => RecordingMode::Counting,
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
        let (marks, left_out) = self.marks();
        if left_out > 0 {
            warnings.push(Warning::loss(format!(
                "{left_out} marks are left out: there are more than {}",
                marks.len()
            )));
        }
        warnings
    }
}

pub(super) fn command(process: &ProcessInfo<'_, Strings<'_>>) -> Vec<String> {
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
    let figures = |row: &ThreadRow, thread: ThreadFacts| {
        let (peak, live_at_end) = ledger.peak_and_live(&row.balance);
        ThreadFigures {
            os_thread_id: thread.os_thread_id,
            name: thread.name,
            total: row.total,
            peak,
            live_at_end,
            frees: row.frees,
            temporary: row.temporary,
        }
    };
    let rows = ledger.threads.iter().zip(streams);
    // Marks of the launcher are in streams of their own.
    let is_thread = |row: &ThreadRow, stream: &Stream| {
        row.total.blocks > 0 || row.frees > 0 || facts.is_thread(stream.number)
    };
    let rows = rows.filter(|(row, stream)| !stream.is_unused && is_thread(row, stream));
    let rows = rows.map(|(row, stream)| figures(row, facts.thread(stream.number)));
    let retired = ledger.retired.map(|retired| {
        let facts = ThreadFacts {
            os_thread_id: 0,
            name: format!("({} ended threads)", retired.count),
        };
        figures(&retired.row, facts)
    });
    rows.chain(retired).collect()
}

/// Allocations whose stack is cut off. Parents come before their children.
pub(super) fn truncated(stacks: &StackTable, figures: &[StackFigures]) -> u64 {
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
