//! Names what leaks and grows in a Rust program, and which line allocated it.
//!
//! In reading order: `guard` (what heapatlas itself allocates does not count), `stack` (the stack of a call as
//! one number), `fork` (what a forked child may rely on), `alloc` (the global allocator and its modes).

#![warn(missing_docs)]
// Modules that the next parts stand on.
#![allow(dead_code, unused_imports)]

mod alloc;
mod fork;
mod guard;
mod json;
mod os;
mod profiler;
mod stack;

pub use alloc::{
    Alloc, Mode, NotInstalled, ProcessTotals, ThreadTotals, is_counting, is_installed,
    process_totals, thread_totals,
};
#[doc(hidden)]
pub use profiler::assertions::has_failed as profiler_has_failed;
pub use profiler::{
    AdHocStats, HeapStats, Output, Profiler, ProfilerBuilder, ProfilerError, ad_hoc_event, mark,
    set_mode, take_profile,
};
