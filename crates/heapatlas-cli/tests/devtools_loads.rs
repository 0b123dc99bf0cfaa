//! Chrome DevTools' own worker loads the files that we write, and sees the heap that we read.
//!
//! The worker is a peer: `cargo xtask test` installs it; where it is missing the test says so
//! loudly, and fails where peers are required.

mod harness;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use harness::{fixture, run};

#[test]
fn devtools_sees_the_same_heap() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "node20-leak-3.heapsnapshot.gz",
        "node20-features-internals.heapsnapshot.gz",
        "node24-features-num.heapsnapshot.gz",
        "chromium156-page-2.heapsnapshot.gz",
        "micro/m03-weakmap.heapsnapshot",
        "micro/m05-detached.heapsnapshot",
        "micro/m10-old-five-fields.heapsnapshot",
    ] {
        let original = fixture(name);
        let written = folder.path().join("written.heapsnapshot");
        let output = written.to_str().expect("temporary paths are UTF-8");
        run(["export", &original, "--to", "v8", "-o", output]).fine();
        let Some(expected) = devtools(original.as_ref()) else {
            return;
        };
        let found = devtools(&written).expect("the peer was there a moment ago");
        assert_eq!(found["nodes"], expected["nodes"], "{name}");
        assert_eq!(found["edges"], expected["edges"], "{name}");
        assert_eq!(found["total"], expected["total"], "{name}");
        assert_eq!(found["statistics"], expected["statistics"], "{name}");
        assert_eq!(found["aggregates"], expected["aggregates"], "{name}");
    }
}

/// What DevTools says of a file; `None` when the peer is not installed and need not be.
fn devtools(file: &Path) -> Option<Value> {
    let script = peers_folder().join("devtools/oracle.mjs");
    if !script.exists() {
        report_missing(&script);
        return None;
    }
    let output = Command::new("node")
        .arg(&script)
        .arg(file)
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", file.display());
    Some(serde_json::from_slice(&output.stdout).expect("the oracle prints JSON"))
}

fn peers_folder() -> PathBuf {
    // `target/debug/heapatlas`: the target folder is two up.
    let beside_the_binary = || {
        Path::new(env!("CARGO_BIN_EXE_heapatlas"))
            .ancestors()
            .nth(2)
            .map(Path::to_owned)
    };
    env::var_os("HEAPATLAS_PEERS_DIR")
        .map(PathBuf::from)
        .or_else(|| beside_the_binary().map(|target| target.join("peers")))
        .expect("a binary stands in the target folder")
}

fn report_missing(script: &Path) {
    let message = format!("no `{}`: run `cargo xtask test`", script.display());
    let is_required = env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!is_required, "{message}");
    // Not `eprintln!`, which the test runner keeps to itself.
    let note = format!("SKIPPED, a peer is missing: {message}\n");
    io::stderr()
        .write_all(note.as_bytes())
        .expect("stderr takes a line");
}
