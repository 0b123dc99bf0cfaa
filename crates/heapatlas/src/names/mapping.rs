//! A file as bytes.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

/// A file, mapped for reading; unmapped when dropped.
///
/// A file that somebody shortens while it is mapped ends the program that reads it. The kernel keeps running
/// executables from it, and a program whose libraries are shortened ends as well without us.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: nobody writes to the mapped bytes, and any thread may unmap them.
unsafe impl Send for Mapping {}
// SAFETY: the same: threads that share it read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Of a plain file that is not empty.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let length = usize::try_from(metadata.len()).unwrap_or(0);
        if !metadata.is_file() || length == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (anywhere, handle) = (std::ptr::null_mut(), file.as_raw_fd());
        // SAFETY: a new mapping touches no memory that is in use.
        let start = unsafe {
            libc::mmap(
                anywhere,
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                handle,
                0,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(mapped) if start != libc::MAP_FAILED => Ok(Self {
                start: mapped,
                length,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped as long as `self` lives; see there about files that change.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and the bytes' borrows have ended.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
