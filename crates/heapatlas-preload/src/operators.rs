//! The operators `new` and `delete` of C++.
//!
//! The standard library's call `malloc` and `free`, and there all is recorded. Allocators bring operators of their
//! own, which do not. So each operator is one of these:
//!
//! ```text
//!  next definition          what ours does
//!  the standard library's   a jump to it
//!  another one              calls it and records the block, unless `malloc` or `free` has done so meanwhile
//!  none                     is not to be found: a program in C may load plugins in C++ that bring operators along,
//!                           their standard library's or their own, for themselves alone
//! ```
//!
//! Exceptions pass: what calls `new` is in assembly, with unwind information.

use core::arch::naked_asm;
use core::ffi::{CStr, c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8};
use core::{ptr, slice};

use heapatlas_record::thread::{Entry, enter};
use heapatlas_record::{counters, os, tls, unwind};

use crate::interpose::{self, Request, counted, freeing_sample, is_due, sampled, usable_bytes};
use crate::start::{RECORDER, State, state};

/// What an operator's byte says: jump.
const JUMP: u8 = 0;
/// Record. Of a `delete`: find out at the first call whether it goes through `free`.
const FIND_OUT: u8 = 1;
/// Record before the call.
const RECORD: u8 = 2;

/// The address of a function.
struct Function(*const c_void);

// SAFETY: an address.
unsafe impl Sync for Function {}

macro_rules! operators {
    ($count:literal: $($index:literal $symbol:ident $late:ident $kind:ident $fallback:path;)*) => {
        const COUNT: usize = $count;

        static NAMES: [&CStr; COUNT] = [$(
            match CStr::from_bytes_with_nul(concat!(stringify!($symbol), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => unreachable!(),
            }
        ),*];

        /// Where each operator goes.
        static ENTRIES: [AtomicPtr<c_void>; COUNT] =
            [$(AtomicPtr::new(($late as *const c_void).cast_mut())),*];

        /// Where it goes at first.
        static LATE: [Function; COUNT] = [$(Function($late as *const c_void)),*];

        /// Ours.
        static OWN: [Function; COUNT] = [$(Function($symbol as *const c_void)),*];

        static RECORDS: [AtomicU8; COUNT] = [const { AtomicU8::new(JUMP) }; COUNT];

        /// What is there when nobody has an operator: they all are blocks of `malloc`.
        fn fallback(index: usize) -> *const c_void {
            match index {
                $($index => $fallback as *const c_void,)*
                _ => ptr::null(),
            }
        }

        $(
            operators!(@$kind $index $symbol);

            /// Stands in place of a next definition.
            #[unsafe(naked)]
            unsafe extern "C" fn $late() {
                naked_asm!(
                    ".cfi_startproc",
                    "push rdi",
                    "push rsi",
                    "push rdx",
                    ".cfi_adjust_cfa_offset 24",
                    "mov edi, {index}",
                    "call {resolve}",
                    "pop rdx",
                    "pop rsi",
                    "pop rdi",
                    ".cfi_adjust_cfa_offset -24",
                    "jmp rax",
                    ".cfi_endproc",
                    index = const $index,
                    resolve = sym resolve,
                )
            }
        )*
    };
    (@new $index:literal $symbol:ident) => {
        #[doc = concat!("Interposes `", stringify!($symbol), "`, whose first argument is the size.")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $symbol() {
            naked_asm!(
                ".cfi_startproc",
                "cmp byte ptr [rip + {records} + {index}], 0",
                "jne 2f",
                "jmp qword ptr [rip + {entries} + 8 * {index}]",
                "2:",
                "push rdi",
                "push rsi",
                "push rdx",
                ".cfi_adjust_cfa_offset 24",
                "call {before}",
                "mov rdx, qword ptr [rsp]",
                "mov rsi, qword ptr [rsp + 8]",
                "mov rdi, qword ptr [rsp + 16]",
                "mov qword ptr [rsp], rax",
                "call qword ptr [rip + {entries} + 8 * {index}]",
                "mov rdi, rax",
                "mov rsi, qword ptr [rsp + 16]",
                "mov rdx, qword ptr [rsp]",
                "lea rcx, [rsp + 24]",
                "mov r8, rbp",
                "call {after}",
                "add rsp, 24",
                ".cfi_adjust_cfa_offset -24",
                "ret",
                ".cfi_endproc",
                records = sym RECORDS,
                entries = sym ENTRIES,
                index = const $index,
                before = sym before_new,
                after = sym after_new,
            )
        }
    };
    (@delete $index:literal $symbol:ident) => {
        #[doc = concat!("Interposes `", stringify!($symbol), "`, whose first argument is the block.")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $symbol() {
            naked_asm!(
                "cmp byte ptr [rip + {records} + {index}], 0",
                "jne {record}",
                "jmp qword ptr [rip + {entries} + 8 * {index}]",
                records = sym RECORDS,
                entries = sym ENTRIES,
                index = const $index,
                record = sym record_delete::<$index>,
            )
        }
    };
}

