//! Programs that become several: each process image has a trace of its own, and the program does what it
//! does bare.
#![cfg(has_recorder)]

mod harness;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use harness::programs::{Workshop, has_peers, profile};
use harness::{Answer, answer, heapatlas, wait};
use serde_json::Value;

const C: &str = "gcc -g -O1 -fno-builtin -pthread -w";

fn follower() -> Option<(Workshop, PathBuf)> {
    has_peers(&["gcc"]).then(|| {
        let workshop = Workshop::new();
        let program = workshop.compile(C, "follow.c");
        (workshop, program)
    })
}

fn recorder(workshop: &Workshop, options: &[&str], command: &[&OsStr]) -> Command {
    let mut recorder = heapatlas();
    recorder.args(["record", "--no-summary", "--check-stacks", "1"]);
    recorder.args(options).arg("-o").arg(workshop.trace());
    recorder.arg("--").args(command);
    recorder.stdin(Stdio::null());
    recorder
}

/// A recording of several processes.
struct Followed {
    answer: Answer,
    /// By file name, which is `trace`, `trace.N`, and so on.
    traces: Vec<(String, Value)>,
}

/// Runs a command bare and recorded with its children: the same output and the same end.
#[track_caller]
fn follow(workshop: &Workshop, command: &[&OsStr]) -> Followed {
    follow_with(workshop, &["--follow-fork"], command)
}

#[track_caller]
fn follow_with(workshop: &Workshop, options: &[&str], command: &[&OsStr]) -> Followed {
    let mut bare = Command::new(command[0]);
    bare.args(&command[1..]).stdin(Stdio::null());
    let bare = answer(&mut bare, None);
    let recorded = answer(&mut recorder(workshop, options, command), None);
    let said = &recorded.stderr;
    assert_eq!(recorded.code, bare.code, "{command:?}: {said}");
    let (signal, bare_signal) = (recorded.status.signal(), bare.status.signal());
    assert_eq!(signal, bare_signal, "{command:?}: {said}");
    assert_eq!(recorded.stdout, bare.stdout, "{command:?}: {said}");
    let has_no_differences = said.contains("with full walks: 0 differed");
    assert!(has_no_differences, "{command:?}: {said}");
    assert!(!said.contains("could not be recorded"), "{said}");
    Followed {
        traces: take_traces(workshop),
        answer: recorded,
    }
}

/// Reads the traces of a workshop and removes them.
#[track_caller]
fn take_traces(workshop: &Workshop) -> Vec<(String, Value)> {
    let folder = fs::read_dir(workshop.path("")).expect("the folder is there");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    let mut traces: Vec<_> = paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            let is_trace = name.starts_with("trace");
            assert!(!name.ends_with(".unfinished"), "{name}");
            is_trace.then(|| {
                let profile = profile(&path);
                fs::remove_file(&path).expect("removed");
                (name, profile)
            })
        })
        .collect();
    traces.sort_by(|a, b| a.0.cmp(&b.0));
    traces
}

fn live_blocks(profile: &Value) -> u64 {
    profile["live_at_end"]["blocks"].as_u64().expect("a figure")
}

impl Followed {
    /// Blocks that live at the end, for each trace, in ascending order.
    fn live_blocks(&self) -> Vec<u64> {
        let live = self.traces.iter().map(|(_, profile)| live_blocks(profile));
        let mut live: Vec<_> = live.collect();
        live.sort_unstable();
        live
    }
}

/// Live blocks of each process image, by construction of follow.c: what a child has left is its own,
/// what lived when it was forked is its parent's.
#[test]
fn each_image_has_a_trace() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    let cases: [(&str, &[u64]); 8] = [
        ("tree", &[3, 100, 101, 200, 201, 300, 301]),
        ("vfork", &[3, 30]),
        ("vfork-allocates", &[20_007]),
        ("spawn", &[4, 40]),
        ("daemon", &[0, 77]),
        ("killed-child", &[0, 500]),
        ("killed-parent", &[11, 60]),
        ("closed", &[0, 90]),
    ];
    for (name, expected) in cases {
        let followed = follow(&workshop, &[program.as_ref(), name.as_ref()]);
        // A forked child without events has no trace.
        let said = &followed.answer.stderr;
        assert_eq!(followed.live_blocks(), expected, "{name}: {said}");
    }
}

