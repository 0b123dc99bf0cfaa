//! Names what leaks and grows in a Rust program, and which line allocated it.
//!
//! In reading order: `guard` (what heapatlas itself allocates does not count), `stack` (the stack of a call as
//! one number), `fork` (what a forked child may rely on).

#![warn(missing_docs)]
// Modules that the next parts stand on.
#![allow(dead_code, unused_imports)]

mod fork;
mod guard;
mod names;
mod stack;
