//! The stack of a call as one number, the same in every thread: what records are kept by.
//!
//! On Linux (x86-64, glibc) by the recorder's unwinder: about 40 ns, no allocation. Elsewhere, and under Miri,
//! there are no stacks: every stack is [`StackId::NONE`], and what is recorded names the line that called, where the
//! compiler tells it.

#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(miri)
))]
mod capture;
#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(miri)
)))]
#[path = "no_capture.rs"]
mod capture;

pub(crate) use capture::capture;

use heapatlas_record::shared_stacks::SharedStacks;

/// A stack of this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct StackId(u32);

impl StackId {
    /// No stack, or an empty one.
    pub(crate) const NONE: Self = Self(heapatlas_record::shared_stacks::EMPTY);

    /// Small numbers, given in order: good for an array.
    pub(crate) fn index(self) -> u32 {
        self.0
    }

    /// The stack of an [`Self::index`].
    pub(crate) fn from_index(index: u32) -> Self {
        Self(index)
    }
}

static STACKS: SharedStacks = SharedStacks::new();

/// Return addresses, the innermost first; the first ones are of heapatlas itself. Empty for [`StackId::NONE`].
pub(crate) fn addresses(stack: StackId) -> Vec<u64> {
    let mut next = stack.0;
    let step = || {
        let (parent, address) = STACKS.node(next)?;
        next = parent;
        Some(address)
    };
    std::iter::from_fn(step).collect()
}

/// Whether outer frames are missing.
pub(crate) fn is_cut_off(stack: StackId) -> bool {
    let mut node = stack.0;
    while let Some((parent, _)) = STACKS.node(node) {
        node = parent;
    }
    node == heapatlas_record::shared_stacks::CUT_OFF
}

/// No thread adds a stack until [`open_after_fork`].
pub(crate) fn hold_for_fork() {
    STACKS.hold_for_fork();
}

/// In the parent and in the child.
pub(crate) fn open_after_fork() {
    STACKS.open_after_fork();
}
