//! Where the loaded files cannot be asked for: there are none.

use super::elf::Identity;

pub(super) type Generation = (u64, u64);

/// There is none.
#[derive(PartialEq, Eq)]
pub(super) struct LoadedModule {
    pub(super) base: u64,
    pub(super) path: String,
    pub(super) identity: Identity,
}

impl LoadedModule {
    pub(super) fn holds(&self, _: u64) -> bool {
        false
    }

    pub(super) fn shown_path(&self) -> String {
        self.path.clone()
    }
}

pub(super) fn generation() -> Option<Generation> {
    Some((0, 0))
}

pub(super) fn loaded() -> Vec<LoadedModule> {
    Vec::new()
}
