//! The frames of a thread's last capture, outermost first.

use core::ptr;

use super::memory::StackMemory;
use super::step::Step;
use super::{CUT_OFF, MAX_ENTRIES, MAX_FRAMES};
use crate::stack_table::{NodeSink, StackTable};

const EMPTY: u32 = 0;

/// A word of the stack that decided the walk: a return address, or one of which `rbp` or the CFA of
/// a frame further out was made.
#[derive(Clone, Copy)]
pub struct Word {
    /// Its address.
    pub slot: u64,
    /// What it was.
    pub value: u64,
}

/// What belongs to a remembered word.
#[derive(Clone, Copy)]
pub struct Mark {
    /// The `rbp` that the walk must have here to go the same way; 0 when it does not matter.
    pub rbp: u64,
    /// The frame's node; 0 when the word is not a return address.
    pub node: u32,
    /// Frames up to and including this one.
    pub depth: u32,
}

/// What lies below the outermost frame that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// Nothing: it is the entry of the process or thread.
    Complete,
    /// Frames to which no walk found the way.
    CutOff,
    /// Frames that there was no room for, or no memory.
    TooDeep,
}

/// The words and their marks.
pub struct Remembered {
    words: &'static mut [Word; MAX_ENTRIES],
    marks: &'static mut [Mark; MAX_ENTRIES],
    length: usize,
    is_reusable: bool,
    is_own: bool,
    end: StackEnd,
    /// The mark of the innermost frame, or of the empty stack.
    innermost: Mark,
}

impl Remembered {
    /// Nothing is remembered yet; the two arrays are room for it.
    pub fn new(
        words: &'static mut [Word; MAX_ENTRIES],
        marks: &'static mut [Mark; MAX_ENTRIES],
    ) -> Self {
        Self {
            words,
            marks,
            length: 0,
            is_reusable: false,
            is_own: false,
            end: StackEnd::Complete,
            innermost: Mark::of_empty_stack(StackEnd::Complete),
        }
    }

    /// How many words, from the outermost inwards, are as they were. `is_own`: whether the
    /// thread is on its own stack, so that the words there can be read.
    #[inline]
    pub fn verify(&self, memory: &mut StackMemory, is_own: bool) -> usize {
        if !self.is_reusable || is_own != self.is_own {
            return 0;
        }
        let words = &self.words[..self.length];
        if is_own {
            return unchanged_on_own_stack(words);
        }
        let is_changed = |word: &Word| memory.word(word.slot) != Some(word.value);
        words.iter().position(is_changed).unwrap_or(words.len())
    }

    /// Whether a walk that has come to the frame whose return address lies in `slot` goes on as
    /// the last one did; `valid` counts the verified words that it has not passed.
    #[inline]
    pub fn meets(&self, valid: &mut usize, slot: u64, rbp: u64) -> bool {
        while *valid > 0 && self.words[*valid - 1].slot < slot {
            *valid -= 1;
        }
        if *valid == 0 || self.words[*valid - 1].slot != slot {
            return false;
        }
        let mark = &self.marks[*valid - 1];
        mark.node != 0 && (mark.rbp == 0 || mark.rbp == rbp)
    }

    /// Begins anew with an empty stack.
    #[inline]
    pub fn clear(&mut self, is_own: bool, end: StackEnd) {
        self.length = 0;
        self.is_reusable = true;
        self.is_own = is_own;
        self.end = end;
        self.innermost = Mark::of_empty_stack(end);
    }

    /// Keeps what is remembered for comparison only.
    #[cold]
    pub fn retire(&mut self) {
        self.is_reusable = false;
    }

