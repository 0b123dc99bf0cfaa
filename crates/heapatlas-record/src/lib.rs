//! Bookkeeping inside a measured process.

#![no_std]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod os;
pub mod stack_table;
pub mod unwind;
