//! DHAT's own viewer loads the profiles that we write, and sums them up as we do.
//!
//! The viewer is a peer, which valgrind installs; where it is missing the test says so loudly, and
//! fails where peers are required.

#[path = "../src/commands/sample_profile.rs"]
mod sample_profile;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use heapatlas_formats::dhat;
use sample_profile::sample_profile;
use serde_json::Value;

/// Where valgrind installs DHAT's viewer.
const VIEWER: &str = "/usr/libexec/valgrind/dh_view.js";

/// Loads a file into the viewer and prints the sums at its root. Of a browser it has as much as
/// the viewer touches before it shows anything.
const VIEWER_HARNESS: &str = r#"
const fs = require("fs");
const element = () => new Proxy(function () {}, {
  get: (target, key) => key === Symbol.toPrimitive ? () => "" : key in target ? target[key] : element(),
  set: (target, key, value) => { target[key] = value; return true; },
  apply: () => element(),
});
globalThis.document = element();
globalThis.window = element();
const probe = `
  gSelect = { childNodes: gSelectData.map(() => ({})), selectedIndex: 0 };
  gData = JSON.parse(fs.readFileSync(process.argv[3], "utf8"));
  buildTree();
  const sums = ["_totalBytes", "_totalBlocks", "_atTGmaxBytes", "_atTGmaxBlocks", "_atTEndBytes", "_atTEndBlocks"];
  console.log(JSON.stringify(sums.map((sum) => gRoot[sum])));
`;
new Function("require", "fs", "process", fs.readFileSync(process.argv[2], "utf8") + probe)(require, fs, process);
"#;

/// Loud even when the test passes; a failure where peers are required.
fn report_missing(peer: &str) {
    let message = format!("SKIPPED, a peer is missing: {peer}\n");
    let is_required = env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!is_required, "{message}");
    // Not `eprintln!`, which the test runner keeps to itself.
    io::stderr()
        .write_all(message.as_bytes())
        .expect("stderr takes a line");
}

/// The loader of DHAT's own viewer, as valgrind installs it, takes the file and sums it up.
#[test]
fn the_viewer_loads_it() {
    let has_node = Command::new("node").arg("--version").output().is_ok();
    if !Path::new(VIEWER).exists() || !has_node {
        report_missing(&format!("node, or {VIEWER} of valgrind"));
        return;
    }
    let mut out = Vec::new();
    dhat::write(&sample_profile(), &mut out).expect("memory takes everything");
    assert_eq!(
        viewer_sums(&out),
        Ok("[12928,16,12288,6,4096,4]".to_owned())
    );
    // And it is the viewer that says so: a file that breaks its rule is refused.
    let mut broken: Value = serde_json::from_slice(&out).expect("JSON");
    let points = broken["pps"].as_array_mut().expect("a list");
    points.push(points[1].clone());
    let refusal = viewer_sums(broken.to_string().as_bytes()).expect_err("two equal points");
    assert!(refusal.contains("repeated location"), "{refusal}");
}

fn viewer_sums(file: &[u8]) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let [harness, input] = ["harness.js", "dhat.json"].map(|name| folder.path().join(name));
    fs::write(&harness, VIEWER_HARNESS).expect("written");
    fs::write(&input, file).expect("written");
    let mut node = Command::new("node");
    let output = node
        .args([&harness, Path::new(VIEWER), &input])
        .output()
        .expect("node runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}
