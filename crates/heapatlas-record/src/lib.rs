//! Bookkeeping inside a measured process.
//!
//! Runs inside the `malloc` of somebody else's program: it allocates nothing, takes no lock, leaves
//! `errno` alone, and answers trouble by counting what it had to leave out.
//!
//! - [`os`]: pages of memory, from the kernel itself
//! - [`unwind`]: the stack of the running thread as a number
//! - [`stack_table`]: the trie that gives the numbers

#![no_std]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod os;
pub mod stack_table;
pub mod unwind;
