//! The stack of the running thread as one number, without walking all of it each time.
//!
//! A program that allocates has done so a moment ago from nearly the same stack. So a thread
//! remembers the frames of its last capture and their nodes in its trie of stacks:
//!
//! 1. verify the remembered words, from the outermost inwards, as far as they are unchanged
//!    (`remembered`);
//! 2. walk from the innermost frame outwards (`walk`), with rules that are remembered by return
//!    address for the whole process (`rules`), until a step ends exactly at a verified frame;
//! 3. add the new frames to the trie (`stack_table`).
//!
//! Nothing of the program is changed, and the result is that of a full walk. What decides the walk
//! from a frame on is its return address and the place of it, which have been verified, and `rbp`
//! where a rule uses that: then the word that holds it is verified too. A stale word cannot
//! shorten a stack: a walk must end exactly where it lies.
//!
//! Nothing here allocates, locks, or reads memory that might not be there (`memory`).

mod all_registers;
mod cfi;
#[cfg(test)]
mod cfi_test;
mod code;
mod expression;
mod memory;
mod modules;
mod remembered;
mod rule;
mod rules;
mod step;
mod walk;

use core::ops::Range;
use core::ptr::NonNull;

use crate::os;
use crate::stack_table::{NodeSink, StackTable};
use cfi::Workspace;
use memory::StackMemory;
use remembered::{Mark, Remembered, StackEnd, Word};
use step::Step;
use walk::{End, Walker};

pub use modules::{Object, is_loaded, object_of, prepare};
pub use rules::{begin_in_child, forget_all};

/// The deepest stack that is recorded to its end; of deeper ones the inner half at least.
pub const MAX_FRAMES: usize = 1024;

/// A frame needs two more entries when its caller's `rbp` and its CFA come from memory.
const MAX_ENTRIES: usize = 3 * MAX_FRAMES;

/// The empty stack under which stacks hang whose end was not reached.
const CUT_OFF: u32 = 1;

/// Where a capture begins: right after the return from the function that the program called.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// The return address of that call.
    pub pc: u64,
    /// `rsp` after the return: the return address lies in the word below.
    pub sp: u64,
    /// `rbp` after the return.
    pub rbp: u64,
}

/// What a capture found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// 0: empty; 1: cut off at once; else the number of the innermost frame's node.
    pub stack: u32,
    /// The walk did not reach the entry of the process or thread.
    pub is_cut_off: bool,
}

/// What a full walk says about the last capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// The same frames.
    Same,
    /// The capture was wrong.
    Different,
}

/// Everything that a thread remembers between captures.
pub struct ThreadStacks {
    rooms: NonNull<Rooms>,
    memory: StackMemory,
    remembered: Remembered,
    walker: Walker,
    table: StackTable,
    generation: u32,
}

/// The large parts, in pages that the kernel hands out when they are first touched.
#[repr(C)]
struct Rooms {
    workspace: Workspace,
    words: [Word; MAX_ENTRIES],
    marks: [Mark; MAX_ENTRIES],
    steps: [Step; MAX_FRAMES],
}

impl ThreadStacks {
    /// For the running thread, whose stack lies in `stack_bounds`. None when there is no memory.
    #[must_use]
    pub fn new(stack_bounds: Range<u64>) -> Option<Self> {
        let table = StackTable::new()?;
        let rooms: NonNull<Rooms> = os::map_pages(size_of::<Rooms>())?.cast();
        let room = rooms.as_ptr();
        // SAFETY: fresh memory of that size; zeroes are good words, marks and steps, and a
        // workspace is written. It stays until `self` is dropped, and the parts go only to `self`.
        let (remembered, walker) = unsafe {
            (&raw mut (*room).workspace).write(Workspace::new_in());
            (
                Remembered::new(&mut (*room).words, &mut (*room).marks),
                Walker::new(&mut (*room).steps, &mut (*room).workspace),
            )
        };
        Some(Self {
            rooms,
            memory: StackMemory::new(stack_bounds),
            remembered,
            walker,
            table,
            generation: rules::generation(),
        })
    }

    /// The stack at `registers`, which is the running thread's. New nodes are told to `sink`.
    #[inline]
    pub fn capture(&mut self, registers: Registers, sink: &mut impl NodeSink) -> Captured {
        let is_own = self.memory.enter(registers.sp);
        let valid = self.verified(is_own);
        let mut end = self.walk(registers, valid);
        if let End::Met(length) = end
            && self.remembered.is_worn(length, self.walker.steps().len())
        {
            self.memory.enter(registers.sp);
            end = self.walk(registers, 0);
        }
        self.remember(end, is_own, sink)
    }

    /// Walks in full from where the last capture began, without what is remembered, and compares.
    pub fn check(&mut self, registers: Registers) -> CheckResult {
        self.memory.enter(registers.sp);
        let end = self.walk(registers, 0);
        let walked = self.walker.steps();
        let is_equal = (walked.iter().zip(self.remembered.frames()))
            .all(|(step, word)| step.slot == word.slot && step.return_address == word.value);
        let may_be_shorter = end == End::TooDeep;
        let may_be_longer = self.remembered.end() == StackEnd::TooDeep;
        let depth = self.remembered.depth();
        let is_length_right = walked.len() == depth
            || walked.len() < depth && may_be_shorter
            || walked.len() > depth && may_be_longer;
        if is_equal && is_length_right {
            CheckResult::Same
        } else {
            CheckResult::Different
        }
    }

    #[inline]
    fn walk(&mut self, registers: Registers, valid: usize) -> End {
        self.walker
            .walk(registers, &mut self.memory, &self.remembered, valid)
    }

    /// How many of the remembered words still hold.
    #[inline]
    fn verified(&mut self, is_own: bool) -> usize {
        let generation = rules::generation();
        if generation != self.generation {
            self.generation = generation;
            self.remembered.retire();
        }
        self.remembered.verify(&mut self.memory, is_own)
    }

    #[inline]
    fn remember(&mut self, end: End, is_own: bool, sink: &mut impl NodeSink) -> Captured {
        match end {
            End::Met(length) => self.remembered.truncate(length),
            End::Complete => self.remembered.clear(is_own, StackEnd::Complete),
            End::CutOff => self.remembered.clear(is_own, StackEnd::CutOff),
            End::TooDeep => self.remembered.clear(is_own, StackEnd::TooDeep),
        }
        if self.add_steps(sink).is_none() {
            return self.give_up();
        }
        Captured {
            stack: self.remembered.node(),
            is_cut_off: self.remembered.end() != StackEnd::Complete,
        }
    }

    /// None when there is no memory for a node.
    #[inline]
    fn add_steps(&mut self, sink: &mut impl NodeSink) -> Option<()> {
        let steps = self.walker.steps();
        if self.remembered.depth() + steps.len() > MAX_FRAMES {
            let kept = (MAX_FRAMES / 2).min(MAX_FRAMES - steps.len());
            self.remembered.shorten(kept, &mut self.table, sink)?;
        }
        for step in steps.iter().rev() {
            self.remembered
                .add(step, &mut self.memory, &mut self.table, sink)?;
        }
        Some(())
    }

    #[cold]
    fn give_up(&mut self) -> Captured {
        self.remembered.clear(false, StackEnd::TooDeep);
        self.remembered.retire();
        Captured {
            stack: CUT_OFF,
            is_cut_off: true,
        }
    }
}

impl Drop for ThreadStacks {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; the references to it go with `self`.
        unsafe { os::unmap_pages(self.rooms.cast(), size_of::<Rooms>()) };
    }
}
