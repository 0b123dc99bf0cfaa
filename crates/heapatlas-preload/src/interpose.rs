//! The exported functions.
//!
//! Each begins in assembly: it needs the stack pointer and the frame register as its caller left
//! them, and while nothing is recorded it is a test and a jump.

use core::arch::naked_asm;
use core::ffi::{c_int, c_void};

use heapatlas_record::thread::{Entry, enter};

use crate::next;
use crate::start::{ARENA, MODE, RECORDER, State, state};

/// Defines an exported function that jumps to `$next` while the mode is `FORWARD`, else to `$record`
/// with the stack pointer and the frame register as two more arguments.
macro_rules! export {
    ($($name:ident -> $record:ident, $next:ident, $sp:literal, $rbp:literal;)*) => {$(
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                "cmp byte ptr [rip + {mode}], 0",
                "jne 2f",
                "jmp qword ptr [rip + {next}]",
                "2:",
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $rbp, ", rbp"),
                "jmp {record}",
                mode = sym MODE,
                next = sym next::$next::ENTRY,
                record = sym $record,
            )
        }
    )*};
}

export! {
    malloc -> record_malloc, malloc, "rsi", "rdx";
    calloc -> record_calloc, calloc, "rdx", "rcx";
    realloc -> record_realloc, realloc, "rdx", "rcx";
    posix_memalign -> record_posix_memalign, posix_memalign, "rcx", "r8";
    aligned_alloc -> record_aligned_alloc, aligned_alloc, "rdx", "rcx";
    memalign -> record_memalign, memalign, "rdx", "rcx";
    valloc -> record_valloc, valloc, "rsi", "rdx";
    pvalloc -> record_pvalloc, pvalloc, "rsi", "rdx";
}

/// Interposes `free`. A block of the arena may come back at any time, so that is asked first.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn free() {
    naked_asm!(
        "cmp byte ptr [rip + {mode}], 0",
        "jne {record}",
        "lea rax, [rip + {arena}]",
        "mov rcx, rdi",
        "sub rcx, rax",
        "cmp rcx, {arena_bytes}",
        "jb 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        "ret",
        mode = sym MODE,
        record = sym record_free,
        arena = sym ARENA,
        arena_bytes = const crate::start::ARENA_BYTES,
        next = sym next::free::ENTRY,
    )
}

/// An old name of `free`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn cfree() {
    naked_asm!("jmp {free}", free = sym free)
}

/// Interposes `reallocarray`: where there is a next one it would call `realloc`, which is ours.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn reallocarray() {
    naked_asm!(
        "mov rcx, rsp",
        "mov r8, rbp",
        "jmp {record}",
        record = sym record_reallocarray,
    )
}

/// Records a block and hands it on.
#[inline(always)]
unsafe fn recorded(sp: *const u64, rbp: u64, block: *mut c_void, bytes: usize) -> *mut c_void {
    if !block.is_null()
        && let Some(mut thread) = enter(&RECORDER)
    {
        thread.allocated(Entry { sp, rbp }, block as u64, bytes as u64);
    }
    block
}

unsafe extern "C" fn record_malloc(size: usize, sp: *const u64, rbp: u64) -> *mut c_void {
    // SAFETY: the arguments are the caller's; `sp` and `rbp` are its registers.
    unsafe {
        match state() {
            State::Record => recorded(sp, rbp, next::malloc::call(size), size),
            State::Forward => next::malloc::call(size),
            State::Starting => ARENA.take(size, 16),
        }
    }
}

unsafe extern "C" fn record_calloc(
    count: usize,
    size: usize,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    let bytes = count.wrapping_mul(size);
    // SAFETY: as in `record_malloc`.
    unsafe {
        match state() {
            State::Record => recorded(sp, rbp, next::calloc::call(count, size), bytes),
            State::Forward => next::calloc::call(count, size),
            State::Starting => ARENA.take(bytes, 16),
        }
    }
}

unsafe extern "C" fn record_free(block: *mut c_void) {
    if ARENA.holds(block) {
        return;
    }
    if state() == State::Record
        && !block.is_null()
        && let Some(mut thread) = enter(&RECORDER)
    {
        thread.freeing(block as u64);
    }
    // SAFETY: the caller's argument.
    unsafe { next::free::call(block) }
}

