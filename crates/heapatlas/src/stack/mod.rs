//! The stack of a call as one number, the same in every thread: what records are kept by.
//!
//! On Linux (x86-64, glibc) by the recorder's unwinder: about 40 ns, no allocation. Elsewhere, under Miri, and with
//! `--cfg heapatlas_fallback` (a test run in which Linux does as other systems do) there are no stacks: every stack is
//! [`StackId::NONE`], and what is recorded names the line that called, where the compiler tells it.

#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(any(miri, heapatlas_fallback))
))]
mod capture;
#[cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(any(miri, heapatlas_fallback))
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

/// The stack of the `frames` innermost frames of `stack`; itself if it has no more. Does not allocate. `None` when
/// there is no memory for it.
pub(crate) fn cut(stack: StackId, frames: usize) -> Option<StackId> {
    let mut beyond = stack.0;
    for _ in 0..frames {
        let Some((parent, _)) = STACKS.node(beyond) else {
            return Some(stack);
        };
        beyond = parent;
    }
    match STACKS.node(beyond) {
        Some(_) => cut_under(stack.0, frames).map(StackId),
        None => Some(stack),
    }
}

/// How many frames of `stack` are inside of those that it shares with `other`, at the outer end.
pub(crate) fn frames_apart(stack: StackId, other: StackId) -> usize {
    let inwards = |node: u32| {
        std::iter::successors(Some(node), |&node| Some(STACKS.node(node)?.0))
            .take_while(|&node| STACKS.node(node).is_some())
    };
    let is_shared = |node: u32| inwards(other.0).any(|shared| shared == node);
    inwards(stack.0)
        .take_while(|&node| !is_shared(node))
        .count()
}

/// As deep as the stack that is cut, at most.
fn cut_under(node: u32, frames: usize) -> Option<u32> {
    match frames.checked_sub(1) {
        None => Some(heapatlas_record::shared_stacks::CUT_OFF),
        Some(outer) => {
            let (parent, address) = STACKS.node(node)?;
            STACKS.intern(cut_under(parent, outer)?, address)
        }
    }
}

/// Whether outer frames are missing.
#[cfg(test)]
pub(crate) fn is_cut_off(stack: StackId) -> bool {
    let mut node = stack.0;
    while let Some((parent, _)) = STACKS.node(node) {
        node = parent;
    }
    node == heapatlas_record::shared_stacks::CUT_OFF
}
