//! From frame to frame, innermost first.

use super::all_registers::{Frame, saved_by_kernel};
use super::cfi::Workspace;
use super::code;
use super::memory::StackMemory;
use super::remembered::Remembered;
use super::rule::{Cfa, Rule, SavedRbp};
use super::rules::{self, Found, RuleCache};
use super::step::Step;
use super::{MAX_FRAMES, Registers};

const WORD_BYTES: u64 = 8;

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It met the remembered frame with so many words up to and including its own.
    Met(usize),
    /// At the entry of the process or thread.
    Complete,
    /// There was no way on.
    CutOff,
    /// There was no room for more frames.
    TooDeep,
}

/// Room for a walk's frames, and for the evaluation of unwind tables.
pub struct Walker {
    steps: &'static mut [Step; MAX_FRAMES],
    length: usize,
    workspace: &'static mut Workspace,
}

impl Walker {
    /// A walker with that room.
    pub fn new(steps: &'static mut [Step; MAX_FRAMES], workspace: &'static mut Workspace) -> Self {
        Self {
            steps,
            length: 0,
            workspace,
        }
    }

    /// The frames of the last walk, innermost first; not the one that it met.
    #[inline]
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
            if remembered.meets(&mut valid, at.slot, at.rbp) {
                return End::Met(valid);
            }
            let Some(step) = self.steps.get_mut(self.length) else {
                return End::TooDeep;
            };
            self.length += 1;
            *step = at.step();
            let rule = match cache.find(at.return_address) {
                Found::Plain {
                    frame_bytes,
                    rbp_bytes,
                } => {
                    match at.plain_caller(frame_bytes, rbp_bytes, step, memory) {
                        Ok(caller) => at = caller,
                        Err(end) => return end,
                    }
                    continue;
                }
                Found::Other(rule) => rule,
                Found::Nothing => rules::resolve(at.return_address, self.workspace),
            };
            if matches!(rule.cfa, Cfa::AllRegisters | Cfa::LaidOut) {
                match self.caller_by_all_frames(rule, registers.sp, memory) {
                    Ok(caller) => at = caller,
                    Err(end) => return end,
                }
                continue;
            }
            // Through memory of its own: `at` is to stay in registers.
            let mut next = at;
            if let Some(end) = next.move_to_caller(rule, step, memory) {
                return end;
            }
            at = next;
        }
    }
}

impl Walker {
    /// The frame that called the last one, where that takes more than the frame itself.
    #[cold]
    #[inline(never)]
    fn caller_by_all_frames(
        &mut self,
        rule: Rule,
        sp: u64,
        memory: &mut StackMemory,
    ) -> Result<Position, End> {
        if rule.cfa == Cfa::AllRegisters {
            return self.caller_by_all_registers(sp, memory).ok_or(End::CutOff);
        }
        // Interrupted code need not follow a call.
        let is_interrupted = self.length > 1 && self.steps[self.length - 2].is_unverifiable;
        Err(if is_interrupted {
            End::CutOff
        } else {
            End::Complete
        })
    }

    /// The frame that called the last one, by the registers of all frames from the start on, where the
    /// stack pointer was `sp`.
    fn caller_by_all_registers(&mut self, sp: u64, memory: &mut StackMemory) -> Option<Position> {
        let mut frame = Frame::of_caller(sp, memory, self.workspace)?;
        for step in &self.steps[1..self.length] {
            frame = frame.caller(memory, self.workspace)?;
            if frame.slot != step.slot {
                return None;
            }
        }
        // The registers that decide this are not among what is verified.
        self.steps[self.length - 1].is_unverifiable = true;
        let caller = frame.caller(memory, self.workspace)?;
        Some(Position {
            slot: caller.slot,
            return_address: caller.return_address(),
            sp: caller.sp(),
            rbp: caller.rbp(),
        })
    }
}

/// The frame at which a walk is.
#[derive(Clone, Copy)]
struct Position {
    slot: u64,
    return_address: u64,
    sp: u64,
    rbp: u64,
}

impl Position {
    fn new(registers: Registers) -> Self {
        Self {
            slot: registers.sp.wrapping_sub(WORD_BYTES),
            return_address: registers.pc,
            sp: registers.sp,
            rbp: registers.rbp,
        }
    }

    fn step(self) -> Step {
        Step {
            slot: self.slot,
            return_address: self.return_address,
            rbp: self.rbp,
            rbp_slot: 0,
            cfa_slot: 0,
            uses_rbp: false,
            is_unverifiable: false,
        }
    }

    /// The caller of nearly every frame of code without frame pointers.
    #[inline(always)]
    fn plain_caller(
        self,
        frame_bytes: u64,
        rbp_bytes: u64,
        step: &mut Step,
        memory: &mut StackMemory,
    ) -> Result<Self, End> {
        let cfa = self.sp.wrapping_add(frame_bytes);
        let mut rbp = self.rbp;
        if rbp_bytes != 0 {
            step.rbp_slot = cfa.wrapping_sub(rbp_bytes);
            rbp = memory.word(step.rbp_slot).ok_or(End::CutOff)?;
        }
        self.caller_at(cfa, rbp, memory)
    }

