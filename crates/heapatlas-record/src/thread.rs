//! What a thread remembers between events.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use core::sync::atomic::{AtomicBool, compiler_fence};
use core::{ops::Range, sync::atomic};

use heapatlas_trace::{Encoder, MAX_EVENT_BYTES};

use crate::buffer::Buffer;
use crate::clock::{EventClock, ticks};
use crate::recorder::Recorder;
use crate::region::{Errno, Region};
use crate::stack_table::NodeSink;
use crate::unwind::{CheckResult, Registers, ThreadStacks};
use crate::{module_list, os, stack_bounds, tls};

/// The state of one thread, in pages of its own.
pub struct Thread {
    /// Set while an event of this thread is written: what a signal handler or the system's
    /// allocator allocates meanwhile is not recorded.
    is_busy: AtomicBool,
    /// Once the stream has a gap: how many times chunks had become free by then. The thread stays busy
    /// until there are more.
    quiet_since: Option<u32>,
    buffer: Buffer,
    stacks: ThreadStacks,
    clock: EventClock,
    region: Region,
    recorder: &'static Recorder,
    /// The recording that the stream belongs to.
    recording: u32,
    /// The mean distance of samples that the stream was told last; 0: every allocation is recorded.
    told_interval: u64,
    captures_until_check: u32,
}

/// Where `malloc` was called from.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Entry {
    /// The stack pointer at the first instruction: it points at the return address.
    pub sp: *const u64,
    /// The frame register at that moment.
    pub rbp: u64,
}

impl Entry {
    #[inline(always)]
    fn registers(self) -> Registers {
        Registers {
            // SAFETY: a function's return address lies where its stack pointer points at entry.
            pc: unsafe { *self.sp },
            sp: self.sp as u64 + 8,
            rbp: self.rbp,
        }
    }
}

/// Proof that no event of this thread is being written. Ends with the guard.
pub struct Guard<'t>(&'t mut Thread);

impl Drop for Guard<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        compiler_fence(atomic::Ordering::SeqCst);
        let is_quiet = self.0.quiet_since.is_some();
        self.0.is_busy.store(is_quiet, Relaxed);
    }
}

/// This thread's state, unless an event of it is being written.
#[inline(always)]
pub fn enter(recorder: &'static Recorder) -> Option<Guard<'static>> {
    let thread = tls::get();
    if (thread as usize) <= tls::BUSY as usize {
        return if thread.is_null() {
            attach(recorder)
        } else {
            None
        };
    }
    // SAFETY: `attach` put it there, and only this thread's end takes it away.
    enter_thread(recorder, unsafe { &mut *thread.cast::<Thread>() })
}

#[inline(always)]
fn enter_thread(
    recorder: &'static Recorder,
    thread: &'static mut Thread,
) -> Option<Guard<'static>> {
    if thread.is_busy.load(Relaxed) {
        return turn_away(thread);
    }
    if thread.recording != recorder.switch().recording.load(Relaxed) {
        return begin_anew(thread);
    }
    thread.is_busy.store(true, Relaxed);
    compiler_fence(atomic::Ordering::SeqCst);
    Some(Guard(thread))
}

