//! What can be wrong with a trace, and where.

use heapatlas_trace::{Malformed, file};
use thiserror::Error;

/// A file of which nothing can be read.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{section} at byte {offset}: {problem}")]
pub struct ReadError {
    /// What stands there: the file's `header`, or a `block`.
    pub section: &'static str,
    /// Where in the file it begins.
    pub offset: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// No byte at all.
    #[error("the file is empty")]
    Empty,
    /// Begins with something else.
    #[error("this is not a heapatlas trace: `heaptrace` was expected")]
    NotATrace,
    /// Written by a later version of the recorder.
    #[error("the trace is of version {0}, and this reads version {version}", version = file::VERSION)]
    UnsupportedVersion(u8),
    /// Ends where more was expected.
    #[error("the file ends here, {0} was expected")]
    Truncated(&'static str),
    /// Not what the format asks for here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What the format asks for.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A payload that is larger than any.
    #[error("its payload should have {0} bytes, and none has more than {limit}", limit = file::MAX_PAYLOAD_BYTES)]
    TooLarge(u32),
    /// Bytes that were changed after they were written.
    #[error("its checksum is {found:08x}, and {expected:08x} was expected")]
    Checksum {
        /// What the block's header says.
        expected: u32,
        /// The sum of what is there.
        found: u32,
    },
    /// A payload that does not unpack to what its header says.
    #[error("its payload cannot be unpacked: {0}")]
    Packing(String),
    /// A part of the recording is asked for, and the file holds only the sums of the whole.
    #[error(
        "the recording holds sums in place of events (`--mode aggregate`): nothing can be chosen from it \
         by time or thread"
    )]
    NoEvents,
    /// Something in the payload.
    #[error("its payload is malformed: {0}")]
    Payload(#[from] Malformed),
}

/// Something odd that did not keep the file from being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What, in words for a person.
    pub message: String,
    /// Whether something that happened is missing from the profile.
    pub is_loss: bool,
}

impl ReadError {
    pub(super) fn header(problem: Problem) -> Self {
        Self {
            section: "header",
            offset: 0,
            problem,
        }
    }

    pub(super) fn block(offset: usize, problem: impl Into<Problem>) -> Self {
        Self {
            section: "block",
            offset,
            problem: problem.into(),
        }
    }
}

impl Warning {
    pub(super) fn loss(message: String) -> Self {
        Self {
            message,
            is_loss: true,
        }
    }

    pub(super) fn note(message: String) -> Self {
        Self {
            message,
            is_loss: false,
        }
    }
}
