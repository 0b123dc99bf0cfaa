//! Fixtures, and a list of what differs from them.

use std::fmt::Debug;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use heapatlas_analysis::{Heap, OpenOptions};
use heapatlas_formats::v8;
use serde_json::Value;

/// What DevTools says, by path below `fixtures/v8`.
pub fn expected(path: &str) -> Value {
    let text = std::fs::read(directory().join(path)).expect(path);
    serde_json::from_slice(&text).expect(path)
}

/// A snapshot with all figures, by path below `fixtures/v8`.
pub fn open(path: &str) -> Heap {
    let mut bytes = std::fs::read(directory().join(path)).expect(path);
    if path.ends_with(".gz") {
        let packed = std::mem::take(&mut bytes);
        let mut unpacking = flate2::read::GzDecoder::new(packed.as_slice());
        unpacking.read_to_end(&mut bytes).expect(path);
    }
    let snapshot = v8::read(Arc::new(bytes), v8::ReadOptions::default()).expect(path);
    Heap::open(snapshot.graph, OpenOptions::default())
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/v8"))
}

/// Collects differences, so that one run shows all of them.
pub struct Check {
    case: String,
    differences: Vec<String>,
}

impl Check {
    pub fn new(case: &str) -> Self {
        Self {
            case: case.to_owned(),
            differences: Vec::new(),
        }
    }

    pub fn equal<T: PartialEq + Debug>(&mut self, what: &str, ours: T, devtools: T) {
        if ours != devtools {
            self.differences
                .push(format!("{what}: ours {ours:?}, DevTools' {devtools:?}"));
        }
    }

    #[track_caller]
    pub fn finish(self) {
        let shown = self.differences.len().min(40);
        assert!(
            self.differences.is_empty(),
            "{}: {} differences\n{}",
            self.case,
            self.differences.len(),
            self.differences[..shown].join("\n")
        );
    }
}

/// A number of the expected file; absent ones are an error of the fixture.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("a number: {value}"))
}

#[track_caller]
pub fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("a string: {value}"))
}

#[track_caller]
pub fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("a list: {value}"))
}

/// A distance as DevTools shows it.
pub fn shown_distance(value: &Value) -> Option<u32> {
    let raw = value.as_i64().expect("a distance");
    u32::try_from(raw).ok().filter(|&raw| raw < 100_000_000)
}
