//! Is our oracle the DevTools worker? It must give the figures of `fixtures/v8/`, which were taken
//! from DevTools itself, and it must take what `generate-snapshot` writes.
//!
//! Where peers are looked for, and when a missing one is a failure: see `xtask/src/peers.rs`.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// The oracle's answer, or `None` when it is not installed and need not be.
fn oracle(arguments: &[&str], files: &[&Path]) -> Option<Value> {
    let script = peers_folder().join("devtools/oracle.mjs");
    if !script.with_file_name("worker.mjs").exists() {
        report_missing(&script);
        return None;
    }
    let output = Command::new("node")
        .arg(script)
        .args(arguments)
        .args(files)
        .output();
    let output = output.expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{files:?}: {said}");
    Some(serde_json::from_slice(&output.stdout).expect("the oracle prints JSON"))
}

fn peers_folder() -> PathBuf {
    match env::var_os("HEAPATLAS_PEERS_DIR") {
        Some(folder) => PathBuf::from(folder),
        // `target/debug/xtask`: the target folder is two up.
        None => Path::new(env!("CARGO_BIN_EXE_xtask"))
            .ancestors()
            .nth(2)
            .unwrap()
            .join("peers"),
    }
}

fn report_missing(script: &Path) {
    let message = format!("no `{}`: run `cargo xtask test`", script.display());
    let is_required = env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!is_required, "{message}");
    // Not `eprintln!`, which the test runner keeps to itself.
    let note = format!("SKIPPED, a peer is missing: {message}\n");
    io::stderr().write_all(note.as_bytes()).unwrap();
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/v8")
}

fn expected(name: &str) -> Value {
    let text = fs::read_to_string(fixtures().join(name)).unwrap_or_else(|error| {
        panic!("{name}: {error}");
    });
    serde_json::from_str(&text).unwrap()
}

/// The files in `folder` below the fixtures whose name ends so.
fn names_in(folder: &str, end: &str) -> Vec<String> {
    let entries = fs::read_dir(fixtures().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    assert!(!names.is_empty(), "no *{end} in {folder}");
    names
}

/// Totals, statistics, classes and filters of one file.
fn check_figures(found: &Value, expected: &Value, what: &str) {
    for member in [
        "nodes",
        "edges",
        "total",
        "maxJSObjectId",
        "statistics",
        "filters",
    ] {
        assert_eq!(found[member], expected[member], "{what}: {member}");
    }
    let classes = found["aggregates"].as_object().unwrap();
    assert_eq!(json!(classes.len()), expected["classes"], "{what}: classes");
    for row in rows(expected, "top10").chain(rows(expected, "top10byShallow")) {
        let mut row = row.clone();
        let key = row.as_object_mut().unwrap().remove("key").unwrap();
        assert_eq!(
            classes.get(key.as_str().unwrap()),
            Some(&row),
            "{what}: {key}"
        );
    }
}

fn rows<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value[member].as_array().unwrap().iter()
}

fn check_comparison(found: &Value, expected: &Value, what: &str) {
    assert_eq!(found["totals"], expected["totals"], "{what}");
    assert_eq!(
        found["changedClasses"], expected["changedClasses"],
        "{what}"
    );
    for row in rows(expected, "top15") {
        assert!(
            rows(found, "classes").any(|found| found == row),
            "{what}: {row}"
        );
    }
}

#[test]
fn single_snapshots() {
    for name in names_in("expected", ".json")
        .iter()
        .filter(|name| !name.contains("-vs-"))
    {
        let expected = expected(&format!("expected/{name}"));
        let file = expected["file"].as_str().unwrap();
        if file.ends_with(".heaptimeline") {
            continue;
        }
        let path = fixtures().join(format!("{file}.gz"));
        let Some(found) = oracle(&["--filters"], &[&path]) else {
            return;
        };
        check_figures(&found, &expected, name);
    }
}

