//! The exported functions.
//!
//! Each begins in assembly: it needs the stack pointer and the frame register as its caller left
//! them, and while nothing is recorded it is a test and a jump.

use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

use heapatlas_record::counters::{count_allocation, count_free, size_of_block};
use heapatlas_record::recorder::SAMPLES;
use heapatlas_record::sampler::{FILTER_BITS, FILTER_SHIFT};
use heapatlas_record::thread::{Entry, enter};
use heapatlas_record::tls;
use heapatlas_trace::shared::MODE_SAMPLED;

use crate::next;
use crate::start::{ARENA, RECORDER, State, may_sample, state};

/// Defines an exported function that jumps to `$next` while the mode is idle, else to `$record`
/// with the stack pointer and the frame register as two more arguments.
macro_rules! export {
    ($($name:ident -> $record:ident, $next:ident, $sp:literal, $rbp:literal;)*) => {$(
        #[doc = concat!("Interposes `", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                "cmp byte ptr [rip + {recorder}], 0",
                "jne 2f",
                "jmp qword ptr [rip + {next}]",
                "2:",
                concat!("mov ", $sp, ", rsp"),
                concat!("mov ", $rbp, ", rbp"),
                "jmp {record}",
                recorder = sym RECORDER,
                next = sym next::$next::ENTRY,
                record = sym $record,
            )
        }
    )*};
}

export! {
    calloc -> record_calloc, calloc, "rdx", "rcx";
    realloc -> record_realloc, realloc, "rdx", "rcx";
    posix_memalign -> record_posix_memalign, posix_memalign, "rcx", "r8";
    aligned_alloc -> record_aligned_alloc, aligned_alloc, "rdx", "rcx";
    memalign -> record_memalign, memalign, "rdx", "rcx";
    valloc -> record_valloc, valloc, "rsi", "rdx";
    pvalloc -> record_pvalloc, pvalloc, "rsi", "rdx";
}

/// Interposes `malloc`. While allocations are sampled, those that are not cost a few instructions more: the mode is
/// the one under which this thread drew its next sample, and that is further away than the block is large.
///
/// The distance is subtracted from at once, by one instruction: a signal handler that allocates in between must not
/// find it smaller than it is and draw again, since a subtraction after that would go below 0, which is very far.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn malloc() {
    naked_asm!(
        "cmp byte ptr [rip + {recorder}], 0",
        "jne 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        "movzx eax, byte ptr [rip + {recorder}]",
        "mov rcx, qword ptr [rip + heapatlas_draw@GOTTPOFF]",
        "cmp qword ptr fs:[rcx + 8], rax",
        "jne 4f",
        "sub qword ptr fs:[rcx], rdi",
        "jbe 3f",
        "jmp qword ptr [rip + {next}]",
        "3:",
        "add qword ptr fs:[rcx], rdi",
        "4:",
        "mov rsi, rsp",
        "mov rdx, rbp",
        "jmp {record}",
        recorder = sym RECORDER,
        next = sym next::malloc::ENTRY,
        record = sym record_malloc,
    )
}

/// Interposes `free`. While allocations are sampled, the filter tells most blocks that are not of these.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn free() {
    naked_asm!(
        "cmp byte ptr [rip + {recorder}], 0",
        "jne 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        "jns {record}",
        "mov eax, edi",
        "shr eax, {shift}",
        "and eax, {mask}",
        "lea rcx, [rip + {samples}]",
        "cmp byte ptr [rcx + rax], 0",
        "jne {record}",
        "jmp qword ptr [rip + {next}]",
        recorder = sym RECORDER,
        record = sym record_free,
        shift = const FILTER_SHIFT,
        mask = const (1_u32 << FILTER_BITS) - 1,
        samples = sym SAMPLES,
        next = sym next::free::ENTRY,
    )
}

// The shift of the lower half of an address leaves all bits that the filter wants.
const _: () = assert!(FILTER_BITS + FILTER_SHIFT <= 32);
// The sign of the comparison with 0 is the highest bit of the mode.
const _: () = assert!(MODE_SAMPLED == 0x80);

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

/// Where the caller was, and how many bytes it asked for.
#[derive(Clone, Copy)]
pub struct Request {
    pub entry: Entry,
    pub bytes: usize,
}

/// What is done for an allocation: the block is made by `make`, and recorded if it is to be.
#[inline(always)]
unsafe fn allocate(
    request: Request,
    alignment: usize,
    make: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    match state() {
        State::Record => recorded(request, 0, make()),
        State::Sample(mode) => match is_due(request.bytes, mode) {
            Some(interval) => sampled(request, interval, make()),
            None => make(),
        },
        State::Count => counted(request.bytes, make()),
        State::Forward => make(),
        State::Starting => ARENA.take(request.bytes, alignment),
    }
}

