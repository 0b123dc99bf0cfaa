//! Big columns on huge pages: a global allocator that maps large blocks itself.
//!
//! A snapshot of a gigabyte becomes a dozen columns of tens of megabytes. With 4 KiB pages,
//! touching them costs the kernel a fault for each page; with transparent huge pages one for
//! every 512. Where the system has them on request only (`madvise`, the usual setting), somebody
//! must ask, and the blocks must lie on 2 MiB boundaries. So, on Linux:
//!
//! ```text
//!  size of the block        who serves it
//!  below 4 MiB              System, untouched
//!  4 MiB and more           mmap, aligned to 2 MiB, MADV_HUGEPAGE
//! ```
//!
//! Growing a large block moves its page tables (`mremap`) and copies nothing: a vector that
//! doubles never holds old and new contents at once. `System` would, for such an alignment: it
//! allocates, copies and frees.
//!
//! **Invariant:** who serves a block follows from its [`Layout`] alone, so `dealloc` and
//! `realloc` find the same answer as `alloc` did.

use std::alloc::{GlobalAlloc, Layout, System};

/// The allocator; see the module.
pub struct HugePages;

#[cfg(not(target_os = "linux"))]
// SAFETY: everything is handed to `System` as it came.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(target_os = "linux")]
// SAFETY: blocks come either from `System` or from `large`, decided by the layout alone, and go
// back to where they came from; both give blocks of the size and alignment asked for.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if large::serves(layout) {
            return large::map(layout.size());
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if large::serves(layout) {
            // Fresh pages are zero; writing zeros would only touch them.
            return large::map(layout.size());
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if large::serves(layout) {
            // SAFETY: the layout says that `large::map` or `large::resize` made this block.
            return unsafe { large::unmap(block, layout.size()) };
        }
        // SAFETY: the layout says that `System` made this block.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, fits `isize`.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (large::serves(layout), large::serves(new_layout)) {
            // SAFETY: the layout says that `System` made this block.
            (false, false) => unsafe { System.realloc(block, layout, new_size) },
            // SAFETY: the layout says that `large` made this block, with this size.
            (true, true) => unsafe { large::resize(block, layout.size(), new_size) },
            // SAFETY: as for `alloc`, `copy` and `dealloc` one by one; the blocks are distinct
            // and each at least as long as what is copied.
            _ => unsafe {
                let new_block = self.alloc(new_layout);
                if !new_block.is_null() {
                    new_block.copy_from_nonoverlapping(block, layout.size().min(new_size));
                    self.dealloc(block, layout);
                }
                new_block
            },
        }
    }
}

/// Blocks that are mappings of their own.
#[cfg(target_os = "linux")]
mod large {
    use std::alloc::Layout;
    use std::ffi::c_void;
    use std::ptr;

    use rustix::mm::{
        Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap, mremap_fixed,
        munmap,
    };

    const HUGE_PAGE: usize = 2 << 20;
    const SMALLEST: usize = 2 * HUGE_PAGE;
    /// Mappings are whole multiples of this: a multiple of each page size that Linux runs with.
    /// (Not of `HUGE_PAGE`, which would waste up to 2 MiB of memory a column.)
    const GRAIN: usize = 64 << 10;

    pub fn serves(layout: Layout) -> bool {
        layout.size() >= SMALLEST && layout.align() <= HUGE_PAGE
    }

    /// A new block of zeros; null when there is no memory.
    pub fn map(size: usize) -> *mut u8 {
        let Some(length) = mapped_length(size) else {
            return ptr::null_mut();
        };
        let block = reserve(length, ProtFlags::READ | ProtFlags::WRITE);
        if !block.is_null() {
            // SAFETY: the mapping was just made, with this length. A kernel without huge pages
            // refuses, which costs speed only.
            let _ = unsafe { madvise(block.cast(), length, Advice::LinuxHugepage) };
        }
        block
    }

    /// # Safety
    /// `block` came from [`map`] or [`resize`] with this `size` and is not used any more.
    pub unsafe fn unmap(block: *mut u8, size: usize) {
        let length = mapped_length(size).unwrap_or(0);
        // SAFETY: the caller gives the mapping up, which is exactly so long.
        unsafe { unmap_range(block, length) }
    }

    /// Makes a block shorter or longer, moving it if need be; null, with the block as it was,
    /// when there is no memory.
    ///
    /// # Safety
    /// `block` came from [`map`] or [`resize`] with this `size`; when the result is not null,
    /// only the result is used from then on.
    pub unsafe fn resize(block: *mut u8, size: usize, new_size: usize) -> *mut u8 {
        let (Some(length), Some(new_length)) = (mapped_length(size), mapped_length(new_size))
        else {
            return ptr::null_mut();
        };
        if new_length <= length {
            // SAFETY: the tail lies in the caller's block and is beyond its new size.
            unsafe { unmap_range(block.add(new_length), length - new_length) };
            return block;
        }
        let in_place = MremapFlags::empty();
        // SAFETY: the mapping is the caller's and exactly `length` long.
        if unsafe { mremap(block.cast(), length, new_length, in_place) }.is_ok() {
            return block;
        }
        // SAFETY: as above.
        unsafe { move_to_larger(block, length, new_length) }
    }

