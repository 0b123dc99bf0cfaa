//! The bytes that cross from a measured process to ours: the event stream and the file around it,
//! encoder and decoder side by side. `FORMAT.md` beside this crate is the byte layout.
//!
//! **The caller provides** the numbers of an event and a buffer of [`MAX_EVENT_BYTES`] for it; for the file
//! a [`Put`] to write to, or the bytes to read.
//! **This crate provides** one thread's stream ([`Encoder`], [`Decoder`], [`Event`]), and the pieces of a file:
//! headers ([`mod@file`]) and what stands in each kind of block ([`payload`], [`raw`]).
//! **Not for** compression, walking a file, matching frees with allocations: that is
//! `heapatlas-formats`. The encoder runs inside `malloc`: no allocation, no panic, no error.
//!
//! ```
//! use heapatlas_trace::{Decoder, Encoder, Event, MAX_EVENT_BYTES};
//! let mut encoder = Encoder::new();
//! encoder.start(5_000);
//! let mut out = [0; MAX_EVENT_BYTES];
//! let length = encoder.allocation(&mut out, 0, 24, 0x1000, 5_100);
//!
//! let mut bytes = &out[..length];
//! let mut decoder = Decoder::new();
//! decoder.start(5_000);
//! let expected = Event::Allocation { stack: 0, size_bytes: 24, address: 0x1000, tick: 5_100 };
//! assert_eq!(decoder.next(&mut bytes)?, Some(expected));
//! assert_eq!(decoder.next(&mut bytes)?, None);
//! # Ok::<(), heapatlas_trace::Malformed>(())
//! ```
//!
//! In reading order: [`varint`], `event`, `encode`, `decode`; [`mod@file`], [`payload`], [`raw`], [`crc32()`];
//! [`shared`], the memory that recorder and launcher have in common.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

mod crc32;
mod decode;
mod encode;
mod event;
pub mod file;
mod malformed;
pub mod payload;
pub mod raw;
pub mod shared;
pub mod varint;

pub use crc32::{Crc32, crc32};
pub use decode::Decoder;
pub use encode::{Encoder, MAX_EVENT_BYTES, MAX_MARK_BYTES};
pub use event::Event;
pub use malformed::Malformed;
pub use payload::Put;
