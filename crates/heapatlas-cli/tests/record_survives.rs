//! Whatever a program does, it does the same under the recorder, and the trace can be read.

mod harness;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use harness::programs::{Recorded, Workshop, has_peers, profile, report_missing};
use harness::{answer, heapatlas, wait};

const C: &str = "gcc -g -O1 -fno-builtin -pthread -w";

/// survive.c, or `None` without a compiler.
fn survivor() -> Option<(Workshop, PathBuf)> {
    has_peers(&["gcc"]).then(|| {
        let workshop = Workshop::new();
        let program = workshop.compile(C, "survive.c");
        (workshop, program)
    })
}

/// Runs a command bare and recorded: the same output and the same end. Gives the recording.
#[track_caller]
fn check_same(workshop: &Workshop, command: &[&OsStr]) -> Recorded {
    check_same_with(workshop, command, |_| {})
}

/// The same, with something done to both commands before.
#[track_caller]
fn check_same_with(
    workshop: &Workshop,
    command: &[&OsStr],
    prepare: impl Fn(&mut Command),
) -> Recorded {
    let mut bare = Command::new(command[0]);
    bare.args(&command[1..]).stdin(Stdio::null());
    let mut recorder = workshop.recorder(command);
    prepare(&mut bare);
    prepare(&mut recorder);
    let bare = answer(&mut bare, None);
    let recorded = workshop.record_with(&mut recorder);
    let said = &recorded.answer.stderr;
    assert_eq!(recorded.answer.code, bare.code, "{command:?}: {said}");
    assert_eq!(
        recorded.answer.status.signal(),
        bare.status.signal(),
        "{command:?}: {said}"
    );
    assert_eq!(recorded.answer.stdout, bare.stdout, "{command:?}: {said}");
    assert!(
        said.contains("with full walks: 0 differed"),
        "{command:?}: {said}"
    );
    recorded
}

/// Live blocks at the end, by construction of survive.c: what is left, and what the C library keeps for
/// each thread, stream or directory.
#[test]
fn what_programs_do() {
    let Some((workshop, program)) = survivor() else {
        return;
    };
    let cases = [
        // A thousand blocks, at most two tables for each thread.
        ("threads", 1000..=3000),
        ("fork", 100..=110),
        ("cancel", 100..=110),
        ("abort", 100..=100),
        ("crash", 100..=100),
        ("no-memory", 1100..=2_000_000),
        ("close-all", 1110..=1111),
        ("signals", 501..=501),
        ("jumps", 1001..=1001),
        ("contexts", 8008..=8008),
        ("spawn", 200..=210),
        // What it did before it replaced itself is not in the trace.
        ("replace", 1001..=1001),
    ];
    for (name, live_blocks) in cases {
        let recorded = check_same(&workshop, &[program.as_ref(), name.as_ref()]);
        let found = recorded.figure("/live_at_end/blocks");
        assert!(live_blocks.contains(&found), "{name}: {found} blocks");
        let in_fork = name == "fork";
        assert!(
            in_fork || recorded.figure("/totals/allocations") < 2_100_000,
            "{name}"
        );
    }
}

/// To the dynamic linker such a program is several objects, and only one of them holds the unwind table.
#[test]
fn gaps_between_segments() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let flags = "-no-pie -Wl,-z,separate-code,-z,max-page-size=0x400000";
    let program = workshop.compile(&format!("{C} {flags}"), "family.c");
    check_same(&workshop, &[program.as_ref()]).assert_stacks();
}

/// The allocator that is measured is the program's, however it came there.
#[test]
fn other_allocators() {
    let Some((workshop, program)) = survivor() else {
        return;
    };
    for library in ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"] {
        let path = Path::new("/usr/lib/x86_64-linux-gnu").join(library);
        if !path.exists() {
            report_missing(library);
            continue;
        }
        for name in ["threads", "fork", "jumps", "signals", "spawn"] {
            let command: [&OsStr; 2] = [program.as_ref(), name.as_ref()];
            check_same_with(&workshop, &command, |command| {
                command.env("LD_PRELOAD", &path);
            });
        }
        let linked = Workshop::new();
        let program = linked.compile(&format!("{C} -Wl,--no-as-needed -l:{library}"), "survive.c");
        let recorded = check_same(&linked, &[program.as_ref(), "jumps".as_ref()]);
        let live = recorded.figure("/live_at_end/blocks");
        assert!((1001..1100).contains(&live), "{library}: {live} blocks");
    }
}

