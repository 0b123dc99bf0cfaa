//! Talks to processes. Today: launches a program with the recorder in front, turns recordings on and off while it
//! runs, and gathers what it recorded.
//!
//! **The caller provides** a command line and [`Recordings`], which keep what is gathered; or the number of a process
//! that another launcher runs, for [`control::Client`].
//! **This crate provides** [`launch`](launch()), recordings one after the other (`session`), the socket by which they
//! are asked for ([`control`]), the recorder itself (built by `build.rs`, embedded,
//! and put where the dynamic linker finds it by `recorder_file`) and the reading end of the
//! shared memory (`gather`).
//! **Not for** parsing what it gathers, or files: see `heapatlas-formats`.
//!
//! In reading order: [`launch`](mod@launch), `examine`, `recordings`, `session`, [`control`], `overhead`, `counts`, `gather`,
//! `processes`, `region`, `clock`, `recorder_file`.

// Elsewhere there is nothing of it.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#![warn(missing_docs)]

mod clock;
pub mod control;
mod counts;
mod examine;
mod gather;
pub mod launch;
mod overhead;
mod processes;
mod recorder_file;
#[cfg(test)]
mod recorder_symbols;
mod recordings;
mod region;
mod session;

pub use counts::Counts;
pub use examine::{Obstacle, examine};
pub use gather::{Counters, Image, ImageEnd, Sink};
pub use launch::{LaunchError, Launched, Options, Outcome, launch};
pub use recordings::{Asker, Begun, Ended, How, Wanted};
pub use session::Recordings;