/// Records a block and hands it on.
#[inline(always)]
fn recorded(request: Request, interval: u64, block: *mut c_void) -> *mut c_void {
    if !block.is_null()
        && let Some(mut thread) = enter(&RECORDER)
    {
        thread.allocated(request.entry, block as u64, request.bytes as u64, interval);
    }
    block
}

/// Whether so many bytes are sampled, and with which mean distance.
#[inline(always)]
pub fn is_due(bytes: usize, mode: u8) -> Option<u64> {
    // SAFETY: this thread's static block; nothing else refers to it now.
    let draw = unsafe { &mut *tls::draw() };
    draw.is_due(bytes, mode, || {
        RECORDER.switch().sample_interval.load(Relaxed)
    })
}

/// Records a block that was sampled.
#[cold]
#[inline(never)]
pub fn sampled(request: Request, interval: u64, block: *mut c_void) -> *mut c_void {
    if block.is_null() || !may_sample() {
        return block;
    }
    let Some(mut thread) = enter(&RECORDER) else {
        return block;
    };
    let start = thread.starts_sample();
    if SAMPLES.add(block as u64) {
        thread.allocated(request.entry, block as u64, request.bytes as u64, interval);
    } else {
        thread.drops();
    }
    thread.ends_sample(start);
    block
}

/// Counts a block and hands it on.
#[inline(always)]
pub fn counted(bytes: usize, block: *mut c_void) -> *mut c_void {
    if !block.is_null() {
        count_allocation(&RECORDER, bytes, usable_bytes(block));
    }
    block
}

/// What a block takes; 0 where the allocator does not tell.
#[inline(always)]
pub fn usable_bytes(block: *mut c_void) -> usize {
    if !next::malloc_usable_size::ENTRY.is_there() {
        return 0;
    }
    // SAFETY: a live block of that allocator.
    size_of_block(|| unsafe { next::malloc_usable_size::call(block) })
}

unsafe extern "C" fn record_malloc(size: usize, sp: *const u64, rbp: u64) -> *mut c_void {
    let entry = Entry { sp, rbp };
    // SAFETY: the arguments are the caller's; `sp` and `rbp` are its registers.
    unsafe {
        allocate(Request { entry, bytes: size }, 16, || {
            next::malloc::call(size)
        })
    }
}

unsafe extern "C" fn record_calloc(
    count: usize,
    size: usize,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    let entry = Entry { sp, rbp };
    // One that overflows fails, so nobody asks how many bytes it was.
    let bytes = count.wrapping_mul(size);
    // SAFETY: as in `record_malloc`.
    unsafe {
        allocate(Request { entry, bytes }, 16, || {
            next::calloc::call(count, size)
        })
    }
}

unsafe extern "C" fn record_free(block: *mut c_void) {
    if ARENA.holds(block) {
        return;
    }
    if !block.is_null() {
        match state() {
            State::Record => freeing(block),
            State::Sample(_) => freeing_sample(block),
            State::Count => count_free(&RECORDER, usable_bytes(block)),
            State::Forward | State::Starting => {}
        }
    }
    // SAFETY: the caller's argument.
    unsafe { next::free::call(block) }
}

#[inline(always)]
fn freeing(block: *mut c_void) {
    if let Some(mut thread) = enter(&RECORDER) {
        thread.freeing(block as u64);
    }
}

/// Records the end of a block if it was sampled.
#[inline]
pub fn freeing_sample(block: *mut c_void) {
    if SAMPLES.take(block as u64)
        && may_sample()
        && let Some(mut thread) = enter(&RECORDER)
    {
        let start = thread.starts_sample();
        thread.freeing(block as u64);
        thread.ends_sample(start);
    }
}

unsafe extern "C" fn record_realloc(
    block: *mut c_void,
    size: usize,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    let entry = Entry { sp, rbp };
    let request = Request { entry, bytes: size };
    // SAFETY: as in `record_malloc`.
    unsafe {
        if ARENA.holds(block) {
            return move_out_of_arena(block, size);
        }
        if block.is_null() {
            return allocate(request, 16, || next::realloc::call(block, size));
        }
        match state() {
            State::Record => reallocate(block, request),
            State::Sample(mode) => reallocate_sampled(block, request, mode),
            State::Count => reallocate_counted(block, size),
            State::Forward => next::realloc::call(block, size),
            State::Starting => ARENA.take(size, 16),
        }
    }
}

/// The old block's end is recorded before it is given back: another thread may get its address.
unsafe fn reallocate(block: *mut c_void, request: Request) -> *mut c_void {
    if request.bytes == 0 {
        // Some C libraries free the block, others give an empty one.
        freeing(block);
        // SAFETY: the caller's arguments.
        return recorded(request, 0, unsafe { next::realloc::call(block, 0) });
    }
    if let Some(mut thread) = enter(&RECORDER) {
        thread.reallocating(block as u64);
    }
    // SAFETY: the caller's arguments.
    let moved = unsafe { next::realloc::call(block, request.bytes) };
    if let Some(mut thread) = enter(&RECORDER) {
        if moved.is_null() {
            thread.reallocation_failed();
        } else {
            thread.reallocated(request.entry, moved as u64, request.bytes as u64, 0);
        }
    }
    moved
}

