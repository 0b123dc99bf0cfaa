//! The writer. The launcher of a measured program feeds it while the program runs, so each call ends
//! with all that it was given in the hands of the output.

use std::io;

use heapatlas_trace::file::{
    self, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, MAX_PAYLOAD_BYTES,
};
use heapatlas_trace::payload::{
    self, End, EventsHeader, IndexEntry, MapFile, ModuleInfo, ProcessInfo, Put, Segment, ThreadInfo,
};
use zstd::bulk::Compressor;

/// Payloads end with the first segment that makes them this long: readers unpack blocks in parallel.
const PAYLOAD_BYTES: usize = 4 << 20;

/// The longest segment that fits a payload whatever stands before it.
const MAX_SEGMENT_BYTES: usize = MAX_PAYLOAD_BYTES - PAYLOAD_BYTES - 128;

/// Level 1: the levels above save a few percent and take several times as long.
const LEVEL: i32 = 1;

/// Writes a trace block by block, each in one `write_all`.
pub struct Writer<W> {
    out: W,
    compressor: Compressor<'static>,
    payload: Payload,
    /// The block that is being put together, header and stored payload.
    block: Vec<u8>,
    index: Vec<IndexEntry>,
    bytes_written: u64,
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
            gathered_tick: 0,
        };
        writer.write_all(&file::header())?;
        process.write(&mut writer.payload);
        writer.finish_block(BlockKind::Process)?;
        Ok(writer)
    }

    /// The modules that are loaded from a tick on, in place of those before. To be called before the
    /// [`events`](Self::events) of that time.
    ///
    /// # Errors
    /// Also when their names take more than 16 MiB.
    pub fn modules(&mut self, tick: u64, modules: &[ModuleInfo<'_>]) -> io::Result<()> {
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
        for segment in segments {
            if segment.bytes.len() > MAX_SEGMENT_BYTES {
                self.payload.0.clear();
                return Err(too_large("a segment"));
            }
            if self.payload.0.len() >= PAYLOAD_BYTES {
                self.finish_events(not_last)?;
            }
            segment.write(&mut self.payload);
        }
        self.gathered_tick = tick;
        self.finish_events(header)
    }

    /// The segments were put together before it was known whether they are the last ones.
    fn finish_events(&mut self, header: EventsHeader) -> io::Result<()> {
        let mut head = Payload::default();
        header.write(&mut head);
        self.payload.0.splice(..0, head.0);
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
