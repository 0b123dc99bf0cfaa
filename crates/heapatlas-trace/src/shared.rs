//! The memory that a measured process shares with its launcher.
//!
//! ```text
//! region := header (4 KiB) | states (CHUNKS words) | chunk | chunk | ... | switch (4 KiB) | counters
//! chunk  := chunk header (64 bytes) | bytes of one thread's stream
//!
//!            a thread takes it            it is full, or the thread ends
//!   FREE ------------------------> OPEN -------------------------------> CLOSED
//!    ^                                                                     |
//!    +---------------------------------------------------------------------+
//!                     the launcher has read all of it
//! ```
//!
//! A thread writes whole events behind [`ChunkHeader::committed`] and then stores the new value; the
//! launcher reads up to there, whatever becomes of the thread. Nobody waits for a lock.
//!
//! The recorder maps the page of the switch over the byte that every call of the program tests first, so the
//! launcher turns recordings on and off by one store: no signal, no thread, no socket in the program. Each time it
//! turns one on, the number of the recording goes up, and threads begin anew: chunks carry the number.

use core::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64};

/// The first word of a region: "HTSHARE2".
pub const MAGIC: u64 = u64::from_le_bytes(*b"HTSHARE2");

/// Bytes of a chunk, its header included.
pub const CHUNK_BYTES: usize = 32 << 10;

/// Chunks of a region. Memory is taken for those only that were used at some time.
pub const CHUNKS: usize = 4096;

/// Where the first chunk begins.
pub const CHUNKS_OFFSET: usize = 4096 + 4 * CHUNKS;

/// Where the page of the [`Switch`] begins.
pub const SWITCH_OFFSET: usize = CHUNKS_OFFSET + CHUNKS * CHUNK_BYTES;

/// Where the [`Counters`] begin.
pub const COUNTERS_OFFSET: usize = SWITCH_OFFSET + PAGE_BYTES;

/// How many threads count at a time, each for itself; the rest share the first place.
pub const COUNTERS: usize = 4096;

/// Bytes of a region.
pub const REGION_BYTES: usize = COUNTERS_OFFSET + COUNTERS * size_of::<Counters>();

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// Ticks are the processor's time stamps divided by two to the power of this: about 10 ns each.
pub const TICK_SHIFT: u32 = 5;

/// Nobody has the chunk.
pub const FREE: u32 = 0;
/// A thread writes to it.
pub const OPEN: u32 = 1;
/// Its thread is done with it.
pub const CLOSED: u32 = 2;

/// The chunk holds events of a thread.
pub const KIND_EVENTS: u32 = 0;
/// The chunk holds a part of the payload of a `modules` block. `thread` is then the number of the
/// publication and `sequence` the part's place in it, from 1.
pub const KIND_MODULES: u32 = 1;
/// As [`KIND_MODULES`]: the last part.
pub const KIND_MODULES_END: u32 = 2;
/// The chunk tells of a new process image, before all others of that image: an image payload
/// (`payload::ImageInfo`). `sequence` is 1.
pub const KIND_IMAGE: u32 = 3;

/// The recorder forwards calls and does nothing else.
pub const MODE_IDLE: u8 = 0;
/// Every allocation is recorded.
pub const MODE_EXACT: u8 = 1;
/// Allocations, frees and bytes are counted.
pub const MODE_COUNTING: u8 = 2;
/// Set in every mode in which some allocations are recorded by chance. The other bits count how often the
/// interval was set: a thread that drew its next sample under another number draws again.
pub const MODE_SAMPLED: u8 = 0x80;

/// What the recorder does now.
#[repr(C, align(64))]
pub struct Switch {
    /// One of the `MODE_` constants.
    pub mode: AtomicU8,
    /// The number of the recording, from 1; 0 before the first one. Set before `mode`.
    pub recording: AtomicU32,
    /// The mean number of bytes between samples.
    pub sample_interval: AtomicU64,
}

