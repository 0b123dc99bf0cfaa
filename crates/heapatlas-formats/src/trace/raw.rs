//! Files that the measured process itself wrote: chunks of its threads' streams in the order in which they became full,
//! which says nothing about what happened when. A thread may have held a chunk open for hours.
//!
//! So all chunks are found first, and then put in order by the tick at which they begin: when all that begin before a tick
//! were handed to the replay, everything before that tick can be applied. Chunks stay in the file until their turn, so
//! memory is taken for those only that overlap in time.
//!
//! Damage: each chunk stands for itself, so what comes behind a damaged one is found again by the mark at the beginning of
//! blocks. Of a thread that misses a chunk the rest is left out, since nobody knows which stacks it means.

use std::collections::BTreeMap;

use heapatlas_model::AllocationProfile;
use heapatlas_trace::file::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec};
use heapatlas_trace::payload::{self, End, Mode, ProcessInfo, Segment, Strings, ThreadInfo};
use heapatlas_trace::raw::{Chunk, ChunkKind};
use heapatlas_trace::shared::CHUNK_BYTES;

use super::ReadOptions;
use super::asked::{is_counted, notes, range};
use super::blocks::{Block, decompressor, next_block};
use super::clock::Clock;
use super::error::{Problem, ReadError, Warning};
use super::facts::Facts;
use super::ledger::Ledger;
use super::profile::profile;
use super::replay::Replay;

/// Where a block may begin behind damage: so often it is tried in vain.
const MAX_ATTEMPTS: usize = 10_000;

/// Warnings of one kind at most.
const MAX_WARNINGS: usize = 20;

/// What a file holds, behind its first block.
#[derive(Default)]
struct Found<'a> {
    pieces: Vec<Piece<'a>>,
    end: Option<End>,
    warnings: Warnings,
}

/// A chunk or a piece of one, and where its block is.
#[derive(Clone, Copy)]
struct Piece<'a> {
    offset: usize,
    chunk: Chunk<'a>,
}

/// One thread's pieces, or those of one list of modules, as far as they are whole.
struct Stream<'a> {
    pieces: Vec<Piece<'a>>,
    is_ended: bool,
    /// Where the first piece is that does not follow.
    gap_at: Option<usize>,
}

#[derive(Default)]
struct Warnings {
    warnings: Vec<Warning>,
    left_out: usize,
}

/// Reads what comes behind the process block, whose block ends at `offset`.
pub(super) fn read(
    source: &[u8],
    process: ProcessInfo<'_, Strings<'_>>,
    offset: usize,
    options: &ReadOptions,
) -> (AllocationProfile, Vec<Warning>) {
    let Found {
        pieces,
        end,
        mut warnings,
    } = find(source, offset);
    let (lists, events): (Vec<_>, Vec<_>) = pieces
        .into_iter()
        .partition(|piece| piece.chunk.kind != ChunkKind::Events);
    let mut facts = Facts::default();
    facts.end = end;
    for Piece { chunk, .. } in &events {
        facts.note_thread(&ThreadInfo {
            thread: chunk.thread,
            os_thread_id: chunk.os_thread_id,
            name: chunk.thread_name,
        });
    }
    let process = ProcessInfo {
        ticks_per_second: ticks_per_second(&process, &events, end),
        ..process
    };
    let clock = Clock::new(process.start_tick, process.ticks_per_second);
    let interval = match process.mode {
        Mode::Sampled => process.sample_interval_bytes,
        _ => 0,
    };
    let mut replay = Replay::new(Ledger::new(range(&clock, options), clock, interval));
    load_modules(lists, &mut replay, &mut warnings);
    let elapsed_ns = note_resident(&events, &mut replay);
    apply(events, &mut replay, &facts, options, &mut warnings);

    let mut all = notes(&process, &facts, options);
    all.append(&mut replay.warnings);
    all.extend(replay.ledger_warnings());
    if end.is_none() {
        all.push(Warning::loss(
            "the recording was not ended in good order: what the program had not written by then is missing"
                .to_owned(),
        ));
    }
    all.extend(warnings.take());
    (profile(&mut replay, &process, &facts, elapsed_ns), all)
}

/// All blocks that are whole.
fn find(source: &[u8], offset: usize) -> Found<'_> {
    let mut found = Found::default();
    let mut attempts = 0;
    let mut offset = offset;
    while offset < source.len() {
        let start = offset;
        let error = match block_at(source, offset) {
            Ok((block, end)) => {
                offset = end;
                let taken = match block {
                    Some(block) => found.take(&block),
                    None => Err(unexpected(start, "a kind that is not known")),
                };
                match taken {
                    Ok(()) => continue,
                    Err(error) => error,
                }
            }
            Err(error) => {
                let next = next_whole_block(source, offset + 1, &mut attempts);
                offset = next.unwrap_or(source.len());
                error
            }
        };
        let rest = match offset {
            end if end == source.len() => "the rest of the file".to_owned(),
            next => format!("what comes before byte {next}"),
        };
        let message = format!("{rest} is left out: {error}");
        found.warnings.add(Warning::loss(message));
    }
    found
}

