//! The writer. The launcher of a measured program feeds it while the program runs, so each call ends
//! with all that it was given in the hands of the output.

use std::io;

use heapatlas_trace::Decoder;
use heapatlas_trace::file::{
    self, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, MAX_PAYLOAD_BYTES,
};
use heapatlas_trace::payload::{
    self, End, EventsHeader, IndexEntry, MapFile, ModuleInfo, ProcessInfo, Put, Segment, ThreadInfo,
};
use rustc_hash::FxHashMap;
use zstd::bulk::Compressor;

use super::pages::{Pages, page_of};
use super::sort::{Columns, Order, Thread};
use super::streams::{PARTS, Packer};
use super::turns::turns;

/// Payloads end with the first segment that makes them this long: readers unpack blocks in parallel.
const PAYLOAD_BYTES: usize = 4 << 20;

/// The longest segment that fits a payload whatever stands before it: an event of two bytes has more in columns when
/// its time is exact.
const MAX_SEGMENT_BYTES: usize = 2 << 20;

/// Of all but columns.
const LEVEL: i32 = 3;

/// How much earlier than they were the events of a thread may be told when no other one works meanwhile, as a part of a
/// second: 200 µs. Exact times would be most of the file.
const TOLERANCES_PER_SECOND: u64 = 5_000;

/// The same when several threads work, where no order hangs on it: 5 µs. What is live at the peak may be wrong by what
/// they allocate and free in that time.
const TOLERANCES_PER_SECOND_TOGETHER: u64 = 200_000;

