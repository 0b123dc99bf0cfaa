//! The recorder of a process image: where its events go, and whether there are any.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use heapatlas_trace::shared::{PAGE_BYTES, Switch};

use crate::fork::GOES_ON;
use crate::region::{Errno, Region};
use crate::sampler::Samples;
use crate::{clock, counters, image, module_list, os, thread, unwind};

/// Called when a thread ends, with what the thread told the recorder.
type ThreadEnds = extern "C" fn(*mut c_void);

/// The recorder of a process image. There is one, in a static.
///
/// The exported functions test its first byte, [`Switch::mode`]. From the start on its first page is the
/// region's, so that the launcher can change what the recorder does.
#[repr(C)]
pub struct Recorder {
    page: SwitchPage,
    region: AtomicPtr<u8>,
    process: AtomicU32,
    /// The recording for which the modules are being listed, and the last one for which they were. Threads
    /// record once they were: nobody can tell what a stack is without them.
    listing: AtomicU32,
    listed: AtomicU32,
    /// A word in a page that the kernel clears in a forked child.
    fork_sentinel: AtomicPtr<AtomicU32>,
    /// Keys whose destructors run when a thread ends, plus 1; 0 for none.
    thread_key: AtomicU32,
    counters_key: AtomicU32,
    /// Whether a recording without a launcher is on; see [`crate::local`].
    pub(crate) local_state: AtomicU32,
}

#[repr(C, align(4096))]
struct SwitchPage {
    switch: Switch,
    rest: UnsafeCell<[u8; PAGE_BYTES - size_of::<Switch>()]>,
}

// SAFETY: the switch is made of atomics, and nobody uses the rest of the page.
unsafe impl Sync for SwitchPage {}

impl Recorder {
    /// A recorder that records nothing, in a mode that is not known to the launcher.
    pub const fn new(mode: u8) -> Self {
        Self {
            page: SwitchPage {
                switch: Switch {
                    mode: AtomicU8::new(mode),
                    recording: AtomicU32::new(0),
                    sample_interval: AtomicU64::new(0),
                },
                rest: UnsafeCell::new([0; PAGE_BYTES - size_of::<Switch>()]),
            },
            region: AtomicPtr::new(core::ptr::null_mut()),
            process: AtomicU32::new(0),
            listing: AtomicU32::new(0),
            listed: AtomicU32::new(0),
            fork_sentinel: AtomicPtr::new(core::ptr::null_mut()),
            thread_key: AtomicU32::new(0),
            counters_key: AtomicU32::new(0),
            local_state: AtomicU32::new(0),
        }
    }

    /// What is to be done now.
    #[inline(always)]
    pub fn switch(&self) -> &Switch {
        &self.page.switch
    }

    /// Maps the region at `path` and has the launcher decide what is done from here on; until then, and if there
    /// is no region, or when it is meant for another process, the mode is idle.
    pub fn start(&'static self, path: &CStr) {
        let Some(region) = Region::map(path) else {
            return;
        };
        let header = region.header();
        let target = header.target_pid.load(Acquire);
        // SAFETY: cannot fail.
        if target != 0 && target != unsafe { libc::getpid() }.cast_unsigned() {
            return;
        }
        if self.prepare().is_none() {
            return;
        }
        self.process
            .store(header.next_process.fetch_add(1, Relaxed), Relaxed);
        self.set_region(region);
        let recording = region.switch().recording.load(Acquire);
        if recording != 0 {
            self.listing.store(recording, Relaxed);
            self.tell_of_image(&region, recording);
        }
        // SAFETY: the page of a static; what is in it is replaced by another switch at one moment.
        let is_shared = unsafe { os::map_page_over(region.switch_page(), self.page()) };
        if !is_shared {
            // It cannot be changed later, then.
            let (from, to) = (region.switch(), self.switch());
            to.recording.store(recording, Relaxed);
            let interval = from.sample_interval.load(Relaxed);
            to.sample_interval.store(interval, Relaxed);
            to.mode.store(from.mode.load(Relaxed), Release);
        }
    }

