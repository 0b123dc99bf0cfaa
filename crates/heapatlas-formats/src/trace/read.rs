//! A file as an allocation profile: facts first (process, threads, end), then all events in order of time.

use heapatlas_model::AllocationProfile;
use heapatlas_trace::Malformed;
use heapatlas_trace::file::{self, BlockKind};
use heapatlas_trace::payload::{self, EventsHeader, Mode, ProcessInfo};
use rayon::prelude::*;

use super::ReadOptions;
use super::asked::{is_counted, notes, range};
use super::blocks::{Block, Blocks, Unpackers, decompressor, walk};
use super::clock::Clock;
use super::columns;
use super::error::{Problem, ReadError, Warning};
use super::facts::{self, CodeMap, Facts};
use super::ledger::Ledger;
use super::profile::profile;
use super::raw;
use super::replay::Replay;
use super::sums;

/// Blocks that are unpacked at a time, while those before them are applied.
const BATCH_BLOCKS: usize = 64;
const BATCH_BYTES: usize = 32 << 20;

pub(super) fn read(
    source: &[u8],
    options: &ReadOptions,
) -> Result<(AllocationProfile, Vec<Warning>), ReadError> {
    let Blocks {
        mut blocks,
        stopped_by,
    } = walk(source)?;
    let (offset, payload) = process_payload(&blocks, stopped_by.as_ref())?;
    let process = ProcessInfo::read(&payload).map_err(|e| ReadError::block(offset, e))?;
    if file::is_raw(source) || blocks.iter().any(|block| block.kind == BlockKind::Chunk) {
        return Ok(raw::read(source, process, blocks[0].end(), options));
    }
    let (facts, damage) = Facts::gather(&mut blocks);
    if process.mode == Mode::Aggregate {
        let (profile, mut warnings, stopped) = sums::read(&blocks, &process, &facts, options)?;
        let stopped_by = damage.or(stopped_by);
        warnings.extend(sums_warning(stopped, stopped_by, facts.end.is_some()));
        return Ok((profile, warnings));
    }

    let clock = Clock::new(process.start_tick, process.ticks_per_second);
    let interval = match process.mode {
        Mode::Sampled => process.sample_interval_bytes,
        _ => 0,
    };
    let mut replay = Replay::new(Ledger::new(range(&clock, options), clock, interval));
    let mut reader = Reader {
        replay: &mut replay,
        facts: &facts,
        thread: options.thread,
        elapsed_ns: 0,
    };
    let applied = reader.apply_blocks(&blocks);
    let elapsed_ns = reader.elapsed_ns;
    let stopped_by = applied.err().or(damage).or(stopped_by);

    let mut warnings = notes(&process, &facts, options);
    warnings.append(&mut replay.warnings);
    warnings.extend(replay.ledger_warnings());
    warnings.extend(stopped_by.map(|error| cut_warning(&error, facts.end.is_some())));
    let profile = profile(&mut replay, &process, &facts, elapsed_ns);
    Ok((profile, warnings))
}

pub(super) fn code_maps(source: &[u8]) -> Result<Vec<CodeMap>, ReadError> {
    Ok(facts::code_maps(&walk(source)?.blocks))
}

/// The first block's offset and payload.
fn process_payload(
    blocks: &[Block<'_>],
    stopped_by: Option<&ReadError>,
) -> Result<(usize, Vec<u8>), ReadError> {
    match (blocks.first(), stopped_by) {
        (Some(first), _) if first.kind == BlockKind::Process => {
            Ok((first.offset, first.unpack(&mut decompressor())?))
        }
        (Some(first), _) => Err(ReadError::block(
            first.offset,
            Problem::Unexpected {
                expected: "the process as first block",
                found: format!("{:?}", first.kind),
            },
        )),
        (None, Some(error)) => Err(error.clone()),
        (None, None) => Err(ReadError::header(Problem::Truncated("the process"))),
    }
}

/// Hands blocks to the replay.
struct Reader<'a> {
    replay: &'a mut Replay,
    facts: &'a Facts,
    thread: Option<u64>,
    /// When the last events were gathered.
    elapsed_ns: u64,
}

type Unpacked<'a> = Vec<(&'a Block<'a>, Result<Vec<u8>, ReadError>)>;

