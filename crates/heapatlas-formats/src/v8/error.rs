//! What can be wrong with a V8 snapshot, and where.

use thiserror::Error;

/// A file that is not a whole V8 snapshot.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{section} at byte {offset}: {problem}")]
pub struct ReadError {
    /// The member of the file, such as `nodes`, or `file` for the outermost object.
    pub section: String,
    /// Where in the (unpacked) file.
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
    /// Ends where more was expected.
    #[error("the file ends here, {0} was expected")]
    Truncated(String),
    /// Not what JSON or the format asks for here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What the format asks for.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// JSON, but not a snapshot.
    #[error("this is not a V8 heap snapshot: {0}")]
    NotASnapshot(String),
    /// Two parts that do not fit each other.
    #[error("{0}")]
    Inconsistent(String),
    /// More nodes, edges or strings than 32 bits count.
    #[error("{0}")]
    TooLarge(String),
}

/// Something odd that did not keep the file from being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What, in words for a person.
    pub message: String,
    /// Whether something is missing from the graph (only when salvaging).
    pub is_loss: bool,
}
