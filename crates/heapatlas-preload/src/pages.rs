//! `mmap` and its relatives, recorded when asked.
//!
//! The C library's own calls (for its allocator, for stacks of threads) do not come here; those of the program and
//! of other allocators do.

use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::sync::atomic::AtomicU8;

use heapatlas_record::thread::{Entry, enter};

use crate::next;
use crate::start::{RECORDER, State, state};

/// 0 while calls are forwarded only. Not `MODE`, which is for blocks.
pub static PAGES: AtomicU8 = AtomicU8::new(0);

/// Interposes `mmap`. Its arguments take all registers, so that the caller's stack pointer and frame register go to
/// the stack.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn mmap() {
    naked_asm!(
        "cmp byte ptr [rip + {pages}], 0",
        "jne 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        "mov rax, rsp",
        "sub rsp, 8",
        "push rbp",
        "push rax",
        "call {record}",
        "add rsp, 24",
        "ret",
        pages = sym PAGES,
        next = sym next::mmap::ENTRY,
        record = sym record_mmap,
    )
}

/// The same: offsets have 64 bits anyhow.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn mmap64() {
    naked_asm!("jmp {mmap}", mmap = sym mmap)
}

/// Interposes `munmap`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn munmap() {
    naked_asm!(
        "cmp byte ptr [rip + {pages}], 0",
        "jne {record}",
        "jmp qword ptr [rip + {next}]",
        pages = sym PAGES,
        next = sym next::munmap::ENTRY,
        record = sym record_munmap,
    )
}

/// Interposes `mremap`, whose fifth argument may be missing: then nobody looks at it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn mremap() {
    naked_asm!(
        "cmp byte ptr [rip + {pages}], 0",
        "jne 2f",
        "jmp qword ptr [rip + {next}]",
        "2:",
        "mov r9, rsp",
        "push rbp",
        "call {record}",
        "add rsp, 8",
        "ret",
        pages = sym PAGES,
        next = sym next::mremap::ENTRY,
        record = sym record_mremap,
    )
}

const PAGE_BYTES: usize = 4096;

/// What the kernel makes of a length.
fn whole_pages(bytes: usize) -> u64 {
    bytes.checked_next_multiple_of(PAGE_BYTES).unwrap_or(bytes) as u64
}

fn record_mapping(entry: Entry, pages: *mut c_void, bytes: usize) {
    if let Some(mut thread) = enter(&RECORDER) {
        thread.mapped(entry, pages as u64, whole_pages(bytes));
    }
}

fn record_unmapping(pages: *mut c_void, bytes: usize) {
    if let Some(mut thread) = enter(&RECORDER) {
        thread.unmapping(pages as u64, whole_pages(bytes));
    }
}

#[expect(clippy::too_many_arguments, reason = "six of them are the caller's")]
unsafe extern "C" fn record_mmap(
    address: *mut c_void,
    bytes: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    // SAFETY: the caller's arguments.
    let pages = unsafe { next::mmap::call(address, bytes, protection, flags, file, offset) };
    if pages != libc::MAP_FAILED && state() == State::Record {
        record_mapping(Entry { sp, rbp }, pages, bytes);
    }
    pages
}

/// As for blocks, the end is recorded before it: another thread may get the address.
unsafe extern "C" fn record_munmap(address: *mut c_void, bytes: usize) -> c_int {
    // The kernel refuses everything else that is wrong.
    let is_sound = (address as usize).is_multiple_of(PAGE_BYTES) && bytes > 0;
    if is_sound && state() == State::Record {
        record_unmapping(address, bytes);
    }
    // SAFETY: the caller's arguments.
    unsafe { next::munmap::call(address, bytes) }
}

unsafe extern "C" fn record_mremap(
    old: *mut c_void,
    old_bytes: usize,
    bytes: usize,
    flags: c_int,
    address: *mut c_void,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    let is_recorded = state() == State::Record;
    // What may give addresses to other threads is recorded before. What only grows in place often fails, and
    // gives away nothing. An old size of zero leaves the old mapping as it is.
    let moves_or_shrinks = flags & libc::MREMAP_MAYMOVE != 0 || bytes < old_bytes;
    let ends_before = is_recorded && moves_or_shrinks && old_bytes > 0;
    if ends_before {
        record_unmapping(old, old_bytes);
    }
    // SAFETY: the caller's arguments.
    let moved = unsafe { next::mremap::call(old, old_bytes, bytes, flags, address) };
    if !is_recorded {
        return moved;
    }
    let entry = Entry { sp, rbp };
    match moved == libc::MAP_FAILED {
        true if ends_before => record_mapping(entry, old, old_bytes),
        true => {}
        // It covers the old one, if it is at its place.
        false => record_mapping(entry, moved, bytes),
    }
    moved
}
