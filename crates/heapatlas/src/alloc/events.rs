//! What is done for an allocation, beside allocating.
//!
//! What is known of a block is forgotten before the block is freed, and noted after it was made: in between, another
//! thread may get the same address.

use super::counters;
use super::mode::{COUNTS, SUMS};
use super::sums::{self, Known};
use crate::guard;

/// A block was made (or not: null).
#[inline(never)]
pub(super) fn allocated(bits: u8, block: *mut u8, size: usize) {
    if block.is_null() {
        return;
    }
    let Some(guard) = guard::enter() else {
        return;
    };
    if bits & COUNTS != 0 {
        counters::count_allocation(size);
    }
    if bits & SUMS != 0 {
        sums::allocated(&guard, block, size);
    }
}

/// A block is about to be freed.
#[inline(never)]
pub(super) fn freeing(bits: u8, block: *mut u8, size: usize) {
    let Some(guard) = guard::enter() else {
        return;
    };
    if bits & COUNTS != 0 {
        counters::count_free(size);
    }
    if bits & SUMS != 0
        && let Some(known) = sums::forget(&guard, block)
    {
        sums::freed(&guard, known, size);
    }
}

/// Has a block resized, which may move it, and may fail.
#[inline]
pub(super) fn reallocated(
    bits: u8,
    block: *mut u8,
    sizes: [usize; 2],
    reallocate: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    let known = resizing(bits, block);
    let new_block = reallocate();
    match new_block.is_null() {
        true => not_resized(block, known, sizes),
        false => resized(bits, new_block, known, sizes),
    }
    new_block
}

#[inline(never)]
fn resizing(bits: u8, block: *mut u8) -> Option<Known> {
    if bits & SUMS == 0 {
        return None;
    }
    sums::forget(&guard::enter()?, block)
}

#[inline(never)]
fn resized(bits: u8, new_block: *mut u8, known: Option<Known>, sizes: [usize; 2]) {
    let Some(guard) = guard::enter() else {
        return;
    };
    if bits & COUNTS != 0 {
        counters::count_reallocation(sizes[0], sizes[1]);
    }
    match known {
        Some(known) => sums::resized(&guard, new_block, known, sizes),
        // Made before the session began: for that, it is a new block.
        None if bits & SUMS != 0 => sums::allocated(&guard, new_block, sizes[1]),
        None => {}
    }
}

#[cold]
fn not_resized(block: *mut u8, known: Option<Known>, [old_size, _]: [usize; 2]) {
    if let (Some(known), Some(guard)) = (known, guard::enter()) {
        sums::remember(&guard, block, known, old_size);
    }
}