/// Counts an event that is not recorded. When chunks are free again, a quiet thread gets a new state:
/// its stream is at an end.
#[cold]
#[inline(never)]
fn turn_away(thread: &'static mut Thread) -> Option<Guard<'static>> {
    let header = thread.region.header();
    let freed = header.freed.load(Acquire);
    let recording = thread.recorder.switch().recording.load(Relaxed);
    let is_over = thread.recording != recording;
    if thread
        .quiet_since
        .is_some_and(|seen| is_over || seen != freed)
    {
        return begin_anew(thread);
    }
    header.dropped.fetch_add(1, Relaxed);
    None
}

/// Gives this thread a new state in place of the one that it has: its stream, or the recording, is at an end.
#[cold]
#[inline(never)]
fn begin_anew(thread: &'static mut Thread) -> Option<Guard<'static>> {
    let recorder = thread.recorder;
    let _errno = Errno::save();
    // SAFETY: this thread's state; it is not busy, or quiet, so nothing of it is in use.
    unsafe { detach(NonNull::from(thread)) };
    attach(recorder)
}

impl Guard<'_> {
    /// Records a block that was just made. `interval` is the mean distance with which it was sampled; 0 where
    /// every block is recorded.
    #[inline(always)]
    pub fn allocated(&mut self, entry: Entry, address: u64, size_bytes: u64, interval: u64) {
        self.tell_interval(interval);
        let stack = self.capture(entry);
        let tick = self.tick(address);
        self.write(|encoder, out| encoder.allocation(out, stack, size_bytes, address, tick));
    }

    /// Records that a block is about to be given back.
    #[inline(always)]
    pub fn freeing(&mut self, address: u64) {
        let tick = self.tick(address);
        self.write(|encoder, out| encoder.free(out, address, tick));
    }

    /// Records that a block is about to be reallocated.
    #[inline(always)]
    pub fn reallocating(&mut self, address: u64) {
        let tick = self.tick(address);
        self.write(|encoder, out| encoder.reallocation_begins(out, address, tick));
    }

    /// Records that the reallocation that began last failed.
    #[cold]
    pub fn reallocation_failed(&mut self) {
        let tick = self.0.clock.exact_tick();
        self.write(|encoder, out| encoder.reallocation_failed(out, tick));
    }

    /// Records that the reallocation that began last gave a block which is not sampled.
    pub fn reallocated_unsampled(&mut self) {
        let tick = self.0.clock.exact_tick();
        self.write(|encoder, out| encoder.reallocation_ends(out, 0, 0, 0, tick));
    }

    /// Records the block that the reallocation that began last gave; `interval` as in [`Self::allocated`].
    #[inline(always)]
    pub fn reallocated(&mut self, entry: Entry, address: u64, size_bytes: u64, interval: u64) {
        self.tell_interval(interval);
        let stack = self.capture(entry);
        let tick = self.tick(address);
        self.write(|encoder, out| encoder.reallocation_ends(out, stack, size_bytes, address, tick));
    }

    /// Records a moment with a name, which is cut to [`MAX_MARK_BYTES`](heapatlas_trace::MAX_MARK_BYTES).
    #[cold]
    pub fn mark(&mut self, text: &[u8]) {
        let tick = self.0.clock.exact_tick();
        self.write(|encoder, out| encoder.mark(out, tick, text));
    }

    /// Counts an event that is not recorded, since there is no room to remember the block.
    #[cold]
    pub fn drops(&mut self) {
        self.0.region.header().dropped.fetch_add(1, Relaxed);
    }

    /// When a sample is begun, for [`Self::ends_sample`]. Its event is stamped with a reading of its own: samples lie
    /// too far apart to share one.
    #[inline(always)]
    pub fn starts_sample(&mut self) -> u64 {
        self.0.clock.expire();
        ticks()
    }

    /// Adds the time that a sample took to what the launcher weighs against the program's own.
    #[inline(always)]
    pub fn ends_sample(&self, start: u64) {
        let spent = ticks().saturating_sub(start);
        let header = self.0.region.header();
        header.sampling_ticks.fetch_add(spent, Relaxed);
    }

    #[inline(always)]
    fn tell_interval(&mut self, interval: u64) {
        if self.0.told_interval != interval {
            self.tell_another_interval(interval);
        }
    }

    #[cold]
    fn tell_another_interval(&mut self, interval: u64) {
        self.0.told_interval = interval;
        let tick = self.0.clock.exact_tick();
        self.write(|encoder, out| encoder.sample_interval(out, interval, tick));
    }

    /// Where the stream is; never 0.
    pub fn position(&self) -> u64 {
        self.0.buffer.position()
    }

    /// Whether the last event about a block is about this one, and was written after the stream was at `position`.
    pub fn has_recorded(&self, address: u64, position: u64) -> bool {
        let buffer = &self.0.buffer;
        buffer.position() != position && buffer.last_address() == address
    }

    /// Records pages that were just mapped.
    pub fn mapped(&mut self, entry: Entry, address: u64, size_bytes: u64) {
        let stack = self.capture(entry);
        let tick = self.0.clock.exact_tick();
        self.write(|encoder, out| encoder.mapping(out, stack, size_bytes, address, tick));
    }

    /// Records that pages are about to be unmapped.
    pub fn unmapping(&mut self, address: u64, size_bytes: u64) {
        let tick = self.0.clock.exact_tick();
        self.write(|encoder, out| encoder.unmapping(out, size_bytes, address, tick));
    }

    /// The tick of an event that is written next.
    #[inline(always)]
    fn tick(&mut self, address: u64) -> u64 {
        let Thread { clock, buffer, .. } = &mut *self.0;
        let stamp = clock.stamp(address, |now| buffer.end_if_old(now));
        if stamp.is_shared {
            buffer.next_is_shared();
        }
        stamp.tick
    }

    #[inline(always)]
    fn write(&mut self, encode: impl FnOnce(&mut Encoder, &mut [u8; MAX_EVENT_BYTES]) -> usize) {
        if self.0.buffer.write(encode) {
            self.0.buffer.commit();
        } else {
            self.go_quiet();
        }
    }

    #[cold]
    fn go_quiet(&mut self) {
        let header = self.0.region.header();
        header.dropped.fetch_add(1, Relaxed);
        self.0.quiet_since = Some(header.freed.load(Acquire));
    }

    #[inline(always)]
    fn capture(&mut self, entry: Entry) -> u32 {
        let Thread {
            buffer,
            stacks,
            clock,
            recorder,
            captures_until_check,
            ..
        } = &mut *self.0;
        *captures_until_check = captures_until_check.wrapping_sub(1);
        let mut nodes = Nodes {
            buffer,
            clock,
            has_unlisted_code: false,
        };
        let captured = stacks.capture(entry.registers(), &mut nodes);
        if nodes.has_unlisted_code {
            recorder.publish_modules();
        }
        if *captures_until_check == 0 {
            self.check(entry);
        }
        captured.stack
    }

    /// Compares a capture with a full walk.
    #[cold]
    fn check(&mut self, entry: Entry) {
        let header = self.0.region.header();
        self.0.captures_until_check = header.check_interval.load(Relaxed);
        if self.0.captures_until_check == 0 {
            return;
        }
        header.checked.fetch_add(1, Relaxed);
        if self.0.stacks.check(entry.registers()) == CheckResult::Different {
            header.differences.fetch_add(1, Relaxed);
        }
    }
}

/// New stack nodes go to the stream before the event that needs them.
struct Nodes<'b> {
    buffer: &'b mut Buffer,
    clock: &'b mut EventClock,
    /// A node is of a file that was loaded after the list of modules was written. It is to be written
    /// anew before the event, so that the reader has it for this node.
    has_unlisted_code: bool,
}

