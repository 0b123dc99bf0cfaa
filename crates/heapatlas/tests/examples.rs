//! The examples run, and say what they promise. (Those of leak tracking: `leak_programs.rs`.)

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Builds an example or its tests as `cargo` does for these tests, and runs it in an empty folder.
fn run(how: &[&str], name: &str) -> (String, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("examples")
        .join(name);
    // Absent at first.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo runs tests"));
    cargo
        .args(how)
        .args(["--quiet", "--offline", "--example", name]);
    cargo.args([
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    if cfg!(feature = "tracing") {
        cargo.arg("--all-features");
    }
    let output = cargo.current_dir(&folder).output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{name}: {stdout}{stderr}");
    (stdout, folder)
}

#[track_caller]
fn check_lines(output: &str, beginnings: &[&str]) {
    for beginning in beginnings {
        let found = output.lines().any(|line| line.starts_with(beginning));
        assert!(found, "no line begins with {beginning:?}:\n{output}");
    }
}

#[test]
fn regions() {
    let (output, _) = run(&["run"], "regions");
    let rows = [
        "region ",
        "index ",
        "  collect ",
        "  split ",
        "sum ",
        "main",
        "worker 1",
        "{\"version\":1,",
    ];
    check_lines(&output, &rows);
}

#[cfg(feature = "tracing")]
#[test]
fn tracing() {
    let (output, _) = run(&["run"], "tracing");
    // 0 + 1 + ... + 99 kilobytes were read.
    check_lines(&output, &["request ", "  read ", "  compress "]);
    assert!(output.contains("4.7 MiB"), "{output}");
}

#[test]
fn heap_profile() {
    let (output, folder) = run(&["run"], "heap_profile");
    check_lines(&output, &["9 words, 440000 characters", "live: ", "peak: "]);
    let profile = fs::read_to_string(folder.join("heapatlas-heap.json")).unwrap();
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["dhatFileVersion"], 2);
    assert_eq!(profile["mode"], "rust-heap");
}

#[test]
fn ad_hoc_profile() {
    let (output, folder) = run(&["run"], "ad_hoc_profile");
    check_lines(&output, &["32400 bytes in 102 copies"]);
    let profile = fs::read_to_string(folder.join("heapatlas-ad-hoc.json")).unwrap();
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["mode"], "rust-ad-hoc");
}

#[test]
fn heap_tests() {
    let (output, _) = run(&["test"], "heap_tests");
    assert!(output.contains("4 passed; 0 failed"), "{output}");
}
