//! `errno` belongs to the program: what we do inside its allocator does not change it.
//!
//! Fallback, where this is not done: Windows, and systems whose `errno` is elsewhere. Allocators of Rust promise
//! nothing about it.

/// Restores `errno` when it goes.
pub(crate) struct KeepErrno {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    value: i32,
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn place() -> *mut i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: always allowed.
    unsafe {
        libc::__errno_location()
    }
    #[cfg(target_vendor = "apple")]
    // SAFETY: always allowed.
    unsafe {
        libc::__error()
    }
}

impl KeepErrno {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(any(target_os = "linux", target_vendor = "apple"))]
            // SAFETY: this thread's `errno`.
            value: unsafe { *place() },
        }
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        // SAFETY: this thread's `errno`.
        unsafe {
            *place() = self.value;
        }
    }
}
