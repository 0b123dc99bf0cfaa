//! What the recorder counts is what valgrind counts, to the block and to the byte.
//!
//! valgrind and compilers are peers: where one is missing the test says so loudly, and fails where peers
//! are required.
#![cfg(has_recorder)]

mod harness;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::programs::{Recorded, Workshop, has_peers, line_of, source};
use harness::{answer, rows};
use serde_json::Value;

const C: &str = "gcc -g -O1 -fno-builtin -pthread -w";
const CPP: &str = "g++ -g -std=c++17";
const RUST: &str = "rustc -g -O --edition 2024";

/// Allocations, frees and bytes of a whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Totals {
    allocations: u64,
    frees: u64,
    bytes: u64,
}

fn recorded_totals(recorded: &Recorded) -> Totals {
    let figure = |name: &str| recorded.figure(&format!("/totals/{name}"));
    Totals {
        allocations: figure("allocations"),
        frees: figure("frees"),
        bytes: figure("bytes"),
    }
}

/// What valgrind says of a run: `total heap usage: 2,050 allocs, 1,949 frees, 36 bytes allocated`. It
/// reports each forked child as well; the process that was started comes last.
fn valgrind_totals(command: &[&OsStr]) -> Totals {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--run-libc-freeres=no", "--run-cxx-freeres=no"]);
    let said = answer(valgrind.args(command), None).stderr;
    let line = said.lines().rfind(|line| line.contains("total heap usage"));
    let (_, usage) = line
        .and_then(|line| line.split_once("usage:"))
        .expect("totals");
    let numbers: Vec<u64> = usage
        .split(' ')
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect();
    let [allocations, frees, bytes] = numbers[..] else {
        panic!("no totals: {usage}")
    };
    Totals {
        allocations,
        frees,
        bytes,
    }
}

/// Records a program and compares with valgrind; `difference` is ours less valgrind's, and explained
/// where it is passed.
#[track_caller]
fn check(workshop: &Workshop, command: &[&OsStr], code: i32, explain: Explanation) -> Recorded {
    let recorded = workshop.record(command);
    assert_eq!(recorded.answer.code, Some(code), "{command:?}");
    recorded.assert_stacks();
    let expected = explain(valgrind_totals(command), &recorded);
    assert_eq!(recorded_totals(&recorded), expected, "{command:?}");
    recorded
}

/// What we should count where valgrind counts that.
type Explanation = fn(Totals, &Recorded) -> Totals;

fn same(valgrind: Totals, _: &Recorded) -> Totals {
    valgrind
}

/// valgrind counts a `realloc` that fails as a block of the size that was asked for, and its end. (The
/// one in family.c asks for `SIZE_MAX / 2`.)
fn without_failed_reallocation(valgrind: Totals, _: &Recorded) -> Totals {
    Totals {
        allocations: valgrind.allocations - 1,
        frees: valgrind.frees - 1,
        bytes: valgrind.bytes - (u64::MAX / 2),
    }
}

/// The dynamic linker allocates a table of thread-local storage for each thread that it has no cached
/// stack for. The recorder has thread-local storage, so each table has an entry of 16 bytes more.
fn with_our_thread_storage(valgrind: Totals, recorded: &Recorded) -> Totals {
    Totals {
        bytes: valgrind.bytes + 16 * thread_tables(recorded),
        ..valgrind
    }
}

/// The allocations that the linker made for threads, by way of `pthread_create`.
fn thread_tables(recorded: &Recorded) -> u64 {
    let sites = rows(&recorded.profile["sites"]).iter();
    let of_threads = sites.filter(|site| is_thread_start(site));
    of_threads
        .map(|site| site["allocations"].as_u64().expect("a figure"))
        .sum()
}

/// The allocations of these programs that begin threads, and nothing else, are called from these lines.
fn is_thread_start(site: &Value) -> bool {
    let (Some(file), Some(line)) = (site["file"].as_str(), site["line"].as_u64()) else {
        return false;
    };
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().nth(line as usize - 1).unwrap_or_default();
    line.contains("pthread_create(")
}

/// The live site with the most bytes among those whose code has lines.
#[track_caller]
fn top_live_site(recorded: &Recorded) -> &Value {
    let sites = rows(&recorded.profile["sites"]).iter();
    let sites = sites.filter(|site| site["file"].is_string());
    sites
        .max_by_key(|site| site["live_bytes"].as_u64())
        .expect("a site")
}