/// The block at an offset, if its kind is known, and where the next one begins. Its payload is as it was written.
fn block_at(source: &[u8], offset: usize) -> Result<(Option<Block<'_>>, usize), ReadError> {
    let (block, stored) = next_block(source, offset)?;
    if let Some(block) = &block {
        block.check_sum()?;
    }
    Ok((block, offset + BLOCK_HEADER_BYTES + stored.len()))
}

/// Where the next block begins that is whole and that such files have; `None` if there is none.
fn next_whole_block(source: &[u8], from: usize, attempts: &mut usize) -> Option<usize> {
    // Their zeroes make marks in other bytes rare, and short payloads the sums cheap.
    let is_likely = |header: &BlockHeader| {
        matches!(
            BlockKind::from_code(header.kind),
            Some(BlockKind::Chunk | BlockKind::End)
        ) && header.codec == Codec::Plain as u8
            && header.stored_bytes == header.raw_bytes
            && header.stored_bytes as usize <= 2 * CHUNK_BYTES
    };
    let marks = memchr::memmem::find_iter(source.get(from..)?, b"HTB1");
    for mark in marks.map(|mark| from + mark) {
        let header = source[mark..].first_chunk();
        if !header
            .and_then(BlockHeader::from_bytes)
            .is_some_and(|header| is_likely(&header))
        {
            continue;
        }
        if block_at(source, mark).is_ok() {
            return Some(mark);
        }
        *attempts += 1;
        if *attempts == MAX_ATTEMPTS {
            return None;
        }
    }
    None
}

impl<'a> Found<'a> {
    fn take(&mut self, block: &Block<'a>) -> Result<(), ReadError> {
        let malformed = |error| ReadError::block(block.offset, error);
        match block.kind {
            BlockKind::Chunk => {
                let stored = block.plain().ok_or_else(|| block.packed_otherwise())?;
                self.pieces.push(Piece {
                    offset: block.offset,
                    chunk: Chunk::read(stored).map_err(malformed)?,
                });
            }
            BlockKind::End => {
                let payload = block.unpack(&mut decompressor())?;
                self.end = Some(End::read(&payload).map_err(malformed)?);
            }
            kind => return Err(unexpected(block.offset, &format!("{kind:?}"))),
        }
        Ok(())
    }
}

/// Such a file has only chunks behind its first block, and an end: a block of another kind was one of these.
fn unexpected(offset: usize, found: &str) -> ReadError {
    let problem = Problem::Unexpected {
        expected: "a chunk or the end",
        found: found.to_owned(),
    };
    ReadError::block(offset, problem)
}

