//! Where this thread's stack is.
//!
//! Not by `pthread_getattr_np`: it allocates while it holds a lock of the thread, and that allocation
//! would come here again.

use core::ops::Range;

use crate::region::Errno;

/// The mapping that holds the current stack pointer. (The main thread's grows downwards: its lower bound
/// is what it is now, but nobody reads below the stack pointer.)
pub fn of_this_thread() -> Option<Range<u64>> {
    let here = 0_u8;
    let address = (&raw const here).addr() as u64;
    let _errno = Errno::save();
    let path = c"/proc/self/maps";
    // The bare system calls: a thread may be cancelled in the library's functions, but not in `malloc`.
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path ends with a zero.
    let file = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
    if file < 0 {
        return None;
    }
    let found = find(address, |buffer| {
        // SAFETY: reads at most as many bytes as there is room for.
        let length =
            unsafe { libc::syscall(libc::SYS_read, file, buffer.as_mut_ptr(), buffer.len()) };
        usize::try_from(length).unwrap_or(0)
    });
    // SAFETY: opened above.
    unsafe { libc::syscall(libc::SYS_close, file) };
    found
}

/// The range of the line `START-END ...` (hexadecimal) that holds `address`. `read` fills a buffer and
/// gives how many bytes it got; 0 at the end.
fn find(address: u64, mut read: impl FnMut(&mut [u8]) -> usize) -> Option<Range<u64>> {
    let mut buffer = [0; 1024];
    let (mut start, mut number) = (0, 0_u64);
    let mut is_head = true;
    loop {
        let length = read(&mut buffer);
        if length == 0 {
            return None;
        }
        for &byte in &buffer[..length] {
            match byte {
                b'\n' => (is_head, number) = (true, 0),
                _ if !is_head => {}
                b'-' => (start, number) = (number, 0),
                b' ' => {
                    if (start..number).contains(&address) {
                        return Some(start..number);
                    }
                    is_head = false;
                }
                digit => number = number << 4 | u64::from((digit as char).to_digit(16)?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_whatever_pieces_it_comes_in() {
        let text = b"1000-2000 r-xp 00000000 00:00 0 /a-b c\nff00-ffffffffff601000 rw-p [stack]\n";
        for piece in 1..text.len() {
            let mut left = &text[..];
            let read = |buffer: &mut [u8]| {
                let length = piece.min(left.len());
                buffer[..length].copy_from_slice(&left[..length]);
                left = &left[length..];
                length
            };
            let expected = 0xff00..0xffff_ffff_ff60_1000;
            assert_eq!(find(0xff80, read), Some(expected));
        }
    }

    #[test]
    fn this_threads_stack_is_there() {
        let here = 0_u8;
        let bounds = of_this_thread().unwrap();
        assert!(bounds.contains(&((&raw const here).addr() as u64)));
    }
}
