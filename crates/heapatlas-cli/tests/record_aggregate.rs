//! `record --mode aggregate`: the figures of an exact recording in a file that does not grow.
#![cfg(has_recorder)]

mod harness;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use harness::programs::{Workshop, has_peers};
use harness::{answer, heapatlas, run};
use serde_json::Value;

const C: &str = "gcc -g -O1 -fno-builtin -pthread -w";

/// Records to a file of its own; gives what `summary` says of it.
#[track_caller]
fn record(workshop: &Workshop, mode: &str, trace: &Path, command: &[&OsStr]) -> Value {
    let mut recorder = heapatlas();
    recorder.args(["record", "--no-summary", "--mode", mode, "-o"]);
    recorder.arg(trace).arg("--").args(command);
    answer(recorder.current_dir(workshop.path("")), None).fine();
    let options = ["--histogram", "--threads", "--tree", "top-down"];
    let mut summary = heapatlas();
    summary.args(["summary", "--json", "--top", "0"]);
    let answer = answer(summary.args(options).arg(trace), None).fine();
    assert_eq!(answer.stderr, "", "an aggregate recording is exact");
    serde_json::from_str(&answer.stdout).expect("JSON")
}

/// What two runs of the same program have in common.
fn without_times(mut profile: Value) -> Value {
    profile["pid"] = Value::Null;
    profile["duration_ns"] = Value::Null;
    profile["peak"]["time_ns"] = Value::Null;
    profile["lifetimes"] = Value::Null;
    for thread in profile["threads"].as_array_mut().expect("threads") {
        thread["id"] = Value::Null;
    }
    profile
}

#[test]
fn figures_are_those_of_an_exact_recording() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "phases.c");
    let command: [&OsStr; 2] = [program.as_ref(), "300000".as_ref()];
    let [exact, aggregate] = ["exact", "aggregate"].map(|mode| {
        let trace = workshop.path(mode);
        without_times(record(&workshop, mode, &trace, &command))
    });
    assert_eq!(exact, aggregate);
    assert_eq!(aggregate["totals"]["allocations"], 300_000 + 100 + 2000);
    assert_eq!(aggregate["live_at_end"]["blocks"], 500);
    assert_eq!(aggregate["peak"]["bytes"], 1_000_000);
}

#[test]
fn the_file_grows_with_stacks_not_with_time() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "phases.c");
    for rounds in ["10000", "3000000"] {
        let trace = workshop.path("trace");
        let command: [&OsStr; 2] = [program.as_ref(), rounds.as_ref()];
        record(&workshop, "aggregate", &trace, &command);
        let bytes = fs::metadata(&trace).expect("it is there").len();
        assert!(bytes < 12_000, "{rounds}: {bytes}");
        assert!(!workshop.path("trace.unfinished").exists());
    }
}

#[test]
fn threads_that_come_and_go() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "threads.c");
    let [exact, aggregate] = ["exact", "aggregate"].map(|mode| {
        let trace = workshop.path(mode);
        record(&workshop, mode, &trace, &[program.as_ref()])
    });
    for figure in ["totals", "live_at_end", "truncated_stacks"] {
        assert_eq!(exact[figure], aggregate[figure], "{figure}");
    }
    let threads = |profile: &Value| profile["threads"].as_array().map(Vec::len);
    assert_eq!(threads(&exact), threads(&aggregate));
}

#[test]
fn no_part_can_be_chosen() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "phases.c");
    let trace = workshop.path("trace");
    record(&workshop, "aggregate", &trace, &[program.as_ref()]);
    let trace = trace.to_str().expect("UTF-8");
    for option in [["--from", "1ms"], ["--to", "1s"], ["--thread", "7"]] {
        let answer = run(["summary", trace].into_iter().chain(option));
        assert!(
            answer.error().contains("sums in place of events"),
            "{answer:?}"
        );
        assert!(answer.stderr.contains("\nhint: record with `--mode exact`"));
    }
}

#[test]
fn full_disk() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "phases.c");
    // `/dev/full` says so at the first write.
    let full = workshop.path("full");
    std::os::unix::fs::symlink("/dev/full", workshop.path("full.unfinished")).expect("a link");
    let mut recorder = heapatlas();
    recorder.args(["record", "--mode", "aggregate", "-o"]);
    recorder.arg(&full).arg("--").arg(&program);
    let answer = answer(&mut recorder, None);
    let error = answer.error();
    assert!(
        error.contains("full.unfinished") && error.contains("No space left"),
        "{error}"
    );
    assert!(!full.exists());
}
