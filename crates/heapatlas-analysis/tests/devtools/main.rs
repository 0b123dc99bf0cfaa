//! Every figure that Chrome DevTools gives for our fixtures, against ours.
//!
//! `fixtures/v8/expected` and `micro/*.expected.json` were written by DevTools' own worker. Where
//! we differ on purpose, the test says so and shows by construction what is right:
//! [`micro::equal_class_keys`], [`micro::sizes_above_32_bits`], [`snapshots::duplicated_strings`].

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its fixtures itself; the crate is handed graphs"
)]

mod fixtures;
mod micro;
mod snapshots;
