//! The bytes that cross from a measured process to ours: the event stream and the file around it,
//! encoder and decoder side by side. `FORMAT.md` beside this crate is the byte layout.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
