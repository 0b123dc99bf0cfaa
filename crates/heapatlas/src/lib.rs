#![doc = include_str!("../guide.md")]
//!
//! # Inside
//!
//! In reading order: `guard` (what heapatlas itself allocates does not count), `stack` (the stack of a call as
//! one number), `fork` (what a forked child may rely on), `alloc` (the global allocator and its modes),
//! [`ffi`] and `leak_tracker` (native memory), `region` (time and memory of pieces of code; for spans `tracing_layer`),
//! `os` (what differs by system).

#![warn(missing_docs)]

mod alloc;
pub mod ffi;
mod fork;
mod guard;
mod json;
mod leak_tracker;
mod names;
mod os;
mod profiler;
mod region;
mod stack;
#[cfg(feature = "tracing")]
pub mod tracing_layer;

pub use alloc::{
    Alloc, Mode, NotInstalled, ProcessTotals, ThreadTotals, is_counting, is_installed,
    process_totals, thread_totals,
};
pub use ffi::{
    AdaptiveCalloc, AdaptiveMalloc, DiagnosticCalloc, DiagnosticMalloc, NativeAllocator, NativeBox,
    adaptive_calloc, adaptive_calloc_bytes, adaptive_free, adaptive_malloc, adaptive_malloc_bytes,
    adaptive_realloc, adaptive_realloc_bytes, diagnostic_calloc, diagnostic_calloc_bytes,
    diagnostic_free, diagnostic_malloc, diagnostic_malloc_bytes, diagnostic_realloc,
    diagnostic_realloc_bytes, native_free,
};
pub use leak_tracker::{
    Allocation, ConsoleEmitter, EnteredScope, Filter, JsonEmitter, LeakError, LeakFileError,
    LeakScope, LeakTracker, LeaksEmitter, Misuse, MisuseError, MisuseKind, Pattern, PatternError,
    ScopedFuture, SourceLocation, StackFrame, TRACKS_ADAPTIVE, TestScope, ThreadLabel, read_leaks,
};
#[doc(hidden)]
pub use profiler::assertions::has_failed as profiler_has_failed;
pub use profiler::{
    AdHocStats, Baseline, BaselineError, HeapLimitError, HeapLimits, HeapStats, HeapUsage, Output,
    Profiler, ProfilerBuilder, ProfilerError, ad_hoc_event, expect_heap, heap_usage, mark,
    set_mode, take_profile,
};
pub use region::{
    Region, RegionMemory, RegionRow, RegionStats, RegionTable, Task, regions, regions_by_thread,
    reset_regions, task,
};

/// Has the examples of the guide run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/library.md")]
struct Guide;
