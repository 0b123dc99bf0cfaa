//! A value that owns its native memory.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::{AdaptiveMalloc, NativeAllocator, free_at};

/// A value in native memory, which is dropped and freed with it: for memory that C uses for a while, or gives or takes.
///
/// ```
/// use heapatlas::{LeakTracker, NativeBox};
///
/// LeakTracker::run_test(|| {
///     let mut size = NativeBox::<_>::new(640_u32);
///     *size += 1;
///     // unsafe { c_function(size.as_ptr()) }
///     assert_eq!(*size, 641);
///
///     // A string for C to keep, and to give back one day.
///     let name = NativeBox::<[u8]>::copy_of(c"heap".to_bytes_with_nul());
///     let raw = name.into_raw();
///     drop(unsafe { NativeBox::<[u8]>::from_raw(raw) });
/// });
/// ```
pub struct NativeBox<T: ?Sized, A: NativeAllocator = AdaptiveMalloc> {
    value: NonNull<T>,
    allocator: PhantomData<A>,
    owned: PhantomData<T>,
}

// SAFETY: it owns its value, as a `Box` does; the allocator may be used from every thread.
unsafe impl<T: Send + ?Sized, A: NativeAllocator> Send for NativeBox<T, A> {}
// SAFETY: shared, it gives shared references to the value only.
unsafe impl<T: Sync + ?Sized, A: NativeAllocator> Sync for NativeBox<T, A> {}

impl<T, A: NativeAllocator> NativeBox<T, A> {
    /// Puts a value into native memory. Without memory the process ends, as with `Box`.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self::try_new(value).unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()))
    }

    /// # Errors
    /// The value comes back: there is no memory.
    #[track_caller]
    pub fn try_new(value: T) -> Result<Self, T> {
        match A::allocate_array::<T>(1) {
            Some(place) => {
                // SAFETY: the block is new, large enough and aligned.
                unsafe { place.write(value) };
                Ok(Self::own(place))
            }
            None => Err(value),
        }
    }
}

impl<T: Copy, A: NativeAllocator> NativeBox<[T], A> {
    /// A copy of a slice in native memory. Without memory the process ends, as with `Box`.
    #[track_caller]
    pub fn copy_of(values: &[T]) -> Self {
        Self::try_copy_of(values).unwrap_or_else(|| handle_alloc_error(Layout::for_value(values)))
    }

    /// `None`: there is no memory.
    #[track_caller]
    pub fn try_copy_of(values: &[T]) -> Option<Self> {
        let place = A::allocate_array::<T>(values.len())?;
        // SAFETY: the block is new, aligned, and has room for all of them.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        Some(Self::own(NonNull::slice_from_raw_parts(
            place,
            values.len(),
        )))
    }
}

impl<T: ?Sized, A: NativeAllocator> NativeBox<T, A> {
    fn own(value: NonNull<T>) -> Self {
        Self {
            value,
            allocator: PhantomData,
            owned: PhantomData,
        }
    }

    /// Takes over a value in native memory.
    ///
    /// # Safety
    /// It lies at the start of a block of the C library or of an allocator of `A`'s family, is valid, and nobody else frees or uses it.
    pub unsafe fn from_raw(value: NonNull<T>) -> Self {
        Self::own(value)
    }

    /// Gives the value up: somebody else is to drop and free it.
    #[must_use = "the block leaks if nobody frees it"]
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).value
    }

    /// Where the value lies, for C to use while this lives.
    pub fn as_ptr(&self) -> *mut T {
        self.value.as_ptr()
    }
}

impl<T: ?Sized, A: NativeAllocator> Deref for NativeBox<T, A> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value is valid and ours.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized, A: NativeAllocator> DerefMut for NativeBox<T, A> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the value is valid and ours.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized, A: NativeAllocator> Drop for NativeBox<T, A> {
    fn drop(&mut self) {
        /// Frees the block also if dropping the value panics.
        struct Block<A: NativeAllocator>(*mut u8, PhantomData<A>);

        impl<A: NativeAllocator> Drop for Block<A> {
            fn drop(&mut self) {
                // SAFETY: the block is ours, and its value is gone. (What drops it is not a line to tell.)
                unsafe { free_at(self.0, A::FAMILY, None) };
            }
        }

        let _block = Block::<A>(self.value.as_ptr().cast(), PhantomData);
        // SAFETY: the value is valid, and dropped once.
        unsafe { self.value.drop_in_place() };
    }
}

impl<T: fmt::Debug + ?Sized, A: NativeAllocator> fmt::Debug for NativeBox<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: fmt::Display + ?Sized, A: NativeAllocator> fmt::Display for NativeBox<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
