//! Allocators for memory that crosses the border to C.
//!
//! | | memory | tracked | in a plain release build |
//! |---|---|---|---|
//! | [`adaptive_calloc`] | zeroed | in debug builds, and with the feature `profiling` ([`TRACKS_ADAPTIVE`]) | `calloc` and `free`, nothing else |
//! | [`adaptive_malloc`] | not initialized | the same | `malloc` and `free`, nothing else |
//! | [`diagnostic_calloc`] | zeroed | always | tracked |
//! | [`diagnostic_malloc`] | not initialized | always | tracked |
//!
//! Tracked means: while [`LeakTracker`](crate::LeakTracker) is enabled or the thread is in a [`LeakScope`](crate::LeakScope), each
//! block is remembered with its type, line, stack, time and thread until it is freed.
//!
//! All of it is memory of the C library: C code may free it by `free`, and each may free what C allocated. The four forms are
//! also there as types ([`AdaptiveCalloc`], …): as parameter of [`NativeBox`], and with the feature `allocator-api2` as allocators of
//! collections.
//!
//! - **Sizes.** A typed call for `count` elements fails (`None`) if their size overflows. A block of 0 bytes is what the C
//!   library makes of it: in all that are known a block of its own, which has to be freed.
//! - **Alignment** of the type, or the one that is asked for, is honored; it has to be a power of two. Above 16 (on 32-bit systems: 8) by
//!   `posix_memalign`, whose blocks are freed like others; on Windows, where no such function exists, those calls fail.
//! - **Freeing** null does nothing. While tracking, double frees, frees of unknown addresses and by the wrong one of adaptive and diagnostic are
//!   found: see [`LeakTracker::misuses`](crate::LeakTracker::misuses). `calloc` and `malloc` forms of one family may be freed by each other's.
//! - **Handing blocks to C.** If C frees them by `free`, the tracker learns of it only when the address is given out again. Hand over
//!   [`native_free`] with the block, as a function for C to call, and it learns at once.

#[cfg(feature = "allocator-api2")]
mod allocator_api;
mod native_box;

use std::any::type_name;
use std::ffi::c_void;
use std::panic::Location;
use std::ptr::NonNull;

pub use native_box::NativeBox;

use crate::TRACKS_ADAPTIVE;
use crate::leak_tracker::registry::{self, Family, Origin};
use crate::os::memory;

/// One of the four allocators, as a type.
pub trait NativeAllocator: sealed::Form {
    /// Memory for `count` values of type `T`: see [`adaptive_calloc`].
    #[inline(always)]
    #[track_caller]
    fn allocate_array<T>(count: usize) -> Option<NonNull<T>> {
        let size = size_of::<T>();
        let block = if Self::IS_ZEROED {
            memory::calloc_array(count, size, align_of::<T>())
        } else {
            memory::malloc(count.checked_mul(size)?, align_of::<T>())
        };
        let block = NonNull::new(block)?;
        if is_tracked(Self::FAMILY) {
            let origin = origin(type_name::<T>(), Self::FAMILY, Location::caller());
            // The product was checked above, here or by `calloc`.
            registry::allocated(block.as_ptr(), count.wrapping_mul(size), origin);
        }
        Some(block.cast())
    }

    /// Memory of so many bytes: see [`adaptive_calloc_bytes`].
    #[inline(always)]
    #[track_caller]
    fn allocate_bytes(bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let block = if Self::IS_ZEROED {
            memory::calloc(bytes, align)
        } else {
            memory::malloc(bytes, align)
        };
        let block = NonNull::new(block)?;
        if is_tracked(Self::FAMILY) {
            let origin = origin(UNTYPED, Self::FAMILY, Location::caller());
            registry::allocated(block.as_ptr(), bytes, origin);
        }
        Some(block)
    }

    /// Changes the size of a block: see [`adaptive_realloc`].
    ///
    /// # Safety
    /// As [`adaptive_realloc`].
    #[inline(always)]
    #[track_caller]
    unsafe fn resize_array<T>(block: *mut T, count: usize) -> Option<NonNull<T>> {
        let bytes = count.checked_mul(size_of::<T>())?;
        let origin = origin(type_name::<T>(), Self::FAMILY, Location::caller());
        // SAFETY: the caller's promise.
        unsafe { resize(block.cast(), bytes, align_of::<T>(), origin) }.map(NonNull::cast)
    }

    /// Changes the size of a block: see [`adaptive_realloc_bytes`].
    ///
    /// # Safety
    /// As [`adaptive_realloc_bytes`].
    #[inline(always)]
    #[track_caller]
    unsafe fn resize_bytes(block: *mut u8, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let origin = origin(UNTYPED, Self::FAMILY, Location::caller());
        // SAFETY: the caller's promise.
        unsafe { resize(block, bytes, align, origin) }
    }