/// The header of both files counts two trace functions too few, as the runtime wrote it, and the
/// worker does not survive that; the expected figures are for the right count.
#[test]
fn timelines_with_the_count_put_right() {
    for name in names_in("expected", ".heaptimeline.json") {
        let expected = expected(&format!("expected/{name}"));
        let compressed = fixtures().join(format!("{}.gz", expected["file"].as_str().unwrap()));
        let mut text = String::new();
        let mut reader = flate2::read::GzDecoder::new(File::open(compressed).unwrap());
        reader.read_to_string(&mut text).unwrap();
        let mut corrected = tempfile::NamedTempFile::new().unwrap();
        corrected
            .write_all(with_two_more_trace_functions(&text).as_bytes())
            .unwrap();
        let Some(found) = oracle(&["--filters"], &[corrected.path()]) else {
            return;
        };
        check_figures(&found, &expected, &name);
    }
}

fn with_two_more_trace_functions(text: &str) -> String {
    let member = "\"trace_function_count\":";
    let (before, after) = text.split_once(member).unwrap();
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap();
    let count: u32 = after[..digits].parse().unwrap();
    format!("{before}{member}{}{}", count + 2, &after[digits..])
}

#[test]
fn comparisons() {
    for name in names_in("expected", ".json")
        .iter()
        .filter(|name| name.contains("-vs-"))
    {
        let expected = expected(&format!("expected/{name}"));
        let path = |member: &str| {
            let file = expected["compare"][member].as_str().unwrap();
            fixtures().join(format!("{file}.gz"))
        };
        let (base, current) = (path("base"), path("current"));
        let Some(found) = oracle(&["--filters"], &[&base, &current]) else {
            return;
        };
        check_figures(&found["base"], &expected, name);
        check_comparison(&found["compare"], &expected["compare"], name);
    }
}

/// Hand-made graphs: here every value of every node is known.
#[test]
fn micro_graphs() {
    for name in names_in("micro", ".heapsnapshot") {
        let stem = name.strip_suffix(".heapsnapshot").unwrap();
        let expected = expected(&format!("micro/{stem}.expected.json"));
        let path = fixtures().join("micro").join(&name);
        let Some(found) = oracle(&["--values"], &[&path]) else {
            return;
        };
        for member in ["total", "statistics", "aggregates"] {
            assert_eq!(found[member], expected[member], "{name}: {member}");
        }
        assert_eq!(
            rows(&found, "values").count(),
            rows(&expected, "nodes").count(),
            "{name}"
        );
        for (found, expected) in rows(&found, "values").zip(rows(&expected, "nodes")) {
            for (member, value) in found.as_object().unwrap() {
                assert_eq!(
                    *value, expected[member],
                    "{name}: {member} of {}",
                    expected["id"]
                );
            }
        }
    }
}

/// Writes a snapshot of `NODES` nodes with our generator.
fn generate(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask
        .args(["generate-snapshot", "--nodes", NODES, "-o"])
        .arg(&path)
        .args(arguments);
    assert!(xtask.status().unwrap().success());
    path
}

const NODES: &str = "20000";

#[test]
fn both_layouts_of_a_generated_heap_are_the_same_heap() {
    let folder = tempfile::tempdir().unwrap();
    let node20 = generate(folder.path(), "node20", &["--shape", "node20"]);
    let node24 = generate(folder.path(), "node24", &["--shape", "node24"]);
    let Some(found) = oracle(&[], &[&node20, &node24]) else {
        return;
    };
    assert!(found["base"]["nodes"].as_u64().unwrap() >= 20_000);
    assert_eq!(found["base"], found["current"]);
    assert_eq!(found["compare"]["changedClasses"], json!(0));
}

/// A growth of 5 % of 20,000 nodes is 1,000 nodes, five to a session.
#[test]
fn growth_is_where_it_was_put() {
    let folder = tempfile::tempdir().unwrap();
    let before = generate(folder.path(), "before", &["--grow", "5"]);
    let after = generate(folder.path(), "after", &["--grow", "10"]);
    let Some(found) = oracle(&[], &[&before, &after]) else {
        return;
    };
    let compare = &found["compare"];
    assert_eq!(compare["totals"]["delta"], json!(1000));
    let session = rows(compare, "classes")
        .find(|row| row["name"] == "Session")
        .unwrap();
    assert_eq!(
        (&session["new"], &session["deleted"]),
        (&json!(200), &json!(0))
    );
    let unchanged = rows(compare, "classes").find(|row| row["name"] == "Map");
    assert_eq!(unchanged, None, "the container itself kept its id");
}
