//! The fast reader against the trusted one. What the trusted reader accepts, the fast one reads
//! as the same graph. What it rejects, the fast one rejects, except for the insides of strings,
//! which the fast one does not look at.

#![no_main]

#[path = "../../crates/heapatlas-formats/tests/common/repair.rs"]
mod repair;

use std::sync::Arc;

use heapatlas_formats::v8::{self, ReadError, ReadOptions, Snapshot};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let fast = v8::read(Arc::new(bytes.to_vec()), ReadOptions::default());
    match (fast, read_trusted(bytes)) {
        (Ok(fast), Ok(trusted)) => assert!(fast.graph == trusted.graph, "two graphs"),
        (Err(error), Ok(_)) => panic!("only the fast reader rejects: {error}"),
        (Ok(_), Err(error)) => assert!(
            read_trusted(&repair::repair_strings(bytes)).is_ok(),
            "only the trusted reader rejects: {error}"
        ),
        (Err(_), Err(_)) => {}
    }
});

fn read_trusted(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    v8::read_trusted(Arc::new(bytes.to_vec()))
}
