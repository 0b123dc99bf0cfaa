//! The leaking server and the page: truth in `fixtures/v8`'s notes.

use std::io::Read;
use std::sync::Arc;

use heapatlas_analysis::{Heap, OpenOptions, Suspect, path_in_words};
use heapatlas_formats::v8;

use super::generated::leaks;

fn open(name: &str) -> Heap {
    let path = format!(
        "{}/../../fixtures/v8/{name}.heapsnapshot.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let packed = std::fs::read(&path).expect(&path);
    let mut bytes = Vec::new();
    let mut unpacking = flate2::read::GzDecoder::new(packed.as_slice());
    unpacking.read_to_end(&mut bytes).expect(&path);
    let snapshot = v8::read(Arc::new(bytes), v8::ReadOptions::default()).expect(&path);
    Heap::open(snapshot.graph, OpenOptions::default())
}

fn counts(suspect: &Suspect) -> Vec<u64> {
    suspect.growth.iter().map(|point| point.count).collect()
}

/// The five leaks of the server, by size: name, counts, and how the path ends.
const SERVER: [(&str, [u64; 3], &str); 5] = [
    (
        "Uint8Array",
        [20, 120, 220],
        ".request() variable buffers (Array) -> [*] Uint8Array",
    ),
    (
        "Session",
        [200, 1200, 2200],
        ".request() variable sessions (Map) -> table -> [*] Session",
    ),
    (
        "AuditRecord",
        [200, 1200, 2200],
        ".request() variable audit (Array) -> [*] AuditRecord",
    ),
    (
        "link()",
        [200, 1200, 2200],
        ".request() variable chain (link()) variable prev (link() …)",
    ),
    (
        "onTick()",
        [200, 1200, 2200],
        ".request() variable bus (EventEmitter)._events (Object).tick (Array) -> [*] onTick()",
    ),
];

#[track_caller]
fn check_server(version: &str) {
    let heaps: Vec<Heap> = (1..=3)
        .map(|number| open(&format!("{version}-leak-{number}")))
        .collect();
    let suspects = leaks(&heaps);
    let names: Vec<&str> = suspects.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, SERVER.map(|leak| leak.0));
    for (suspect, (name, expected, end)) in suspects.iter().zip(SERVER) {
        assert_eq!(counts(suspect), expected, "{name}");
        let path = path_in_words(&suspect.path);
        assert!(path.starts_with("global.") && path.ends_with(end), "{path}");
    }
}

#[test]
fn server_on_node_20() {
    check_server("node20");
}

#[test]
fn server_on_node_24() {
    check_server("node24");
}

/// A series may begin with an idle time; what leaks afterwards is found all the same.
#[test]
fn server_that_was_idle_at_first() {
    let heaps: Vec<Heap> = [1, 1, 2, 3]
        .map(|number| open(&format!("node24-leak-{number}")))
        .into();
    let suspects = leaks(&heaps);
    let names: Vec<&str> = suspects.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, SERVER.map(|leak| leak.0));
    for (suspect, (name, [first, second, third], _)) in suspects.iter().zip(SERVER) {
        assert_eq!(counts(suspect), [first, first, second, third], "{name}");
    }
}

/// Every second of 100, then 250 widgets was removed from the document and kept.
#[test]
fn page_with_removed_widgets() {
    let heaps = [open("chromium156-page-1"), open("chromium156-page-2")];
    let suspects = leaks(&heaps);
    let worst = &suspects[0];
    assert_eq!(
        (worst.name.as_str(), worst.kind),
        ("Detached <div>", "detached")
    );
    assert_eq!(counts(worst), [50, 125]);
    assert!(path_in_words(&worst.path).ends_with(".detachedList (Array) -> [*] Detached <div>"));
    for suspect in &suspects[1..] {
        assert_eq!(counts(suspect), [100, 250], "{suspect:#?}");
    }
}

/// A snapshot compared with itself has nothing new.
#[test]
fn nothing_grows_between_a_snapshot_and_itself() {
    for name in ["node24-features", "node20-leak-1"] {
        let heaps = [open(name), open(name), open(name)];
        assert_eq!(leaks(&heaps), [], "{name}");
    }
}
