//! What differs from system to system, each with its fallback.

mod errno;
mod thread_end;
pub(crate) mod wake;

pub(crate) use errno::KeepErrno;
pub(crate) use thread_end::ThreadEnd;