/// A child's only thread ends: that is not the end of its parent's.
#[test]
fn thread_that_ends_in_a_child() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    for options in [&["--follow-fork"][..], &[]] {
        let command: [&OsStr; 2] = [program.as_ref(), "silent".as_ref()];
        let followed = follow_with(&workshop, options, &command);
        let (name, profile) = &followed.traces[0];
        assert_eq!((name.as_str(), live_blocks(profile)), ("trace", 17));
    }
}

/// The allocations of a thread that another thread's child starts, and the C library's own for it.
#[test]
fn first_event_in_another_thread() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    let followed = follow(&workshop, &[program.as_ref(), "thread".as_ref()]);
    let [parent, child] = followed.live_blocks()[..] else {
        panic!("{}", followed.answer.stderr)
    };
    // The table of the thread's storage is one block.
    assert_eq!((parent, child), (14, 27));
}

#[test]
fn two_hundred_children_at_once() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    let followed = follow(&workshop, &[program.as_ref(), "bomb".as_ref()]);
    let live = followed.live_blocks();
    assert_eq!(live.len(), 201);
    assert_eq!((live[0], &live[1..]), (7, &[11; 200][..]));
}

/// Other threads are in the middle of allocations when the children are forked off.
#[test]
fn children_of_a_threaded_program() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "survive.c");
    let followed = follow(&workshop, &[program.as_ref(), "fork".as_ref()]);
    let children = followed.traces.iter().filter(|(name, _)| name != "trace");
    let children: Vec<_> = children.collect();
    assert_eq!(children.len(), 50);
    for (name, profile) in children {
        assert_eq!(live_blocks(profile), 1000, "{name}");
        assert_eq!(profile["totals"]["allocations"], 2000, "{name}");
        assert_eq!(profile["truncated_stacks"], 0, "{name}");
        let site = &profile["sites"][0];
        assert_eq!(site["function"], "leave", "{name}");
    }
}

/// A handler forks while the thread is anywhere, also in the recorder, and returns in the child.
#[test]
fn fork_in_a_signal_handler() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    for options in [&["--follow-fork"][..], &[]] {
        let command: [&OsStr; 2] = [program.as_ref(), "handler".as_ref()];
        let followed = follow_with(&workshop, options, &command);
        for (name, profile) in &followed.traces {
            let live = live_blocks(profile);
            let totals = &profile["totals"];
            if name == "trace" {
                // The parent's is as if nothing had been.
                assert_eq!(live, 11);
                assert_eq!(totals["allocations"], 300_011);
                assert_eq!(totals["frees"], 300_000);
            } else {
                // The block that the parent had in hand is not the child's.
                assert_eq!(live, 20, "{name}");
            }
        }
        assert_eq!(followed.traces.len() > 1, !options.is_empty());
    }
}

/// Five programs in one process: five traces, the last of which has the name that was asked for.
#[test]
fn exec_chain() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    for options in [&["--follow-fork"][..], &[]] {
        let command: [&OsStr; 3] = [program.as_ref(), "chain".as_ref(), "5".as_ref()];
        let followed = follow_with(&workshop, options, &command);
        let traces = followed.traces.iter();
        let found: Vec<_> = traces
            .map(|(name, profile)| (name.as_str(), live_blocks(profile)))
            .collect();
        let expected = [
            ("trace", 10),
            ("trace.1", 50),
            ("trace.2", 40),
            ("trace.3", 30),
            ("trace.4", 20),
        ];
        assert_eq!(found, expected);
        let command = followed.traces[2].1["command"].as_array();
        assert_eq!(command.expect("a list")[1..], ["chain", "4"]);
    }
}

/// `record` says what it waits for, and Ctrl-C ends it while the daemon lives on.
#[test]
fn ctrl_c_ends_the_wait_for_a_daemon() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    let command: [&OsStr; 3] = [program.as_ref(), "daemon".as_ref(), "1".as_ref()];
    let mut recorder = recorder(&workshop, &["--follow-fork"], &command);
    let mut recorder = start(&mut recorder);
    let mut said = BufReader::new(recorder.stderr.take().expect("piped"));
    wait_for_line(&mut said, "has ended, but not a process that it started");
    let mut output = BufReader::new(recorder.stdout.take().expect("piped"));
    wait_for_line(&mut output, "ready");
    send("INT", recorder.id());
    assert_eq!(wait(&mut recorder).code(), Some(7));
    let traces = take_traces(&workshop);
    let daemon = traces.iter().find(|(name, _)| name != "trace");
    assert_eq!(live_blocks(&daemon.expect("the daemon's").1), 77);
    // It runs to its end without us.
    drop(recorder.stdin.take());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("UTF-8");
    assert_eq!(rest, "");
}

