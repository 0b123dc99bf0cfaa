//! Steps with all registers, for the few frames whose CFA lies in another one than `rsp` and `rbp`.
//!
//! A walk follows those two only. Where a rule asks for more (glibc's lazy binding keeps the stack pointer
//! in `rbx`, hand-written code interrupted by a signal anywhere), the registers of that frame are
//! found from the start: our own frames are unwound to the function that the program called, which gives
//! the registers that its caller had, and then the program's, each by its whole row. Slow, rare, and
//! nothing has to be carried along by the walks that do not need it.

use core::arch::asm;

use gimli::{Register, RegisterRule, X86_64};

use super::cfi::{self, Entry, Row, Workspace};
use super::code;
use super::expression::Value;
use super::memory::StackMemory;
use super::modules;
use super::rule::{Cfa, Rule, SavedRbp};

const WORD_BYTES: u64 = 8;

/// The general registers and the return address, by their DWARF numbers.
const REGISTERS: u16 = 17;

/// What a callee leaves as it was.
const KEPT: [Register; 6] = [
    X86_64::RBX,
    X86_64::RBP,
    X86_64::R12,
    X86_64::R13,
    X86_64::R14,
    X86_64::R15,
];

/// Frames of our own between the program and us: in practice five or so.
const OWN_FRAMES: usize = 64;

/// A frame with the values of those of its registers that are known.
#[derive(Clone, Copy)]
pub struct Frame {
    values: [u64; REGISTERS as usize],
    known: u32,
    /// Where its return address lies; of the innermost frame and an interrupted one not to be used.
    pub slot: u64,
}

impl Frame {
    /// The frame of the program that called a function of ours, which had the stack pointer `sp` when
    /// it went on. None when our own frames do not lead there.
    #[inline(never)]
    pub fn of_caller(sp: u64, memory: &mut StackMemory, workspace: &mut Workspace) -> Option<Self> {
        let mut frame = Self::own();
        memory.enter(frame.sp());
        for _ in 0..OWN_FRAMES {
            frame = frame.caller(memory, workspace)?;
            if frame.sp() >= sp {
                return (frame.sp() == sp).then_some(frame);
            }
        }
        None
    }