/// Exceptions go through frames that were recorded.
#[test]
fn exceptions() {
    if !has_peers(&["g++"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile("g++ -g -O2 -std=c++17", "containers.cpp");
    check_same(&workshop, &[program.as_ref()]).assert_stacks();
}

#[test]
fn interpreters_and_shells() {
    let workshop = Workshop::new();
    let script = workshop.path("script");
    fs::write(&script, "#!/bin/sh\necho \"$0 of $#\"\nexit 4\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("changed");
    let script = script.to_str().expect("UTF-8");
    let cases: [&[&str]; 7] = [
        &[script, "a", "b"],
        &[
            "sh",
            "-c",
            "exec /bin/sh -c 'exec /bin/echo replaced twice'",
        ],
        &[
            "bash",
            "-c",
            "for i in 1 2 3 4 5 6 7 8 9; do x=$(echo $i | cat); echo $x; done; exit 9",
        ],
        &[
            "/usr/bin/python3",
            "-c",
            "import json, ctypes; print(len(json.dumps(list(range(9999)))))",
        ],
        &[
            "/usr/bin/perl",
            "-e",
            "my %h; $h{$_} = \"x\" x $_ for 1..999; print scalar(keys %h), \"\\n\"; exit 6",
        ],
        &["git", "--version"],
        &["/bin/ls", "/"],
    ];
    for command in cases {
        let is_there = !command[0].starts_with("/usr") || Path::new(command[0]).exists();
        if !is_there || (command[0] == "git" && !has_peers(&["git"])) {
            report_missing(command[0]);
            continue;
        }
        let words: Vec<&OsStr> = command.iter().map(OsStr::new).collect();
        let recorded = check_same(&workshop, &words);
        assert!(recorded.figure("/totals/allocations") > 0, "{command:?}");
    }
}

/// A program under the recorder that tells how far it is.
struct Running {
    recorder: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// In a process group of its own, as a shell starts it.
    fn start(workshop: &Workshop, command: &[&OsStr]) -> Self {
        let mut recorder = workshop.recorder(command);
        recorder.stdin(Stdio::piped()).stdout(Stdio::piped());
        recorder.stderr(File::create(workshop.path("stderr")).expect("a file"));
        let mut recorder = recorder
            .process_group(0)
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(recorder.stdout.take().expect("piped"));
        Self { recorder, lines }
    }

    fn wait_for_lines(&mut self, count: usize) {
        for _ in 0..count {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).expect("readable");
            assert_ne!(length, 0, "the program ended early");
        }
    }

    /// The program, which is the recorder's only child.
    fn program(&self) -> u32 {
        let pid = self.recorder.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("the system tells of children");
        children.trim().parse().expect("one child")
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.lines.read_to_string(&mut text).expect("UTF-8");
        text
    }
}

/// By the system's own tool, so that this file needs no unsafe code.
#[track_caller]
fn send(signal: &str, to: &str) {
    let status = Command::new("kill").args(["-s", signal, "--", to]).status();
    assert!(status.expect("kill runs").success());
}

const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Everything that was done before a signal came is in the trace, and we end as the program did.
#[test]
fn killed_at_any_moment() {
    let Some((workshop, program)) = survivor() else {
        return;
    };
    let command: [&OsStr; 2] = [program.as_ref(), "endless".as_ref()];
    let to_program: fn(&Running) -> String = |running| running.program().to_string();
    let to_group: fn(&Running) -> String = |running| format!("-{}", running.recorder.id());
    let to_recorder: fn(&Running) -> String = |running| running.recorder.id().to_string();
    let cases = [
        ("KILL", SIGKILL, 1, to_program),
        ("KILL", SIGKILL, 10, to_program),
        ("KILL", SIGKILL, 100, to_program),
        ("KILL", SIGKILL, 1000, to_program),
        ("INT", SIGINT, 20, to_group),
        ("TERM", SIGTERM, 20, to_recorder),
    ];
    for (name, signal, lines, receiver) in cases {
        let mut running = Running::start(&workshop, &command);
        running.wait_for_lines(lines);
        send(name, &receiver(&running));
        // It may be waiting for somebody to read what it prints.
        running.rest();
        let status = wait(&mut running.recorder);
        assert_eq!(status.signal(), Some(signal), "{name} after {lines} lines");
        let live = profile(&workshop.trace())["live_at_end"]["blocks"].as_u64();
        let live = live.expect("a figure");
        assert!(
            live >= 1000 * lines as u64,
            "{name} after {lines} lines: {live}"
        );
    }
}

/// The recorder's own process is killed: the program neither ends nor waits, and what was written can
/// be read.
#[test]
fn killed_recorder() {
    let Some((workshop, program)) = survivor() else {
        return;
    };
    let mut running = Running::start(&workshop, &[program.as_ref(), "outlive".as_ref()]);
    let unfinished = workshop.path("trace.unfinished");
    running.wait_for_lines(1);
    // What is gathered is written at least every 100 ms: when there is more in the file than before,
    // what came before is there.
    let start = Instant::now();
    while profile_blocks(&unfinished) < 1000 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "nothing is written"
        );
    }
    running.recorder.kill().expect("killed");
    wait(&mut running.recorder);
    drop(running.recorder.stdin.take());
    assert_eq!(running.rest(), "done\n");
    assert!(!workshop.trace().exists());
    assert!(profile_blocks(&unfinished) >= 1000);
}

