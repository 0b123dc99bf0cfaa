//! A forked child: it has its parent's memory, but its parent's streams are not its own.
//!
//! ```text
//!  the word in a page that the kernel clears in a child:
//!
//!  1 = this image goes on ----- fork ----> 0 = a child ---- in fork ----> 4 = cut off from its parent
//!              ^                           | (by a bare system call)      |
//!              |                           +------------------------------+ its first event
//!              |                                                          v
//!              +---------- followed ------ 2 = somebody begins anew; all others only forward
//!                                                                         | not followed
//!                                                                         v
//!                                                              3 = nothing is recorded here
//! ```
//!
//! Until its first event a child tells nobody that it is there: most call `exec` before.
//!
//! A signal handler may call `fork` in the middle of an event and return in the child: what it interrupted
//! goes on there and writes to the chunk that the parent goes on with. Therefore the child is cut off from
//! the shared memory before `fork` returns: where that was are zeroes of its own, and if children are followed
//! the shared memory is mapped elsewhere.
//!
//! A `vfork` child runs in its parent's memory until it calls `exec` or ends; the page is not cleared for it.
//! What it allocates is its parent's, and recorded as that: the thread that called `vfork` is suspended, so
//! nobody else writes to its stream meanwhile.

use core::ffi::c_void;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::recorder::{Recorder, SAMPLES};
use crate::region::Errno;
use crate::{counters, image, tls, unwind};

/// The image goes on as it began.
pub(crate) const GOES_ON: u32 = 1;
pub(crate) const FORKED: u32 = 0;
pub(crate) const BEGINS: u32 = 2;
const IS_QUIET: u32 = 3;
const CUT_OFF: u32 = 4;

/// What a forked child is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InChild {
    /// Record: it has begun anew.
    Record,
    /// Forward calls, for good.
    BeQuiet,
    /// Forward this call: the child is about to begin anew.
    Forward,
}

impl Recorder {
    /// What to do for an event of a process that [is a forked child](Self::is_forked_child). The first call
    /// decides, and has the child begin anew if children are recorded.
    #[cold]
    pub fn in_forked_child(&'static self) -> InChild {
        let Some(sentinel) = self.fork_sentinel() else {
            return InChild::BeQuiet;
        };
        let found = sentinel.load(Acquire);
        match found {
            FORKED | CUT_OFF => {}
            GOES_ON => return InChild::Record,
            IS_QUIET => return InChild::BeQuiet,
            _ => return InChild::Forward,
        }
        if (sentinel.compare_exchange(found, BEGINS, AcqRel, Relaxed)).is_err() {
            return InChild::Forward;
        }
        let _errno = Errno::save();
        if found == FORKED {
            self.cut_off();
        }
        let has_begun = self.begin_in_child();
        let next = if has_begun { GOES_ON } else { IS_QUIET };
        sentinel.store(next, Release);
        if has_begun {
            InChild::Record
        } else {
            InChild::BeQuiet
        }
    }

    fn begin_in_child(&'static self) -> bool {
        let Some(region) = self.region() else {
            return false;
        };
        // In a child that is not followed there are zeroes.
        if region.header().follow_forks.load(Acquire) == 0 {
            return false;
        }
        unwind::begin_in_child();
        let parent = self.process();
        self.set_process(region.header().next_process.fetch_add(1, Relaxed));
        SAMPLES.clear();
        let recording = self.switch().recording.load(Acquire);
        if !self.is_told_of(recording) {
            // It is as new to this recording as any process that has run for long.
            return true;
        }
        // The parent's list of modules is the child's, too. (Writing one anew would take the linker's
        // lock, which another thread of the parent may have held.)
        image::announce_child(&region, self.process(), recording, parent)
    }

    /// To be called in a child by its only thread, before `fork` returns there.
    pub fn forked(&'static self) {
        let Some(sentinel) = self.fork_sentinel() else {
            return;
        };
        if sentinel.load(Acquire) == FORKED {
            let _errno = Errno::save();
            self.cut_off();
            sentinel.store(CUT_OFF, Release);
        }
    }

    /// Nothing that the parent's memory refers to can be written to any more.
    fn cut_off(&'static self) {
        // What a signal handler allocates meanwhile finds the sentinel, and is forwarded.
        if let Some(region) = self.region() {
            let is_followed = region.header().follow_forks.load(Acquire) == 1;
            match is_followed.then(|| region.move_away()).flatten() {
                Some(moved) => self.set_region(moved),
                None => {
                    region.cover();
                }
            }
        }
        // The memory of the thread's state is left alone: something may be in the middle of using it.
        self.note_thread(core::ptr::null_mut::<c_void>());
        tls::set(core::ptr::null_mut());
        counters::leave_place(self);
    }
}
