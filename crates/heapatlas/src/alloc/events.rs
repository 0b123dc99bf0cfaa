//! What is done for an allocation, beside allocating.
//!
//! What is known of a block is forgotten before the block is freed, and noted after it was made: in between, another
//! thread may get the same address.
//!
//! While more than sums are kept, the guard is held while the other allocator works, too: what that allocates by the
//! global allocator, for tables of its own, is not the program's.

use super::counters;
use super::mode::{COUNTS, SUMS};
use super::sums::{self, Known};
use crate::guard::{self, Guard};

/// A block was made (or not: null) while allocations are counted at most.
#[inline(always)]
pub(super) fn allocated_counted(bits: u8, block: *mut u8, size: usize) {
    if bits & COUNTS != 0 && !block.is_null() && !guard::is_inside() {
        counters::count_allocation(size);
    }
}

/// A block is about to be freed while allocations are counted at most.
#[inline(always)]
pub(super) fn freeing_counted(bits: u8, size: usize) {
    if bits & COUNTS != 0 && !guard::is_inside() {
        counters::count_free(size);
    }
}

/// A block was made (or not: null).
#[inline(never)]
pub(super) fn allocated(guard: &Guard, bits: u8, block: *mut u8, size: usize) {
    if block.is_null() {
        return;
    }
    if bits & COUNTS != 0 {
        counters::count_allocation(size);
    }
    if bits & SUMS != 0 {
        sums::allocated(guard, block, size);
    }
}

/// A block is about to be freed.
#[inline(never)]
pub(super) fn freeing(guard: &Guard, bits: u8, block: *mut u8, size: usize) {
    if bits & COUNTS != 0 {
        counters::count_free(size);
    }
    if bits & SUMS != 0
        && let Some(known) = sums::forget(guard, block)
    {
        sums::freed(guard, known, size);
    }
}

/// A block is about to be resized, which may move it and may fail. For [`resized`].
#[inline]
pub(super) fn resizing(guard: &Guard, bits: u8, block: *mut u8) -> Option<Known> {
    (bits & SUMS != 0).then(|| sums::forget(guard, block))?
}

/// A block was resized, or not (null: there was no memory).
#[inline(never)]
pub(super) fn resized(
    guard: &Guard,
    bits: u8,
    [block, new_block]: [*mut u8; 2],
    known: Option<Known>,
    sizes: [usize; 2],
) {
    if new_block.is_null() {
        if let Some(known) = known {
            sums::remember(guard, block, known, sizes[0]);
        }
        return;
    }
    if bits & COUNTS != 0 {
        counters::count_reallocation(sizes[0], sizes[1]);
    }
    match known {
        Some(known) => sums::resized(guard, new_block, known, sizes),
        // Made before the session began: for that, it is a new block.
        None if bits & SUMS != 0 => sums::allocated(guard, new_block, sizes[1]),
        None => {}
    }
}
