//! The memory shared with the launcher; its layout is in `heapatlas_trace::shared`.

use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use heapatlas_trace::shared::{
    CHUNK_BYTES, CHUNKS, CHUNKS_OFFSET, CLOSED, COUNTERS, COUNTERS_OFFSET, ChunkHeader, Counters,
    FREE, Header, MAGIC, OPEN, REGION_BYTES, SWITCH_OFFSET, Switch,
};

use crate::local::Local;
use crate::os;

/// How long a thread waits for the launcher to free a chunk before it gives up, in nanoseconds.
const PATIENCE_NS: i64 = 2_000_000_000;
/// How long it waits before it looks again.
const PAUSE_NS: i64 = 5_000_000;

/// The first word of a region without a launcher.
const LOCAL_MAGIC: u64 = u64::from_le_bytes(*b"HTLOCAL1");

/// A mapped region. It stays mapped as long as the process image lives.
#[derive(Clone, Copy)]
pub struct Region {
    base: NonNull<u8>,
}

// SAFETY: everything in the region that threads share is atomic; the bytes of a chunk belong to
// the thread that took it.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps the file at `path`; `None` if it cannot be mapped or is no region.
    pub fn map(path: &CStr) -> Option<Self> {
        // SAFETY: `path` ends with a zero.
        let file = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if file < 0 {
            return None;
        }
        let base = os::map_shared(file, REGION_BYTES);
        // SAFETY: `file` was opened above. The mapping outlives the descriptor.
        unsafe { libc::close(file) };
        // SAFETY: the mapping is writable, page aligned and `REGION_BYTES` long.
        unsafe { Self::at(base?) }
    }

    /// The same memory at another address. Where it was are zeroes then. `None` if the kernel refuses; then
    /// nothing has changed.
    pub fn move_away(&self) -> Option<Self> {
        let base = os::map_again(self.base, REGION_BYTES)?;
        // SAFETY: mapped just now.
        let moved = unsafe { Self::at(base) };
        if moved.is_none() || !self.cover() {
            // SAFETY: mapped just now, and nobody else has it.
            unsafe { os::unmap_pages(base, REGION_BYTES) };
            return None;
        }
        moved
    }

    /// Puts zeroes of this process' own in the place of the shared memory: what is still written there reaches
    /// nobody. `false` if the kernel refuses.
    pub fn cover(&self) -> bool {
        // SAFETY: whoever has the old address finds chunks there, free ones, that nobody reads.
        unsafe { os::cover_pages(self.base, REGION_BYTES) }
    }

    /// A region that is mapped already; `None` if it is none.
    ///
    /// # Safety
    /// `base` is page aligned and `REGION_BYTES` from there stay mapped, for reading and writing.
    pub unsafe fn at(base: NonNull<u8>) -> Option<Self> {
        let region = Self { base };
        (region.header().magic.load(Acquire) == MAGIC).then_some(region)
    }

    /// A region of this process alone, without a launcher. It stays mapped.
    pub(crate) fn new_local() -> Option<Self> {
        let base = os::map_pages(REGION_BYTES + size_of::<Local>())?;
        let region = Self { base };
        region.header().magic.store(LOCAL_MAGIC, Release);
        Some(region)
    }

    /// A region that is mapped already, with a launcher or without; `None` if it was covered.
    ///
    /// # Safety
    /// `base` is what [`Self::base`] gave.
    pub(crate) unsafe fn again(base: NonNull<u8>) -> Option<Self> {
        let region = Self { base };
        let magic = region.header().magic.load(Acquire);
        (magic == MAGIC || magic == LOCAL_MAGIC).then_some(region)
    }

    /// What a region has that is of this process alone; `None` when there is a launcher.
    pub(crate) fn local(&self) -> Option<&Local> {
        let is_local = self.header().magic.load(Relaxed) == LOCAL_MAGIC;
        // SAFETY: `new_local` mapped so much more, and zeroes are a good one.
        is_local.then(|| unsafe { self.base.add(REGION_BYTES).cast().as_ref() })
    }

    /// Where it is mapped.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The first page.
    pub fn header(&self) -> &Header {
        // SAFETY: the header lies at the start of the mapping and is made of atomics.
        unsafe { self.base.cast().as_ref() }
    }

    /// The page of the [`Switch`].
    pub fn switch_page(&self) -> NonNull<u8> {
        // SAFETY: the page lies in the mapping.
        unsafe { self.base.add(SWITCH_OFFSET) }
    }

    /// What the recorder is to do now.
    pub fn switch(&self) -> &Switch {
        // SAFETY: the page begins with a switch, which is made of atomics.
        unsafe { self.switch_page().cast().as_ref() }
    }

    /// A place to count at.
    pub fn counters(&self, number: usize) -> &Counters {
        debug_assert!(number < COUNTERS);
        // SAFETY: so many places lie from there on, made of atomics.
        unsafe {
            let first = self.base.add(COUNTERS_OFFSET).cast::<Counters>();
            first.add(number).as_ref()
        }
    }

    pub(crate) fn state(&self, chunk: usize) -> &AtomicU32 {
        debug_assert!(chunk < CHUNKS);
        // SAFETY: one word for each chunk follows the header's page.
        unsafe { self.base.add(4096 + 4 * chunk).cast().as_ref() }
    }

    /// The first byte of a chunk.
    fn chunk(&self, chunk: usize) -> NonNull<u8> {
        debug_assert!(chunk < CHUNKS);
        // SAFETY: `CHUNKS` chunks follow the states.
        unsafe { self.base.add(CHUNKS_OFFSET + CHUNK_BYTES * chunk) }
    }

    /// Takes a chunk that nobody has.
    pub fn take(&self) -> Option<Chunk> {
        let number = (0..CHUNKS).find(|&chunk| {
            let state = self.state(chunk);
            state.load(Relaxed) == FREE
                && state.compare_exchange(FREE, OPEN, Acquire, Relaxed).is_ok()
        })?;
        self.header()
            .used_chunks
            .fetch_max(number as u32 + 1, Relaxed);
        let base = self.chunk(number);
        Some(Chunk { number, base })
    }

    /// Takes a chunk as soon as there is one. Waits for a bounded time, and not at all while nobody
    /// reads. When the time is over nobody waits any more, until the launcher shows that it is there.
    pub fn take_or_wait(&self) -> Option<Chunk> {
        let header = self.header();
        let mut waited_ns = 0;
        let chunk = loop {
            let seen = header.freed.load(Acquire);
            let chunk = self.take();
            if chunk.is_some() || header.launcher_reads.load(Relaxed) == 0 {
                break chunk;
            }
            if waited_ns >= PATIENCE_NS {
                header.launcher_reads.store(0, Relaxed);
                break None;
            }
            self.wait_for_free(seen, PAUSE_NS);
            waited_ns += PAUSE_NS;
        };
        header.waited_ns.fetch_add(waited_ns as u64, Relaxed);
        chunk
    }

    /// A chunk by its number.
    pub(crate) fn chunk_at(&self, number: usize) -> Chunk {
        let base = self.chunk(number);
        Chunk { number, base }
    }

    /// Hands a chunk to the launcher and wakes it; without one, writes the chunk and frees it.
    pub fn close(&self, chunk: Chunk) {
        if let Some(local) = self.local() {
            return local.close(self, chunk);
        }
        self.state(chunk.number).store(CLOSED, Release);
        self.header().closed.fetch_add(1, Release);
        futex(&self.header().closed, libc::FUTEX_WAKE, 1, None);
    }

    /// Waits until a chunk may be free, for at most `nanoseconds`.
    fn wait_for_free(&self, seen: u32, nanoseconds: i64) {
        let limit = libc::timespec {
            tv_sec: nanoseconds / 1_000_000_000,
            tv_nsec: nanoseconds % 1_000_000_000,
        };
        futex(&self.header().freed, libc::FUTEX_WAIT, seen, Some(&limit));
    }
}

