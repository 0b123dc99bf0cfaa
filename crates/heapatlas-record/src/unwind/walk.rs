//! From frame to frame, innermost first.

use super::cfi::Workspace;
use super::memory::StackMemory;
use super::remembered::Remembered;
use super::rule::{Cfa, Rule, SavedRbp};
use super::rules::{self, RuleCache};
use super::{MAX_FRAMES, Registers};

const WORD_BYTES: u64 = 8;

/// A frame that a walk came through.
#[derive(Clone, Copy, Default)]
pub struct Step {
    /// Where its return address lies.
    pub slot: u64,
    /// The word there.
    pub value: u64,
    /// `rbp` in the frame.
    pub rbp: u64,
    /// Where it keeps its caller's `rbp`; 0: in the register.
    pub rbp_slot: u64,
    /// The word that decided its CFA; 0: none did.
    pub cfa_slot: u64,
    /// Its CFA, or where its caller's `rbp` is, depends on `rbp`.
    pub uses_rbp: bool,
    /// A signal came here: `value` is the instruction it interrupted, not a return address.
    pub is_interrupted: bool,
}

impl Step {
    /// The frame's code address, of which the byte before belongs to the instruction.
    pub fn return_address(&self) -> u64 {
        self.value + u64::from(self.is_interrupted)
    }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It met the remembered frame with so many words up to and including its own.
    Met(usize),
    /// At the entry of the process or thread.
    Complete,
    /// There was no way on.
    CutOff,
}

/// Room for a walk's frames, and for the evaluation of unwind tables.
pub struct Walker {
    steps: &'static mut [Step; MAX_FRAMES],
    length: usize,
    workspace: &'static mut Workspace,
}

/// The frame at which a walk is.
struct Position {
    step: Step,
    sp: u64,
}

impl Walker {
    /// A walker with that room.
    pub fn new(
        steps: &'static mut [Step; MAX_FRAMES],
        workspace: &'static mut Workspace,
    ) -> Self {
        Self {
            steps,
            length: 0,
            workspace,
        }
    }

    /// The frames of the last walk, innermost first; not the one that it met.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.length]
    }

    /// Walks until it meets one of the `valid` outermost words of `remembered`.
    #[inline]
    pub fn walk(
        &mut self,
        registers: Registers,
        memory: &mut StackMemory,
        remembered: &Remembered,
        mut valid: usize,
    ) -> End {
        let cache = RuleCache::current();
        let mut at = Position::new(registers);
        self.length = 0;
        loop {
            if remembered.meets(&mut valid, at.step.slot, at.step.rbp) {
                return End::Met(valid);
            }
            let Some(place) = self.steps.get_mut(self.length) else {
                return End::CutOff;
            };
            let return_address = at.step.return_address();
            let rule = match cache.find(return_address) {
                Some(rule) => rule,
                None => rules::resolve(return_address, self.workspace),
            };
            let caller = at.caller(rule, memory);
            *place = at.step;
            self.length += 1;
            match caller {
                Ok(caller) => at = caller,
                Err(end) => return end,
            }
        }
    }
}

impl Position {
    fn new(registers: Registers) -> Self {
        let step = Step {
            slot: registers.sp.wrapping_sub(WORD_BYTES),
            value: registers.pc,
            rbp: registers.rbp,
            ..Step::default()
        };
        Self {
            step,
            sp: registers.sp,
        }
    }

    /// The frame that called this one. Notes in this one what decided that.
    #[inline]
    fn caller(&mut self, rule: Rule, memory: &mut StackMemory) -> Result<Self, End> {
        let offset = i64::from(rule.offset);
        let cfa = match rule.cfa {
            Cfa::Rsp => self.sp.wrapping_add_signed(offset),
            Cfa::Rbp => {
                self.step.uses_rbp = true;
                self.step.rbp.wrapping_add_signed(offset)
            }
            _ => return self.unusual_caller(rule, memory),
        };
        self.caller_at(cfa, rule.rbp, memory)
    }