    /// The running function's.
    #[inline(always)]
    fn own() -> Self {
        let mut frame = Self::unknown(0);
        let mut kept = [0_u64; 8];
        // SAFETY: stores registers into an array of that size and changes none but a scratch one.
        unsafe {
            asm!(
                "mov [{kept}], rbx",
                "mov [{kept} + 8], rbp",
                "mov [{kept} + 16], r12",
                "mov [{kept} + 24], r13",
                "mov [{kept} + 32], r14",
                "mov [{kept} + 40], r15",
                "mov [{kept} + 48], rsp",
                "lea {pc}, [rip]",
                "mov [{kept} + 56], {pc}",
                kept = in(reg) &raw mut kept,
                pc = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
        let [.., sp, pc] = kept;
        for (register, value) in KEPT.into_iter().zip(kept) {
            frame.set(register, value);
        }
        frame.set(X86_64::RSP, sp);
        // Like a return address: the byte before it belongs to the instruction.
        frame.set(X86_64::RA, pc.wrapping_add(1));
        frame
    }

    /// The frame that called this one. None when its row says something that we do not know.
    pub fn caller(self, memory: &mut StackMemory, workspace: &mut Workspace) -> Option<Self> {
        let address = self.return_address().wrapping_sub(1);
        let module = modules::find(address);
        let Some(entry) = module.and_then(|module| cfi::entry_at(address, module)) else {
            return self.caller_without_table(memory);
        };
        if entry.is_signal_trampoline() {
            return self.interrupted(memory);
        }
        let row = entry.row(workspace)?;
        self.caller_by_row(&entry, row, memory)
    }

    /// The address whose byte before belongs to the frame's instruction.
    pub fn return_address(&self) -> u64 {
        self.values[usize::from(X86_64::RA.0)]
    }

    /// `rsp` in the frame.
    pub fn sp(&self) -> u64 {
        self.values[usize::from(X86_64::RSP.0)]
    }

    /// `rbp` in the frame; one that is not known leads nowhere.
    pub fn rbp(&self) -> u64 {
        self.get(X86_64::RBP).unwrap_or(0)
    }

    fn unknown(slot: u64) -> Self {
        Self {
            values: [0; REGISTERS as usize],
            known: 0,
            slot,
        }
    }

    fn get(&self, register: Register) -> Option<u64> {
        let is_known = register.0 < REGISTERS && self.known >> register.0 & 1 == 1;
        is_known.then(|| self.values[usize::from(register.0)])
    }

    fn set(&mut self, register: Register, value: u64) {
        self.values[usize::from(register.0)] = value;
        self.known |= 1 << register.0;
    }

    fn load(&mut self, register: Register, slot: u64, memory: &mut StackMemory) -> Option<()> {
        self.set(register, memory.word(slot)?);
        if register == X86_64::RA {
            self.slot = slot;
        }
        Some(())
    }

    fn caller_by_row(&self, entry: &Entry, row: &Row, memory: &mut StackMemory) -> Option<Self> {
        let cfa = self.resolve(entry.cfa(row.cfa())?, memory)?;
        let mut caller = Self::unknown(cfa.wrapping_sub(WORD_BYTES));
        for register in KEPT {
            if let Some(value) = self.get(register) {
                caller.set(register, value);
            }
        }
        caller.set(X86_64::RSP, cfa);
        for (register, rule) in row.registers() {
            if register.0 < REGISTERS {
                self.restore(&mut caller, *register, rule, cfa, entry, memory)?;
            }
        }
        caller.get(X86_64::RA)?;
        self.enter_other_stack(&caller, cfa, memory)?;
        Some(caller)
    }

    /// Callers lie further up, so that every walk ends, unless a row says that `rsp` is elsewhere.
    fn enter_other_stack(&self, caller: &Self, cfa: u64, memory: &mut StackMemory) -> Option<()> {
        if caller.sp() != cfa {
            memory.enter(caller.sp());
            return Some(());
        }
        (cfa > self.sp()).then_some(())
    }

    fn restore(
        &self,
        caller: &mut Self,
        register: Register,
        rule: &RegisterRule<usize>,
        cfa: u64,
        entry: &Entry,
        memory: &mut StackMemory,
    ) -> Option<()> {
        match rule {
            RegisterRule::Undefined => caller.known &= !(1 << register.0),
            RegisterRule::SameValue => caller.set(register, self.get(register)?),
            RegisterRule::Offset(offset) => {
                caller.load(register, cfa.wrapping_add_signed(*offset), memory)?;
            }
            RegisterRule::ValOffset(offset) => {
                caller.set(register, cfa.wrapping_add_signed(*offset))
            }
            RegisterRule::Register(other) => caller.set(register, self.get(*other)?),
            RegisterRule::Expression(expression) => {
                let slot = self.resolve(entry.evaluate(expression)?, memory)?;
                caller.load(register, slot, memory)?;
            }
            RegisterRule::ValExpression(expression) => {
                caller.set(register, self.resolve(entry.evaluate(expression)?, memory)?);
            }
            RegisterRule::Constant(value) => caller.set(register, *value),
            _ => return None,
        }
        Some(())
    }

    fn resolve(&self, value: Value, memory: &mut StackMemory) -> Option<u64> {
        let sum = |register, offset| Some(self.get(register)?.wrapping_add_signed(offset));
        match value {
            Value::Constant(value) => Some(value as u64),
            Value::Register(register, offset) => sum(register, offset),
            Value::Word(register, offset, addend) => {
                let word = memory.word(sum(register, offset)?)?;
                Some(word.wrapping_add_signed(addend))
            }
        }
    }

    /// Code without a table: which registers it saved where, nobody knows.
    fn caller_without_table(&self, memory: &mut StackMemory) -> Option<Self> {
        let epilogue = code::rule_of_epilogue(self.return_address());
        let rule = epilogue.unwrap_or(Rule::frame_pointer());
        let base = match rule.cfa {
            Cfa::Rsp => self.sp(),
            _ => self.rbp(),
        };
        let cfa = base.wrapping_add_signed(i64::from(rule.offset));
        let mut caller = Self::unknown(cfa.wrapping_sub(WORD_BYTES));
        caller.set(X86_64::RSP, cfa);
        caller.set(X86_64::RA, memory.word(caller.slot)?);
        let rbp = match rule.rbp {
            SavedRbp::AtCfa(words) => memory.word(cfa.wrapping_add_signed(i64::from(words) * 8))?,
            _ => self.rbp(),
        };
        caller.set(X86_64::RBP, rbp);
        (cfa > self.sp()).then_some(caller)
    }

    /// What a signal interrupted: the kernel saved every register above our stack pointer.
    fn interrupted(&self, memory: &mut StackMemory) -> Option<Self> {
        let mut frame = Self::unknown(saved_by_kernel(self.sp(), libc::REG_RIP));
        for (register, saved) in SAVED_BY_KERNEL {
            frame.set(register, memory.word(saved_by_kernel(self.sp(), saved))?);
        }
        // No return address: the instruction there was not finished.
        frame.set(X86_64::RA, frame.return_address().wrapping_add(1));
        memory.enter(frame.sp());
        Some(frame)
    }
}

/// Where the kernel saved a register of what a signal interrupted, when a handler returns at `sp`: it
/// put a `ucontext_t` there.
pub fn saved_by_kernel(sp: u64, register: libc::c_int) -> u64 {
    sp.wrapping_add(GENERAL_REGISTERS + register as u64 * WORD_BYTES)
}

/// Where `ucontext_t` keeps the general registers.
const GENERAL_REGISTERS: u64 = (core::mem::offset_of!(libc::ucontext_t, uc_mcontext)
    + core::mem::offset_of!(libc::mcontext_t, gregs)) as u64;

const SAVED_BY_KERNEL: [(Register, libc::c_int); REGISTERS as usize] = [
    (X86_64::RAX, libc::REG_RAX),
    (X86_64::RDX, libc::REG_RDX),
    (X86_64::RCX, libc::REG_RCX),
    (X86_64::RBX, libc::REG_RBX),
    (X86_64::RSI, libc::REG_RSI),
    (X86_64::RDI, libc::REG_RDI),
    (X86_64::RBP, libc::REG_RBP),
    (X86_64::RSP, libc::REG_RSP),
    (X86_64::R8, libc::REG_R8),
    (X86_64::R9, libc::REG_R9),
    (X86_64::R10, libc::REG_R10),
    (X86_64::R11, libc::REG_R11),
    (X86_64::R12, libc::REG_R12),
    (X86_64::R13, libc::REG_R13),
    (X86_64::R14, libc::REG_R14),
    (X86_64::R15, libc::REG_R15),
    (X86_64::RA, libc::REG_RIP),
];
