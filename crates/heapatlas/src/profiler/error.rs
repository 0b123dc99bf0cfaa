//! What a profiler can refuse.

use std::error::Error;
use std::{fmt, io};

use crate::alloc::{Mode, NotInstalled};

/// Why a profiler does not start, or does not answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProfilerError {
    /// Another profiler is running: there is one at a time.
    AlreadyRunning,
    /// No profiler is running.
    NotRunning,
    /// The running profiler is an ad hoc one, which knows nothing of the heap.
    IsAdHoc,
    /// The running profiler is a heap one, which knows nothing of ad hoc events.
    IsHeap,
    /// An assertion of this profiler has failed before: it recorded until then.
    HasAsserted,
    /// Assertions are for a profiler in testing mode.
    NotTesting,
    /// No `Alloc` is the global allocator.
    NotInstalled,
    /// The running profiler writes events to a trace and keeps no sums.
    NoSums,
    /// A profiler cannot write what is asked for in this mode.
    Mode(Mode),
    /// The system refused a file, a thread or a signal handler.
    System(io::Error),
}

impl fmt::Display for ProfilerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning => out.write_str("a profiler is already running; drop it first"),
            Self::NotRunning => out.write_str("no profiler is running"),
            Self::IsAdHoc => out.write_str("the profiler that is running is an ad hoc profiler"),
            Self::IsHeap => out.write_str("the profiler that is running is a heap profiler"),
            Self::HasAsserted => out.write_str("the profiler has ended with a failed assertion"),
            Self::NotTesting => {
                out.write_str("the profiler is not in testing mode; build it with `.testing()`")
            }
            Self::NotInstalled => NotInstalled.fmt(out),
            Self::NoSums => {
                out.write_str("the profiler that is running writes a trace and keeps no sums")
            }
            Self::Mode(mode) => write!(out, "no such profile can be written in mode {mode:?}"),
            Self::System(error) => write!(out, "the system refuses: {error}"),
        }
    }
}

impl Error for ProfilerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::System(error) => Some(error),
            _ => None,
        }
    }
}

impl From<NotInstalled> for ProfilerError {
    fn from(_: NotInstalled) -> Self {
        Self::NotInstalled
    }
}