    /// The caller, given the CFA. Callers lie further up: so every walk ends.
    #[inline]
    fn caller_at(
        &mut self,
        cfa: u64,
        saved_rbp: SavedRbp,
        memory: &mut StackMemory,
    ) -> Result<Self, End> {
        let slot = cfa.wrapping_sub(WORD_BYTES);
        if slot < self.sp {
            return Err(End::CutOff);
        }
        let value = memory.word(slot).ok_or(End::CutOff)?;
        if value == 0 {
            return Err(End::Complete);
        }
        let rbp_slot = match saved_rbp {
            SavedRbp::Unchanged => 0,
            SavedRbp::AtCfa(words) => cfa.wrapping_add_signed(i64::from(words) * 8),
            SavedRbp::AtRbp(words) => {
                self.step.uses_rbp = true;
                self.step.rbp.wrapping_add_signed(i64::from(words) * 8)
            }
        };
        self.step.rbp_slot = rbp_slot;
        let rbp = if rbp_slot == 0 {
            self.step.rbp
        } else {
            memory.word(rbp_slot).ok_or(End::CutOff)?
        };
        let step = Step {
            slot,
            value,
            rbp,
            ..Step::default()
        };
        Ok(Self { step, sp: cfa })
    }

    #[cold]
    fn unusual_caller(&mut self, rule: Rule, memory: &mut StackMemory) -> Result<Self, End> {
        match rule.cfa {
            Cfa::AtRbp => {
                self.step.uses_rbp = true;
                self.caller_at_word(self.step.rbp, rule, memory)
            }
            Cfa::AtRsp => self.caller_at_word(self.sp, rule, memory),
            Cfa::Signal => self.interrupted(memory),
            Cfa::FramePointer => self.frame_pointer_caller(memory),
            Cfa::End => Err(End::Complete),
            Cfa::Rsp | Cfa::Rbp | Cfa::Unsupported => Err(End::CutOff),
        }
    }

    fn caller_at_word(
        &mut self,
        base: u64,
        rule: Rule,
        memory: &mut StackMemory,
    ) -> Result<Self, End> {
        let slot = base.wrapping_add_signed(i64::from(rule.offset));
        self.step.cfa_slot = slot;
        let word = memory.word(slot).ok_or(End::CutOff)?;
        self.caller_at(word.wrapping_add(u64::from(rule.addend)), rule.rbp, memory)
    }

    /// The frame that a signal interrupted. The kernel saved its registers above our `sp`.
    fn interrupted(&self, memory: &mut StackMemory) -> Result<Self, End> {
        let register = |memory: &mut StackMemory, index: libc::c_int| {
            let offset = GENERAL_REGISTERS + index as u64 * WORD_BYTES;
            memory.word(self.sp.wrapping_add(offset)).ok_or(End::CutOff)
        };
        let value = register(memory, libc::REG_RIP)?;
        let rbp = register(memory, libc::REG_RBP)?;
        let sp = register(memory, libc::REG_RSP)?;
        // It may have been on another stack than the handler is.
        memory.enter(sp);
        let slot = self.sp.wrapping_add(GENERAL_REGISTERS + libc::REG_RIP as u64 * WORD_BYTES);
        let step = Step {
            slot,
            value,
            rbp,
            is_interrupted: true,
            ..Step::default()
        };
        Ok(Self { step, sp })
    }

    /// Code without unwind information: a JIT compiler's, which keeps the frame pointer; or the
    /// dynamic linker's entry, which clears it to say that there is no caller.
    fn frame_pointer_caller(&mut self, memory: &mut StackMemory) -> Result<Self, End> {
        if self.step.rbp == 0 {
            return Err(End::Complete);
        }
        self.step.uses_rbp = true;
        let rule = Rule::frame_pointer();
        let cfa = self.step.rbp.wrapping_add_signed(i64::from(rule.offset));
        self.caller_at(cfa, rule.rbp, memory)
    }
}

/// Where `ucontext_t` keeps the general registers.
const GENERAL_REGISTERS: u64 = (core::mem::offset_of!(libc::ucontext_t, uc_mcontext)
    + core::mem::offset_of!(libc::mcontext_t, gregs)) as u64;
