//! One pointer for each thread, without a call: `#[thread_local]` is not stable, and what the
//! standard library offers allocates.

use core::arch::{asm, global_asm};
use core::ffi::c_void;

global_asm!(
    ".pushsection .tbss.heapatlas_thread,\"awT\",@nobits",
    ".balign 8",
    ".hidden heapatlas_thread",
    ".globl heapatlas_thread",
    ".type heapatlas_thread, @object",
    ".size heapatlas_thread, 8",
    "heapatlas_thread:",
    ".zero 8",
    // What the fast path of sampling reads, see `Draw`; the exported functions reach it, too.
    ".balign 64",
    ".hidden heapatlas_draw",
    ".globl heapatlas_draw",
    ".type heapatlas_draw, @object",
    ".size heapatlas_draw, 64",
    "heapatlas_draw:",
    ".zero 64",
    ".popsection",
);

/// This thread's next sample and counters: zeroes at first, and written by this thread only.
#[inline(always)]
pub fn draw() -> *mut crate::sampler::ThreadDraw {
    let draw: *mut crate::sampler::ThreadDraw;
    // SAFETY: reads the thread's own address, which the ABI keeps at `fs:0`, and the offset of its static block.
    unsafe {
        asm!(
            "mov {draw}, qword ptr fs:[0]",
            "add {draw}, qword ptr [rip + heapatlas_draw@GOTTPOFF]",
            draw = out(reg) draw,
            options(nostack, readonly),
        );
    }
    draw
}

/// This thread's state: null before its first event; [`BUSY`] while it gets one.
#[inline(always)]
pub fn get() -> *mut c_void {
    let thread: *mut c_void;
    // SAFETY: reads a word of this thread's static block (initial-exec: the object is loaded at
    // the start of the program).
    unsafe {
        asm!(
            "mov {thread}, qword ptr [rip + heapatlas_thread@GOTTPOFF]",
            "mov {thread}, qword ptr fs:[{thread}]",
            thread = out(reg) thread,
            options(nostack, readonly, preserves_flags),
        );
    }
    thread
}

/// Sets this thread's state.
pub fn set(thread: *mut c_void) {
    // SAFETY: writes a word of this thread's static block that nobody else uses.
    unsafe {
        asm!(
            "mov {offset}, qword ptr [rip + heapatlas_thread@GOTTPOFF]",
            "mov qword ptr fs:[{offset}], {thread}",
            offset = out(reg) _,
            thread = in(reg) thread,
            options(nostack, preserves_flags),
        );
    }
}

/// Stands for a thread whose events are not to be recorded now: it gets its state, or gives it up.
pub const BUSY: *mut c_void = core::ptr::without_provenance_mut(1);
