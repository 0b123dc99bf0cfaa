//! Counting without stacks: each thread adds to a place of its own in the region.
//!
//! An addition is one instruction, so that a signal handler that allocates loses nothing. (It need not be
//! locked: nobody else adds to the place while it is taken.)

use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::AtomicI64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use heapatlas_trace::shared::{COUNTERS, Counters, LIVE_STEP};

use crate::recorder::Recorder;
use crate::region::Errno;
use crate::tls;

/// Where a thread counts. Copyable, since it lies in the thread's static block.
#[derive(Clone, Copy)]
pub struct CounterPlace(NonNull<Counters>);

/// Counts a block that was made, of so many requested and so many usable bytes.
#[inline(always)]
pub fn count_allocation(recorder: &'static Recorder, bytes: usize, usable_bytes: usize) {
    let Some(place) = place(recorder) else {
        return;
    };
    let counters = place.counters();
    if place.is_shared() {
        return place.count_shared(recorder, [1, 0, bytes as u64], usable_bytes as i64);
    }
    add(counters.allocations.as_ptr(), 1);
    add(counters.bytes.as_ptr(), bytes as u64);
    place.add_live(recorder, usable_bytes as i64);
}

/// Counts a block that is about to be given back.
#[inline(always)]
pub fn count_free(recorder: &'static Recorder, usable_bytes: usize) {
    let Some(place) = place(recorder) else {
        return;
    };
    let live = (usable_bytes as i64).wrapping_neg();
    if place.is_shared() {
        return place.count_shared(recorder, [0, 1, 0], live);
    }
    add(place.counters().frees.as_ptr(), 1);
    place.add_live(recorder, live);
}

/// How many blocks this thread's place has counted as made and as given back, to see later whether one was
/// counted meanwhile.
pub fn counted(recorder: &'static Recorder) -> [u64; 2] {
    place(recorder).map_or([0; 2], |place| {
        let counters = place.counters();
        [
            counters.allocations.load(Relaxed),
            counters.frees.load(Relaxed),
        ]
    })
}

/// What `ask` says of a block's size; 0 for a block that the allocator makes while it is asked about another one, as
/// tcmalloc does the first time: to ask about that would not end.
#[inline(always)]
pub fn size_of_block(ask: impl FnOnce() -> usize) -> usize {
    let draw = tls::draw();
    // SAFETY: this thread's static block; no reference to it is held while `ask` runs, which may come back here.
    unsafe {
        if (*draw).asks_size {
            return 0;
        }
        (*draw).asks_size = true;
        let bytes = ask();
        (*draw).asks_size = false;
        bytes
    }
}

#[inline(always)]
fn place(recorder: &'static Recorder) -> Option<CounterPlace> {
    // SAFETY: this thread's static block; nothing else refers to it now.
    let draw = unsafe { &mut *tls::draw() };
    if draw.counters.is_none() {
        draw.counters = take_place(recorder);
    }
    draw.counters
}

/// A place that nobody has; if there is none, the first one, which those threads share.
#[cold]
#[inline(never)]
fn take_place(recorder: &'static Recorder) -> Option<CounterPlace> {
    let region = recorder.region()?;
    let _errno = Errno::save();
    let is_ours = |counters: &&Counters| {
        counters.is_taken.load(Relaxed) == 0
            && counters
                .is_taken
                .compare_exchange(0, 1, Acquire, Relaxed)
                .is_ok()
    };
    let found = (1..COUNTERS)
        .map(|number| region.counters(number))
        .find(is_ours);
    let place = CounterPlace(NonNull::from(found.unwrap_or(region.counters(0))));
    if found.is_some() {
        recorder.note_counters(place.0.as_ptr().cast());
    }
    Some(place)
}

/// Gives the place of a thread that ends to others; its sums stay.
pub extern "C" fn ends(place: *mut core::ffi::c_void) {
    // SAFETY: this thread's static block. What the thread counts yet is counted at a new place.
    unsafe { (*tls::draw()).counters = None };
    if let Some(place) = NonNull::new(place.cast::<Counters>()) {
        CounterPlace(place).counters().is_taken.store(0, Release);
    }
}

/// Forgets where this thread counts, in a forked child: the place is that of a thread of the parent.
pub(crate) fn leave_place(recorder: &'static Recorder) {
    // SAFETY: this thread's static block.
    unsafe { (*tls::draw()).counters = None };
    recorder.note_counters(core::ptr::null_mut());
}

impl CounterPlace {
    #[inline(always)]
    fn counters(&self) -> &Counters {
        // SAFETY: a place in the region, which stays mapped.
        unsafe { self.0.as_ref() }
    }

    /// Whether several threads may be here: nobody has taken the first place.
    #[inline(always)]
    fn is_shared(&self) -> bool {
        self.counters().is_taken.load(Relaxed) == 0
    }

    #[cold]
    #[inline(never)]
    fn count_shared(&self, recorder: &'static Recorder, amounts: [u64; 3], live: i64) {
        let counters = self.counters();
        let [allocations, frees, bytes] = amounts;
        counters.allocations.fetch_add(allocations, Relaxed);
        counters.frees.fetch_add(frees, Relaxed);
        counters.bytes.fetch_add(bytes, Relaxed);
        counters.live.fetch_add(live, Relaxed);
        flush(recorder, &counters.live);
    }

    /// Adds to what is live; what came together goes to all threads' sum now and then.
    #[inline(always)]
    fn add_live(&self, recorder: &'static Recorder, bytes: i64) {
        let live = &self.counters().live;
        add(live.as_ptr().cast(), bytes.cast_unsigned());
        if live.load(Relaxed).unsigned_abs() >= LIVE_STEP.unsigned_abs() {
            flush(recorder, live);
        }
    }
}

/// Adds to a counter that only this thread adds to.
#[inline(always)]
fn add(counter: *mut u64, amount: u64) {
    // SAFETY: a counter of this thread's place; the launcher reads whole words.
    unsafe {
        asm!("add qword ptr [{counter}], {amount}", counter = in(reg) counter,
            amount = in(reg) amount, options(nostack));
    }
}

#[cold]
#[inline(never)]
fn flush(recorder: &'static Recorder, live: &AtomicI64) {
    if let Some(region) = recorder.region() {
        let header = region.header();
        let bytes = live.swap(0, Relaxed);
        let now = header.counted_live.fetch_add(bytes, Relaxed) + bytes;
        header.counted_peak.fetch_max(now, Relaxed);
    }
}
