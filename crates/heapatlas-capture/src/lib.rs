//! Talks to processes. Today: launches a program with the recorder in front and gathers what it
//! recorded.
//!
//! **The caller provides** a command line and a [`Sink`] for what is gathered.
//! **This crate provides** [`launch`](launch()), the recorder itself (built by `build.rs`, embedded,
//! and put where the dynamic linker finds it by `recorder_file`) and the reading end of the
//! shared memory (`gather`).
//! **Not for** parsing what it gathers, or files: see `heapatlas-formats`.
//!
//! In reading order: [`launch`](mod@launch), `examine`, `gather`, `processes`, `region`, `clock`, `recorder_file`.

// Elsewhere there is nothing of it.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#![warn(missing_docs)]

mod clock;
mod examine;
mod gather;
pub mod launch;
mod processes;
mod recorder_file;
#[cfg(test)]
mod recorder_symbols;
mod region;

pub use examine::{Obstacle, examine};
pub use gather::{Counters, Image, ImageEnd, Sink};
pub use launch::{LaunchError, Launched, Options, Outcome, launch};
