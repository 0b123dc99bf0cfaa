//! The writer. The launcher of a measured program feeds it while the program runs, so each call ends
//! with all that it was given in the hands of the output.

use std::io;

use heapatlas_trace::file::{
    self, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, MAX_PAYLOAD_BYTES,
};
use heapatlas_trace::payload::{
    self, End, EventsHeader, IndexEntry, MapFile, ModuleInfo, ProcessInfo, Put, Segment, ThreadInfo,
};
use heapatlas_trace::{Decoder, Event};
use rustc_hash::FxHashMap;
use zstd::bulk::Compressor;

use super::columns::Columns;

/// Payloads end with the first segment that makes them this long: readers unpack blocks in parallel.
const PAYLOAD_BYTES: usize = 4 << 20;

/// The longest segment that fits a payload whatever stands before it.
const MAX_SEGMENT_BYTES: usize = MAX_PAYLOAD_BYTES - PAYLOAD_BYTES - 128;

/// Columns pack so well that this costs no more than level 1; the levels above save a few percent.
const LEVEL: i32 = 3;

/// Where order does not hang on them, times are told in units of about 20 µs: so many are a second. Finer
/// ones would be most of the file.
const COARSE_UNITS_PER_SECOND: u64 = 50_000;

/// Writes a trace block by block, each in one `write_all`.
pub struct Writer<W> {
    out: W,
    compressor: Compressor<'static>,
    payload: Payload,
    /// The block that is being put together, header and stored payload.
    block: Vec<u8>,
    index: Vec<IndexEntry>,
    bytes_written: u64,
    /// Coarse times are in units of two to the power of this, in ticks.
    coarse_shift: u32,
    /// Modules were written since the last events: which ones hold hangs on ticks.
    has_new_modules: bool,
    /// Of each thread's stream.
    decoders: FxHashMap<u64, Decoder>,
    /// The tick of the last gathering, up to which all events were written.
    gathered_tick: u64,
}

#[derive(Default)]
struct Payload(Vec<u8>);