#[track_caller]
fn assert_blamed(recorded: &Recorded, function: &str, source: &Path, marker: &str) {
    let site = top_live_site(recorded);
    let text = fs::read_to_string(source).expect("the source is there");
    assert_eq!(site["function"], function);
    assert_eq!(site["file"].as_str(), source.to_str());
    assert_eq!(site["line"], line_of(&text, marker));
}

#[test]
fn every_function_of_the_family() {
    if !has_peers(&["gcc", "valgrind"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "family.c");
    let recorded = check(
        &workshop,
        &[program.as_ref()],
        7,
        without_failed_reallocation,
    );
    assert_blamed(&recorded, "main", &source("family.c"), "malloc(i)");
    // By construction: one in ten of 1,000 blocks of 0 to 999 bytes, and the copy of a text.
    assert_eq!(recorded.figure("/live_at_end/blocks"), 101);
    assert_eq!(
        recorded.figure("/live_at_end/bytes"),
        (0..1000).step_by(10).sum::<u64>() + 18
    );
}

/// valgrind ends at `pvalloc`, so by construction: one block of the size that was asked for.
#[test]
fn whole_pages() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "family.c");
    let without = recorded_totals(&workshop.record(&[program.as_ref()]));
    let with = recorded_totals(&workshop.record(&[program.as_ref(), "pvalloc".as_ref()]));
    let expected = Totals {
        allocations: without.allocations + 1,
        frees: without.frees + 1,
        bytes: without.bytes + 5000,
    };
    assert_eq!(with, expected);
}

#[test]
fn threads() {
    if !has_peers(&["gcc", "valgrind"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "threads.c");
    let recorded = check(&workshop, &[program.as_ref()], 0, with_our_thread_storage);
    // Each of the three threads that churn keeps a stack of its own; the others use a fourth.
    assert_eq!(thread_tables(&recorded), 4);
    assert_blamed(&recorded, "churn", &source("threads.c"), "malloc(1000)");
}

/// No free is told before its allocation, whichever threads they are of: every block that was made is given back or live.
#[test]
fn blocks_that_threads_hand_on() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "handed_on.c");
    let recorded = workshop.record(&[program.as_ref()]);
    assert_eq!(recorded.answer.code, Some(0));
    let text = fs::read_to_string(source("handed_on.c")).expect("the source is there");
    let line = line_of(&text, "malloc(16");
    let sites = rows(&recorded.profile["sites"]).iter();
    let made: Vec<_> = sites.filter(|site| site["line"] == line).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["allocations"], 8 * 100_000);
    assert_eq!(made[0]["live_blocks"], 0);
    let totals = recorded_totals(&recorded);
    let live_blocks = recorded.figure("/live_at_end/blocks");
    assert_eq!(totals.allocations - totals.frees, live_blocks);
}

#[test]
fn forks_are_not_the_programs() {
    if !has_peers(&["gcc", "valgrind"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "fork.c");
    let recorded = check(&workshop, &[program.as_ref()], 0, same);
    assert_blamed(&recorded, "main", &source("fork.c"), "malloc(300)");
}

#[test]
fn plugins() {
    if !has_peers(&["gcc", "valgrind"]) {
        return;
    }
    let workshop = Workshop::new();
    let plugin = workshop.compile("gcc -g -O1 -fno-builtin -shared -fPIC", "plugin.c");
    let program = workshop.compile("gcc -g -O1 -fno-builtin", "dlopen.c");
    let command: [&OsStr; 2] = [program.as_ref(), plugin.as_ref()];
    let recorded = check(&workshop, &command, 0, same);
    // It was loaded after the start, and is gone at the end.
    assert_blamed(
        &recorded,
        "plugin_make",
        &source("plugin.c"),
        "malloc(bytes)",
    );
    assert_eq!(top_live_site(&recorded)["live_blocks"], 5);
}

#[test]
fn containers() {
    if !has_peers(&["g++", "valgrind"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(CPP, "containers.cpp");
    let recorded = check(&workshop, &[program.as_ref()], 0, same);
    assert_blamed(
        &recorded,
        "main",
        &source("containers.cpp"),
        "new char[12345]",
    );
}

#[test]
fn rust_collections() {
    if !has_peers(&["rustc", "valgrind"]) {
        return;
    }
    let workshop = Workshop::new();
    let program: PathBuf = workshop.compile(RUST, "collections.rs");
    let four_threads: Explanation = |valgrind, _| Totals {
        bytes: valgrind.bytes + 4 * 16,
        ..valgrind
    };
    let recorded = check(&workshop, &[program.as_ref()], 0, four_threads);
    assert_blamed(
        &recorded,
        "collections::main",
        &source("collections.rs"),
        "growing.push",
    );
}