fn start(recorder: &mut Command) -> Child {
    recorder
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the binary starts")
}

#[track_caller]
fn wait_for_line(lines: &mut impl BufRead, text: &str) {
    loop {
        let mut line = String::new();
        let length = lines.read_line(&mut line).expect("readable");
        assert_ne!(length, 0, "no line with `{text}`");
        if line.contains(text) {
            return;
        }
    }
}

/// By the system's own tool, so that this file needs no unsafe code.
#[track_caller]
fn send(signal: &str, pid: u32) {
    let pid = pid.to_string();
    let status = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(status.expect("kill runs").success());
}

/// A static program cannot load the recorder: what comes before it is recorded, and the rest is told.
#[test]
fn programs_without_recorder_in_the_chain() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    let fixed_workshop = Workshop::new();
    let fixed = fixed_workshop.compile(&format!("{C} -static"), "follow.c");
    let command: [&OsStr; 3] = [program.as_ref(), "another".as_ref(), fixed.as_ref()];
    let followed = follow(&workshop, &command);
    assert_eq!(followed.live_blocks(), [15, 16]);

    let command: [&OsStr; 3] = [program.as_ref(), "replaced".as_ref(), fixed.as_ref()];
    let mut recorder = start(&mut recorder(&workshop, &[], &command));
    let mut output = BufReader::new(recorder.stdout.take().expect("piped"));
    wait_for_line(&mut output, "waits");
    drop(recorder.stdin.take());
    assert_eq!(wait(&mut recorder).code(), Some(3));
    let [(_, profile)] = &take_traces(&workshop)[..] else {
        panic!("not one trace")
    };
    assert_eq!(live_blocks(profile), 18);
}

/// What a JIT compiler left is in the trace: its file may be gone when the trace is read.
#[test]
fn names_of_compiled_code() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "jit.c");
    let mut recorder = recorder(&workshop, &["--follow-fork"], &[program.as_ref()]);
    let answer = answer(&mut recorder, None);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let trace = workshop.trace();
    let pid = &profile(&trace)["pid"];
    fs::remove_file(format!("/tmp/perf-{pid}.map")).expect("it was left there");
    let traces = take_traces(&workshop);
    assert_eq!(traces.len(), 2);
    for (name, profile) in &traces {
        // The parent made 30 blocks by way of its code, the child 40.
        let site = &profile["sites"][0];
        assert_eq!(site["function"], "compiled_function", "{name}: {site}");
        let expected = if name == "trace" { 30 } else { 40 };
        assert_eq!(site["allocations"], expected, "{name}");
    }
}

/// The recording ends in good order when enough was written, and the program goes on.
#[test]
fn a_limit_for_the_trace() {
    let Some((workshop, program)) = follower() else {
        return;
    };
    let command: [&OsStr; 3] = [program.as_ref(), "much".as_ref(), "3000000".as_ref()];
    let mut recorder = recorder(&workshop, &["--max-size", "100kB"], &command);
    let answer = answer(&mut recorder, None);
    assert_eq!(answer.stdout, "done\n");
    assert_eq!(answer.code, Some(6));
    let said = &answer.stderr;
    assert!(said.contains("as much was written as may be"), "{said}");
    let bytes = fs::metadata(workshop.trace()).expect("written").len();
    assert!(bytes >= 100_000, "{bytes} bytes");
    let summary = harness::run([OsStr::new("summary"), workshop.trace().as_ref()]);
    assert!(!summary.stderr.contains("warning"), "{}", summary.stderr);
    let [(_, profile)] = &take_traces(&workshop)[..] else {
        panic!("not one trace")
    };
    let allocations = profile["totals"]["allocations"].as_u64().expect("a figure");
    assert!((1..3_000_000).contains(&allocations), "{allocations}");
}
