//! Where no module is known there are no files to read; tests of the readers do.

use std::io;
use std::ops::Deref;
use std::path::Path;

/// The bytes of a file.
pub(super) struct Mapping(Vec<u8>);

impl Mapping {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::read(path).map(Self)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
