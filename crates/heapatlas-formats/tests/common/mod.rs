//! What the tests of this crate share.
#![allow(dead_code)]
// Each test file is a crate of its own and uses a part of this.
// Tests read fixtures; the rule is for the library.
#![allow(clippy::disallowed_methods)]

pub mod repair;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heapatlas_formats::v8::{self, ReadError, ReadOptions, Snapshot};
use heapatlas_model::HeapGraph;
use proptest::test_runner::{Config, FileFailurePersistence};

/// How many times slower this build is, roughly: unoptimized tests try fewer cases.
pub const SLOWNESS: u32 = if cfg!(debug_assertions) { 8 } else { 1 };

/// A property test of so many cases. What failed once is kept beside the test.
pub fn cases(cases: u32) -> Config {
    Config {
        cases: cases.div_ceil(SLOWNESS),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    }
}

/// The folder of the V8 fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v8")
}

/// The small hand-made snapshots: file name and bytes, in order of the names.
pub fn micro_snapshots() -> Vec<(String, Vec<u8>)> {
    files_in(&fixtures().join("micro"), "heapsnapshot")
}

/// The snapshots of real programs, unpacked, one after the other.
pub fn real_snapshots() -> impl Iterator<Item = (String, Vec<u8>)> {
    let packed = files_in(&fixtures(), "gz").into_iter();
    packed
        .filter(|(name, _)| !name.contains(".heapprofile"))
        .map(|(name, bytes)| (name, unpack(&bytes)))
}

/// The same; in an unoptimized build only one of each layout, since the trusted reader takes
/// seconds for each.
pub fn some_real_snapshots() -> impl Iterator<Item = (String, Vec<u8>)> {
    let layouts = [
        "page-1",
        "node20-features.heaptimeline",
        "node24-features-num",
    ];
    let is_wanted = move |name: &str| SLOWNESS == 1 || layouts.iter().any(|l| name.contains(l));
    real_snapshots().filter(move |(name, _)| is_wanted(name))
}

/// The files of a folder with an extension; none when there is no such folder.
pub fn files_in(folder: &Path, extension: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    paths
        .iter()
        .map(|path| (name(path), fs::read(path).unwrap()))
        .collect()
}

pub fn unpack(gzip: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(gzip)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

pub fn read(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    v8::read(Arc::new(bytes.to_vec()), ReadOptions::default())
}

pub fn salvage(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    let options = ReadOptions {
        salvage: true,
        ..ReadOptions::default()
    };
    v8::read(Arc::new(bytes.to_vec()), options)
}

pub fn read_trusted(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    v8::read_trusted(Arc::new(bytes.to_vec()))
}

pub fn write(graph: &HeapGraph) -> Vec<u8> {
    let mut bytes = Vec::new();
    v8::write(graph, &mut bytes).unwrap();
    bytes
}

/// What the two readers have to agree on.
#[track_caller]
pub fn check_readers_agree(bytes: &[u8]) {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
    match (read(bytes), read_trusted(bytes)) {
        (Ok(fast), Ok(trusted)) => {
            assert!(fast.graph == trusted.graph, "two graphs of {}", shown());
            let messages = |snapshot: &Snapshot| {
                let messages = snapshot.warnings.iter().map(|w| w.message.clone());
                messages.collect::<BTreeSet<_>>()
            };
            assert_eq!(messages(&fast), messages(&trusted), "{}", shown());
        }
        (Err(error), Ok(_)) => panic!("only the fast reader rejects: {error}\n{}", shown()),
        // The fast reader does not look into strings.
        (Ok(_), Err(error)) => assert!(
            read_trusted(&repair::repair_strings(bytes)).is_ok(),
            "only the trusted reader rejects: {error}\n{}",
            shown()
        ),
        (Err(_), Err(_)) => {}
    }
}
