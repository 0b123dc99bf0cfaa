//! Bookkeeping inside a measured process.
//!
//! **The caller provides** the moments: a block was made, is about to be freed, with the registers at
//! the call; and the shared memory of a launcher, by its path, or a file.
//! **This crate provides** a thread's state ([`thread`]: the guard against re-entry, what is written for an
//! event), the number of the current stack ([`unwind`], [`stack_table`]), the stream in chunks of shared memory
//! ([`buffer`], [`region`]), which allocations are recorded where not all are ([`sampler`]), sums without stacks
//! ([`counters`]), and what a process has once ([`recorder`]: start; [`fork`]: forked children; what it tells of
//! itself; the list of modules; [`local`]: a file in place of a launcher, for allocators that call [`hooks`]).
//! **Not for** forwarding calls: see `heapatlas-preload`. **Not for** names, files, sums: the reader's work.
//!
//! In reading order: [`recorder`], [`local`], [`hooks`], [`fork`], [`thread`], [`sampler`], [`counters`], [`buffer`], [`region`]; [`unwind`],
//! [`stack_table`]; below them [`os`], `clock`, `tls`, `stack_bounds`, `image`, `module_list`.
//!
//! For the library, which answers questions inside the process, there are tables that its threads share:
//! [`live_table`], [`shared_stacks`], [`segments`]; below them [`shard_lock`] and [`pages`]. These are there on every
//! system; the recorder is for Linux on x86-64 with glibc.
//!
//! **Invariant:** nothing here allocates by the program's allocator or ends the process, and the recorder takes no
//! lock. (The shared tables do, for a few instructions, and not for ever.)

#![no_std]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod live_table;
pub mod pages;
pub mod segments;
pub mod shard_lock;
pub mod shared_stacks;

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod buffer;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod clock;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod counters;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod fork;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod hooks;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod image;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod local;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod module_list;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod os;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod recorder;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod region;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod sampler;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod stack_bounds;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod stack_table;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod thread;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod tls;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod unwind;
