//! Where there are no stacks.

use super::StackId;
use crate::guard::Guard;

/// No stack.
#[inline]
pub(crate) fn capture(_: &Guard) -> StackId {
    StackId::NONE
}