/// How fast the clock ticks, from the longest time that is told; 0 where none is.
fn ticks_per_second<A>(
    process: &ProcessInfo<'_, A>,
    events: &[Piece<'_>],
    end: Option<End>,
) -> u64 {
    let told = events
        .iter()
        .map(|piece| (piece.chunk.elapsed_ns, piece.chunk.tick));
    let told = told.chain(end.map(|end| (end.elapsed_ns, end.tick)));
    let (elapsed_ns, tick) = told.max().unwrap_or_default();
    let ticks = u128::from(tick.saturating_sub(process.start_tick));
    let rate = (ticks * 1_000_000_000).checked_div(u128::from(elapsed_ns));
    rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
}

/// The pieces of each thread or list by its number, in order, as far as none is missing.
fn streams(pieces: Vec<Piece<'_>>) -> BTreeMap<u64, Stream<'_>> {
    let mut by_number: BTreeMap<u64, Vec<Piece<'_>>> = BTreeMap::new();
    for piece in pieces {
        by_number.entry(piece.chunk.thread).or_default().push(piece);
    }
    let streams = by_number.into_iter();
    streams
        .map(|(number, pieces)| (number, Stream::of(pieces)))
        .collect()
}

impl<'a> Stream<'a> {
    fn of(mut pieces: Vec<Piece<'a>>) -> Self {
        pieces.sort_by_key(|piece| (piece.chunk.sequence, piece.chunk.from));
        let (mut sequence, mut from) = (1, 0);
        let follows = |piece: &&Piece<'_>| {
            let chunk = &piece.chunk;
            let follows = (chunk.sequence, chunk.from) == (sequence, from);
            (sequence, from) = match chunk.is_last_piece {
                true => (sequence.wrapping_add(1), 0),
                false => (sequence, from.wrapping_add(chunk.bytes.len() as u64)),
            };
            follows
        };
        let whole = pieces.iter().take_while(follows).count();
        let gap_at = pieces.get(whole).map(|piece| piece.offset);
        pieces.truncate(whole);
        let is_ended = pieces.last().is_some_and(|piece| {
            piece.chunk.kind == ChunkKind::ModulesEnd && piece.chunk.is_last_piece
        });
        Self {
            pieces,
            is_ended,
            gap_at,
        }
    }
}

/// Lists that are not whole are not used.
fn load_modules(pieces: Vec<Piece<'_>>, replay: &mut Replay, warnings: &mut Warnings) {
    let payload = |stream: &Stream<'_>| -> Vec<u8> {
        let pieces = stream.pieces.iter();
        pieces
            .flat_map(|piece| piece.chunk.bytes)
            .copied()
            .collect()
    };
    let streams = streams(pieces);
    let (whole, cut): (Vec<_>, Vec<_>) = streams
        .values()
        .partition(|stream| stream.is_ended && stream.gap_at.is_none());
    let payloads: Vec<_> = whole.into_iter().map(payload).collect();
    let read = |payload: &'_ Vec<u8>| payload::read_modules(payload).map(|(tick, _)| tick).ok();
    let mut lists: Vec<_> = payloads
        .iter()
        .filter_map(|payload| Some((read(payload)?, payload)))
        .collect();
    lists.sort_by_key(|(tick, _)| *tick);
    let mut malformed = payloads.len() - lists.len();
    for (tick, payload) in lists {
        let modules = payload::read_modules(payload).map(|(_, modules)| modules.collect());
        match modules.and_then(|modules: Result<Vec<_>, _>| modules) {
            Ok(modules) => replay.code.load(tick, modules.into_iter()),
            Err(_) => malformed += 1,
        }
    }
    let missing = cut.len() + malformed;
    if missing > 0 {
        warnings.add(Warning::loss(format!(
            "{missing} lists of loaded files are not whole: names of functions may be missing or wrong"
        )));
    }
}

/// Gives when the last chunk was written.
fn note_resident(events: &[Piece<'_>], replay: &mut Replay) -> u64 {
    let mut told: Vec<_> = events
        .iter()
        .map(|piece| (piece.chunk.elapsed_ns, piece.chunk.resident_bytes))
        .collect();
    told.sort_unstable();
    for &(elapsed_ns, resident_bytes) in &told {
        let timeline = &mut replay.ledger.timeline;
        timeline.note_resident(elapsed_ns, resident_bytes);
    }
    told.last().map_or(0, |(elapsed_ns, _)| *elapsed_ns)
}

/// Applies all events, those of all threads in order of time.
fn apply(
    pieces: Vec<Piece<'_>>,
    replay: &mut Replay,
    facts: &Facts,
    options: &ReadOptions,
    warnings: &mut Warnings,
) {
    let mut all = Vec::with_capacity(pieces.len());
    for (thread, stream) in streams(pieces) {
        if let Some(offset) = stream.gap_at {
            warnings.add(Warning::loss(format!(
                "the events of thread {thread} are left out from the block at byte {offset} on: what comes \
                 before them is missing"
            )));
        }
        // A thread's clock never goes back; were it to, its events would stay in order.
        let mut begins = 0;
        all.extend(stream.pieces.into_iter().map(|piece| {
            begins = piece.chunk.base_tick.max(begins);
            (begins, piece)
        }));
    }
    all.sort_by_key(|(begins, _)| *begins);
    for (begins, Piece { offset, chunk }) in all {
        // Nothing before it is yet to come.
        if let Some(before) = begins.checked_sub(1) {
            replay.run(before);
        }
        let segment = Segment {
            thread: chunk.thread,
            base_tick: (chunk.from == 0).then_some(chunk.base_tick),
            bytes: chunk.bytes,
            // That is for writers.
            is_exclusive: false,
        };
        replay.add(
            &segment,
            offset,
            is_counted(facts, options.thread, chunk.thread),
        );
    }
    replay.run(u64::MAX);
}

impl Warnings {
    fn add(&mut self, warning: Warning) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        } else {
            self.left_out += 1;
        }
    }

    fn take(mut self) -> Vec<Warning> {
        if self.left_out > 0 {
            let message = format!("{} more places in the file are damaged", self.left_out);
            self.warnings.push(Warning::loss(message));
        }
        self.warnings
    }
}