/// Live blocks of a trace that is being written; 0 while it cannot be read.
fn profile_blocks(trace: &Path) -> u64 {
    let read = answer(heapatlas().args(["summary", "--json"]).arg(trace), None);
    let Ok(profile) = serde_json::from_str::<serde_json::Value>(&read.stdout) else {
        return 0;
    };
    profile["live_at_end"]["blocks"].as_u64().unwrap_or(0)
}

/// A disk that is full ends the recording, not the program.
#[test]
fn full_disk() {
    let Some((workshop, program)) = survivor() else {
        return;
    };
    let mut recorder = heapatlas();
    // `/dev/full` says so at the first write.
    let full = workshop.path("full");
    std::os::unix::fs::symlink("/dev/full", workshop.path("full.unfinished")).expect("a link");
    recorder.args(["record", "-o"]).arg(&full).arg("--");
    let answer = answer(recorder.arg(&program).arg("close-all"), None);
    assert_eq!(answer.stdout, "all but three are closed\n");
    assert_eq!(answer.code, Some(2));
    let errors: Vec<_> = answer
        .stderr
        .lines()
        .filter(|line| line.starts_with("error:"))
        .collect();
    let [error] = errors[..] else {
        panic!("not one error: {}", answer.stderr)
    };
    assert!(
        error.contains("full.unfinished") && error.contains("No space left"),
        "{error}"
    );
}

/// A small disk that fills up in the middle: what was written until then can be read.
#[test]
fn disk_that_fills_up() {
    let Some((workshop, program)) = survivor() else {
        return;
    };
    let disk = workshop.path("disk");
    fs::create_dir(&disk).expect("made");
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&disk);
    if !mount.output().is_ok_and(|output| output.status.success()) {
        // Root may, elsewhere than in most containers; `/dev/full` stands for it there.
        return;
    }
    let mut recorder = heapatlas();
    recorder
        .args(["record", "-o"])
        .arg(disk.join("trace"))
        .arg("--");
    let answer = answer(recorder.arg(&program).arg("no-pattern"), None);
    // How much of it that is depends on where blocks end.
    profile_blocks(&disk.join("trace.unfinished"));
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.expect("umount runs").success());
    assert_eq!(answer.stdout, "no pattern\n");
    assert_eq!(answer.code, Some(2), "{}", answer.stderr);
    assert!(
        answer.stderr.contains("trace.unfinished`: No space left"),
        "{}",
        answer.stderr
    );
}

#[test]
fn closed_stderr() {
    let Some((workshop, program)) = survivor() else {
        return;
    };
    let binary = env!("CARGO_BIN_EXE_heapatlas");
    let script = "exec \"$0\" record -o \"$1\" -- \"$2\" jumps 2>&-";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, binary])
        .args([&workshop.trace(), &program]);
    assert_eq!(answer(&mut shell, None).code, Some(0));
    assert_eq!(profile(&workshop.trace())["live_at_end"]["blocks"], 1001);
}

#[test]
fn programs_that_cannot_be_recorded() {
    let Some((workshop, dynamic)) = survivor() else {
        return;
    };
    let file = |name: &str, mode: u32| {
        let path = workshop.path(name);
        fs::copy(&dynamic, &path).expect("copied");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
        path
    };
    let static_workshop = Workshop::new();
    let fixed = static_workshop.compile(&format!("{C} -static"), "survive.c");
    let mut cases = vec![
        (fixed, "linked statically"),
        (workshop.path("missing"), "No such file"),
        (PathBuf::from("no-such-program-anywhere"), "No such file"),
        (workshop.path(""), "ermission denied"),
        (file("not-executable", 0o644), "ermission denied"),
    ];
    let of_another = file("of-another", 0o755);
    if std::os::unix::fs::chown(&of_another, Some(65534), None).is_ok() {
        fs::set_permissions(&of_another, fs::Permissions::from_mode(0o4755)).expect("changed");
        cases.push((of_another, "setuid"));
    }
    for (program, reason) in cases {
        let answer = answer(
            &mut workshop.recorder(&[program.as_ref(), "jumps".as_ref()]),
            None,
        );
        let error = answer.error();
        assert!(error.contains(reason), "{error}");
        assert!(answer.stderr.contains("\nhint: "), "no hint: {error}");
        assert!(!workshop.trace().exists(), "{error}");
    }
}
