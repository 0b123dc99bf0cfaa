//! A function that captures the stack of its caller and holds it against two peers.

use std::arch::naked_asm;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ops::Range;

use heapatlas_record::stack_table::NodeSink;
use heapatlas_record::unwind::{self, CheckResult, Registers, ThreadStacks};

/// Captures at the caller's place. Does nothing on a thread without `Probe::start`.
#[unsafe(naked)]
pub extern "C" fn probe() {
    naked_asm!(
        "lea rdi, [rsp + 8]",
        "mov rsi, [rsp]",
        "mov rdx, rbp",
        "jmp {}",
        sym probe_at,
    )
}

extern "C" fn probe_at(sp: u64, pc: u64, rbp: u64) {
    PROBE.with_borrow_mut(|probe| {
        if let Some(probe) = probe {
            probe.capture(Registers { pc, sp, rbp });
        }
    });
}

thread_local! {
    static PROBE: RefCell<Option<Probe>> = const { RefCell::new(None) };
}

/// What one thread's captures found.
pub struct Probe {
    stacks: ThreadStacks,
    nodes: Nodes,
    summary: Summary,
}

/// Counts of captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub captures: u64,
    pub cut_off: u64,
    pub deepest: usize,
    /// Frames of the shallowest stack that was cut off.
    pub shallowest_cut_off: usize,
}

/// Every node told, by number less 2.
#[derive(Default)]
struct Nodes(Vec<(u32, u64)>);

impl NodeSink for Nodes {
    fn node(&mut self, parent: u32, address: u64) {
        self.0.push((parent, address));
    }
}

impl Nodes {
    fn addresses(&self, mut node: u32) -> Vec<u64> {
        let mut addresses = Vec::new();
        while node > 1 {
            let (parent, address) = self.0[node as usize - 2];
            addresses.push(address);
            node = parent;
        }
        addresses
    }
}

/// Runs `work` with `probe` switched on for this thread, and says what it captured.
pub fn probing(work: impl FnOnce()) -> Summary {
    unwind::prepare();
    let probe = Probe {
        stacks: ThreadStacks::new(stack_bounds()).expect("there is memory"),
        nodes: Nodes::default(),
        summary: Summary {
            captures: 0,
            cut_off: 0,
            deepest: 0,
            shallowest_cut_off: usize::MAX,
        },
    };
    PROBE.set(Some(probe));
    work();
    PROBE.take().expect("set above").summary
}

/// How many captures this thread has made since `probing` began.
pub fn captures() -> u64 {
    PROBE.with_borrow(|probe| probe.as_ref().map_or(0, |probe| probe.summary.captures))
}

impl Probe {
    fn capture(&mut self, registers: Registers) {
        let captured = self.stacks.capture(registers, &mut self.nodes);
        let ours = self.nodes.addresses(captured.stack);
        let check = self.stacks.check(registers);
        let theirs = backtrace_from(registers.pc);
        if ours.len() >= unwind::MAX_FRAMES / 2 {
            assert_eq!(ours, theirs[..ours.len()]);
        } else {
            assert_eq!(ours, theirs);
        }
        assert_eq!(check, CheckResult::Same);
        self.summary.captures += 1;
        self.summary.cut_off += u64::from(captured.is_cut_off);
        if captured.is_cut_off {
            let shallowest = &mut self.summary.shallowest_cut_off;
            *shallowest = (*shallowest).min(ours.len());
        }
        self.summary.deepest = self.summary.deepest.max(ours.len());
    }
}

/// The stack as libgcc finds it, from the frame that goes on at `pc`. As in a capture, the byte
/// before an address belongs to the frame's instruction.
fn backtrace_from(pc: u64) -> Vec<u64> {
    let mut frames: Vec<u64> = Vec::with_capacity(256);
    // SAFETY: `add_frame` gets our vector back.
    unsafe { _Unwind_Backtrace(add_frame, (&raw mut frames).cast()) };
    let first = frames.iter().position(|frame| *frame == pc);
    frames.split_off(first.expect("the walk comes through here"))
}

unsafe extern "C" fn add_frame(context: *mut c_void, frames: *mut c_void) -> c_int {
    let mut is_before_instruction = 0;
    // SAFETY: the context is libgcc's, `frames` is of `backtrace_from`.
    unsafe {
        let address = _Unwind_GetIPInfo(context, &mut is_before_instruction);
        if address != 0 {
            let frames = &mut *frames.cast::<Vec<u64>>();
            frames.push(address as u64 + is_before_instruction as u64);
        }
    }
    0
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        visit: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut c_void, is_before_instruction: *mut c_int) -> usize;
}

/// The running thread's stack.
pub fn stack_bounds() -> Range<u64> {
    // SAFETY: the attributes are initialized by the first call and destroyed at the end.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(
            libc::pthread_getattr_np(libc::pthread_self(), &mut attributes),
            0
        );
        let (mut start, mut bytes) = (std::ptr::null_mut(), 0);
        assert_eq!(
            libc::pthread_attr_getstack(&attributes, &mut start, &mut bytes),
            0
        );
        libc::pthread_attr_destroy(&mut attributes);
        start as u64..start as u64 + bytes as u64
    }
}
