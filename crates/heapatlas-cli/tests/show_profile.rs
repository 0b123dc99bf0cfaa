//! `show` of an allocation profile, on a recorded program whose figures are known by construction.
#![cfg(has_recorder)]

mod harness;

use std::path::PathBuf;

use harness::programs::{Workshop, has_peers, line_of, source};
use harness::{answer, fixture, heapatlas, rows, run};
use serde_json::Value;

const C: &str = "gcc -g -O1 -fno-builtin -pthread -w";
const ROUNDS: u64 = 10_000;

/// A recording of `phases.c`, and the folder that it is in.
fn recording() -> Option<(Workshop, PathBuf)> {
    if !has_peers(&["gcc"]) {
        return None;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "phases.c");
    let trace = workshop.path("trace");
    let mut recorder = heapatlas();
    recorder.args(["record", "--no-summary", "-o"]).arg(&trace);
    recorder.arg("--").arg(program).arg(ROUNDS.to_string());
    answer(&mut recorder, None).fine();
    Some((workshop, trace))
}

fn show(trace: &PathBuf, what: &str, options: &[&str]) -> harness::Answer {
    let mut command = heapatlas();
    answer(command.arg("show").arg(trace).arg(what).args(options), None)
}

fn functions(list: &Value) -> Vec<&str> {
    rows(list)
        .iter()
        .map(|row| row["function"].as_str().expect("a name"))
        .collect()
}

#[test]
fn a_function_by_its_name() {
    let Some((_workshop, trace)) = recording() else {
        return;
    };
    let keep = show(&trace, "keep", &["--json"]).json();
    // A thousand blocks, reallocated, half of them freed.
    for figures in [&keep["own"], &keep["inclusive"]] {
        assert_eq!(figures["allocations"], 2000);
        assert_eq!(figures["bytes"], 1000 * 8 + 1000 * 100);
        assert_eq!(figures["live_blocks"], 500);
        assert_eq!(figures["live_bytes"], 500 * 100);
        assert_eq!(figures["peak_bytes"], 0);
    }
    assert_eq!(functions(&keep["callers"]), ["main"]);
    // Stacks begin where the allocator is called.
    assert_eq!(rows(&keep["callees"]).len(), 0);
    assert_eq!(keep["frames"][0]["function"], "keep");

    // Allocates nothing itself, by way of others everything.
    let main = show(&trace, "main", &["--json", "--by", "total"]).json();
    assert_eq!(main["own"]["allocations"], 0);
    assert_eq!(main["inclusive"]["allocations"], ROUNDS + 100 + 2000);
    assert_eq!(functions(&main["callees"]), ["peak", "churn", "keep"]);
}

#[test]
fn recursion_counts_once() {
    let Some((_workshop, trace)) = recording() else {
        return;
    };
    let nest = show(&trace, "nest", &["--json"]).json();
    assert_eq!(nest["inclusive"]["allocations"], ROUNDS + 100);
    assert_eq!(nest["inclusive"]["peak_bytes"], 1_000_000);
    let callers = functions(&nest["callers"]);
    // What churns is not live at the peak, but it is a caller.
    assert_eq!(callers[..2], ["nest", "peak"]);
    assert!(callers.contains(&"churn"));
    // All of the peak comes by one stack; what has nothing at the peak is not shown.
    let stacks = rows(&nest["stacks"]);
    assert_eq!(stacks.len(), 1);
    let frames = functions(&stacks[0]["frames"]);
    assert_eq!(frames[..5], ["nest", "nest", "nest", "peak", "main"]);
    assert_eq!(stacks[0]["peak_bytes"], 1_000_000);
}

#[test]
fn a_part_of_a_name_a_line_and_an_address() {
    let Some((_workshop, trace)) = recording() else {
        return;
    };
    let text = std::fs::read_to_string(source("phases.c")).expect("readable");
    let line = line_of(&text, "kept[i] = realloc");
    for what in [
        format!("phases.c:{line}"),
        format!("record/phases.c:{line}"),
    ] {
        let found = show(&trace, &what, &["--json"]).json();
        assert_eq!(found["own"]["allocations"], 1000, "{what}");
        assert_eq!(found["own"]["bytes"], 100_000, "{what}");
    }
    let found = show(&trace, "HUR", &["--json"]).json();
    assert_eq!(found["frames"][0]["function"], "churn");
    assert_eq!(found["own"]["temporary"], 0);
    assert_eq!(found["inclusive"]["temporary"], ROUNDS);

    // As DHAT's file has it: addresses of the frames that are named there.
    let mut export = heapatlas();
    export.arg("export").arg(&trace);
    export.args(["--to", "dhat", "-o", "-"]);
    let dhat: Value = answer(&mut export, None).json();
    let keep = rows(&dhat["ftbl"])
        .iter()
        .filter_map(Value::as_str)
        .find(|frame| frame.contains("keep") && frame.contains(&format!("phases.c:{line}")))
        .expect("the frame is there");
    let address = keep.split(':').next().expect("it begins with the address");
    let found = show(&trace, address, &["--json"]).json();
    assert_eq!(found["own"]["allocations"], 1000, "{address}");
}

#[test]
fn parts_of_the_time() {
    let Some((_workshop, trace)) = recording() else {
        return;
    };
    let all = show(&trace, "main", &["--json", "--from", "0"]).json();
    let none = show(&trace, "main", &["--json", "--from", "1000s"]);
    assert_eq!(all["inclusive"]["live_blocks"], 500);
    // Its stacks are known, but nothing was allocated with them.
    assert_eq!(none.json()["inclusive"]["allocations"], 0);
}

#[test]
fn text_for_people() {
    let Some((_workshop, trace)) = recording() else {
        return;
    };
    let text = show(&trace, "keep", &[]).fine().stdout;
    for part in [
        "keep  ",
        "48.8 KiB  100.0 %   48.8 KiB  100.0 %  live at end\n",
        "\ncallers, all bytes\n",
        "\ncallees, all bytes\n",
        "\nstacks through it, all bytes\n",
        "> keep  ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn what_is_not_there() {
    let Some((_workshop, trace)) = recording() else {
        return;
    };
    #[track_caller]
    fn check(answer: &harness::Answer, error: &str, hint: &str) {
        assert!(answer.error().contains(error), "{}", answer.stderr);
        assert!(answer.stderr.contains(hint), "{}", answer.stderr);
    }
    let trace = &trace;
    check(
        &show(trace, "churm", &[]),
        "in no stack of this profile a function has a name with `churm`",
        "hint: there are: `churn`",
    );
    check(
        &show(trace, "phases.c:1", &[]),
        "a frame is at `phases.c:1`",
        "hint: there are: `phases.c:",
    );
    check(
        &show(trace, "0x10", &[]),
        "a frame has the address `0x10`",
        "hint: there are: `0x",
    );
    check(
        &show(trace, "nothing like that", &[]),
        "has a name with `nothing like that`",
        "hint: `heapatlas summary FILE --tree top-down`",
    );
    check(
        &show(trace, "main", &["--class-by-name"]),
        "`--class-by-name` is for heap snapshots",
        "hint: leave",
    );
    let snapshot = fixture("micro/m01-owned-sizes.heapsnapshot");
    let answer = run(["show", snapshot.as_str(), "@1", "--by", "live"]);
    check(&answer, "`--by` is for allocation profiles", "hint: leave");
}
