//! The bytes of debug files: the only place of this crate where a file is mapped.
//!
//! **What a mapping cannot promise.** Somebody may write to a mapped file meanwhile: then the
//! parsers see other bytes, which they must survive anyway, since they trust no byte. Somebody may
//! cut it off: then touching what is gone ends the process by SIGBUS. Linkers and package
//! managers make a new file and rename it, which does neither.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use memmap2::Mmap;
use typed_arena::Arena;

/// Owns the bytes of debug files for as long as [`ModuleSymbols`](crate::ModuleSymbols) borrow them.
///
/// One of these for each module, dropped before the next module, keeps memory low.
#[derive(Default)]
pub struct DebugFiles {
    maps: Arena<Mmap>,
    unpacked: Arena<Vec<u8>>,
}

impl DebugFiles {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps a regular file.
    pub(crate) fn map(&self, path: &Path) -> io::Result<&[u8]> {
        // Asked before the file is opened: opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let file = File::open(path)?;
        // SAFETY: the mapping is shared and read-only, and the parsers treat every byte as
        // hostile. What another process may do to the file is told in the module's head.
        let map = unsafe { Mmap::map(&file)? };
        Ok(self.maps.alloc(map))
    }

    /// Keeps bytes that came out of a decompressor.
    pub(crate) fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        self.unpacked.alloc(bytes)
    }
}
