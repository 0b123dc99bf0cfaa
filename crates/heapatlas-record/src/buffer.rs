//! Where a thread's events go: chunks of the region, one after the other.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};

use heapatlas_trace::shared::{CHUNK_ROOM, KIND_EVENTS};
use heapatlas_trace::{Encoder, MAX_EVENT_BYTES};

use crate::clock::ticks;
use crate::region::{Chunk, Errno, Region};

/// The stream of one thread.
pub struct Buffer {
    region: Region,
    encoder: Encoder,
    chunk: Option<Chunk>,
    bytes: NonNull<u8>,
    /// Bytes written to the chunk, committed or not.
    filled: usize,
    /// Where the last event begins that is about memory of several threads.
    shared_at: usize,
    sequence: u64,
    thread: u32,
    process: u32,
    recording: u32,
    /// An event or a node is missing. What came after it would be about other nodes than it says.
    has_gap: bool,
    /// When the chunk was opened.
    opened_tick: u64,
    /// So long may events lie in a chunk.
    most_ticks: u64,
}

/// How long events may lie in a chunk that nobody reads but the thread itself writes to a file: about a tenth of a second.
const MOST_TICKS: u64 = 10_000_000;

impl Buffer {
    /// A stream without a chunk.
    pub fn new(region: Region, thread: u32, process: u32, recording: u32) -> Self {
        Self {
            region,
            encoder: Encoder::default(),
            chunk: None,
            bytes: NonNull::dangling(),
            filled: CHUNK_ROOM,
            shared_at: usize::MAX,
            sequence: 0,
            thread,
            process,
            recording,
            has_gap: false,
            opened_tick: 0,
            most_ticks: match region.local() {
                Some(_) => MOST_TICKS,
                None => u64::MAX,
            },
        }
    }

    /// Ends a chunk that has been open for too long: nobody else would write what is in it.
    #[inline(always)]
    pub fn end_if_old(&mut self, now: u64) {
        if now.wrapping_sub(self.opened_tick) > self.most_ticks {
            self.end_old();
        }
    }

    #[cold]
    #[inline(never)]
    fn end_old(&mut self) {
        if self.chunk.is_some() {
            let _errno = Errno::save();
            self.close();
        }
    }

    /// Writes an event. `false` if there is no room for it: the launcher is gone or does not keep up. Then
    /// the stream is at its end.
    #[inline(always)]
    pub fn write(
        &mut self,
        encode: impl FnOnce(&mut Encoder, &mut [u8; MAX_EVENT_BYTES]) -> usize,
    ) -> bool {
        if self.filled + MAX_EVENT_BYTES > CHUNK_ROOM && !self.next_chunk() {
            return false;
        }
        // SAFETY: `MAX_EVENT_BYTES` behind `filled` lie in the chunk, which this thread has taken.
        let out = unsafe { self.bytes.add(self.filled).cast().as_mut() };
        self.filled += encode(&mut self.encoder, out);
        true
    }

    /// The event that is written next is about memory that other threads have touched, too.
    #[inline(always)]
    pub fn next_is_shared(&mut self) {
        self.shared_at = self.filled;
        if let Some(chunk) = &self.chunk {
            chunk.header().is_shared.store(1, Relaxed);
        }
    }

    /// Another one after each event; never 0.
    pub fn position(&self) -> u64 {
        (self.sequence + 1) << 32 | self.filled as u64
    }

    /// The block of the last event about one, if its address is a multiple of 8.
    pub fn last_address(&self) -> u64 {
        self.encoder.last_address()
    }

    /// Makes what was written visible to the launcher.
    #[inline(always)]
    pub fn commit(&self) {
        if let Some(chunk) = &self.chunk {
            chunk.header().committed.store(self.filled as u32, Release);
        }
    }

    /// Hands the chunk to the launcher. The next event takes another one.
    pub fn close(&mut self) {
        self.commit();
        if let Some(chunk) = self.chunk.take() {
            self.region.close(chunk);
        }
        self.filled = CHUNK_ROOM;
    }

    #[cold]
    fn next_chunk(&mut self) -> bool {
        let _errno = Errno::save();
        let is_shared = self.shared_at == self.filled;
        self.close();
        let chunk = if self.has_gap {
            None
        } else {
            self.region.take_or_wait()
        };
        self.has_gap = chunk.is_none();
        if let Some(chunk) = chunk {
            self.open(chunk, is_shared);
        }
        !self.has_gap
    }

    fn open(&mut self, chunk: Chunk, is_shared: bool) {
        let base_tick = ticks();
        let header = chunk.header();
        header.committed.store(0, Relaxed);
        header.kind.store(KIND_EVENTS, Relaxed);
        header.thread.store(self.thread, Relaxed);
        header.process.store(self.process, Relaxed);
        header.recording.store(self.recording, Relaxed);
        header.is_shared.store(u32::from(is_shared), Relaxed);
        // SAFETY: neither can fail.
        let (pid, os_thread_id) = unsafe { (libc::getpid(), libc::gettid()) };
        header.pid.store(pid.cast_unsigned(), Relaxed);
        header
            .os_thread_id
            .store(os_thread_id.cast_unsigned(), Relaxed);
        header.base_tick.store(base_tick, Relaxed);
        for (word, name) in header.thread_name.iter().zip(thread_name()) {
            word.store(name, Relaxed);
        }
        self.sequence += 1;
        header.sequence.store(self.sequence, Release);
        self.encoder.start(base_tick);
        self.opened_tick = base_tick;
        self.bytes = chunk.bytes();
        self.filled = 0;
        self.shared_at = usize::MAX;
        self.chunk = Some(chunk);
    }
}

/// The system's name of this thread, as words of bytes.
fn thread_name() -> [u64; 2] {
    let mut name = [0_u64; 2];
    // SAFETY: the call writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}
