//! Memory for our own tables: pages from the system, never from the program's allocator.
//!
//! The tables that a library shares between threads exist on every system, unlike the recorder.

use core::ptr::NonNull;

/// Fresh zeroed memory of at least `bytes`, aligned to pages. None when there is none.
#[must_use]
pub fn map(bytes: usize) -> Option<NonNull<u8>> {
    system::map(bytes)
}

/// Gives memory of [`map`] back.
///
/// # Safety
///
/// `start` and `bytes` are of one call of `map`, and nobody uses the memory any more.
pub unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { system::unmap(start, bytes) };
}

/// Lets other threads run; after many `turns` for a millisecond.
pub fn wait(turns: u32) {
    system::wait(turns);
}

/// So many turns of [`wait`] only yield.
const YIELDS: u32 = 1000;

#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(any(miri, heapatlas_fallback))
))]
mod system {
    use crate::os;
    use crate::region::Errno;
    pub use os::{map_pages as map, unmap_pages as unmap};

    pub fn wait(turns: u32) {
        let _errno = Errno::save();
        super::posix_wait(turns);
    }
}

#[cfg(all(
    unix,
    not(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu",
        not(any(miri, heapatlas_fallback))
    ))
))]
mod system {
    use core::ptr::NonNull;

    pub(super) use super::posix_wait as wait;

    pub fn map(bytes: usize) -> Option<NonNull<u8>> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
        // SAFETY: a new anonymous mapping touches no memory in use.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED)
    }

    /// # Safety
    /// As [`super::unmap`].
    pub unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    }
}

#[cfg(unix)]
fn posix_wait(turns: u32) {
    if turns < YIELDS {
        // SAFETY: always allowed.
        unsafe { libc::sched_yield() };
        return;
    }
    let millisecond = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    // SAFETY: a live time, and nothing is to be told of the rest.
    unsafe { libc::nanosleep(&millisecond, core::ptr::null_mut()) };
}

#[cfg(windows)]
mod system {
    use core::ffi::c_void;
    use core::ptr::NonNull;

    const MEM_COMMIT_AND_RESERVE: u32 = 0x3000;
    const MEM_RELEASE: u32 = 0x8000;
    const PAGE_READWRITE: u32 = 4;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn VirtualAlloc(start: *mut c_void, bytes: usize, kind: u32, access: u32) -> *mut c_void;
        fn VirtualFree(start: *mut c_void, bytes: usize, kind: u32) -> i32;
        fn Sleep(milliseconds: u32);
    }

    pub fn map(bytes: usize) -> Option<NonNull<u8>> {
        let (kind, access) = (MEM_COMMIT_AND_RESERVE, PAGE_READWRITE);
        // SAFETY: new memory at an address of the system's choice.
        NonNull::new(unsafe { VirtualAlloc(core::ptr::null_mut(), bytes, kind, access) }.cast())
    }

    /// # Safety
    /// As [`super::unmap`].
    pub unsafe fn unmap(start: NonNull<u8>, _bytes: usize) {
        // SAFETY: the caller's promise; a release takes all of it.
        unsafe { VirtualFree(start.as_ptr().cast(), 0, MEM_RELEASE) };
    }

    pub fn wait(turns: u32) {
        // SAFETY: always allowed; 0 yields.
        unsafe { Sleep(u32::from(turns >= super::YIELDS)) };
    }
}
