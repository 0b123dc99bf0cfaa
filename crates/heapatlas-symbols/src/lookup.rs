//! Addresses that are wanted, and who wants them.

use heapatlas_model::Frame;

/// An address that is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Lookup {
    /// Row of the first module with this file.
    pub module: Option<usize>,
    /// In the file, or in memory where there is none.
    pub address: u64,
    /// Row of the location.
    pub location: usize,
}

impl Lookup {
    /// An address that is in no module.
    #[cfg(test)]
    pub(crate) fn in_memory(address: u64, location: usize) -> Self {
        Self {
            module: None,
            address,
            location,
        }
    }
}

/// Gives the frames at an address to all its locations.
pub(crate) fn spread(found: Vec<Frame>, lookups: &[Lookup], frames: &mut [Vec<Frame>]) {
    if let Some((first, others)) = lookups.split_first() {
        for lookup in others {
            frames[lookup.location].clone_from(&found);
        }
        frames[first.location] = found;
    }
}
