//! Bookkeeping inside a measured process.

#![no_std]
#![warn(missing_docs)]

pub mod os;
pub mod stack_table;
pub mod unwind;
