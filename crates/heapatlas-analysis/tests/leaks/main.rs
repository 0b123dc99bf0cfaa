//! Leak finding on generated heaps, whose truth is known by construction, and on the fixtures.

#![expect(
    clippy::disallowed_methods,
    reason = "tests open the fixtures; the crate itself may not"
)]

mod fixtures;
mod generated;
mod healthy;
mod hostile;
mod process;
mod renaming;
