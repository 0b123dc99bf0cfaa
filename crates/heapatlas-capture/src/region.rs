//! The launcher's side of the shared memory; its layout is in `heapatlas_trace::shared`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use heapatlas_trace::shared::{
    CHUNK_BYTES, CHUNK_ROOM, CHUNKS, CHUNKS_OFFSET, CLOSED, COUNTERS, COUNTERS_OFFSET, ChunkHeader,
    Counters, FREE, Header, MAGIC, REGION_BYTES, SWITCH_OFFSET, Switch,
};

use crate::processes::{Marks, REGION_NAME};

/// A region of our making. Programs reach it by the path of our descriptor.
pub struct Region {
    file: OwnedFd,
    base: NonNull<u8>,
}

// SAFETY: everything in the region that is written to is atomic; committed bytes are only read.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A region with empty chunks.
    ///
    /// # Errors
    /// When the system has no memory for it.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the name ends with a zero.
        let file = unsafe { libc::memfd_create(REGION_NAME.as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just now and belongs to nobody else.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        // SAFETY: a descriptor of ours.
        if unsafe { libc::ftruncate(file.as_raw_fd(), REGION_BYTES as i64) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let region = Self {
            base: map(&file)?,
            file,
        };
        region.header().magic.store(MAGIC, Release);
        Ok(region)
    }

    /// The path by which the children of this process open the region.
    pub fn path(&self) -> CString {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd());
        CString::new(path).expect("numbers hold no zero byte")
    }

    /// By what a process shows that it has this region.
    pub fn marks(&self) -> Marks {
        let mut file = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: a descriptor of ours, and zeroes are a valid structure for the case that it fails.
        let file = unsafe {
            libc::fstat(self.file.as_raw_fd(), file.as_mut_ptr());
            file.assume_init()
        };
        Marks {
            path: self.path(),
            inode: file.st_ino,
        }
    }

    /// The first page.
    pub fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a header made of atomics and lives as long as `self`.
        unsafe { self.base.cast().as_ref() }
    }

    /// What recorders do now.
    pub fn switch(&self) -> &Switch {
        // SAFETY: the page begins with a switch, which is made of atomics.
        unsafe { self.base.add(SWITCH_OFFSET).cast().as_ref() }
    }

    /// What threads counted, each at a place of its own.
    pub fn counters(&self) -> &[Counters] {
        // SAFETY: so many places lie from there on, made of atomics.
        unsafe {
            let first = self.base.add(COUNTERS_OFFSET).cast();
            std::slice::from_raw_parts(first.as_ptr(), COUNTERS)
        }
    }

    /// Chunks that were used at some time.
    pub fn used_chunks(&self) -> usize {
        (self.header().used_chunks.load(Acquire) as usize).min(CHUNKS)
    }

    /// A chunk's state.
    pub fn state(&self, chunk: usize) -> &AtomicU32 {
        assert!(chunk < CHUNKS);
        // SAFETY: a word for each chunk follows the header's page.
        unsafe { self.base.add(4096 + 4 * chunk).cast().as_ref() }
    }

    /// A chunk's header.
    pub fn chunk(&self, chunk: usize) -> &ChunkHeader {
        // SAFETY: each chunk begins with a header made of atomics.
        unsafe { self.chunk_base(chunk).cast().as_ref() }
    }

    /// The committed bytes of a chunk from `from` to `to`.
    ///
    /// A measured program that went wild can write there: what is read may be nonsense, and the reader of
    /// the file must cope.
    pub fn committed(&self, chunk: usize, from: usize, to: usize) -> &[u8] {
        let to = to.min(CHUNK_ROOM);
        let from = from.min(to);
        let bytes = self.chunk_base(chunk);
        // SAFETY: the range lies in the chunk. Threads write behind what they committed, and
        // a chunk is not used again before we free it.
        unsafe {
            let start = bytes.add(size_of::<ChunkHeader>() + from);
            std::slice::from_raw_parts(start.as_ptr(), to - from)
        }
    }

    /// Gives a chunk to whoever wants it next. Its thread is done with it.
    pub fn free(&self, chunk: usize) {
        let header = self.chunk(chunk);
        header.sequence.store(0, Relaxed);
        header.committed.store(0, Relaxed);
        self.state(chunk).store(FREE, Release);
    }

    /// Leaves no chunk for threads to take: nobody will read it.
    pub fn take_free_chunks(&self) {
        for chunk in 0..CHUNKS {
            let _ = self
                .state(chunk)
                .compare_exchange(FREE, CLOSED, Relaxed, Relaxed);
        }
    }

    /// Wakes threads that wait for free chunks.
    pub fn tell_freed(&self) {
        self.header().freed.fetch_add(1, Release);
        self.futex(
            &self.header().freed,
            libc::FUTEX_WAKE,
            i32::MAX as u32,
            None,
        );
    }

    /// Ends [`Self::wait_for_closed`] of another thread of this process, or has its next one end at once.
    pub fn wake(&self) {
        self.header().closed.fetch_add(1, Release);
        self.futex(&self.header().closed, libc::FUTEX_WAKE, 1, None);
    }

    /// Waits until a chunk is closed, or for the given time, or until a signal comes.
    pub fn wait_for_closed(&self, seen: u32, limit: Duration) {
        self.futex(&self.header().closed, libc::FUTEX_WAIT, seen, Some(limit));
    }

    fn chunk_base(&self, chunk: usize) -> NonNull<u8> {
        assert!(chunk < CHUNKS);
        // SAFETY: so many chunks follow the states.
        unsafe { self.base.add(CHUNKS_OFFSET + CHUNK_BYTES * chunk) }
    }

    fn futex(&self, word: &AtomicU32, operation: i32, value: u32, limit: Option<Duration>) {
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: a live, aligned word and null or a live time.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, limit) };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.header().launcher_reads.store(0, Release);
        self.tell_freed();
        // SAFETY: `map` mapped it, and nobody can use it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), REGION_BYTES) };
    }
}

fn map(file: &OwnedFd) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            REGION_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(base.cast()).expect("the kernel maps nothing at address 0"))
}
