//! Very deep stacks, very small ones, and code without unwind information.

use std::cell::Cell;
use std::hint::black_box;
use std::mem;
use std::ptr;

use heapatlas_record::os;
use heapatlas_record::stack_table::NodeSink;
use heapatlas_record::unwind::{self, Captured, MAX_FRAMES, Registers, ThreadStacks};

use crate::probe::{self, probe, probing, stack_bounds};

#[inline(never)]
fn descend(depth: usize) -> usize {
    probe();
    let below = if depth == 0 { 0 } else { descend(depth - 1) };
    probe();
    black_box(below) + 1
}

/// Deeper than we follow, and back; the probe compares what is there with the innermost frames.
#[test]
fn deeper_than_the_limit() {
    let depth = MAX_FRAMES * 3 + 7;
    let summary = probing(|| {
        assert_eq!(descend(depth), depth + 1);
    });
    assert_eq!(summary.captures as usize, 2 * (depth + 1));
    assert!(summary.cut_off as usize > MAX_FRAMES);
    assert_eq!(summary.deepest, MAX_FRAMES);
    assert!(summary.shallowest_cut_off >= MAX_FRAMES / 2);
}

/// Half of the limit in one place and more than half above it, without a capture between.
#[test]
fn past_the_limit_at_once() {
    fn silent(depth: usize, then: &dyn Fn()) -> usize {
        if depth == 0 {
            then();
            return 0;
        }
        black_box(silent(depth - 1, then)) + 1
    }
    let below = MAX_FRAMES * 5 / 8;
    let summary = probing(|| {
        silent(below, &|| {
            probe();
            for above in [MAX_FRAMES / 4, MAX_FRAMES * 3 / 4, MAX_FRAMES * 2] {
                silent(above, &|| probe());
                probe();
            }
        });
    });
    assert_eq!((summary.captures, summary.cut_off > 1), (7, true));
}

struct Ignore;

impl NodeSink for Ignore {
    fn node(&mut self, _: u32, _: u64) {}
}

thread_local! {
    static STACKS: Cell<*mut ThreadStacks> = const { Cell::new(ptr::null_mut()) };
    static CAPTURED: Cell<Option<Captured>> = const { Cell::new(None) };
    static CONTEXTS: Cell<*mut [libc::ucontext_t; 2]> = const { Cell::new(ptr::null_mut()) };
}

/// Captures, and does nothing else that needs stack.
#[unsafe(naked)]
extern "C" fn capture_only() {
    std::arch::naked_asm!(
        "lea rdi, [rsp + 8]",
        "mov rsi, [rsp]",
        "mov rdx, rbp",
        "jmp {}",
        sym capture_at,
    )
}

extern "C" fn capture_at(sp: u64, pc: u64, rbp: u64) {
    // SAFETY: the test keeps them for as long as it calls us.
    let stacks = unsafe { &mut *STACKS.get() };
    CAPTURED.set(Some(stacks.capture(Registers { pc, sp, rbp }, &mut Ignore)));
}

fn capturing<T>(work: impl FnOnce() -> T) -> T {
    unwind::prepare();
    let mut stacks = ThreadStacks::new(stack_bounds()).expect("there is memory");
    STACKS.set(&raw mut stacks);
    work()
}

extern "C" fn in_coroutine() {
    capture_only();
    // SAFETY: set by the test, which waits in the other context.
    unsafe {
        let contexts = CONTEXTS.get();
        libc::swapcontext(&raw mut (*contexts)[1], &raw mut (*contexts)[0]);
    }
}

/// A coroutine may have 8 KiB in all: even when nothing is cached a capture leaves most of them.
#[test]
fn stack_use() {
    const STACK_WORDS: usize = 1 << 14;
    const UNTOUCHED: u64 = 0x5555_5555_5555_5555;
    let mut stack = vec![UNTOUCHED; STACK_WORDS];
    capturing(|| {
        unwind::forget_all();
        // SAFETY: the contexts and the stack live until the coroutine has come back.
        unsafe {
            let mut contexts: [libc::ucontext_t; 2] = mem::zeroed();
            CONTEXTS.set(&raw mut contexts);
            libc::getcontext(&mut contexts[1]);
            contexts[1].uc_stack.ss_sp = stack.as_mut_ptr().cast();
            contexts[1].uc_stack.ss_size = STACK_WORDS * 8;
            libc::makecontext(&mut contexts[1], in_coroutine, 0);
            let contexts = CONTEXTS.get();
            libc::swapcontext(&raw mut (*contexts)[0], &raw mut (*contexts)[1]);
        }
    });
    assert!(!CAPTURED.get().expect("captured").is_cut_off);
    let touched = stack.iter().skip_while(|word| **word == UNTOUCHED).count() * 8;
    assert!(touched < 4 << 10, "a capture used {touched} bytes of stack");
}

/// `push rbp; mov rbp, rsp; call rdi; pop rbp; ret`: as a JIT compiler would write it.
const WITH_FRAME_POINTER: &[u8] = &[0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3];

/// `push rbp; mov ebp, 1; sub rsp, 16; call rdi; add rsp, 16; pop rbp; ret`: `rbp` leads nowhere, but the
/// code after the call says where the caller is.
const WITH_EPILOGUE: &[u8] = &[
    0x55, 0xbd, 1, 0, 0, 0, 0x48, 0x83, 0xec, 16, 0xff, 0xd7, 0x48, 0x83, 0xc4, 16, 0x5d, 0xc3,
];

/// `push rbp; mov ebp, 1; call rdi; nop; pop rbp; ret`: nothing says where the caller is.
const WITHOUT_TRACES: &[u8] = &[0x55, 0xbd, 1, 0, 0, 0, 0xff, 0xd7, 0x90, 0x5d, 0xc3];

/// Whether a capture below generated code is cut off. The code lies at the start of a page or at its end, and
/// no other page is mapped beside it.
fn is_cut_off_below(code: &[u8], is_at_end: bool) -> bool {
    const PAGE: usize = 4096;
    let pages = os::map_pages(3 * PAGE).expect("there is memory");
    // SAFETY: our own pages, of which the middle one is filled with code of that signature.
    unsafe {
        let page = pages.add(PAGE);
        let start = page.add(if is_at_end { PAGE - code.len() } else { 0 });
        start.as_ptr().copy_from(code.as_ptr(), code.len());
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        assert_eq!(libc::mprotect(page.as_ptr().cast(), PAGE, protection), 0);
        os::unmap_pages(pages, PAGE);
        os::unmap_pages(page.add(PAGE), PAGE);
        let generated: extern "C" fn(extern "C" fn()) = mem::transmute(start);
        let is_cut_off = capturing(|| {
            generated(capture_only);
            let direct = CAPTURED.get().expect("captured");
            generated(capture_only);
            let again = CAPTURED.get().expect("captured");
            assert_eq!(direct.is_cut_off, again.is_cut_off);
            again.is_cut_off
        });
        os::unmap_pages(page, PAGE);
        is_cut_off
    }
}

#[test]
fn generated_code() {
    for is_at_end in [false, true] {
        assert!(!is_cut_off_below(WITH_FRAME_POINTER, is_at_end));
        assert!(!is_cut_off_below(WITH_EPILOGUE, is_at_end));
        assert!(is_cut_off_below(WITHOUT_TRACES, is_at_end));
    }
    assert_eq!(probe::captures(), 0);
}