    #[inline(always)]
    fn caller_at(self, cfa: u64, rbp: u64, memory: &mut StackMemory) -> Result<Self, End> {
        let slot = cfa.wrapping_sub(WORD_BYTES);
        // Callers lie further up: so every walk ends.
        if slot < self.sp {
            return Err(End::CutOff);
        }
        match memory.word(slot) {
            Some(0) => Err(End::Complete),
            Some(return_address) => Ok(Self {
                slot,
                return_address,
                sp: cfa,
                rbp,
            }),
            None => Err(End::CutOff),
        }
    }

    #[inline(never)]
    fn move_to_caller(
        &mut self,
        rule: Rule,
        step: &mut Step,
        memory: &mut StackMemory,
    ) -> Option<End> {
        match self.caller(rule, step, memory) {
            Ok(caller) => *self = caller,
            Err(end) => return Some(end),
        }
        None
    }

    /// The frame that called this one. Notes in `step` what decided that.
    fn caller(self, rule: Rule, step: &mut Step, memory: &mut StackMemory) -> Result<Self, End> {
        let offset = i64::from(rule.offset);
        match rule.cfa {
            Cfa::Rsp => self.caller_by(rule, self.sp.wrapping_add_signed(offset), step, memory),
            Cfa::Rbp => {
                step.uses_rbp = true;
                self.caller_by(rule, self.rbp.wrapping_add_signed(offset), step, memory)
            }
            Cfa::AtRbp => {
                step.uses_rbp = true;
                self.caller_at_word(rule, self.rbp, step, memory)
            }
            Cfa::AtRsp => self.caller_at_word(rule, self.sp, step, memory),
            Cfa::Signal => self.interrupted(step, memory),
            // The dynamic linker clears it to say that nobody called the constructors.
            Cfa::FramePointer | Cfa::Silent if self.rbp == 0 => Err(End::Complete),
            Cfa::FramePointer | Cfa::Silent => self.caller_by_frame_pointer(step, memory),
            Cfa::End => Err(End::Complete),
            // `Walker::walk` took those.
            Cfa::AllRegisters | Cfa::LaidOut => Err(End::CutOff),
        }
    }

    /// Nothing says that `rbp` is a frame pointer here, so what it leads to must look like it.
    fn caller_by_frame_pointer(
        self,
        step: &mut Step,
        memory: &mut StackMemory,
    ) -> Result<Self, End> {
        step.uses_rbp = true;
        let rule = Rule::frame_pointer();
        let cfa = self.rbp.wrapping_add_signed(i64::from(rule.offset));
        let caller = self.caller_by(rule, cfa, step, memory)?;
        if code::follows_call(caller.return_address) {
            Ok(caller)
        } else {
            Err(End::CutOff)
        }
    }

    fn caller_by(
        self,
        rule: Rule,
        cfa: u64,
        step: &mut Step,
        memory: &mut StackMemory,
    ) -> Result<Self, End> {
        step.rbp_slot = match rule.rbp {
            SavedRbp::Unchanged => return self.caller_at(cfa, self.rbp, memory),
            SavedRbp::AtCfa(words) => cfa.wrapping_add_signed(i64::from(words) * 8),
            SavedRbp::AtRbp(words) => {
                step.uses_rbp = true;
                self.rbp.wrapping_add_signed(i64::from(words) * 8)
            }
        };
        let rbp = memory.word(step.rbp_slot).ok_or(End::CutOff)?;
        self.caller_at(cfa, rbp, memory)
    }

    fn caller_at_word(
        self,
        rule: Rule,
        base: u64,
        step: &mut Step,
        memory: &mut StackMemory,
    ) -> Result<Self, End> {
        step.cfa_slot = base.wrapping_add_signed(i64::from(rule.offset));
        let word = memory.word(step.cfa_slot).ok_or(End::CutOff)?;
        let cfa = word.wrapping_add(u64::from(rule.addend));
        self.caller_by(rule, cfa, step, memory)
    }

    /// The frame that a signal interrupted. The kernel saved its registers above our `sp`.
    fn interrupted(self, step: &mut Step, memory: &mut StackMemory) -> Result<Self, End> {
        step.is_unverifiable = true;
        let slot = |register| saved_by_kernel(self.sp, register);
        let pc = memory.word(slot(libc::REG_RIP)).ok_or(End::CutOff)?;
        let rbp = memory.word(slot(libc::REG_RBP)).ok_or(End::CutOff)?;
        let sp = memory.word(slot(libc::REG_RSP)).ok_or(End::CutOff)?;
        // It may have been on another stack than the handler is.
        memory.enter(sp);
        Ok(Self {
            slot: slot(libc::REG_RIP),
            // No return address: the instruction at `pc` was not finished.
            return_address: pc.wrapping_add(1),
            sp,
            rbp,
        })
    }
}