/// Writes a trace block by block, each in one `write_all`.
pub struct Writer<W> {
    out: W,
    compressor: Compressor<'static>,
    packer: Packer,
    payload: Payload,
    /// The block that is being put together, header and stored payload.
    block: Vec<u8>,
    index: Vec<IndexEntry>,
    bytes_written: u64,
    columns: Columns,
    ticks_per_second: u64,
    has_exact_times: bool,
    /// From when on the lists of modules hold that were written since the last events.
    module_ticks: Vec<u64>,
    threads: FxHashMap<u64, Thread>,
    /// The tick of the last gathering, up to which all events were written.
    gathered_tick: u64,
    /// Where the events behind that tick were.
    late: Pages,
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
            packer: Packer::default(),
            payload: Payload::default(),
            block: Vec::new(),
            index: Vec::new(),
            bytes_written: 0,
            columns: Columns::default(),
            ticks_per_second: process.ticks_per_second,
            has_exact_times: false,
            module_ticks: Vec::new(),
            threads: FxHashMap::default(),
            gathered_tick: 0,
            late: Pages::default(),
        };
        writer.write_all(&file::header())?;
        process.write(&mut writer.payload);
        writer.finish_block(BlockKind::Process)?;
        Ok(writer)
    }

    /// Has all times told as they are. The file becomes several times as large.
    #[must_use]
    pub fn with_exact_times(mut self) -> Self {
        self.has_exact_times = true;
        self
    }

    /// The modules that are loaded from a tick on, in place of those before. To be called before the
    /// [`events`](Self::events) of that time.
    ///
    /// # Errors
    /// Also when their names take more than 16 MiB.
    pub fn modules(&mut self, tick: u64, modules: &[ModuleInfo<'_>]) -> io::Result<()> {
        self.module_ticks.push(tick);
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

    /// What was gathered of the threads' streams, each thread's together: all events before `tick`, and perhaps some after it.
    /// `elapsed_ns` is since the recording began, `resident_bytes` 0 where unknown.
    ///
    /// # Errors
    /// Also when a segment has more than 2 MiB.
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
        let is_too_large = |segment: &Segment<'_>| segment.bytes.len() > MAX_SEGMENT_BYTES;
        if segments.iter().any(is_too_large) {
            return Err(too_large("a segment", MAX_SEGMENT_BYTES));
        }
        let mut damaged = Payload::default();
        self.sort(&segments, not_last, tick, &mut damaged)?;
        self.gathered_tick = tick;
        if damaged.0.is_empty() {
            return self.finish_columns(header);
        }
        self.finish_columns(not_last)?;
        self.finish_events(&mut damaged, header)
    }

    /// Takes what was gathered to the columns. What cannot be understood goes to the file as it is: the reader judges it.
    fn sort(
        &mut self,
        segments: &[Segment<'_>],
        not_last: EventsHeader,
        tick: u64,
        damaged: &mut Payload,
    ) -> io::Result<()> {
        let late = std::mem::take(&mut self.late);
        let turns = turns(segments, &self.threads, &late);
        let is_alone = turns.is_some();
        let needs_pages = !is_alone && !self.has_exact_times && !are_exclusive(segments);
        let pages = needs_pages.then(|| self.shared_pages(segments, late));
        self.columns.begin(self.tolerance(is_alone));
        let mut module_ticks = std::mem::take(&mut self.module_ticks);
        module_ticks.sort_unstable();
        let order = Order {
            gathered: [self.gathered_tick, tick],
            module_ticks: &module_ticks,
            pages: pages.as_ref(),
            is_always_exact: self.has_exact_times,
        };
        let mut late = Pages::default();
        for turn in turns.unwrap_or_else(|| vec![segments]) {
            for segment in turn {
                if self.columns.bytes() >= PAYLOAD_BYTES {
                    self.finish_columns(not_last)?;
                }
                let thread = self.threads.entry(segment.thread).or_default();
                let rest = self.columns.add(segment, thread, &order, &mut late);
                if let Some(rest) = rest {
                    self.put_damaged(damaged, &rest, not_last)?;
                }
            }
            self.columns.end_turn();
        }
        self.late = late;
        Ok(())
    }

    /// How much earlier than they were events may be told.
    fn tolerance(&self, is_alone: bool) -> u64 {
        match is_alone {
            _ if self.has_exact_times => 0,
            true => self.ticks_per_second / TOLERANCES_PER_SECOND,
            false => self.ticks_per_second / TOLERANCES_PER_SECOND_TOGETHER,
        }
    }

    /// Where several threads work, those included that did so before and are not told yet.
    fn shared_pages(&self, segments: &[Segment<'_>], mut pages: Pages) -> Pages {
        for run in segments.chunk_by(|a, b| a.thread == b.thread) {
            let thread = self.threads.get(&run[0].thread);
            let decoder = thread.map(|thread| thread.decoder.clone());
            touch_all(&mut pages, run, decoder.unwrap_or_default());
        }
        pages
    }

    fn put_damaged(
        &mut self,
        damaged: &mut Payload,
        rest: &Segment<'_>,
        header: EventsHeader,
    ) -> io::Result<()> {
        if damaged.0.len() >= PAYLOAD_BYTES {
            self.finish_events(damaged, header)?;
        }
        rest.write(damaged);
        Ok(())
    }

    fn finish_columns(&mut self, header: EventsHeader) -> io::Result<()> {
        self.columns.finish(header, &mut self.payload);
        self.block.resize(BLOCK_HEADER_BYTES, 0);
        let mut parts = [&self.payload.0[..]; PARTS];
        parts[1..].copy_from_slice(&self.columns.columns());
        let raw_bytes = parts.iter().map(|part| part.len()).sum();
        let codec = self.packer.pack(parts, &mut self.block)?;
        self.columns.clear();
        self.payload.0.clear();
        let written = self.write_stored(BlockKind::Columns, codec, raw_bytes);
        if written.is_err() {
            self.packer.begin_anew();
        }
        written
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
        let codec = self.store(raw)?;
        self.write_stored(kind, codec, raw.len())
    }

    /// Puts the payload behind the room for a header, packed if that makes it shorter.
    fn store(&mut self, raw: &[u8]) -> io::Result<Codec> {
        let most = zstd::zstd_safe::compress_bound(raw.len());
        self.block.resize(BLOCK_HEADER_BYTES + most, 0);
        let stored = &mut self.block[BLOCK_HEADER_BYTES..];
        let packed_bytes = self.compressor.compress_to_buffer(raw, stored)?;
        if packed_bytes < raw.len() {
            self.block.truncate(BLOCK_HEADER_BYTES + packed_bytes);
            return Ok(Codec::Zstd);
        }
        self.block.truncate(BLOCK_HEADER_BYTES);
        self.block.extend_from_slice(raw);
        Ok(Codec::Plain)
    }

    /// Writes the block whose stored payload stands behind the room for a header.
    fn write_stored(&mut self, kind: BlockKind, codec: Codec, raw_bytes: usize) -> io::Result<()> {
        let (header, stored) = self.block.split_at_mut(BLOCK_HEADER_BYTES);
        if raw_bytes.max(stored.len()) > MAX_PAYLOAD_BYTES {
            return Err(too_large("a block", MAX_PAYLOAD_BYTES));
        }
        let block_header = BlockHeader::new(kind, codec, stored, raw_bytes);
        header.copy_from_slice(&block_header.to_bytes());
        self.index.push(IndexEntry {
            offset: self.bytes_written,
            kind: kind as u8,
            raw_bytes: raw_bytes as u64,
        });
        let block = std::mem::take(&mut self.block);
        let written = self.write_all(&block);
        self.block = block;
        written
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.bytes_written += bytes.len() as u64;
        Ok(())
    }
}

/// Whether nothing here comes after another thread's doing. An event does if another thread has touched its memory
/// before; then it is the later one of the two whose segment says so, whichever of them was gathered first. An event that
/// comes after none may be told early.
fn are_exclusive(segments: &[Segment<'_>]) -> bool {
    segments.iter().all(|segment| segment.is_exclusive)
}

/// Notes on which pages a thread works in these segments.
fn touch_all(pages: &mut Pages, segments: &[Segment<'_>], mut decoder: Decoder) {
    let mut last_page = None;
    for segment in segments {
        if let Some(tick) = segment.base_tick {
            decoder.start(tick);
        }
        let mut bytes = segment.bytes;
        while let Ok(Some(event)) = decoder.next(&mut bytes) {
            let page = event.address().map(page_of);
            if let Some(page) = page.filter(|_| page != last_page) {
                pages.touch(page, segment.thread);
                last_page = Some(page);
            }
        }
    }
}

/// Where to cut text that is longer than a payload should be; its length if it is not.
fn end_of_lines(text: &[u8]) -> usize {
    match text.get(..PAYLOAD_BYTES) {
        Some(head) => memchr::memrchr(b'\n', head).map_or(PAYLOAD_BYTES, |newline| newline + 1),
        None => text.len(),
    }
}

fn too_large(what: &str, most_bytes: usize) -> io::Error {
    let message = format!("{what} has more than {} MiB", most_bytes >> 20);
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