impl Put for Payload {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl<W: io::Write> Writer<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// When the output fails. So do all methods.
    pub fn new<A>(out: W, process: &ProcessInfo<'_, A>) -> io::Result<Self>
    where
        A: Clone + IntoIterator<Item: AsRef<[u8]>>,
    {
        let mut writer = Self {
            out,
            compressor: Compressor::new(LEVEL)?,
            payload: Payload::default(),
            block: Vec::new(),
            index: Vec::new(),
            bytes_written: 0,
            coarse_shift: (process.ticks_per_second / COARSE_UNITS_PER_SECOND)
                .checked_ilog2()
                .unwrap_or(0),
            has_new_modules: false,
            decoders: FxHashMap::default(),
            gathered_tick: 0,
        };
        writer.write_all(&file::header())?;
        process.write(&mut writer.payload);
        writer.finish_block(BlockKind::Process)?;
        Ok(writer)
    }

    /// Has all times told as they are. The file becomes several times as large.
    #[must_use]
    pub fn with_exact_times(mut self) -> Self {
        self.coarse_shift = 0;
        self
    }

    /// The modules that are loaded from a tick on, in place of those before. To be called before the
    /// [`events`](Self::events) of that time.
    ///
    /// # Errors
    /// Also when their names take more than 16 MiB.
    pub fn modules(&mut self, tick: u64, modules: &[ModuleInfo<'_>]) -> io::Result<()> {
        self.has_new_modules = true;
        payload::write_modules(&mut self.payload, tick, modules);
        self.finish_block(BlockKind::Modules)
    }

    /// A thread's number and name, any number of times.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn thread(&mut self, thread: &ThreadInfo<'_>) -> io::Result<()> {
        thread.write(&mut self.payload);
        self.finish_block(BlockKind::Thread)
    }

    /// What was gathered of the threads' streams: all events before `tick`, and perhaps some after it.
    /// `elapsed_ns` is since the recording began, `resident_bytes` 0 where unknown.
    ///
    /// # Errors
    /// Also when a segment has more than about 12 MiB.
    pub fn events<'a>(
        &mut self,
        tick: u64,
        elapsed_ns: u64,
        resident_bytes: u64,
        segments: impl Iterator<Item = Segment<'a>>,
    ) -> io::Result<()> {
        let header = EventsHeader {
            tick,
            elapsed_ns,
            resident_bytes,
        };
        // Only the last block of a gathering may say that nothing older follows.
        let not_last = EventsHeader {
            tick: self.gathered_tick,
            ..header
        };
        let segments: Vec<Segment<'_>> = segments.collect();
        // The order of one thread's events needs no ticks, and nobody reads times more exactly.
        let is_alone = segments
            .windows(2)
            .all(|pair| pair[0].thread == pair[1].thread);
        let is_coarse = is_alone && !std::mem::take(&mut self.has_new_modules);
        let shift = if is_coarse { self.coarse_shift } else { 0 };
        let mut timely = Columns::new(shift);
        let mut late = vec![Columns::new(0)];
        let mut damaged = Payload::default();
        for segment in segments {
            if segment.bytes.len() > MAX_SEGMENT_BYTES {
                return Err(too_large("a segment"));
            }
            if timely.bytes() >= PAYLOAD_BYTES {
                self.finish_columns(&mut timely, not_last)?;
            }
            if damaged.0.len() >= PAYLOAD_BYTES {
                self.finish_events(&mut damaged, not_last)?;
            }
            let (events, rest) = self.decode(&segment);
            let is_late = |event: &Event<'_>| event.tick().is_some_and(|at| at > tick);
            let timely_events = events.iter().position(is_late).unwrap_or(events.len());
            timely.add(segment.thread, &events[..timely_events]);
            if late
                .last()
                .is_some_and(|late| late.bytes() >= PAYLOAD_BYTES)
            {
                late.push(Columns::new(0));
            }
            let last = late.last_mut().expect("there is one from the start");
            last.add(segment.thread, &events[timely_events..]);
            if let Some(rest) = rest {
                rest.write(&mut damaged);
            }
        }
        if !damaged.0.is_empty() {
            self.finish_events(&mut damaged, not_last)?;
        }
        self.gathered_tick = tick;
        let mut columns: Vec<_> = std::iter::once(timely).chain(late).collect();
        columns.retain(|columns| !columns.is_empty());
        let mut last = columns.pop().unwrap_or_default();
        for mut columns in columns {
            self.finish_columns(&mut columns, not_last)?;
        }
        self.finish_columns(&mut last, header)
    }

