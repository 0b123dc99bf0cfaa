//! The four allocators for collections.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use super::sealed::Form;
use super::{
    AdaptiveCalloc, AdaptiveMalloc, DiagnosticCalloc, DiagnosticMalloc, free_at, is_tracked,
};
use crate::leak_tracker::registry::{self, Family, Origin};
use crate::os::memory;

/// A collection does not tell what it holds.
const TYPE_NAME: &str = "collection";

macro_rules! collections {
    ($($name:ident)*) => {$(
        /// Collections of the crate `allocator-api2` and others that take such an allocator.
        ///
        /// Their blocks are the C library's, like all others: what is taken out of a collection by `into_raw_parts` may be freed
        /// by [`native_free`](crate::native_free), or by the `free` of the same family. The report names the stack; which
        /// line of the program it was, the collection does not say.
        // SAFETY: blocks are the C library's; they stay where they are until they are freed, whatever happens to the
        // allocator, which is a value without content.
        unsafe impl Allocator for $name {
            #[inline]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                allocate(layout, $name::FAMILY, $name::IS_ZEROED)
            }

            #[inline]
            fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                allocate(layout, $name::FAMILY, true)
            }

            #[inline]
            unsafe fn deallocate(&self, block: NonNull<u8>, _layout: Layout) {
                // SAFETY: the caller's promise.
                unsafe { free_at(block.as_ptr(), $name::FAMILY, None) };
            }

            #[inline]
            unsafe fn grow(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, AllocError> {
                // SAFETY: the caller's promise.
                unsafe { resize(block, old, new, $name::FAMILY) }
            }

            #[inline]
            unsafe fn grow_zeroed(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, AllocError> {
                // SAFETY: the caller's promise; the new block has all the bytes of `new`.
                unsafe {
                    let block = resize(block, old, new, $name::FAMILY)?;
                    let start = block.cast::<u8>().add(old.size());
                    start.write_bytes(0, new.size() - old.size());
                    Ok(block)
                }
            }

            #[inline]
            unsafe fn shrink(
                &self,
                block: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, AllocError> {
                // SAFETY: the caller's promise.
                unsafe { resize(block, old, new, $name::FAMILY) }
            }
        }
    )*};
}

collections!(AdaptiveCalloc AdaptiveMalloc DiagnosticCalloc DiagnosticMalloc);

fn origin(family: Family) -> Origin {
    Origin {
        type_name: TYPE_NAME,
        location: None,
        family,
    }
}

fn allocate(layout: Layout, family: Family, is_zeroed: bool) -> Result<NonNull<[u8]>, AllocError> {
    // Null for 0 bytes would look like a failure.
    let bytes = layout.size().max(1);
    let block = if is_zeroed {
        memory::calloc(bytes, layout.align())
    } else {
        memory::malloc(bytes, layout.align())
    };
    let block = NonNull::new(block).ok_or(AllocError)?;
    if is_tracked(family) {
        registry::allocated(block.as_ptr(), layout.size(), origin(family));
    }
    Ok(NonNull::slice_from_raw_parts(block, layout.size()))
}

/// # Safety
/// As `Allocator::grow` and `shrink`.
unsafe fn resize(
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
    family: Family,
) -> Result<NonNull<[u8]>, AllocError> {
    // The old block may be aligned less than the new one is to be; then a new one is made.
    let align = new.align();
    let moved = if align > memory::MALLOC_ALIGN && align > old.align() {
        // SAFETY: the caller's promise.
        unsafe { move_to_new(block, old, new, family)? }
    } else if is_tracked(family) {
        // SAFETY: the caller's promise.
        let moved = unsafe { registry::realloc(block.as_ptr(), new.size(), align, origin(family)) };
        NonNull::new(moved).ok_or(AllocError)?
    } else {
        // SAFETY: the caller's promise.
        let moved =
            unsafe { memory::realloc(block.as_ptr(), new.size(), align, || Some(old.size())) };
        NonNull::new(moved).ok_or(AllocError)?
    };
    Ok(NonNull::slice_from_raw_parts(moved, new.size()))
}

/// # Safety
/// As `Allocator::grow` and `shrink`.
unsafe fn move_to_new(
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
    family: Family,
) -> Result<NonNull<u8>, AllocError> {
    let place = allocate(new, family, false)?.cast::<u8>();
    // SAFETY: both blocks have so many bytes and are apart; the old one is given up.
    unsafe {
        place.copy_from_nonoverlapping(block, old.size().min(new.size()));
        free_at(block.as_ptr(), family, None);
    }
    Ok(place)
}
