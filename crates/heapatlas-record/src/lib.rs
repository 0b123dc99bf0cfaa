//! Bookkeeping inside a measured process.
//!
//! **The caller provides** the moments: a block was made, is about to be freed, with the registers at
//! the call; and the shared memory of a launcher, by its path.
//! **This crate provides** a thread's state ([`thread`]: the guard against re-entry, what is written for an
//! event), the number of the current stack ([`unwind`], [`stack_table`]), the stream in chunks of shared memory
//! ([`buffer`], [`region`]), which allocations are recorded where not all are ([`sampler`]), sums without stacks
//! ([`counters`]), and what a process has once ([`recorder`]: start; [`fork`]: forked children; what it tells of
//! itself; the list of modules).
//! **Not for** forwarding calls: see `heapatlas-preload`. **Not for** names, files, sums: the reader's work.
//!
//! In reading order: [`recorder`], [`fork`], [`thread`], [`sampler`], [`counters`], [`buffer`], [`region`]; [`unwind`],
//! [`stack_table`]; below them [`os`], `clock`, `tls`, `stack_bounds`, `image`, `module_list`.
//!
//! **Invariant:** nothing here allocates by the program's allocator, takes a lock, or ends the process.

// Elsewhere there is nothing of it.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#![no_std]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod buffer;
mod clock;
pub mod counters;
pub mod fork;
pub mod hooks;
mod image;
pub mod local;
mod module_list;
pub mod os;
pub mod recorder;
pub mod region;
pub mod sampler;
mod stack_bounds;
pub mod stack_table;
pub mod thread;
pub mod tls;
pub mod unwind;