operators! { 20:
    0 _Znwm late_0 new interpose::malloc;
    1 _Znam late_1 new interpose::malloc;
    2 _ZnwmRKSt9nothrow_t late_2 new interpose::malloc;
    3 _ZnamRKSt9nothrow_t late_3 new interpose::malloc;
    4 _ZnwmSt11align_val_t late_4 new allocate_aligned;
    5 _ZnamSt11align_val_t late_5 new allocate_aligned;
    6 _ZnwmSt11align_val_tRKSt9nothrow_t late_6 new allocate_aligned;
    7 _ZnamSt11align_val_tRKSt9nothrow_t late_7 new allocate_aligned;
    8 _ZdlPv late_8 delete interpose::free;
    9 _ZdaPv late_9 delete interpose::free;
    10 _ZdlPvm late_10 delete interpose::free;
    11 _ZdaPvm late_11 delete interpose::free;
    12 _ZdlPvRKSt9nothrow_t late_12 delete interpose::free;
    13 _ZdaPvRKSt9nothrow_t late_13 delete interpose::free;
    14 _ZdlPvSt11align_val_t late_14 delete interpose::free;
    15 _ZdaPvSt11align_val_t late_15 delete interpose::free;
    16 _ZdlPvmSt11align_val_t late_16 delete interpose::free;
    17 _ZdaPvmSt11align_val_t late_17 delete interpose::free;
    18 _ZdlPvSt11align_val_tRKSt9nothrow_t late_18 delete interpose::free;
    19 _ZdaPvSt11align_val_tRKSt9nothrow_t late_19 delete interpose::free;
}

/// Size and alignment come in the other order.
#[unsafe(naked)]
unsafe extern "C" fn allocate_aligned() {
    naked_asm!(
        "xchg rdi, rsi",
        "jmp {aligned_alloc}",
        aligned_alloc = sym interpose::aligned_alloc,
    )
}

/// Looks the next definitions up.
pub fn find_all() {
    unwind::prepare();
    let mut missing = [ptr::null_mut::<libc::Elf64_Sym>(); COUNT];
    for (index, name) in NAMES.iter().enumerate() {
        let (entry, records) = (&ENTRIES[index], &RECORDS[index]);
        // SAFETY: the name ends with a zero.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        if !found.is_null() {
            entry.store(found, Release);
            let is_plain = unwind::object_of(found as u64).is_none_or(is_standard_library);
            records.store(if is_plain { JUMP } else { FIND_OUT }, Release);
        } else {
            missing[index] = own_symbol(index);
        }
    }
    hide(&missing);
}

/// libstdc++ or libc++, in whatever version.
fn is_standard_library(object: unwind::Object) -> bool {
    let path = object.path().to_bytes();
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    name.starts_with(b"libstdc++.") || name.starts_with(b"libc++")
}

/// To see later whether `malloc` has recorded, drawn for or counted a block meanwhile: where this thread's stream is,
/// how far its next sample, how many blocks it has counted.
extern "C" fn before_new() -> u64 {
    match state() {
        State::Record => enter(&RECORDER).map_or(0, |thread| thread.position()),
        State::Sample(_) => countdown(),
        State::Count => counted_so_far()[0],
        State::Forward | State::Starting => 0,
    }
}

fn countdown() -> u64 {
    // SAFETY: this thread's static block; nothing else refers to it now.
    unsafe { (*tls::draw()).countdown() }
}

fn counted_so_far() -> [u64; 2] {
    counters::counted(&RECORDER)
}

unsafe extern "C" fn after_new(
    block: *mut c_void,
    size: usize,
    before: u64,
    sp: *const u64,
    rbp: u64,
) -> *mut c_void {
    if block.is_null() {
        return block;
    }
    let request = Request {
        entry: Entry { sp, rbp },
        bytes: size,
    };
    match state() {
        State::Record => {
            if before != 0
                && let Some(mut thread) = enter(&RECORDER)
                && !thread.has_recorded(block as u64, before)
            {
                thread.allocated(request.entry, block as u64, size as u64, 0);
            }
        }
        State::Sample(mode) => {
            if before == countdown()
                && let Some(interval) = is_due(size, mode)
            {
                sampled(request, interval, block);
            }
        }
        State::Count => {
            if before == counted_so_far()[0] {
                counted(size, block);
            }
        }
        State::Forward | State::Starting => {}
    }
    block
}

