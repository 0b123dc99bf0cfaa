//! The recorder of a process image: where its events go, and whether there are any.

use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32};

use heapatlas_trace::shared::{MODE_EXACT, MODE_IDLE};

use crate::fork::GOES_ON;
use crate::region::{Errno, Region};
use crate::{image, module_list, os, unwind};

/// Called when a thread ends, with what the thread told the recorder.
pub type ThreadEnds = extern "C" fn(*mut c_void);

/// The recorder of a process image. There is one, in a static.
pub struct Recorder {
    region: AtomicPtr<u8>,
    process: AtomicU32,
    /// A word in a page that the kernel clears in a forked child.
    fork_sentinel: AtomicPtr<AtomicU32>,
    /// Has a destructor that runs when a thread ends.
    thread_key: AtomicU32,
    has_thread_key: AtomicU32,
}

impl Recorder {
    /// A recorder that records nothing.
    pub const fn new() -> Self {
        Self {
            region: AtomicPtr::new(core::ptr::null_mut()),
            process: AtomicU32::new(0),
            fork_sentinel: AtomicPtr::new(core::ptr::null_mut()),
            thread_key: AtomicU32::new(0),
            has_thread_key: AtomicU32::new(0),
        }
    }

    /// Maps the region at `path` and gives the mode in which to start; idle when there is no region,
    /// or when it is meant for another process. `thread_ends` is [`thread::ends`](crate::thread::ends).
    pub fn start(&'static self, path: &CStr, thread_ends: ThreadEnds) -> u32 {
        let Some(region) = Region::map(path) else {
            return MODE_IDLE;
        };
        let header = region.header();
        let target = header.target_pid.load(Acquire);
        // SAFETY: cannot fail.
        if target != 0 && target != unsafe { libc::getpid() }.cast_unsigned() {
            return MODE_IDLE;
        }
        let Some(sentinel) = fork_sentinel() else {
            return MODE_IDLE;
        };
        self.fork_sentinel.store(sentinel.as_ptr(), Relaxed);
        self.process
            .store(header.next_process.fetch_add(1, Relaxed), Relaxed);
        self.make_thread_key(thread_ends);
        unwind::prepare();
        if !image::announce(&region, self.process()) {
            return MODE_IDLE;
        }
        self.set_region(region);
        module_list::publish(&region, self.process());
        header.mode.load(Relaxed).min(MODE_EXACT)
    }

    /// The region; `None` before the start.
    pub fn region(&self) -> Option<Region> {
        let base = NonNull::new(self.region.load(Acquire))?;
        // SAFETY: `start` mapped it for as long as the process lives.
        unsafe { Region::at(base) }
    }

    pub(crate) fn set_region(&self, region: Region) {
        self.region.store(region.base().as_ptr(), Release);
    }

    /// Whether mappings are recorded, too.
    pub fn records_pages(&self) -> bool {
        self.region()
            .is_some_and(|region| region.header().record_pages.load(Relaxed) == 1)
    }

    /// The number of this process image.
    pub fn process(&self) -> u32 {
        self.process.load(Relaxed)
    }

    pub(crate) fn set_process(&self, process: u32) {
        self.process.store(process, Relaxed);
    }

    /// Whether this is a child that was forked off after the start and has not begun anew: its streams are
    /// its parent's, and it may not write there.
    #[inline(always)]
    pub fn is_forked_child(&self) -> bool {
        self.fork_sentinel()
            .is_none_or(|word| word.load(Relaxed) != GOES_ON)
    }

    #[inline(always)]
    pub(crate) fn fork_sentinel(&self) -> Option<&AtomicU32> {
        // SAFETY: null, or a word that stays mapped.
        unsafe { self.fork_sentinel.load(Relaxed).as_ref() }
    }

    /// Writes the list of modules anew: something was loaded or closed.
    #[cold]
    #[inline(never)]
    pub fn publish_modules(&self) {
        let _errno = Errno::save();
        if let Some(region) = self.region() {
            module_list::publish(&region, self.process());
        }
    }

    fn make_thread_key(&self, thread_ends: ThreadEnds) {
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: the destructor takes what `note_thread` stores, by the contract of `start`.
        if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0 {
            self.thread_key.store(key, Relaxed);
            self.has_thread_key.store(1, Relaxed);
        }
    }

    /// Has the end of this thread end its state.
    pub(crate) fn note_thread(&self, thread: *mut c_void) {
        if self.has_thread_key.load(Relaxed) == 1 {
            // SAFETY: the key was created in `start`.
            unsafe { libc::pthread_setspecific(self.thread_key.load(Relaxed), thread) };
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

/// A page whose first word is [`GOES_ON`] here and 0 in a forked child, however it was forked.
fn fork_sentinel() -> Option<NonNull<AtomicU32>> {
    let page = os::map_pages(4096)?;
    // SAFETY: a page of our own.
    let advised = unsafe { libc::madvise(page.as_ptr().cast(), 4096, libc::MADV_WIPEONFORK) };
    if advised != 0 {
        return None;
    }
    let word = MaybeUninit::new(AtomicU32::new(GOES_ON));
    let sentinel = page.cast::<MaybeUninit<AtomicU32>>();
    // SAFETY: the page is writable and aligned.
    unsafe { sentinel.write(word) };
    Some(sentinel.cast())
}
