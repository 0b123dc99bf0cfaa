//! The C library's memory: what `free` of a C program takes.
//!
//! | system | alignment above [`MALLOC_ALIGN`] |
//! |---|---|
//! | Unix | `posix_memalign`; its blocks are freed by `free` |
//! | Windows | none: what `_aligned_malloc` gives cannot be freed by `free` |

/// What `malloc` aligns to: enough for every type of C.
pub(crate) const MALLOC_ALIGN: usize = if cfg!(target_pointer_width = "64") {
    16
} else {
    8
};

/// Null if there is no memory, or if the alignment is not a power of two, or cannot be had.
#[inline(always)]
pub(crate) fn malloc(bytes: usize, align: usize) -> *mut u8 {
    if align.is_power_of_two() && align <= MALLOC_ALIGN {
        // SAFETY: any size may be asked for.
        return unsafe { libc::malloc(bytes) }.cast();
    }
    aligned(bytes, align, false)
}

/// As [`malloc`], zeroed.
#[inline(always)]
pub(crate) fn calloc(bytes: usize, align: usize) -> *mut u8 {
    calloc_array(bytes, 1, align)
}

/// As [`calloc`], for `count` elements; the C library checks their product.
#[inline(always)]
pub(crate) fn calloc_array(count: usize, size: usize, align: usize) -> *mut u8 {
    if align.is_power_of_two() && align <= MALLOC_ALIGN {
        // SAFETY: any size may be asked for.
        return unsafe { libc::calloc(count, size) }.cast();
    }
    match count.checked_mul(size) {
        Some(bytes) => aligned(bytes, align, true),
        None => std::ptr::null_mut(),
    }
}

/// # Safety
/// The block is of this module or of the C library, and nobody uses it any more. Or it is null.
#[inline(always)]
pub(crate) unsafe fn free(pointer: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { libc::free(pointer.cast()) };
}

/// Null if there is no memory or the alignment cannot be had: then the block is as it was. `old_bytes` is asked for
/// alignments above [`MALLOC_ALIGN`] only.
///
/// # Safety
/// The block is of this module or of the C library; if another one comes back, nobody uses the old one any more.
#[inline]
pub(crate) unsafe fn realloc(
    pointer: *mut u8,
    bytes: usize,
    align: usize,
    old_bytes: impl FnOnce() -> Option<usize>,
) -> *mut u8 {
    if align.is_power_of_two() && align <= MALLOC_ALIGN {
        // What a size of 0 means differs between C libraries: for some the block is freed.
        // SAFETY: the caller's promise.
        return unsafe { libc::realloc(pointer.cast(), bytes.max(1)) }.cast();
    }
    let Some(old_bytes) = old_bytes() else {
        return std::ptr::null_mut();
    };
    let new = aligned(bytes, align, false);
    if !new.is_null() {
        // SAFETY: both have so many bytes and are apart; the caller gave the old one up.
        unsafe {
            new.copy_from_nonoverlapping(pointer, bytes.min(old_bytes));
            free(pointer);
        }
    }
    new
}

/// How many bytes a block has at least, where the C library tells.
///
/// # Safety
/// The block is the C library's.
pub(crate) unsafe fn usable_bytes(pointer: *mut u8) -> Option<usize> {
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(any(miri, heapatlas_fallback))
    ))]
    // SAFETY: the caller's promise.
    return Some(unsafe { libc::malloc_usable_size(pointer.cast()) });
    #[cfg(target_vendor = "apple")]
    // SAFETY: the caller's promise.
    return Some(unsafe { libc::malloc_size(pointer.cast()) });
    #[cfg(not(any(
        all(
            any(target_os = "linux", target_os = "android"),
            not(any(miri, heapatlas_fallback))
        ),
        target_vendor = "apple"
    )))]
    {
        let _ = pointer;
        None
    }
}

#[cfg(unix)]
#[inline(never)]
fn aligned(bytes: usize, align: usize, is_zeroed: bool) -> *mut u8 {
    let mut block: *mut libc::c_void = std::ptr::null_mut();
    if !align.is_power_of_two() || align < size_of::<*mut u8>() {
        return block.cast();
    }
    // SAFETY: a live place for the result.
    let error = unsafe { libc::posix_memalign(&mut block, align, bytes) };
    if error != 0 || block.is_null() {
        return std::ptr::null_mut();
    }
    if is_zeroed {
        // SAFETY: the new block has so many bytes.
        unsafe { block.cast::<u8>().write_bytes(0, bytes) };
    }
    block.cast()
}

#[cfg(not(unix))]
#[inline(never)]
fn aligned(_bytes: usize, _align: usize, _is_zeroed: bool) -> *mut u8 {
    std::ptr::null_mut()
}
