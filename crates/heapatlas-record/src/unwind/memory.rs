//! Reads words of the stack, and nothing that might not be there.

use core::ops::Range;
use core::ptr;

use crate::os;

const PAGE_BYTES: u64 = 4096;
const WORD_BYTES: u64 = 8;

/// The part of memory that a walk may read.
///
/// On the thread's own stack that is everything from the stack pointer up: it stays mapped while
/// the thread runs. Elsewhere (signal stack, coroutine) the kernel is asked, page by page.
pub struct StackMemory {
    own: Range<u64>,
    /// The words that can be read: the address of the first, and how many.
    start: u64,
    words: u64,
    is_own: bool,
}

impl StackMemory {
    /// Memory of a thread whose stack lies in `own`.
    pub fn new(own: Range<u64>) -> Self {
        Self {
            own,
            start: 0,
            words: 0,
            is_own: false,
        }
    }

    /// Begins to read at the frame whose stack pointer is `sp`. Whether that is on the own stack.
    #[inline]
    pub fn enter(&mut self, sp: u64) -> bool {
        self.start = (sp & !(WORD_BYTES - 1)).wrapping_sub(WORD_BYTES);
        self.is_own = self.own.contains(&sp);
        self.words = if self.is_own {
            (self.own.end - self.start) / WORD_BYTES
        } else {
            0
        };
        self.is_own
    }

    /// The word at `address`. None when it is unaligned or not in memory of this stack.
    #[inline]
    pub fn word(&mut self, address: u64) -> Option<u64> {
        // An address between two words becomes an enormous index.
        let index = address.wrapping_sub(self.start).rotate_right(3);
        if index >= self.words && !self.admit(address) {
            return None;
        }
        // SAFETY: aligned, and in memory that is known to be readable. The word may change under
        // our feet, as little as that makes sense on a stack; so the read is a volatile one.
        Some(unsafe { ptr::with_exposed_provenance::<u64>(address as usize).read_volatile() })
    }

    /// Asks the kernel for the page of `address`, when this is not the own stack.
    #[cold]
    fn admit(&mut self, address: u64) -> bool {
        if self.is_own || !address.is_multiple_of(WORD_BYTES) || !os::is_readable(address) {
            return false;
        }
        self.start = address & !(PAGE_BYTES - 1);
        self.words = PAGE_BYTES / WORD_BYTES;
        true
    }
}
