//! Bookkeeping inside a measured process.

#![no_std]
#![warn(missing_docs)]