    /// What a process needs once, before the first event. `None` if there is no memory.
    pub(crate) fn prepare(&self) -> Option<()> {
        let sentinel = fork_sentinel()?;
        self.fork_sentinel.store(sentinel.as_ptr(), Relaxed);
        make_key(&self.thread_key, thread::ends);
        make_key(&self.counters_key, counters::ends);
        unwind::prepare();
        Some(())
    }

    fn page(&self) -> NonNull<u8> {
        NonNull::from(&self.page).cast()
    }

    /// Takes this process out of the launcher's hands: it forwards and does nothing else. For a forked child,
    /// which shares the page with its parent until then.
    #[cold]
    pub fn leave(&self) {
        // SAFETY: the page of a static; zeroes are a switch, and idle.
        unsafe { os::zero_page_over(self.page()) };
    }

    /// Whether the recording with this number can be written: the first thread to ask lists the modules, the
    /// others record nothing until that was done.
    #[inline(always)]
    pub(crate) fn is_ready(&self, recording: u32) -> bool {
        self.listed.load(Acquire) == recording || self.make_ready(recording)
    }

    #[cold]
    fn make_ready(&self, recording: u32) -> bool {
        let before = self.listing.load(Relaxed);
        let is_first = before != recording
            && self
                .listing
                .compare_exchange(before, recording, Relaxed, Relaxed)
                .is_ok();
        if let Some(region) = self.region().filter(|_| is_first) {
            self.tell_of_image(&region, recording);
        }
        self.listed.load(Acquire) == recording
    }

    /// Threads may record: the modules are listed, and this is the only one who has them listed.
    pub(crate) fn list_is_out(&self, recording: u32) {
        self.listing.store(recording, Relaxed);
        self.listed.store(recording, Release);
    }

    /// Whether a recording knows this image, or its parent if it was forked off. In a forked child; if its
    /// parent was about to tell, the child has to do it.
    pub(crate) fn is_told_of(&self, recording: u32) -> bool {
        let is_told = self.listed.load(Acquire) == recording;
        if !is_told {
            self.listing.store(0, Relaxed);
        }
        is_told
    }

    /// What a recording begins with. Where there is no room for it nothing is recorded.
    fn tell_of_image(&self, region: &Region, recording: u32) {
        // What was sampled before is not in this recording.
        SAMPLES.clear();
        if recording > 1 {
            clock::forget_owners();
        }
        if !image::announce(region, self.process(), recording) {
            return;
        }
        module_list::publish(region, self.process(), recording);
        // A thread that was held up for so long that there is a later recording changes nothing.
        self.listed.fetch_max(recording, Release);
    }

    /// The region; `None` before the start.
    pub fn region(&self) -> Option<Region> {
        let base = NonNull::new(self.region.load(Acquire))?;
        // SAFETY: `start` or `start_local` mapped it for as long as the process lives.
        unsafe { Region::again(base) }
    }

    pub(crate) fn set_region(&self, region: Region) {
        self.region.store(region.base().as_ptr(), Release);
    }

    /// The next recording gets a region of its own.
    pub(crate) fn forget_region(&self) {
        self.region.store(core::ptr::null_mut(), Release);
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
        let recording = self.listed.load(Acquire);
        if let Some(region) = self.region().filter(|_| recording != 0) {
            module_list::publish(&region, self.process(), recording);
        }
    }

    /// Has the end of this thread end its state.
    pub(crate) fn note_thread(&self, thread: *mut c_void) {
        note(&self.thread_key, thread);
    }

    /// Has the end of this thread give its counters back.
    pub(crate) fn note_counters(&self, counters: *mut c_void) {
        note(&self.counters_key, counters);
    }
}

/// Samples that are live in this process.
pub static SAMPLES: Samples = Samples::new();

fn make_key(place: &AtomicU32, ends: ThreadEnds) {
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: the destructor takes what `note` stores: both are of the same thing.
    if unsafe { libc::pthread_key_create(&mut key, Some(ends)) } == 0 {
        place.store(key + 1, Relaxed);
    }
}

fn note(key: &AtomicU32, value: *mut c_void) {
    if let Some(key) = key.load(Relaxed).checked_sub(1) {
        // SAFETY: the key was created in `start`.
        unsafe { libc::pthread_setspecific(key, value) };
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