unsafe extern "C" fn record_realloc(
    block: *mut c_void,
    size: usize,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    // SAFETY: as in `record_malloc`.
    unsafe {
        match state() {
            _ if ARENA.holds(block) => move_out_of_arena(block, size),
            State::Record if block.is_null() => {
                recorded(sp, rbp, next::realloc::call(block, size), size)
            }
            State::Record => reallocate(block, size, Entry { sp, rbp }),
            State::Forward => next::realloc::call(block, size),
            State::Starting => ARENA.take(size, 16),
        }
    }
}

/// The old block's end is recorded before it is given back: another thread may get its address.
unsafe fn reallocate(block: *mut c_void, size: usize, entry: Entry) -> *mut c_void {
    if size == 0 {
        // Some C libraries free the block, others give an empty one.
        // SAFETY: the caller's arguments.
        unsafe {
            if let Some(mut thread) = enter(&RECORDER) {
                thread.freeing(block as u64);
            }
            return recorded(entry.sp, entry.rbp, next::realloc::call(block, 0), 0);
        }
    }
    if let Some(mut thread) = enter(&RECORDER) {
        thread.reallocating(block as u64);
    }
    // SAFETY: the caller's arguments.
    let moved = unsafe { next::realloc::call(block, size) };
    if let Some(mut thread) = enter(&RECORDER) {
        thread.reallocated(entry, moved as u64, size as u64);
    }
    moved
}

/// A block that was allocated before the next definitions were known.
#[cold]
unsafe fn move_out_of_arena(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: `malloc` is known when anybody but the start itself runs.
    let moved = unsafe { next::malloc::call(size) };
    if !moved.is_null() {
        let end = (&raw const ARENA).addr() + crate::start::ARENA_BYTES;
        let bytes = size.min(end - block as usize);
        // SAFETY: the new block has `size` bytes, and the arena so many from the old one on.
        unsafe { core::ptr::copy_nonoverlapping(block.cast::<u8>(), moved.cast::<u8>(), bytes) };
    }
    moved
}

unsafe extern "C" fn record_reallocarray(
    block: *mut c_void,
    count: usize,
    size: usize,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else {
        // SAFETY: glibc's location of this thread's error number.
        unsafe { *libc::__errno_location() = libc::ENOMEM };
        return core::ptr::null_mut();
    };
    // SAFETY: as `realloc` with the product.
    unsafe { record_realloc(block, bytes, sp, rbp) }
}

unsafe extern "C" fn record_posix_memalign(
    out: *mut *mut c_void,
    alignment: usize,
    size: usize,
    sp: *const u64,
    rbp: u64,
) -> c_int {
    // SAFETY: as in `record_malloc`; on success `out` was written to.
    unsafe {
        if state() == State::Starting {
            *out = ARENA.take(size, alignment);
            return if (*out).is_null() { libc::ENOMEM } else { 0 };
        }
        let result = next::posix_memalign::call(out, alignment, size);
        if result == 0 && state() == State::Record {
            recorded(sp, rbp, *out, size);
        }
        result
    }
}

/// A function that takes an alignment and a size.
macro_rules! record_aligned {
    ($($record:ident, $next:ident;)*) => {$(
        unsafe extern "C" fn $record(
            alignment: usize,
            size: usize,
            sp: *const u64,
            rbp: u64,
        ) -> *mut c_void {
            // SAFETY: as in `record_malloc`.
            unsafe {
                match state() {
                    State::Record => recorded(sp, rbp, next::$next::call(alignment, size), size),
                    State::Forward => next::$next::call(alignment, size),
                    State::Starting => ARENA.take(size, alignment),
                }
            }
        }
    )*};
}

record_aligned! {
    record_aligned_alloc, aligned_alloc;
    record_memalign, memalign;
}

/// A function that takes a size and gives whole pages.
macro_rules! record_paged {
    ($($record:ident, $next:ident;)*) => {$(
        unsafe extern "C" fn $record(size: usize, sp: *const u64, rbp: u64) -> *mut c_void {
            // SAFETY: as in `record_malloc`.
            unsafe {
                match state() {
                    State::Record => recorded(sp, rbp, next::$next::call(size), size),
                    State::Forward => next::$next::call(size),
                    State::Starting => ARENA.take(size, 4096),
                }
            }
        }
    )*};
}

record_paged! {
    record_valloc, valloc;
    record_pvalloc, pvalloc;
}

/// Interposes `dlclose`: rules of the code that is gone must not be used for what comes in its place.
#[unsafe(no_mangle)]
unsafe extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    state();
    // SAFETY: the caller's argument.
    let result = unsafe { next::dlclose::call(handle) };
    heapatlas_record::unwind::forget_all();
    if state() == State::Record {
        RECORDER.publish_modules();
    }
    result
}
