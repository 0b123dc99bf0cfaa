//! Traces of our own recorder: `.heaptrace`. The layout of the bytes is `FORMAT.md` of `heapatlas-trace`.
//!
//! [`Writer`] is what the launcher of a measured program feeds: `sort` takes streams apart into columns, with times as a broken
//! `line` where no order hangs on them, which `turns` and `pages` tell; `streams` packs them. [`read()`] takes a file from front to back:
//! `blocks` (found and unpacked), `columns`, `facts` (threads, end), `replay` (all threads' events in order of time),
//! `code` (stacks, locations, modules), `ledger` (every sum, the peak among them) over `live_blocks`, `samples`,
//! `balance`, `mappings` and `timeline`; at last `profile`. [`Aggregator`] is fed as a [`Writer`] is, and keeps the same books
//! at once: its file has `sums` in place of events. Files that a process wrote of itself are `raw`; `asked` is what of a
//! file is wanted. [`code_maps`] hands out
//! what a JIT compiler told.
//!
//! # What is counted
//!
//! - A successful reallocation is one more block with its full new size, and one free.
//! - A block is *temporary* when it is freed by the thread that allocated it before that thread allocated anything
//!   else. A reallocation is an allocation: the block that it gives can be temporary. The block that it takes
//!   is not, since its contents live on.
//! - The peak is the moment when the most bytes were live: among equals the latest. Where several threads work at a time it may be
//!   wrong by what they allocate and free within 5 µs, unless the recording has exact times.
//! - Between begin and end of a reallocation the old block is not live. If it fails, or never ends, the
//!   block is live as before.
//! - A block that was sampled counts for as many as it stands for (`samples`), in every figure; what is temporary is not
//!   known then, and none is.
//! - Mappings are in figures of their own: whole pages, of which allocators take their blocks.
//! - Frees of blocks whose allocation was not recorded are not counted; a warning says how many.

mod aggregate;
mod asked;
mod balance;
mod blocks;
mod clock;
mod code;
mod columns;
mod error;
mod facts;
mod ledger;
mod line;
mod live_blocks;
mod mappings;
mod pages;
mod profile;
mod raw;
mod read;
mod replay;
#[cfg(test)]
mod round_trip;
mod samples;
mod sort;
mod streams;
mod sums;
mod timeline;
mod turns;
mod write;

use heapatlas_model::AllocationProfile;

pub use aggregate::Aggregator;
pub use error::{Problem, ReadError, Warning};
pub use facts::CodeMap;
pub use heapatlas_trace::payload::{End, Mode, ModuleInfo, ProcessInfo, Segment, ThreadInfo};
pub use write::Writer;

/// What to read of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadOptions {
    /// Only allocations at this time or later, in nanoseconds since the recording began.
    pub from_ns: Option<u64>,
    /// Only what happened before this time, in nanoseconds since the recording began: what was freed later is live
    /// at the end.
    pub to_ns: Option<u64>,
    /// Only allocations of the threads with this number in the system, whoever frees them.
    pub thread: Option<u64>,
}

/// Reads a recording, of which `frames` stays empty: names are for others to find.
///
/// All figures are of the allocations that are asked for; times are since the recording began, and
/// the duration is that of the whole recording.
///
/// A recording whose writer was killed is read as far as it is whole, with a warning.
///
/// # Errors
/// When the file is no trace, or is damaged within its first block; or when a part is asked for of a recording
/// that holds sums in place of events.
pub fn read(
    source: &[u8],
    options: &ReadOptions,
) -> Result<(AllocationProfile, Vec<Warning>), ReadError> {
    read::read(source, options)
}

/// What JIT compilers told of the code that they made.
///
/// # Errors
/// When the file is no trace. Of a damaged one it is what comes before the damage.
pub fn code_maps(source: &[u8]) -> Result<Vec<CodeMap>, ReadError> {
    read::code_maps(source)
}
