//! What an allocator that records itself calls: for each event a test of one byte, and the rest if that says so.
//!
//! The stack is that of the caller. Each of these is inlined there, and hands on the stack pointer and the frame
//! register as they are there: the functions below that do so are in assembly, since no other place knows both. So the
//! innermost frame of a stack is the allocator's own method.

use core::arch::naked_asm;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use heapatlas_trace::shared::{MODE_IDLE, MODE_SAMPLED};

use crate::recorder::{Recorder, SAMPLES};
use crate::thread::{Entry, enter};
use crate::tls;

/// What was recorded of a reallocation before it was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reallocation {
    /// Nothing, and nothing is to be recorded of what it gives.
    NotRecorded,
    /// That it begins.
    Begun,
    /// The same, of a block that was sampled.
    SampleBegun,
    /// Nothing, since the old block was not sampled.
    NotSampled,
}

/// Whether nothing is to be recorded of an allocation of so many bytes that is about to be made: then that is all there is
/// to do for it, and the allocator can end with a jump. For sampling; else it is only a hint.
#[inline(always)]
pub fn skips_allocation(recorder: &'static Recorder, bytes: usize) -> bool {
    let mode = recorder.switch().mode.load(Acquire);
    // SAFETY: this thread's static block; nothing else refers to it now.
    mode & MODE_SAMPLED != 0 && unsafe { (*tls::draw()).skips(bytes, mode) }
}

/// The same of a block that is about to be given back.
#[inline(always)]
pub fn skips_free(recorder: &'static Recorder, block: *mut u8) -> bool {
    let mode = recorder.switch().mode.load(Acquire);
    mode & MODE_SAMPLED != 0 && !SAMPLES.may_hold(block as u64)
}

/// Records a block that was just made, if it is to be; null is none.
#[inline(always)]
pub fn allocated(recorder: &'static Recorder, block: *mut u8, bytes: usize) {
    let mode = recorder.switch().mode.load(Acquire);
    if mode == MODE_IDLE {
        return;
    }
    if mode & MODE_SAMPLED != 0 {
        if let Some(interval) = is_due(recorder, mode, bytes) {
            sample_allocation(recorder, block, bytes, interval);
        }
    } else {
        record_allocation(recorder, block, bytes);
    }
}

/// Records that a block is about to be given back, if its allocation was.
#[inline(always)]
pub fn freeing(recorder: &'static Recorder, block: *mut u8) {
    let mode = recorder.switch().mode.load(Acquire);
    if mode == MODE_IDLE {
        return;
    }
    if mode & MODE_SAMPLED == 0 {
        record_free(recorder, block);
    } else if SAMPLES.take(block as u64) {
        record_free_of_sample(recorder, block);
    }
}

/// Records that a block is about to be reallocated. What this gives is for [`reallocated`].
#[inline(always)]
pub fn reallocating(recorder: &'static Recorder, block: *mut u8) -> Reallocation {
    let mode = recorder.switch().mode.load(Acquire);
    if mode == MODE_IDLE {
        return Reallocation::NotRecorded;
    }
    let is_sampled = mode & MODE_SAMPLED != 0;
    if is_sampled && !SAMPLES.take(block as u64) {
        return Reallocation::NotSampled;
    }
    begin_reallocation(recorder, block, is_sampled)
}

/// Records what a reallocation gave: null, and the old block is where it was.
#[inline(always)]
pub fn reallocated(
    recorder: &'static Recorder,
    begun: Reallocation,
    [old, new]: [*mut u8; 2],
    bytes: usize,
) {
    let mode = recorder.switch().mode.load(Acquire);
    let is_sampled = mode & MODE_SAMPLED != 0;
    match begun {
        Reallocation::NotRecorded => {}
        _ if new.is_null() => fail_reallocation(recorder, begun, old),
        Reallocation::Begun => {
            end_reallocation(recorder, new, bytes);
        }
        Reallocation::NotSampled if !is_sampled => {}
        Reallocation::NotSampled => {
            if let Some(interval) = is_due(recorder, mode, bytes) {
                sample_allocation(recorder, new, bytes, interval);
            }
        }
        Reallocation::SampleBegun => {
            let due = if is_sampled {
                is_due(recorder, mode, bytes)
            } else {
                None
            };
            end_reallocation_of_sample(recorder, new, bytes, due.unwrap_or(0));
        }
    }
}

/// Gives this moment a name, which is cut to [`MAX_MARK_BYTES`](heapatlas_trace::MAX_MARK_BYTES).
pub fn mark(recorder: &'static Recorder, text: &[u8]) {
    if recorder.switch().mode.load(Acquire) != MODE_IDLE
        && let Some(mut thread) = enter(recorder)
    {
        thread.mark(text);
    }
}

