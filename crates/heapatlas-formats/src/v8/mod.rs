//! V8 heap snapshots: `.heapsnapshot` and `.heaptimeline` of Node, Chrome and others.
//!
//! [`read`] is the fast reader: `read` (the members, in any order), `layout` (columns by name),
//! `rows`, `numbers` and `blocks` (the large arrays, in parallel), `columns`, `strings`, `tables`;
//! below them `cursor` and `decimal`. [`read_trusted`] reads the same files by serde_json alone, slowly, as
//! the judge in tests. [`write()`] writes what either has read, or any other graph.

mod blocks;
mod columns;
mod cursor;
mod decimal;
mod duplicates;
mod error;
mod layout;
mod numbers;
mod read;
mod rows;
mod strings;
mod tables;
mod trusted;
mod write;

use std::sync::Arc;

use heapatlas_model::{ByteSource, HeapGraph};

pub use error::{Problem, ReadError, Warning};
pub use trusted::read_trusted;
pub use write::write;

/// How to read.
#[derive(Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// Keep what is whole of a damaged file.
    pub salvage: bool,
    /// Told the number of bytes read so far, now and then, from any thread.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

/// A file that was read.
#[derive(Debug)]
pub struct Snapshot {
    /// The graph.
    pub graph: HeapGraph,
    /// What was odd about the file.
    pub warnings: Vec<Warning>,
}

/// Reads a snapshot.
///
/// # Errors
/// When the file is not a whole snapshot (unless salvaging and something useful is left).
pub fn read(source: Arc<dyn ByteSource>, options: ReadOptions<'_>) -> Result<Snapshot, ReadError> {
    read::read(source, options)
}