unsafe extern "C" fn record_delete<const INDEX: usize>(
    block: *mut c_void,
    second: usize,
    third: usize,
) {
    type Delete = unsafe extern "C" fn(*mut c_void, usize, usize);
    // SAFETY: an operator with as many arguments or fewer.
    let next = unsafe { transmute::<*mut c_void, Delete>(ENTRIES[INDEX].load(Relaxed)) };
    // SAFETY: the caller's arguments.
    let call_next = || unsafe { next(block, second, third) };
    if block.is_null() {
        return call_next();
    }
    match state() {
        State::Record => {}
        State::Sample(_) => {
            freeing_sample(block);
            return call_next();
        }
        State::Count => {
            let (bytes, before) = (usable_bytes(block), counted_so_far()[1]);
            call_next();
            if before == counted_so_far()[1] {
                counters::count_free(&RECORDER, bytes);
            }
            return;
        }
        State::Forward | State::Starting => return call_next(),
    }
    if RECORDS[INDEX].load(Relaxed) == RECORD {
        if let Some(mut thread) = enter(&RECORDER) {
            thread.freeing(block as u64);
        }
        return call_next();
    }
    // Once: it is recorded late, but twice would be wrong for as long as the program runs.
    let before = enter(&RECORDER).map_or(0, |thread| thread.position());
    call_next();
    if before != 0
        && let Some(mut thread) = enter(&RECORDER)
    {
        let goes_through_free = thread.has_recorded(block as u64, before);
        RECORDS[INDEX].store(if goes_through_free { JUMP } else { RECORD }, Relaxed);
        if !goes_through_free {
            thread.freeing(block as u64);
        }
    }
}

/// What a call goes to before the next definitions are known, or where there is none.
unsafe extern "C" fn resolve(index: usize) -> *const c_void {
    // It may be the very first call.
    state();
    let entry = ENTRIES[index].load(Acquire).cast_const();
    if entry == LATE[index].0 {
        fallback(index)
    } else {
        entry
    }
}

/// The entry of an operator of ours in the table that the dynamic linker searches; null if it cannot be found.
fn own_symbol(index: usize) -> *mut libc::Elf64_Sym {
    let mut symbol = ptr::null_mut::<libc::Elf64_Sym>();
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address of a function of this object; the linker writes to both.
    let found = unsafe {
        dladdr1(
            OWN[index].0,
            info.as_mut_ptr(),
            (&raw mut symbol).cast(),
            RTLD_DL_SYMENT,
        )
    };
    if found == 0 {
        return ptr::null_mut();
    }
    symbol
}

/// Has the dynamic linker find some symbols of ours no more: one without a value is none. (What was bound before is
/// bound, but there was nothing that needs it.)
fn hide(symbols: &[*mut libc::Elf64_Sym]) {
    let present = || symbols.iter().copied().filter(|symbol| !symbol.is_null());
    let (Some(first), Some(last)) = (present().min(), present().max()) else {
        return;
    };
    let Some(protection) = own_protection(first.addr()) else {
        return;
    };
    let start = first.addr() & !(PAGE_BYTES - 1);
    let bytes = last.addr() + size_of::<libc::Elf64_Sym>() - start;
    let pages = first.with_addr(start).cast();
    // SAFETY: the table's pages are this object's, private, and made read-only again. Whoever searches it meanwhile
    // sees a symbol with its value or without.
    unsafe {
        if os::protect_pages(pages, bytes, protection | libc::PROT_WRITE) {
            for symbol in present() {
                (*symbol).st_value = 0;
                (*symbol).st_shndx = 0;
            }
            os::protect_pages(pages, bytes, protection);
        }
    }
}

const PAGE_BYTES: usize = 4096;

/// How the part of this object with an address is protected.
fn own_protection(address: usize) -> Option<c_int> {
    unsafe extern "C" {
        /// The linker puts it at the start of the object.
        static __ehdr_start: libc::Elf64_Ehdr;
    }
    // SAFETY: the headers are loaded with the first part of the object.
    let (start, headers) = unsafe {
        let header = &raw const __ehdr_start;
        let first = header.cast::<u8>().add((*header).e_phoff as usize);
        let count = usize::from((*header).e_phnum);
        (
            header.addr(),
            slice::from_raw_parts(first.cast::<libc::Elf64_Phdr>(), count),
        )
    };
    let holds = |header: &&libc::Elf64_Phdr| {
        let offset = address.wrapping_sub(start) as u64;
        header.p_type == libc::PT_LOAD
            && (header.p_vaddr..header.p_vaddr + header.p_memsz).contains(&offset)
    };
    let flags = headers.iter().find(holds)?.p_flags;
    let protection = [
        (libc::PF_R, libc::PROT_READ),
        (libc::PF_W, libc::PROT_WRITE),
        (libc::PF_X, libc::PROT_EXEC),
    ];
    let set = protection.iter().filter(|(flag, _)| flags & flag != 0);
    Some(set.fold(0, |all, (_, bit)| all | bit))
}

const RTLD_DL_SYMENT: c_int = 1;

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
}
