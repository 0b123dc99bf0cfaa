//! What we ask of the kernel: pages of memory, and whether an address can be read.
//!
//! The calls go to the kernel directly. The functions of the C library would set `errno`, which
//! `malloc` must leave alone when it succeeds, and a recorder may have replaced them.

use core::arch::asm;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use heapatlas_trace::shared::PAGE_BYTES;

/// Maps `bytes` of fresh zeroed memory, rounded up to whole pages. None when there is no memory.
#[must_use]
pub fn map_pages(bytes: usize) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let arguments = [0, bytes, protection as usize, flags as usize, usize::MAX, 0];
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
    let result = unsafe { system_call(libc::SYS_mmap, arguments) };
    if is_error(result) {
        return None;
    }
    NonNull::new(result as *mut u8)
}

/// Gives memory of `map_pages` back.
///
/// # Safety
///
/// `start` and `bytes` are of one call of `map_pages`, and nobody uses the memory any more.
pub unsafe fn unmap_pages(start: NonNull<u8>, bytes: usize) {
    let arguments = [start.as_ptr() as usize, bytes, 0, 0, 0, 0];
    // SAFETY: the caller's promise.
    unsafe { system_call(libc::SYS_munmap, arguments) };
}

/// RoomOfPages of memory for as long as this is there.
pub struct RoomOfPages(NonNull<[u8]>);

impl RoomOfPages {
    /// So many bytes, zeroed. None when there is no memory.
    #[must_use]
    pub fn map(bytes: usize) -> Option<Self> {
        let start = map_pages(bytes)?;
        Some(Self(NonNull::slice_from_raw_parts(start, bytes)))
    }

    /// These bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: fresh pages of that size, which nobody else has.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for RoomOfPages {
    fn drop(&mut self) {
        // SAFETY: mapped in `map`, and nobody has a reference any more.
        unsafe { unmap_pages(self.0.cast(), self.0.len()) };
    }
}

/// Maps pages of a shared mapping a second time, over the page at `target`. `false` if the kernel refuses;
/// the page at `target` is as it was then.
///
/// # Safety
///
/// `shared` is a page of a shared mapping, and `target` a page of a static whose bytes may be any.
#[must_use]
pub unsafe fn map_page_over(shared: NonNull<u8>, target: NonNull<u8>) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // An old size of 0 leaves the old mapping where it is.
    let arguments = [
        shared.as_ptr() as usize,
        0,
        PAGE_BYTES,
        flags as usize,
        target.as_ptr() as usize,
        0,
    ];
    // SAFETY: the caller's promise.
    let result = unsafe { system_call(libc::SYS_mremap, arguments) };
    !is_error(result)
}

/// Puts a fresh page of zeroes over the one at `target`, at one moment for all threads. Nothing changes if the
/// kernel refuses.
///
/// # Safety
///
/// `target` is a page of a static whose bytes may be zero.
pub unsafe fn zero_page_over(target: NonNull<u8>) {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let arguments = [
        target.as_ptr() as usize,
        PAGE_BYTES,
        protection as usize,
        flags as usize,
        usize::MAX,
        0,
    ];
    // SAFETY: the caller's promise.
    unsafe { system_call(libc::SYS_mmap, arguments) };
}

/// Makes pages of ours zero again and gives their memory back.
///
/// # Safety
///
/// `start` is page aligned, and `bytes` from there are private anonymous memory of ours or of a static that may be
/// zero at any moment.
pub unsafe fn clear_pages(start: NonNull<u8>, bytes: usize) {
    let arguments = [
        start.as_ptr() as usize,
        bytes,
        libc::MADV_DONTNEED as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the caller's promise.
    unsafe { system_call(libc::SYS_madvise, arguments) };
}

/// Maps `bytes` of an open file, shared with whoever else maps it. The descriptor may be closed then.
#[must_use]
pub fn map_shared(file: i32, bytes: usize) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED as usize;
    let arguments = [0, bytes, protection as usize, flags, file as usize, 0];
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
    let result = unsafe { system_call(libc::SYS_mmap, arguments) };
    if is_error(result) {
        return None;
    }
    NonNull::new(result as *mut u8)
}

/// Maps what is shared at `start` a second time, somewhere else. (That is what `mremap` does for an old size of
/// zero. It needs no file: a child may not be allowed to open it again.)
#[must_use]
pub fn map_again(start: NonNull<u8>, bytes: usize) -> Option<NonNull<u8>> {
    let flags = libc::MREMAP_MAYMOVE as usize;
    let arguments = [start.as_ptr() as usize, 0, bytes, flags, 0, 0];
    // SAFETY: with an old size of zero the mapping at `start` stays as it is.
    let result = unsafe { system_call(libc::SYS_mremap, arguments) };
    if is_error(result) {
        return None;
    }
    NonNull::new(result as *mut u8)
}

/// Puts fresh private zeroes in the place of `bytes` from `start` on. `false` if the kernel refuses.
///
/// # Safety
///
/// `start` and `bytes` are of a whole mapping of ours, and whoever uses it can cope with zeroes.
pub unsafe fn cover_pages(start: NonNull<u8>, bytes: usize) -> bool {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let start = start.as_ptr() as usize;
    let arguments = [start, bytes, protection, flags as usize, usize::MAX, 0];
    // SAFETY: the caller's promise.
    !is_error(unsafe { system_call(libc::SYS_mmap, arguments) })
}