/// Whether so many bytes are sampled, and with which mean distance.
#[inline(always)]
fn is_due(recorder: &'static Recorder, mode: u8, bytes: usize) -> Option<u64> {
    // SAFETY: this thread's static block; nothing else refers to it now.
    let draw = unsafe { &mut *tls::draw() };
    draw.is_due(bytes, mode, || {
        recorder.switch().sample_interval.load(Relaxed)
    })
}

/// Defines functions that hand on their caller's stack pointer and frame register behind their own arguments.
macro_rules! with_entry {
    ($($name:ident($($argument:ident: $type:ty),*) -> $record:ident, $sp:literal, $rbp:literal;)*) => {$(
        #[unsafe(naked)]
        extern "C" fn $name($($argument: $type),*) {
            naked_asm!(
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $rbp, ", rbp"),
                "jmp {record}",
                record = sym $record,
            )
        }
    )*};
}

with_entry! {
    record_allocation(recorder: &'static Recorder, block: *mut u8, bytes: usize)
        -> record_allocation_at, "rcx", "r8";
    sample_allocation(recorder: &'static Recorder, block: *mut u8, bytes: usize, interval: u64)
        -> sample_allocation_at, "r8", "r9";
    end_reallocation(recorder: &'static Recorder, block: *mut u8, bytes: usize)
        -> end_reallocation_at, "rcx", "r8";
    end_reallocation_of_sample(recorder: &'static Recorder, block: *mut u8, bytes: usize, due: u64)
        -> end_reallocation_of_sample_at, "r8", "r9";
}

unsafe extern "C" fn record_allocation_at(
    recorder: &'static Recorder,
    block: *mut u8,
    bytes: usize,
    sp: *const u64,
    rbp: u64,
) {
    if !block.is_null()
        && let Some(mut thread) = enter(recorder)
    {
        thread.allocated(Entry { sp, rbp }, block as u64, bytes as u64, 0);
    }
}

#[cold]
unsafe extern "C" fn sample_allocation_at(
    recorder: &'static Recorder,
    block: *mut u8,
    bytes: usize,
    interval: u64,
    sp: *const u64,
    rbp: u64,
) {
    if block.is_null() {
        return;
    }
    let Some(mut thread) = enter(recorder) else {
        return;
    };
    if SAMPLES.add(block as u64) {
        thread.starts_sample();
        thread.allocated(Entry { sp, rbp }, block as u64, bytes as u64, interval);
    } else {
        thread.drops();
    }
}

#[inline(never)]
fn record_free(recorder: &'static Recorder, block: *mut u8) {
    if !block.is_null()
        && let Some(mut thread) = enter(recorder)
    {
        thread.freeing(block as u64);
    }
}

#[cold]
#[inline(never)]
fn record_free_of_sample(recorder: &'static Recorder, block: *mut u8) {
    if let Some(mut thread) = enter(recorder) {
        thread.starts_sample();
        thread.freeing(block as u64);
    }
}

#[inline(never)]
fn begin_reallocation(
    recorder: &'static Recorder,
    block: *mut u8,
    is_sampled: bool,
) -> Reallocation {
    if let Some(mut thread) = enter(recorder) {
        if is_sampled {
            thread.starts_sample();
        }
        thread.reallocating(block as u64);
    }
    if is_sampled {
        Reallocation::SampleBegun
    } else {
        Reallocation::Begun
    }
}

#[cold]
#[inline(never)]
fn fail_reallocation(recorder: &'static Recorder, begun: Reallocation, old: *mut u8) {
    if begun == Reallocation::NotSampled {
        return;
    }
    if begun == Reallocation::SampleBegun {
        // There was room for it a moment ago.
        SAMPLES.add(old as u64);
    }
    if recorder.switch().mode.load(Acquire) != MODE_IDLE
        && let Some(mut thread) = enter(recorder)
    {
        thread.reallocation_failed();
    }
}

unsafe extern "C" fn end_reallocation_at(
    recorder: &'static Recorder,
    block: *mut u8,
    bytes: usize,
    sp: *const u64,
    rbp: u64,
) {
    if recorder.switch().mode.load(Acquire) != MODE_IDLE
        && let Some(mut thread) = enter(recorder)
    {
        thread.reallocated(Entry { sp, rbp }, block as u64, bytes as u64, 0);
    }
}

#[cold]
unsafe extern "C" fn end_reallocation_of_sample_at(
    recorder: &'static Recorder,
    block: *mut u8,
    bytes: usize,
    due: u64,
    sp: *const u64,
    rbp: u64,
) {
    if recorder.switch().mode.load(Acquire) == MODE_IDLE {
        return;
    }
    let Some(mut thread) = enter(recorder) else {
        return;
    };
    thread.starts_sample();
    if due != 0 && SAMPLES.add(block as u64) {
        thread.reallocated(Entry { sp, rbp }, block as u64, bytes as u64, due);
    } else {
        thread.reallocated_unsampled();
    }
}
