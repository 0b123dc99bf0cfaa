//! Events into a trace file, by the recorder.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use heapatlas_record::hooks;
use heapatlas_record::local::{LocalMode, StartError};
use heapatlas_record::recorder::Recorder;

pub(crate) use heapatlas_record::local::LocalStats as Stats;

static RECORDER: Recorder = Recorder::new(0);

/// Begins a trace in a file that was just made: of every allocation, or of samples so many bytes apart on average.
pub(crate) fn start(file: &File, sample_interval: Option<u64>) -> io::Result<()> {
    let mode = match sample_interval {
        None => LocalMode::Exact,
        Some(interval_bytes) => LocalMode::Sampled { interval_bytes },
    };
    let started = RECORDER.start_local(file.as_raw_fd(), mode);
    started.map_err(|error| match error {
        StartError::System(number) => io::Error::from_raw_os_error(number),
        _ => io::Error::other(error),
    })
}

/// Ends it: what threads have done so far is in the file. `None` if there is none, or it is the parent's.
pub(crate) fn stop() -> Option<Stats> {
    RECORDER.stop_local()
}

/// Brings the file up to date.
pub(crate) fn flush() -> Option<Stats> {
    RECORDER.flush_local()
}

/// Gives this moment a name.
pub(crate) fn mark(text: &str) {
    hooks::mark(&RECORDER, text.as_bytes());
}

/// What was told of a block that is about to be resized.
pub(super) type Begun = hooks::Reallocation;

/// Whether nothing is to be told of an allocation that is about to be made.
#[inline(always)]
pub(super) fn skips_allocation(size: usize) -> bool {
    hooks::skips_allocation(&RECORDER, size)
}

/// Whether nothing is to be told of a block that is about to be freed.
#[inline(always)]
pub(super) fn skips_free(block: *mut u8) -> bool {
    hooks::skips_free(&RECORDER, block)
}

#[inline(always)]
pub(super) fn allocated(block: *mut u8, size: usize) {
    hooks::allocated(&RECORDER, block, size);
}

#[inline(always)]
pub(super) fn freeing(block: *mut u8) {
    hooks::freeing(&RECORDER, block);
}

#[inline(always)]
pub(super) fn resizing(block: *mut u8) -> Begun {
    hooks::reallocating(&RECORDER, block)
}

#[inline(always)]
pub(super) fn resized(begun: Begun, blocks: [*mut u8; 2], size: usize) {
    hooks::reallocated(&RECORDER, begun, blocks, size);
}