/// Changes what may be done with whole pages. `false` if the kernel refuses.
///
/// # Safety
///
/// The pages are mapped, and whoever uses them meanwhile is allowed to.
pub unsafe fn protect_pages(start: *mut u8, bytes: usize, protection: i32) -> bool {
    let arguments = [start.addr(), bytes, protection as usize, 0, 0, 0];
    // SAFETY: the caller's promise.
    !is_error(unsafe { system_call(libc::SYS_mprotect, arguments) })
}

/// Reads as much of the file at `path` as there is room for. None if it cannot be opened.
///
/// By the bare system calls: a thread may be cancelled in the library's functions.
pub fn read_file(path: &CStr, out: &mut [u8]) -> Option<usize> {
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let arguments = [
        libc::AT_FDCWD as usize,
        path.as_ptr() as usize,
        flags,
        0,
        0,
        0,
    ];
    // SAFETY: the path ends with a zero.
    let file = unsafe { system_call(libc::SYS_openat, arguments) };
    if is_error(file) {
        return None;
    }
    let mut filled = 0;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let arguments = [
            file as usize,
            rest.as_mut_ptr() as usize,
            rest.len(),
            0,
            0,
            0,
        ];
        // SAFETY: reads at most as many bytes as there is room for.
        let length = unsafe { system_call(libc::SYS_read, arguments) };
        if length <= 0 {
            break;
        }
        filled += length as usize;
    }
    // SAFETY: opened above.
    unsafe { system_call(libc::SYS_close, [file as usize, 0, 0, 0, 0, 0]) };
    Some(filled)
}

/// Writes these bytes, one behind the other, at an offset of an open file. Gives how many were written, or the
/// number of the error.
pub fn write_at(file: i32, parts: &[libc::iovec; 2], offset: u64) -> Result<usize, i32> {
    let arguments = [
        file as usize,
        parts.as_ptr() as usize,
        parts.len(),
        offset as usize,
        0,
        0,
    ];
    // SAFETY: the kernel checks addresses that it reads from; the caller has bytes there.
    let result = unsafe { system_call(libc::SYS_pwritev, arguments) };
    if is_error(result) {
        return Err(-result as i32);
    }
    Ok(result as usize)
}

/// Device and number of an open file: what tells it from all others.
pub fn identity(file: i32) -> Option<[u64; 2]> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    let arguments = [file as usize, status.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes one such structure.
    let result = unsafe { system_call(libc::SYS_fstat, arguments) };
    if is_error(result) {
        return None;
    }
    // SAFETY: written, since the call succeeded.
    let status = unsafe { status.assume_init() };
    Some([status.st_dev, status.st_ino])
}

/// The size that this process may not have a file exceed: a signal that ends it would come.
pub fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit64 {
        rlim_cur: u64::MAX,
        rlim_max: u64::MAX,
    };
    let arguments = [
        0,
        libc::RLIMIT_FSIZE as usize,
        0,
        (&raw mut limit) as usize,
        0,
        0,
    ];
    // SAFETY: the kernel writes one such structure.
    unsafe { system_call(libc::SYS_prlimit64, arguments) };
    limit.rlim_cur
}

/// The time since some moment in the past, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// The time since 1970, in nanoseconds.
pub fn unix_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let arguments = [clock as usize, (&raw mut time) as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes one such structure.
    unsafe { system_call(libc::SYS_clock_gettime, arguments) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000) + time.tv_nsec as u64
}

/// Has this thread sleep, for less than a second.
pub fn pause(nanoseconds: u64) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds.min(999_999_999) as i64,
    };
    let arguments = [(&raw const time) as usize, 0, 0, 0, 0, 0];
    // SAFETY: the kernel reads one such structure.
    unsafe { system_call(libc::SYS_nanosleep, arguments) };
}

/// How many pages of this process are resident; 0 where the system does not tell.
pub fn resident_pages() -> u64 {
    let mut text = [0; 128];
    let length = read_file(c"/proc/self/statm", &mut text).unwrap_or(0);
    let mut numbers = text
        .get(..length)
        .unwrap_or_default()
        .split(|&byte| byte == b' ');
    let digits = numbers.nth(1).unwrap_or_default();
    digits.iter().fold(0, |number: u64, digit| {
        number.wrapping_mul(10) + u64::from(digit.wrapping_sub(b'0'))
    })
}

/// Closes a descriptor of ours.
pub fn close(file: i32) {
    // SAFETY: whoever closes it has it.
    unsafe { system_call(libc::SYS_close, [file as usize, 0, 0, 0, 0, 0]) };
}

/// Whether the word at `address`, a multiple of 8, can be read now. Changes nothing.
///
/// The kernel reads a signal set there before it finds that `how` makes no sense.
#[must_use]
pub fn is_readable(address: u64) -> bool {
    const NO_SUCH_HOW: usize = usize::MAX;
    const SIGNAL_SET_BYTES: usize = 8;
    let arguments = [NO_SUCH_HOW, address as usize, 0, SIGNAL_SET_BYTES, 0, 0];
    // SAFETY: with that `how` the call fails whatever it reads.
    let result = unsafe { system_call(libc::SYS_rt_sigprocmask, arguments) };
    result == -(libc::EINVAL as isize)
}

fn is_error(result: isize) -> bool {
    (-4095..0).contains(&result)
}

/// # Safety
///
/// As the manual page of that system call says.
unsafe fn system_call(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let result;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11; the caller answers for the rest.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