impl NodeSink for Nodes<'_> {
    fn node(&mut self, parent: u32, address: u64) {
        // Where there is no room for a node there is none for its event, which is counted.
        self.buffer
            .write(|encoder, out| encoder.node(out, parent, address));
        self.has_unlisted_code |= module_list::is_missing(address);
        // Its tick tells in which list of modules to look the node up.
        self.clock.expire();
    }
}

/// Gives this thread its state.
#[cold]
fn attach(recorder: &'static Recorder) -> Option<Guard<'static>> {
    // A signal handler forked, and this is what it interrupted, in the child.
    if recorder.is_forked_child() {
        return None;
    }
    tls::set(tls::BUSY);
    let _errno = Errno::save();
    let thread = new_thread(recorder).map_or(core::ptr::null_mut(), NonNull::as_ptr);
    recorder.note_thread(thread.cast());
    tls::set(thread.cast());
    // SAFETY: null, or made just now and owned by this thread.
    let thread = unsafe { thread.as_mut() }?;
    thread.is_busy.store(true, Relaxed);
    compiler_fence(atomic::Ordering::SeqCst);
    Some(Guard(thread))
}

fn new_thread(recorder: &'static Recorder) -> Option<NonNull<Thread>> {
    let region = recorder.region()?;
    let recording = recorder.switch().recording.load(Acquire);
    if !recorder.is_ready(recording) {
        return None;
    }
    let bounds: Range<u64> = stack_bounds::of_this_thread()?;
    let stacks = ThreadStacks::new(bounds)?;
    let number = region.header().next_thread.fetch_add(1, Relaxed);
    let thread = os::map_pages(size_of::<Thread>())?.cast::<Thread>();
    let check_interval = region.header().check_interval.load(Relaxed);
    // SAFETY: the pages are fresh, aligned and large enough.
    unsafe {
        thread.write(Thread {
            is_busy: AtomicBool::new(false),
            quiet_since: None,
            buffer: Buffer::new(region, number, recorder.process(), recording),
            stacks,
            clock: EventClock::new(number),
            region,
            recorder,
            recording,
            told_interval: 0,
            captures_until_check: check_interval,
        });
    }
    Some(thread)
}

/// Ends the state of a thread that ends; the recorder has it called with what it was told.
pub extern "C" fn ends(thread: *mut c_void) {
    if let Some(thread) = NonNull::new(thread.cast::<Thread>()) {
        // SAFETY: `attach` told this thread's state, and this runs once for it.
        unsafe {
            // In a forked child that has recorded nothing yet the stream is the parent's.
            if !thread.as_ref().recorder.is_forked_child() {
                detach(thread);
            }
        }
    }
}

/// Ends the state of a thread that ends: its events go to the launcher, its memory to the system.
///
/// # Safety
/// `thread` is this thread's state, and nothing of it is in use.
unsafe fn detach(thread: NonNull<Thread>) {
    tls::set(tls::BUSY);
    // SAFETY: by the contract.
    let state = unsafe { &mut *thread.as_ptr() };
    let tick = state.clock.exact_tick();
    state
        .buffer
        .write(|encoder, out| encoder.thread_ends(out, tick));
    state.buffer.close();
    // SAFETY: `new_thread` made the state in pages that it mapped, and this is the last use of it.
    unsafe {
        thread.drop_in_place();
        os::unmap_pages(thread.cast(), size_of::<Thread>());
    }
    // What the thread allocates yet gets a new state.
    tls::set(core::ptr::null_mut());
}
