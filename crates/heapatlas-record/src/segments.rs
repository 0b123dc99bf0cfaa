//! An array that grows and whose elements never move: what threads share and count in.
//!
//! Segment `k` has room for `1024 << k` elements; it is mapped when one of them is first asked for.

use core::ptr::NonNull;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{AcqRel, Acquire};

use crate::pages;

const FIRST_BITS: u32 = 10;
/// Enough for every index of 32 bits.
const SEGMENTS: usize = 23;

/// A type for which zeroed memory is a good value that needs no destructor: atomics, mostly.
///
/// # Safety
///
/// All bytes zero is a value of the type; it is aligned to a page at most.
pub unsafe trait Zeroed {}

/// The array. All elements are zero at first.
pub struct Segments<T: Zeroed> {
    segments: [AtomicPtr<T>; SEGMENTS],
}

impl<T: Zeroed + Sync> Segments<T> {
    /// An array without memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            segments: [const { AtomicPtr::new(core::ptr::null_mut()) }; SEGMENTS],
        }
    }

    /// An element; None when nobody asked for one of its segment by [`Self::get_or_map`].
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let (segment, offset) = place(index);
        let first = NonNull::new(self.segments[segment].load(Acquire))?;
        // SAFETY: the segment has room for it, was zeroed, and is never unmapped while `self` lives.
        Some(unsafe { first.add(offset).as_ref() })
    }

    /// An element; None when there is no memory.
    #[inline]
    pub fn get_or_map(&self, index: u32) -> Option<&T> {
        self.get(index).or_else(|| self.map_for(index))
    }

    #[cold]
    fn map_for(&self, index: u32) -> Option<&T> {
        let (segment, _) = place(index);
        let memory: NonNull<T> = pages::map(bytes_of::<T>(segment))?.cast();
        let place = &self.segments[segment];
        let exchanged =
            place.compare_exchange(core::ptr::null_mut(), memory.as_ptr(), AcqRel, Acquire);
        if exchanged.is_err() {
            // SAFETY: another thread was first; nobody has seen this memory.
            unsafe { pages::unmap(memory.cast(), bytes_of::<T>(segment)) };
        }
        self.get(index)
    }
}

impl<T: Zeroed + Sync> Default for Segments<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Zeroed> Drop for Segments<T> {
    fn drop(&mut self) {
        for (segment, first) in self.segments.iter_mut().enumerate() {
            if let Some(first) = NonNull::new(*first.get_mut()) {
                // SAFETY: mapped by `map_for`; it goes with `self`.
                unsafe { pages::unmap(first.cast(), bytes_of::<T>(segment)) };
            }
        }
    }
}

/// Segment and place in it.
#[inline]
fn place(index: u32) -> (usize, usize) {
    let shifted = u64::from(index) + (1 << FIRST_BITS);
    let segment = shifted.ilog2() - FIRST_BITS;
    (
        segment as usize,
        (shifted - (1 << shifted.ilog2())) as usize,
    )
}

fn bytes_of<T>(segment: usize) -> usize {
    size_of::<T>() << (FIRST_BITS as usize + segment)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::sync::atomic::AtomicU64;
    use core::sync::atomic::Ordering::Relaxed;

    use super::*;

    // SAFETY: an atomic integer of zero.
    unsafe impl Zeroed for AtomicU64 {}

    #[test]
    fn elements_have_places_of_their_own() {
        let array = Segments::<AtomicU64>::new();
        assert!(array.get(0).is_none());
        let last = if cfg!(miri) { 3_000 } else { 300_000 };
        for index in 0..last {
            let element = array.get_or_map(index).unwrap();
            assert_eq!(element.swap(u64::from(index) + 1, Relaxed), 0);
        }
        for index in 0..last {
            assert_eq!(
                array.get(index).unwrap().load(Relaxed),
                u64::from(index) + 1
            );
        }
    }

    #[test]
    fn the_last_index_has_a_place() {
        let (segment, offset) = place(u32::MAX);
        assert!(segment < SEGMENTS && (offset as u64) < 1 << (FIRST_BITS + segment as u32));
    }
}
