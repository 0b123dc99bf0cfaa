//! Bookkeeping inside a measured process.

#![no_std]
#![warn(missing_docs)]

pub mod buffer;
mod clock;
mod module_list;
pub mod os;
pub mod recorder;
pub mod region;
mod stack_bounds;
pub mod stack_table;
pub mod thread;
mod tls;
pub mod unwind;
