//! What differs from system to system, each with its fallback.

pub(crate) mod clocks;
mod errno;
pub(crate) mod memory;
pub(crate) mod moment;
mod thread_end;
pub(crate) mod wake;

pub(crate) use errno::KeepErrno;
pub(crate) use thread_end::ThreadEnd;
