//! Names what leaks and grows in a Rust program, and which line allocated it.
//!
//! In reading order: `guard` (what heapatlas itself allocates does not count), `stack` (the stack of a call as
//! one number), [`ffi`] and `leak_tracker` (native memory), `fork` (what a forked child may rely on).

#![warn(missing_docs)]
// Modules that the next parts stand on.
#![allow(dead_code, unused_imports)]

pub mod ffi;
mod fork;
mod guard;
mod leak_tracker;
mod os;
mod stack;

pub use ffi::*;
pub use leak_tracker::*;