    /// Frees a block: see [`adaptive_free`].
    ///
    /// # Safety
    /// As [`adaptive_free`].
    #[inline(always)]
    #[track_caller]
    unsafe fn free<T>(block: *mut T) {
        // SAFETY: the caller's promise.
        unsafe { free_at(block, Self::FAMILY, Some(Location::caller())) };
    }
}

/// The type of what is allocated by bytes.
const UNTYPED: &str = "untyped";

mod sealed {
    use crate::leak_tracker::registry::Family;

    /// What tells the four apart.
    #[expect(private_interfaces, reason = "nobody outside can name the trait")]
    pub trait Form {
        const FAMILY: Family;
        const IS_ZEROED: bool;
    }
}

macro_rules! allocator {
    ($(#[$documentation:meta])* $name:ident, $family:ident, $is_zeroed:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name;

        #[expect(private_interfaces, reason = "nobody outside can name the trait")]
        impl sealed::Form for $name {
            const FAMILY: Family = Family::$family;
            const IS_ZEROED: bool = $is_zeroed;
        }

        impl NativeAllocator for $name {}
    };
}

allocator!(
    /// [`adaptive_calloc`] and [`adaptive_free`] as a type.
    AdaptiveCalloc, Adaptive, true
);
allocator!(
    /// [`adaptive_malloc`] and [`adaptive_free`] as a type.
    AdaptiveMalloc, Adaptive, false
);
allocator!(
    /// [`diagnostic_calloc`] and [`diagnostic_free`] as a type.
    DiagnosticCalloc, Diagnostic, true
);
allocator!(
    /// [`diagnostic_malloc`] and [`diagnostic_free`] as a type.
    DiagnosticMalloc, Diagnostic, false
);

/// Decided when the program is compiled.
const fn is_tracked(family: Family) -> bool {
    TRACKS_ADAPTIVE || matches!(family, Family::Diagnostic)
}

#[inline(always)]
fn origin(type_name: &'static str, family: Family, location: &'static Location<'static>) -> Origin {
    Origin {
        type_name,
        location: Some(location),
        family,
    }
}

/// # Safety
/// As [`adaptive_realloc_bytes`].
#[inline(always)]
unsafe fn resize(
    block: *mut u8,
    bytes: usize,
    align: usize,
    origin: Origin,
) -> Option<NonNull<u8>> {
    if block.is_null() {
        let block = memory::malloc(bytes, align);
        if is_tracked(origin.family) && !block.is_null() {
            registry::allocated(block, bytes, origin);
        }
        return NonNull::new(block);
    }
    // SAFETY: the caller's promise.
    NonNull::new(unsafe {
        if is_tracked(origin.family) {
            registry::realloc(block, bytes, align, origin)
        } else {
            memory::realloc(block, bytes, align, || memory::usable_bytes(block))
        }
    })
}

/// # Safety
/// As [`adaptive_free`].
#[inline(always)]
unsafe fn free_at<T>(block: *mut T, family: Family, location: Option<&'static Location<'static>>) {
    // SAFETY: the caller's promise.
    unsafe {
        if is_tracked(family) {
            registry::free(block.cast(), Some(family), location);
        } else {
            memory::free(block.cast());
        }
    }
}

/// Zeroed memory for `count` values of type `T`. `None`: there is no memory, or their size overflows.
///
/// Tracked where [`TRACKS_ADAPTIVE`]; elsewhere this *is* `calloc`.
///
/// ```
/// use heapatlas::{adaptive_calloc, adaptive_free};
/// let numbers = adaptive_calloc::<u32>(8).expect("memory for 32 bytes");
/// unsafe {
///     assert_eq!(numbers.add(7).read(), 0);
///     adaptive_free(numbers.as_ptr());
/// }
/// ```
#[inline(always)]
#[track_caller]
pub fn adaptive_calloc<T>(count: usize) -> Option<NonNull<T>> {
    AdaptiveCalloc::allocate_array(count)
}

/// Zeroed memory of so many bytes, aligned to `align`. `None`: there is no memory, or `align` is not a power of two.
///
/// Tracked where [`TRACKS_ADAPTIVE`]; elsewhere this *is* `calloc` for alignments up to 16. (These are the C library's: one that is
/// put in its place may align blocks that are smaller than their alignment less.)
#[inline(always)]
#[track_caller]
pub fn adaptive_calloc_bytes(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    AdaptiveCalloc::allocate_bytes(bytes, align)
}

/// As [`adaptive_calloc`], not initialized: `malloc`.
#[inline(always)]
#[track_caller]
pub fn adaptive_malloc<T>(count: usize) -> Option<NonNull<T>> {
    AdaptiveMalloc::allocate_array(count)
}

/// As [`adaptive_calloc_bytes`], not initialized: `malloc`.
#[inline(always)]
#[track_caller]
pub fn adaptive_malloc_bytes(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    AdaptiveMalloc::allocate_bytes(bytes, align)
}

/// Makes room for `count` values of type `T` in all, where the block lies or elsewhere: `realloc`. What is new is not initialized. Null is
/// allowed: then it allocates. `None`: it failed, and the block is as it was.
///
/// In the tracker it stays the same block, from where it was allocated first.
///
/// # Safety
/// `block` is null, or a block of the adaptive allocators or of the C library, aligned for `T`. If another one comes back, the old one is
/// freed.
#[inline(always)]
#[track_caller]
pub unsafe fn adaptive_realloc<T>(block: *mut T, count: usize) -> Option<NonNull<T>> {
    // SAFETY: the caller's promise.
    unsafe { AdaptiveMalloc::resize_array(block, count) }
}

/// As [`adaptive_realloc`], for so many bytes in all, aligned to `align`. (For alignments above 16 the old size has to be known: by the tracker, or by
/// the C libraries of Linux, Android and Apple; elsewhere the call fails.)
///
/// # Safety
/// As [`adaptive_realloc`].
#[inline(always)]
#[track_caller]
pub unsafe fn adaptive_realloc_bytes(
    block: *mut u8,
    bytes: usize,
    align: usize,
) -> Option<NonNull<u8>> {
    // SAFETY: the caller's promise.
    unsafe { AdaptiveMalloc::resize_bytes(block, bytes, align) }
}

/// Frees a block of the adaptive allocators, or of the C library. Null does nothing.
///
/// # Safety
/// `block` is null, or such a block that nobody uses any more.
#[inline(always)]
#[track_caller]
pub unsafe fn adaptive_free<T>(block: *mut T) {
    // SAFETY: the caller's promise.
    unsafe { AdaptiveMalloc::free(block) };
}

/// As [`adaptive_calloc`], tracked in every build.
#[inline(always)]
#[track_caller]
pub fn diagnostic_calloc<T>(count: usize) -> Option<NonNull<T>> {
    DiagnosticCalloc::allocate_array(count)
}

/// As [`adaptive_calloc_bytes`], tracked in every build.
#[inline(always)]
#[track_caller]
pub fn diagnostic_calloc_bytes(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    DiagnosticCalloc::allocate_bytes(bytes, align)
}

/// As [`adaptive_malloc`], tracked in every build.
#[inline(always)]
#[track_caller]
pub fn diagnostic_malloc<T>(count: usize) -> Option<NonNull<T>> {
    DiagnosticMalloc::allocate_array(count)
}

/// As [`adaptive_malloc_bytes`], tracked in every build.
#[inline(always)]
#[track_caller]
pub fn diagnostic_malloc_bytes(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    DiagnosticMalloc::allocate_bytes(bytes, align)
}

/// As [`adaptive_realloc`], for blocks of the diagnostic allocators.
///
/// # Safety
/// As [`adaptive_realloc`].
#[inline(always)]
#[track_caller]
pub unsafe fn diagnostic_realloc<T>(block: *mut T, count: usize) -> Option<NonNull<T>> {
    // SAFETY: the caller's promise.
    unsafe { DiagnosticMalloc::resize_array(block, count) }
}

/// As [`adaptive_realloc_bytes`], for blocks of the diagnostic allocators.
///
/// # Safety
/// As [`adaptive_realloc`].
#[inline(always)]
#[track_caller]
pub unsafe fn diagnostic_realloc_bytes(
    block: *mut u8,
    bytes: usize,
    align: usize,
) -> Option<NonNull<u8>> {
    // SAFETY: the caller's promise.
    unsafe { DiagnosticMalloc::resize_bytes(block, bytes, align) }
}

/// As [`adaptive_free`], for blocks of the diagnostic allocators.
///
/// # Safety
/// As [`adaptive_free`].
#[inline(always)]
#[track_caller]
pub unsafe fn diagnostic_free<T>(block: *mut T) {
    // SAFETY: the caller's promise.
    unsafe { DiagnosticMalloc::free(block) };
}

/// `free` for C code: hand its address over together with a block, and the tracker learns when C frees it.
///
/// It takes blocks of all four allocators, of collections that live in them, and of the C library. In a plain release build it
/// is `free` but for one look whether anything was ever tracked.
///
/// ```
/// use heapatlas::{LeakTracker, adaptive_calloc, native_free};
///
/// // What a C library does with a buffer that it was given together with the function that frees it.
/// unsafe fn take_over(buffer: *mut std::ffi::c_void, free: unsafe extern "C" fn(*mut std::ffi::c_void)) {
///     unsafe { free(buffer) };
/// }
///
/// LeakTracker::run_test(|| {
///     let buffer = adaptive_calloc::<u8>(4096).unwrap();
///     unsafe { take_over(buffer.as_ptr().cast(), native_free) };
/// });
/// ```
///
/// # Safety
/// As [`adaptive_free`].
pub unsafe extern "C" fn native_free(block: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { registry::free(block.cast(), None, None) };
}