    /// The events of a segment. What cannot be understood goes to the file as it is: the reader judges it.
    fn decode<'a>(&mut self, segment: &Segment<'a>) -> (Vec<Event<'a>>, Option<Segment<'a>>) {
        let decoder = self.decoders.entry(segment.thread).or_default();
        if let Some(tick) = segment.base_tick {
            decoder.start(tick);
        }
        let mut events = Vec::with_capacity(segment.bytes.len() / 4);
        let mut rest = segment.bytes;
        loop {
            match decoder.next(&mut rest) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None),
                Err(_) => break,
            }
        }
        let damaged = Segment {
            thread: segment.thread,
            base_tick: Some(events.iter().rev().find_map(Event::tick).unwrap_or(0)),
            bytes: rest,
        };
        (events, Some(damaged))
    }

    fn finish_columns(&mut self, columns: &mut Columns, header: EventsHeader) -> io::Result<()> {
        columns.finish(header, &mut self.payload);
        self.finish_block(BlockKind::Columns)
    }

    fn finish_events(&mut self, segments: &mut Payload, header: EventsHeader) -> io::Result<()> {
        header.write(&mut self.payload);
        self.payload.0.append(&mut segments.0);
        self.finish_block(BlockKind::Events)
    }

    /// What a JIT compiler told: a perf map file. A large one is cut into several blocks, between lines.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn map(&mut self, path: &[u8], contents: &[u8]) -> io::Result<()> {
        let mut rest = contents;
        loop {
            let (contents, left) = rest.split_at(end_of_lines(rest));
            MapFile { path, contents }.write(&mut self.payload);
            self.finish_block(BlockKind::Map)?;
            rest = left;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Ends the trace, and gives the output back.
    ///
    /// # Errors
    /// See [`new`](Self::new).
    pub fn end(mut self, end: &End) -> io::Result<W> {
        end.write(&mut self.payload);
        self.finish_block(BlockKind::End)?;
        self.close()
    }

    /// Adds sums; see [`sums`](super::sums).
    pub(super) fn sums(&mut self, payload: &[u8]) -> io::Result<()> {
        self.write_block(BlockKind::Sums, payload)
    }

    /// Writes what stands behind the blocks, and gives the output back.
    pub(super) fn close(mut self) -> io::Result<W> {
        let index_offset = self.bytes_written;
        // Too many blocks for one payload: readers do without an index.
        let entries = &self.index[..self.index.len().min(MAX_PAYLOAD_BYTES / 32)];
        payload::write_index(&mut self.payload, entries);
        self.finish_block(BlockKind::Index)?;
        self.write_all(&file::tail(index_offset))?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// How many bytes went to the output so far.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Writes the payload that was put together as a block.
    fn finish_block(&mut self, kind: BlockKind) -> io::Result<()> {
        let raw = std::mem::take(&mut self.payload.0);
        let written = self.write_block(kind, &raw);
        // Kept for its memory.
        self.payload.0 = raw;
        self.payload.0.clear();
        written
    }

    fn write_block(&mut self, kind: BlockKind, raw: &[u8]) -> io::Result<()> {
        if raw.len() > MAX_PAYLOAD_BYTES {
            return Err(too_large("a block"));
        }
        let (codec, stored_bytes) = self.store(raw)?;
        let (header, rest) = self.block.split_at_mut(BLOCK_HEADER_BYTES);
        let stored = &rest[..stored_bytes];
        let block_header = BlockHeader::new(kind, codec, stored, raw.len());
        header.copy_from_slice(&block_header.to_bytes());
        self.index.push(IndexEntry {
            offset: self.bytes_written,
            kind: kind as u8,
            raw_bytes: raw.len() as u64,
        });
        let block = std::mem::take(&mut self.block);
        let written = self.write_all(&block[..BLOCK_HEADER_BYTES + stored_bytes]);
        self.block = block;
        written
    }

    /// Puts the payload behind the room for a header, packed if that makes it shorter.
    fn store(&mut self, raw: &[u8]) -> io::Result<(Codec, usize)> {
        let room = BLOCK_HEADER_BYTES + zstd::zstd_safe::compress_bound(raw.len());
        if self.block.len() < room {
            self.block.resize(room, 0);
        }
        let stored = &mut self.block[BLOCK_HEADER_BYTES..];
        let packed_bytes = self.compressor.compress_to_buffer(raw, stored)?;
        if packed_bytes < raw.len() {
            return Ok((Codec::Zstd, packed_bytes));
        }
        stored[..raw.len()].copy_from_slice(raw);
        Ok((Codec::Plain, raw.len()))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.bytes_written += bytes.len() as u64;
        Ok(())
    }
}

/// Where to cut text that is longer than a payload should be; its length if it is not.
fn end_of_lines(text: &[u8]) -> usize {
    match text.get(..PAYLOAD_BYTES) {
        Some(head) => memchr::memrchr(b'\n', head).map_or(PAYLOAD_BYTES, |newline| newline + 1),
        None => text.len(),
    }
}

fn too_large(what: &str) -> io::Error {
    let message = format!(
        "{what} has more than the {} MiB of a payload",
        MAX_PAYLOAD_BYTES >> 20
    );
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