impl Reader<'_> {
    /// Applies all events up to a damaged block. The next blocks are unpacked meanwhile.
    fn apply_blocks(&mut self, blocks: &[Block<'_>]) -> Result<(), ReadError> {
        let has_events = |block: &&Block<'_>| {
            matches!(
                block.kind,
                BlockKind::Modules | BlockKind::Events | BlockKind::Columns
            )
        };
        let blocks: Vec<_> = blocks.iter().filter(has_events).collect();
        let mut rest = &blocks[..];
        let mut unpacked = unpack(take_batch(&mut rest));
        let mut applied = Ok(());
        while !unpacked.is_empty() && applied.is_ok() {
            let batch = take_batch(&mut rest);
            (applied, unpacked) = rayon::join(|| self.apply_batch(unpacked), || unpack(batch));
        }
        self.replay.run(u64::MAX);
        applied
    }

    fn apply_batch(&mut self, batch: Unpacked<'_>) -> Result<(), ReadError> {
        batch.into_iter().try_for_each(|(block, payload)| {
            let payload = payload?;
            let applied = match block.kind {
                BlockKind::Modules => self.load_modules(&payload),
                BlockKind::Columns => self.apply_columns(payload, block.offset),
                _ => self.apply_events(&payload, block.offset),
            };
            applied.map_err(|malformed| ReadError::block(block.offset, malformed))
        })
    }

    fn load_modules(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let (tick, modules) = payload::read_modules(payload)?;
        let modules: Vec<_> = modules.collect::<Result<_, _>>()?;
        self.replay.code.load(tick, modules.into_iter());
        Ok(())
    }

    fn apply_events(&mut self, payload: &[u8], offset: usize) -> Result<(), Malformed> {
        let (header, segments) = payload::read_events(payload)?;
        for segment in segments {
            let segment = segment?;
            let is_counted = is_counted(self.facts, self.thread, segment.thread);
            self.replay.add(&segment, offset, is_counted);
        }
        self.run(&header);
        Ok(())
    }

    fn apply_columns(&mut self, payload: Vec<u8>, offset: usize) -> Result<(), Malformed> {
        let (header, runs) = columns::runs(payload)?;
        for run in runs {
            let is_counted = is_counted(self.facts, self.thread, run.thread);
            self.replay.add_run(run, offset, is_counted);
        }
        self.run(&header);
        Ok(())
    }

    /// Applies what was added as far as nothing older follows.
    fn run(&mut self, header: &EventsHeader) {
        self.elapsed_ns = self.elapsed_ns.max(header.elapsed_ns);
        self.replay
            .ledger
            .timeline
            .note_resident(header.elapsed_ns, header.resident_bytes);
        self.replay.run(header.tick);
    }
}

/// Takes the next blocks to be unpacked together: whole groups.
fn take_batch<'a, 'b>(rest: &mut &'a [&'b Block<'b>]) -> &'a [&'b Block<'b>] {
    let mut bytes = 0;
    let fits = |block: &&&Block<'_>| {
        bytes += block.raw_bytes();
        bytes <= BATCH_BYTES
    };
    // The largest block is smaller than a batch.
    let count = rest.iter().take(BATCH_BLOCKS).take_while(fits).count();
    let count = end_of_group(rest, count);
    let (batch, left) = rest.split_at(count);
    *rest = left;
    batch
}

/// The first place from `at` on where a group may be cut off.
fn end_of_group(blocks: &[&Block<'_>], mut at: usize) -> usize {
    loop {
        let others = blocks[at..]
            .iter()
            .take_while(|block| block.kind != BlockKind::Columns);
        let next = at + others.count();
        if !blocks
            .get(next)
            .is_some_and(|block| block.continues_group())
        {
            return at;
        }
        at = next + 1;
    }
}

fn begins_group(block: &Block<'_>) -> bool {
    block.kind == BlockKind::Columns && !block.continues_group()
}

fn unpack<'a>(batch: &'a [&'a Block<'a>]) -> Unpacked<'a> {
    let groups: Vec<_> = batch.chunk_by(|_, next| !begins_group(next)).collect();
    let unpack_group = |unpackers: &mut Unpackers, group: &&'a [&'a Block<'a>]| -> Unpacked<'a> {
        let unpack = |block: &&'a Block<'a>| (*block, unpackers.unpack(block));
        group.iter().map(unpack).collect()
    };
    let unpacked: Vec<Unpacked<'_>> = groups
        .par_iter()
        .map_init(Unpackers::new, unpack_group)
        .collect();
    unpacked.into_iter().flatten().collect()
}

/// What is missing from sums that end with a damaged block, or in a file that is not whole.
fn sums_warning(
    damaged: Option<ReadError>,
    stopped_by: Option<ReadError>,
    has_end: bool,
) -> Option<Warning> {
    match (damaged, stopped_by) {
        (Some(error), _) => Some(Warning::loss(format!(
            "the sums are not whole, what comes before was read: {error}"
        ))),
        (None, Some(error)) => Some(cut_warning(&error, has_end)),
        (None, None) if has_end => None,
        (None, None) => Some(Warning::loss(
            "the recording was not ended in good order: these are its sums as they were last written"
                .to_owned(),
        )),
    }
}

fn cut_warning(error: &ReadError, has_end: bool) -> Warning {
    if has_end {
        return Warning::note(format!(
            "every event was read, but the file is not whole: {error}"
        ));
    }
    Warning::loss(format!(
        "the recording was not ended in good order, what comes before was read: {error}"
    ))
}