    /// Moves the pages of a block to a larger, aligned place. `mremap` alone would pick one that
    /// is not aligned, and the huge pages would be gone.
    ///
    /// # Safety
    /// `block` is a mapping of `length` bytes that nobody else uses meanwhile.
    unsafe fn move_to_larger(block: *mut u8, length: usize, new_length: usize) -> *mut u8 {
        let place = reserve(new_length, ProtFlags::empty());
        if place.is_null() {
            return place;
        }
        // SAFETY: `place` was reserved for this and holds nothing; the block is the caller's.
        let moved = unsafe {
            mremap_fixed(
                block.cast(),
                length,
                new_length,
                MremapFlags::MAYMOVE,
                place.cast(),
            )
        };
        match moved {
            Ok(moved) => moved.cast(),
            Err(_) => {
                // SAFETY: the reservation is ours and unused.
                unsafe { unmap_range(place, new_length) };
                ptr::null_mut()
            }
        }
    }

    /// A new mapping on a huge page's boundary; null when there is none.
    fn reserve(length: usize, protection: ProtFlags) -> *mut u8 {
        let Some(with_slack) = length.checked_add(HUGE_PAGE) else {
            return ptr::null_mut();
        };
        // SAFETY: a new anonymous mapping wherever the kernel likes harms nobody.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), with_slack, protection, MapFlags::PRIVATE) };
        let Ok(start) = start else {
            return ptr::null_mut();
        };
        let start: *mut u8 = start.cast();
        let head = start.align_offset(HUGE_PAGE);
        // SAFETY: both ranges lie in the mapping just made, before and after the block kept:
        // `head` is below `HUGE_PAGE`, so `head + length` is within `with_slack`.
        unsafe {
            unmap_range(start, head);
            let block = start.add(head);
            unmap_range(block.add(length), HUGE_PAGE - head);
            block
        }
    }

    /// # Safety
    /// The range is whole pages of our own mappings, and nobody uses it any more.
    unsafe fn unmap_range(start: *mut u8, length: usize) {
        if length > 0 {
            // SAFETY: the caller's promise. It fails only when the kernel has no room to split a
            // mapping; the memory is then lost to us, and that is all.
            let _ = unsafe { munmap(start.cast::<c_void>(), length) };
        }
    }

    fn mapped_length(size: usize) -> Option<usize> {
        size.checked_next_multiple_of(GRAIN)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Resizes a block through `sizes` and checks that contents and alignment survive.
    #[track_caller]
    fn check(sizes: &[usize], align: usize) {
        let layout = |size| Layout::from_size_align(size, align).unwrap();
        let pattern = |at: usize| (at / 4096 % 251) as u8;
        let mut size = sizes[0];
        // SAFETY: each block is used within its size, resized and freed with its own layout.
        unsafe {
            let mut block = HugePages.alloc_zeroed(layout(size));
            assert!((0..size).step_by(999).all(|at| *block.add(at) == 0));
            (0..size).for_each(|at| *block.add(at) = pattern(at));
            for &new_size in &sizes[1..] {
                block = HugePages.realloc(block, layout(size), new_size);
                assert!(!block.is_null() && block.addr().is_multiple_of(align));
                let kept = size.min(new_size);
                assert!(
                    (0..kept)
                        .step_by(97)
                        .all(|at| *block.add(at) == pattern(at))
                );
                (kept..new_size).for_each(|at| *block.add(at) = pattern(at));
                size = new_size;
            }
            HugePages.dealloc(block, layout(size));
        }
    }

    #[test]
    fn contents_survive_every_way_of_resizing() {
        check(&[4 * MIB, 8 * MIB, 16 * MIB, 5 * MIB], 8);
        check(&[MIB, 3 * MIB, 4 * MIB, 4 * MIB + 1, 4 * MIB - 1, 100], 16);
        check(&[9 * MIB + 1, 9 * MIB + 65_537, 64 * MIB, 4 * MIB], 4096);
    }

    #[test]
    fn blocks_grow_beside_each_other() {
        let mut columns = vec![Vec::new(); 8];
        for value in 0..1_200_000_u32 {
            columns.iter_mut().for_each(|column| column.push(value));
        }
        for column in columns {
            assert!(column.iter().copied().eq(0..1_200_000));
        }
    }

    #[test]
    fn too_large_a_block_is_refused() {
        let layout = Layout::from_size_align(isize::MAX as usize - MIB, 8).unwrap();
        // SAFETY: nothing is done with the block.
        assert!(unsafe { HugePages.alloc(layout) }.is_null());
    }

    #[test]
    fn large_blocks_lie_on_huge_pages() {
        let column = vec![1_u64; MIB];
        assert!(column.as_ptr().addr().is_multiple_of(2 * MIB));
    }
}
