//! Names what leaks and grows in a Rust program, and which line allocated it.
//!
//! In reading order: `guard` (what heapatlas itself allocates does not count), `stack` (the stack of a call as
//! one number), `fork` (what a forked child may rely on), `alloc` (the global allocator and its modes),
//! `region` (time and memory of pieces of code; for spans `tracing_layer`).

#![warn(missing_docs)]
// Modules that the next parts stand on.
#![allow(dead_code, unused_imports)]

mod alloc;
mod fork;
mod guard;
mod json;
mod os;
mod region;
mod stack;
#[cfg(feature = "tracing")]
pub mod tracing_layer;

pub use alloc::{
    Alloc, Mode, NotInstalled, ProcessTotals, ThreadTotals, is_counting, is_installed,
    process_totals, set_mode, thread_totals,
};
pub use region::{
    Region, RegionMemory, RegionRow, RegionStats, RegionTable, Task, regions, regions_by_thread,
    reset_regions, task,
};