/// As `reallocate`, where the old block, the new one, both or none are sampled.
unsafe fn reallocate_sampled(block: *mut c_void, request: Request, mode: u8) -> *mut c_void {
    let due = is_due(request.bytes, mode);
    if !SAMPLES.take(block as u64) || !may_sample() {
        // SAFETY: the caller's arguments.
        let moved = unsafe { next::realloc::call(block, request.bytes) };
        return match due {
            Some(interval) => sampled(request, interval, moved),
            None => moved,
        };
    }
    if request.bytes == 0 {
        if let Some(mut thread) = enter(&RECORDER) {
            let start = thread.starts_sample();
            thread.freeing(block as u64);
            thread.ends_sample(start);
        }
        // SAFETY: the caller's arguments.
        return unsafe { next::realloc::call(block, 0) };
    }
    if let Some(mut thread) = enter(&RECORDER) {
        let start = thread.starts_sample();
        thread.reallocating(block as u64);
        thread.ends_sample(start);
    }
    // SAFETY: the caller's arguments.
    let moved = unsafe { next::realloc::call(block, request.bytes) };
    if let Some(mut thread) = enter(&RECORDER) {
        let start = thread.starts_sample();
        if moved.is_null() {
            // It is where it was; there was room for it a moment ago.
            SAMPLES.add(block as u64);
            thread.reallocation_failed();
            return moved;
        }
        match due.filter(|_| SAMPLES.add(moved as u64)) {
            Some(interval) => {
                thread.reallocated(request.entry, moved as u64, request.bytes as u64, interval);
            }
            None => thread.reallocated_unsampled(),
        }
        thread.ends_sample(start);
    }
    moved
}

/// A reallocation that succeeds is a block more and a block less.
unsafe fn reallocate_counted(block: *mut c_void, size: usize) -> *mut c_void {
    let old_bytes = usable_bytes(block);
    // SAFETY: the caller's arguments.
    let moved = unsafe { next::realloc::call(block, size) };
    if !moved.is_null() || size == 0 {
        count_free(&RECORDER, old_bytes);
    }
    counted(size, moved)
}

/// Blocks of the arena may come back at any time. Where there are any, the next `free` and `realloc` are these from
/// here on: so nobody else needs to ask.
pub fn expect_arena_blocks() {
    NEXT_FREE.store(next::free::ENTRY.get(), Relaxed);
    NEXT_REALLOC.store(next::realloc::ENTRY.get(), Relaxed);
    next::free::ENTRY.replace(free_unless_of_arena as *mut c_void);
    next::realloc::ENTRY.replace(realloc_unless_of_arena as *mut c_void);
}

static NEXT_FREE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static NEXT_REALLOC: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

unsafe extern "C" fn free_unless_of_arena(block: *mut c_void) {
    type Free = unsafe extern "C" fn(*mut c_void);
    if !ARENA.holds(block) {
        // SAFETY: the function that was there before, with the caller's argument.
        unsafe { transmute::<*mut c_void, Free>(NEXT_FREE.load(Relaxed))(block) }
    }
}

unsafe extern "C" fn realloc_unless_of_arena(block: *mut c_void, size: usize) -> *mut c_void {
    type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
    // SAFETY: the function that was there before, with the caller's arguments.
    unsafe {
        if ARENA.holds(block) {
            return move_out_of_arena(block, size);
        }
        transmute::<*mut c_void, Realloc>(NEXT_REALLOC.load(Relaxed))(block, size)
    }
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
    let entry = Entry { sp, rbp };
    let mut result = libc::ENOMEM;
    // SAFETY: as in `record_malloc`; on success `out` was written to.
    unsafe {
        let make = || {
            result = next::posix_memalign::call(out, alignment, size);
            if result == 0 {
                *out
            } else {
                core::ptr::null_mut()
            }
        };
        let block = allocate(Request { entry, bytes: size }, alignment, make);
        if result == libc::ENOMEM && !block.is_null() {
            // It is of the arena.
            *out = block;
            return 0;
        }
    }
    result
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
            let request = Request { entry: Entry { sp, rbp }, bytes: size };
            // SAFETY: as in `record_malloc`.
            unsafe { allocate(request, alignment, || next::$next::call(alignment, size)) }
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
            let request = Request { entry: Entry { sp, rbp }, bytes: size };
            // SAFETY: as in `record_malloc`.
            unsafe { allocate(request, 4096, || next::$next::call(size)) }
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
    if matches!(state(), State::Record | State::Sample(_)) && may_sample() {
        RECORDER.publish_modules();
    }
    result
}
