//! Mappings of the program's own, when they are asked for: apart from blocks, to the page.

#![cfg(has_recorder)]

mod harness;

use std::path::Path;

use harness::programs::{Workshop, has_peers, line_of, profile, report_missing, source};
use harness::{answer, rows};

const C: &str = "gcc -g -O1 -fno-builtin -pthread -w";
const PAGE: u64 = 4096;

/// By construction of pages.c.
#[test]
fn mappings_are_counted_to_the_page() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "pages.c");
    let mut recorder = harness::heapatlas();
    recorder.args([
        "record",
        "--no-summary",
        "--check-stacks",
        "1",
        "--mmap",
        "-o",
    ]);
    recorder.arg(workshop.trace()).arg("--").arg(&program);
    let recorded = workshop.record_with(&mut recorder);
    assert_eq!(recorded.answer.stdout, "mapped\n");
    assert_eq!(recorded.answer.code, Some(0));
    recorded.assert_stacks();
    let mappings = &recorded.profile["mappings"];
    // 10 + 100 + 20 + 1 + 4, then 8 and 2 of mremap; the failed one puts its page back; the file.
    assert_eq!(mappings["total_mappings"], 9);
    let pages = 10 + 100 + 20 + 1 + 4 + 8 + 2 + 1 + 1;
    assert_eq!(mappings["total_bytes"], pages * PAGE);
    assert_eq!(mappings["peak_bytes"], 110 * PAGE);
    assert_eq!(mappings["live_bytes"], (10 + 17 + 2 + 1) * PAGE);
    // The page over `stays` and the rest of it, two parts of `holed`, `grown`, the file.
    assert_eq!(mappings["live_mappings"], 6);
    let text = std::fs::read_to_string(source("pages.c")).expect("the source is there");
    let holder = &rows(&mappings["sites"])[0];
    assert_eq!(holder["function"], "map");
    assert_eq!(holder["line"], line_of(&text, "char *start = mmap("));
    assert_eq!(holder["peak_bytes"], 110 * PAGE);
    assert_eq!(holder["live_bytes"], (9 + 17) * PAGE);
    // Blocks are what they are without.
    let bare = workshop.record(&[program.as_ref()]);
    assert!(bare.profile.get("mappings").is_none());
    for field in ["totals", "live_at_end", "temporary"] {
        assert_eq!(recorded.profile[field], bare.profile[field], "{field}");
    }
}

/// An allocator's own pages are mappings, its blocks are blocks.
#[test]
fn pages_of_another_allocator() {
    let library = Path::new("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2");
    if !has_peers(&["gcc"]) {
        return;
    }
    if !library.exists() {
        return report_missing("libjemalloc.so.2");
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "survive.c");
    let mut recorder = harness::heapatlas();
    recorder.args(["record", "--no-summary", "--mmap", "-o"]);
    recorder
        .arg(workshop.trace())
        .arg("--")
        .arg(program)
        .arg("jumps");
    recorder.env("LD_PRELOAD", library);
    let answer = answer(&mut recorder, None);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let profile = profile(&workshop.trace());
    let live = profile["live_at_end"]["blocks"].as_u64().expect("a figure");
    assert!((1001..1100).contains(&live), "{live} blocks");
    let mapped = profile["mappings"]["live_bytes"].as_u64();
    assert!(mapped.expect("there are some") > 0);
}