/// What one thread counted. A place is used by several threads one after the other, so these are sums.
#[repr(C, align(64))]
pub struct Counters {
    /// 1 while a thread has the place for itself.
    pub is_taken: AtomicU32,
    /// Blocks that were made.
    pub allocations: AtomicU64,
    /// Blocks that were given back.
    pub frees: AtomicU64,
    /// Bytes that were asked for.
    pub bytes: AtomicU64,
    /// Usable bytes made less those given back, as far as they are not in [`Header::counted_live`] yet.
    pub live: AtomicI64,
}

/// A thread adds its [`Counters::live`] to [`Header::counted_live`] when it is so far from 0.
pub const LIVE_STEP: i64 = 64 << 10;

/// The first page of a region.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// Which process is to be recorded; 0 for whoever maps the region.
    pub target_pid: AtomicU32,
    /// 1 while the launcher reads. When it is gone nobody waits for it: a thread that has waited too long
    /// sets this to 0, and the launcher sets it to 1 whenever it reads.
    pub launcher_reads: AtomicU32,
    /// Changed when a chunk was closed: what the launcher waits on.
    pub closed: AtomicU32,
    /// Changed when a chunk became free: what threads wait on.
    pub freed: AtomicU32,
    /// The number that the next thread gets.
    pub next_thread: AtomicU32,
    /// The number that the next process image gets.
    pub next_process: AtomicU32,
    /// Chunks below this one were used at some time.
    pub used_chunks: AtomicU32,
    /// Every how many captures a thread compares one with a full walk; 0 for never.
    pub check_interval: AtomicU32,
    /// Captures that were compared.
    pub checked: AtomicU64,
    /// Compared captures that differed.
    pub differences: AtomicU64,
    /// Events that could not be recorded.
    pub dropped: AtomicU64,
    /// Nanoseconds that threads waited for free chunks.
    pub waited_ns: AtomicU64,
    /// 1 if forked children are recorded, too.
    pub follow_forks: AtomicU32,
    /// Ticks that threads spent on recording samples.
    pub sampling_ticks: AtomicU64,
    /// Usable bytes that are live since counting began, without what is left in [`Counters::live`].
    pub counted_live: AtomicI64,
    /// The most that `counted_live` was.
    pub counted_peak: AtomicI64,
    /// 1 if the program's own mappings are recorded, too.
    pub record_pages: AtomicU32,
}

/// The first bytes of a chunk.
#[repr(C, align(64))]
pub struct ChunkHeader {
    /// Bytes behind this header that hold whole events.
    pub committed: AtomicU32,
    /// One of the `KIND_` constants.
    pub kind: AtomicU32,
    /// The number of the thread that writes.
    pub thread: AtomicU32,
    /// The number of the process image that it belongs to.
    pub process: AtomicU32,
    /// The system's number of the process.
    pub pid: AtomicU32,
    /// The system's number of the thread.
    pub os_thread_id: AtomicU32,
    /// The chunk's place among those of its thread, from 1; 0 until the rest of the header is right.
    /// The launcher sets it to 0 before it frees a chunk.
    pub sequence: AtomicU64,
    /// The tick that the chunk's ticks count from.
    pub base_tick: AtomicU64,
    /// The thread's name when the chunk was opened, ended by a zero or the end.
    pub thread_name: [AtomicU64; 2],
    /// The recording that the chunk belongs to, by [`Switch::recording`].
    pub recording: AtomicU32,
    /// 1 if an event here is about memory that other threads have touched, too. Set before that event is committed.
    pub is_shared: AtomicU32,
}

/// Bytes of a chunk that hold events.
pub const CHUNK_ROOM: usize = CHUNK_BYTES - size_of::<ChunkHeader>();

const _: () = assert!(size_of::<Header>() <= PAGE_BYTES && size_of::<ChunkHeader>() == 64);
const _: () = assert!(size_of::<Switch>() <= PAGE_BYTES && size_of::<Counters>() == 64);
