//! Readers and writers of heap snapshot and allocation profile files, one module per format.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod detect;
pub mod v8;