    /// Forgets all but the `length` outermost words, of which the last is a frame's.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        self.length = length;
        self.innermost = self.marks[length - 1];
    }

    /// How the stack ends.
    #[inline]
    pub fn end(&self) -> StackEnd {
        self.end
    }

    /// Whether so few frames are left of a stack that was too deep that a walk would find more:
    /// `length` words and `steps` new frames.
    #[inline]
    pub fn is_worn(&self, length: usize, steps: usize) -> bool {
        self.end == StackEnd::TooDeep
            && self.marks[length - 1].depth as usize + steps < MAX_FRAMES / 2
    }

    /// The number of frames.
    #[inline]
    pub fn depth(&self) -> usize {
        self.innermost.depth as usize
    }

    /// The node of the innermost frame.
    #[inline]
    pub fn node(&self) -> u32 {
        self.innermost.node
    }

    /// The return addresses and their places, innermost first.
    pub fn frames(&self) -> impl Iterator<Item = Word> {
        let marks = self.marks[..self.length].iter();
        let words = self.words[..self.length].iter().zip(marks).rev();
        words
            .filter(|(_, mark)| mark.node != 0)
            .map(|(word, _)| *word)
    }

    /// Adds the frame of `step`, which the innermost one so far has called.
    /// None when there is no memory for its node.
    #[inline]
    pub fn add(
        &mut self,
        step: &Step,
        memory: &mut StackMemory,
        table: &mut StackTable,
        sink: &mut impl NodeSink,
    ) -> Option<()> {
        let caller = self.innermost;
        let node = table.intern(caller.node, step.return_address, sink)?;
        let passes_rbp_on = caller.rbp != 0 && step.rbp_slot == 0;
        if caller.rbp != 0 && step.rbp_slot != 0 {
            self.push_decisive(step.rbp_slot, caller.rbp);
        }
        if step.cfa_slot != 0 {
            // Out of reach when a signal frame further out led to another stack.
            match memory.word(step.cfa_slot) {
                Some(value) => self.push_decisive(step.cfa_slot, value),
                None => self.is_reusable = false,
            }
        }
        let is_rbp_needed = step.uses_rbp || passes_rbp_on;
        let mark = Mark {
            rbp: if is_rbp_needed { step.rbp } else { 0 },
            node,
            depth: caller.depth + 1,
        };
        self.push_frame(step.slot, step.return_address, mark);
        // What a signal interrupted may be on another stack, and its slot holds no return address.
        self.is_reusable &= !step.is_unverifiable;
        Some(())
    }

    /// Makes room when the stack is deeper than we follow: the innermost `kept` frames stay, cut off.
    #[cold]
    pub fn shorten(
        &mut self,
        kept: usize,
        table: &mut StackTable,
        sink: &mut impl NodeSink,
    ) -> Option<()> {
        let kept_from = self.depth().saturating_sub(kept);
        let length = self.length;
        self.clear(self.is_own, StackEnd::TooDeep);
        for index in 0..length {
            let (word, mark) = (self.words[index], self.marks[index]);
            if mark.depth as usize > kept_from {
                self.add_again(word, mark, table, sink)?;
            }
        }
        Some(())
    }

    fn add_again(
        &mut self,
        word: Word,
        mark: Mark,
        table: &mut StackTable,
        sink: &mut impl NodeSink,
    ) -> Option<()> {
        let caller = self.innermost;
        if mark.node == 0 {
            self.push_decisive(word.slot, word.value);
            return Some(());
        }
        let node = table.intern(caller.node, word.value, sink)?;
        let depth = caller.depth + 1;
        self.push_frame(
            word.slot,
            word.value,
            Mark {
                node,
                depth,
                ..mark
            },
        );
        Some(())
    }

    fn push_frame(&mut self, slot: u64, value: u64, mark: Mark) {
        self.push(Word { slot, value }, mark);
        self.innermost = mark;
    }

    /// A word that is no return address, but decides how a walk goes on.
    fn push_decisive(&mut self, slot: u64, value: u64) {
        let mark = Mark {
            rbp: 0,
            node: 0,
            depth: self.innermost.depth,
        };
        self.push(Word { slot, value }, mark);
    }

    fn push(&mut self, word: Word, mark: Mark) {
        self.words[self.length] = word;
        self.marks[self.length] = mark;
        self.length += 1;
    }
}

/// How many words are as they were. Looks at four at a time: one branch for each would cost more
/// than the comparison.
#[inline]
fn unchanged_on_own_stack(words: &[Word]) -> usize {
    let (fours, _) = words.as_chunks::<4>();
    let whole = fours
        .iter()
        .position(|four| four.iter().fold(0, |bits, word| bits | word.difference()) != 0);
    let checked = whole.unwrap_or(fours.len()) * 4;
    let rest = &words[checked..];
    checked
        + rest
            .iter()
            .position(|word| word.difference() != 0)
            .unwrap_or(rest.len())
}

impl Word {
    /// 0 when the word is as it was. Only for words of the thread's own stack.
    #[inline(always)]
    fn difference(&self) -> u64 {
        // SAFETY: the word was read on this thread's own stack, which stays mapped.
        let now =
            unsafe { ptr::with_exposed_provenance::<u64>(self.slot as usize).read_volatile() };
        now ^ self.value
    }
}

impl Mark {
    fn of_empty_stack(end: StackEnd) -> Self {
        Self {
            rbp: 0,
            node: match end {
                StackEnd::Complete => EMPTY,
                StackEnd::CutOff | StackEnd::TooDeep => CUT_OFF,
            },
            depth: 0,
        }
    }
}
