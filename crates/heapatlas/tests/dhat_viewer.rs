//! DHAT's own viewer loads what a profiler writes, and sums it up as it was made.
//!
//! The viewer is a peer, which valgrind installs; where it is missing this says so loudly, and fails where peers are
//! required. A program of its own: the sums are of the whole process.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use heapatlas::{Alloc, HeapStats, Profiler};

#[global_allocator]
static ALLOC: Alloc = Alloc::system();

/// Where valgrind installs it.
const VIEWER: &str = "/usr/libexec/valgrind/dh_view.js";

/// Loads a file into the viewer and prints the sums at its root. Of a browser it has as much as the viewer touches
/// before it shows anything.
const HARNESS: &str = r#"
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

fn main() {
    let has_node = Command::new("node").arg("--version").output().is_ok();
    if !Path::new(VIEWER).exists() || !has_node {
        return report_missing();
    }
    let (whole, trimmed) = (
        profile_of_known_blocks(None),
        profile_of_known_blocks(Some(4)),
    );
    // 100 blocks of 64 bytes from two lines, of which 40 stay, and one of 1,000, gone before the peak.
    for profile in [whole, trimmed] {
        assert_eq!(sums(&profile), Ok("[7400,101,6400,100,2560,40]".to_owned()));
    }
}

fn profile_of_known_blocks(frames: Option<usize>) -> String {
    let profiler = Profiler::builder()
        .testing()
        .trim_backtraces(frames)
        .build();
    drop(std::hint::black_box(Box::new([0_u8; 1000])));
    let kept: [Box<[u8; 64]>; 40] = std::array::from_fn(|_| Box::new([1; 64]));
    let gone: [Box<[u8; 64]>; 60] = std::array::from_fn(|_| Box::new([2; 64]));
    drop(std::hint::black_box(gone));
    let stats = HeapStats::get();
    assert_eq!((stats.total_bytes, stats.total_blocks), (7400, 101));
    let profile = profiler.take_profile().expect("a profiler runs");
    drop(std::hint::black_box(kept));
    profile
}

fn sums(profile: &str) -> Result<String, String> {
    let folder = env::temp_dir().join(format!("heapatlas-viewer-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let [harness, input] = ["harness.js", "dhat.json"].map(|name| folder.join(name));
    fs::write(&harness, HARNESS).expect("written");
    fs::write(&input, profile).expect("written");
    let mut node = Command::new("node");
    let output = node
        .args([&harness, Path::new(VIEWER), &input])
        .output()
        .expect("node runs");
    fs::remove_dir_all(&folder).expect("removed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Loud even when the test passes.
fn report_missing() {
    let message = format!("SKIPPED, a peer is missing: node, or {VIEWER} of valgrind\n");
    let is_required = env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!is_required, "{message}");
    io::stderr()
        .write_all(message.as_bytes())
        .expect("stderr takes a line");
}