/// A chunk that this thread has taken.
#[derive(Clone, Copy)]
pub struct Chunk {
    number: usize,
    base: NonNull<u8>,
}

impl Chunk {
    /// Its number in the region.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Its header.
    pub fn header(&self) -> &ChunkHeader {
        // SAFETY: chunks begin with a header, are aligned to 64 bytes and stay mapped.
        unsafe { self.base.cast().as_ref() }
    }

    /// The first byte behind the header.
    pub fn bytes(&self) -> NonNull<u8> {
        // SAFETY: a chunk is larger than its header.
        unsafe { self.base.add(size_of::<ChunkHeader>()) }
    }
}

/// The raw system call: the library's wrapper does not exist.
fn futex(word: &AtomicU32, operation: i32, value: u32, limit: Option<&libc::timespec>) {
    let limit = limit.map_or(core::ptr::null(), core::ptr::from_ref);
    let saved = Errno::save();
    // SAFETY: `word` is a live, aligned word and `limit` null or a live time.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, limit) };
    drop(saved);
}

/// Puts the caller's `errno` back: `malloc` and `free` may not change it when they succeed.
pub struct Errno(i32);

impl Errno {
    /// The value to put back.
    pub fn save() -> Self {
        // SAFETY: glibc's location of this thread's value is always valid.
        Self(unsafe { *libc::__errno_location() })
    }
}

impl Drop for Errno {
    fn drop(&mut self) {
        // SAFETY: as in `save`.
        unsafe { *libc::__errno_location() = self.0 };
    }
}
