//! What keeps some names from being found.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::build_id::Hex;

/// Something that left locations without a name, or without their lines.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Warning {
    /// A module's file that cannot be read.
    #[error("cannot read `{path}`: {problem}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// A module's file that is no ELF file, or a damaged one.
    #[error("`{path}` is not a readable ELF file: {problem}", path = path.display())]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A module's file that is not the one that was loaded.
    #[error(
        "`{path}` was replaced since the recording: its build-id is {found}, the recorded one {recorded}",
        path = path.display(), found = Hex(found), recorded = Hex(recorded)
    )]
    Replaced {
        /// The file.
        path: PathBuf,
        /// The build-id of the module that was loaded.
        recorded: Vec<u8>,
        /// The file's; empty if it has none.
        found: Vec<u8>,
    },
    /// A separate debug file that belongs to another build.
    #[error("debug file `{path}` is of another build and was not used", path = path.display())]
    ForeignDebugFile {
        /// The file.
        path: PathBuf,
    },
    /// Debug information that another file should supplement, which was not found.
    #[error("`{path}` refers to `{wanted}`, which was not found: names may be missing", path = path.display())]
    NoSupplement {
        /// The file with the reference.
        path: PathBuf,
        /// What it refers to.
        wanted: PathBuf,
    },
    /// Split debug information (`.dwo`) that was not found.
    #[error("{count} files of split debug information were not found, the first is `{first}`", first = first.display())]
    NoSplitFiles {
        /// The first one.
        first: PathBuf,
        /// How many.
        count: usize,
    },
    /// Debug information that cannot be understood.
    #[error(
        "debug information of `{path}` is damaged: {problem}{cost}",
        path = path.display(), cost = Cost(*addresses)
    )]
    DamagedDebugInfo {
        /// The file.
        path: PathBuf,
        /// The first problem.
        problem: String,
        /// Addresses that it cost; 0 if it was found before any was looked up.
        addresses: usize,
    },
    /// A perf map or jitdump with parts that cannot be understood.
    #[error("`{path}` at byte {offset}: {problem}")]
    DamagedJitFile {
        /// The file, as the recording calls it.
        path: String,
        /// Where the first such part is.
        offset: usize,
        /// What is wrong.
        problem: String,
    },
    /// A cache that cannot be written. Costs time at the next run, nothing else.
    #[error("cannot write cache `{path}`: {problem}", path = path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
}

/// What damage costs, as the end of a sentence.
struct Cost(usize);

impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => formatter.write_str("; 1 address has no line"),
            addresses => write!(formatter, "; {addresses} addresses have no line"),
        }
    }
}
