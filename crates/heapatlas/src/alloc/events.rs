//! What is done for an allocation, beside allocating.
//!
//! What is known of a block is forgotten before the block is freed, and noted after it was made: in between, another
//! thread may get the same address.

use super::counters;
use super::mode::COUNTS;
use crate::guard;

/// A block was made (or not: null).
#[inline(never)]
pub(super) fn allocated(bits: u8, block: *mut u8, size: usize) {
    if block.is_null() || guard::is_inside() {
        return;
    }
    if bits & COUNTS != 0 {
        counters::count_allocation(size);
    }
}

/// A block is about to be freed.
#[inline(never)]
pub(super) fn freeing(bits: u8, _block: *mut u8, size: usize) {
    if guard::is_inside() {
        return;
    }
    if bits & COUNTS != 0 {
        counters::count_free(size);
    }
}

/// Has a block resized, which may move it, and may fail.
#[inline]
pub(super) fn reallocated(
    bits: u8,
    _block: *mut u8,
    sizes: [usize; 2],
    reallocate: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    let new_block = reallocate();
    resized(bits, new_block, sizes);
    new_block
}

#[inline(never)]
fn resized(bits: u8, new_block: *mut u8, [old_size, new_size]: [usize; 2]) {
    if new_block.is_null() || guard::is_inside() {
        return;
    }
    if bits & COUNTS != 0 {
        counters::count_reallocation(old_size, new_size);
    }
}
