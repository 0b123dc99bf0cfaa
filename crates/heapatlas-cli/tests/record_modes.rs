//! Recordings that are no exact ones from start to end: samples, sums, and those that are turned on and off while the
//! program runs.
//!
//! The program is rounds.c, which answers each order when it is done; what it allocates is known by construction.

#![cfg(has_recorder)]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use harness::programs::{Workshop, has_peers, profile};
use harness::{Answer, answer, heapatlas, wait};
use serde_json::Value;

const C: &str = "gcc -g -O1 -fno-builtin -pthread -w";

/// Bytes of one order `a`.
const ROUND_BYTES: u64 = 500_500;

/// rounds.c under a launcher, whose sockets are in the workshop.
struct Rounds {
    launcher: Child,
    orders: Option<ChildStdin>,
    answers: ChildStdout,
    said: BufReader<std::process::ChildStderr>,
    pid: u32,
}

/// The program, or `None` without a compiler.
fn rounds() -> Option<(Workshop, PathBuf)> {
    has_peers(&["gcc"]).then(|| {
        let workshop = Workshop::new();
        let program = workshop.compile(C, "rounds.c");
        (workshop, program)
    })
}

fn heapatlas_in(workshop: &Workshop) -> Command {
    let mut command = heapatlas();
    command
        .current_dir(workshop.path("."))
        .env("XDG_RUNTIME_DIR", workshop.path("."));
    command
}

impl Rounds {
    #[track_caller]
    fn start(workshop: &Workshop, program: &Path, options: &[&str]) -> Self {
        let mut command = heapatlas_in(workshop);
        command
            .arg("record")
            .args(options)
            .arg("--")
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut launcher = command.spawn().expect("the launcher starts");
        let orders = launcher.stdin.take();
        let mut answers = launcher.stdout.take().expect("piped");
        let said = BufReader::new(launcher.stderr.take().expect("piped"));
        let pid = first_line(&mut answers).parse().expect("a number");
        Self {
            launcher,
            orders,
            answers,
            said,
            pid,
        }
    }

    /// Has the program do something, and waits until it is done.
    #[track_caller]
    fn order(&mut self, orders: &str) -> String {
        let pipe = self.orders.as_mut().expect("not closed yet");
        let mut answers = String::new();
        for order in orders.bytes() {
            pipe.write_all(&[order]).expect("the program reads");
            let mut byte = [0];
            while byte[0] != order {
                self.answers.read_exact(&mut byte).expect("it answers");
                answers.push(char::from(byte[0]));
            }
        }
        answers
    }

    /// The next line that the launcher says with this in it.
    #[track_caller]
    fn hears(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.said.read_line(&mut line).expect("UTF-8");
            assert!(length > 0, "the launcher never said {words:?}");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Ends the program, and gives how the launcher ended and the rest of what it said.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, String) {
        drop(self.orders.take());
        let mut said = String::new();
        self.said.read_to_string(&mut said).expect("UTF-8");
        let status = wait(&mut self.launcher);
        assert_eq!(status.code(), Some(5), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        (status, said)
    }

    fn socket(&self, workshop: &Workshop) -> Socket {
        Socket::connect(workshop, self.pid)
    }
}

fn first_line(pipe: &mut impl Read) -> String {
    let (mut line, mut byte) = (String::new(), [0]);
    loop {
        pipe.read_exact(&mut byte).expect("a line");
        if byte[0] == b'\n' {
            return line;
        }
        line.push(char::from(byte[0]));
    }
}

/// Somebody at the socket of a launcher.
struct Socket {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Socket {
    fn connect(workshop: &Workshop, pid: u32) -> Self {
        let path = workshop.path(&format!("heapatlas/{pid}.socket"));
        let stream = UnixStream::connect(path).expect("the launcher listens");
        let lines = BufReader::new(stream.try_clone().expect("a descriptor"));
        Self { stream, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    fn ask(&mut self, request: &str) -> Value {
        writeln!(self.stream, "{request}").expect("the launcher reads");
        self.line()
    }

    #[track_caller]
    fn ask_well(&mut self, request: &str) -> Value {
        let answer = self.ask(request);
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        answer
    }
}

#[track_caller]
fn assert_totals(trace: &Path, allocations: u64, frees: u64, bytes: u64) -> Value {
    let profile = profile(trace);
    let totals = &profile["totals"];
    assert_eq!(totals["allocations"], allocations, "{totals}");
    assert_eq!(totals["frees"], frees, "{totals}");
    assert_eq!(totals["bytes"], bytes, "{totals}");
    profile
}

/// Names in the workshop that end in this.
fn names_with(workshop: &Workshop, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(workshop.path(".")).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(ending))
        .collect();
    names.sort();
    names
}

#[test]
fn an_idle_recorder_records_when_it_is_asked_to() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
    rounds.order("aat");
    let trace = workshop.path("asked.heaptrace");
    for launcher_or_program in [rounds.pid, rounds.launcher.id()] {
        let mut client = heapatlas_in(&workshop);
        client
            .args(["record", "--no-summary", "--pid"])
            .arg(launcher_or_program.to_string())
            .arg("-o")
            .arg(&trace)
            .stderr(Stdio::piped());
        let mut client = client.spawn().expect("starts");
        let mut said = BufReader::new(client.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("UTF-8");
        assert!(
            line.contains(&format!("recording process {}", rounds.pid)),
            "{line}"
        );
        rounds.order("aka");
        send(&client, "INT");
        assert_eq!(wait(&mut client).code(), Some(0));
        rounds.order("r");
        let profile = assert_totals(&trace, 2100, 2000, 2 * ROUND_BYTES + 100 * 300);
        assert_eq!(profile["live_at_end"]["blocks"], 100);
        assert_eq!(profile["truncated_stacks"], 0);
        let sites = harness::rows(&profile["sites"]);
        let keep = sites.iter().find(|site| site["function"] == "keep");
        assert_eq!(keep.expect("a site")["live_bytes"], 30_000);
    }
    rounds.order("a");
    let (_, said) = rounds.end();
    assert!(!said.contains("no recording"), "{said}");
    // What was asked for by name is all there is.
    assert_eq!(names_with(&workshop, ".heaptrace"), ["asked.heaptrace"]);
    assert_eq!(names_with(&workshop, ".unfinished"), [] as [&str; 0]);
}

#[track_caller]
fn send(process: &Child, signal: &str) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{signal}")).arg(process.id().to_string());
    assert!(kill.status().expect("kill runs").success());
}

#[test]
fn nobody_asks() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
    rounds.order("aktfr");
    let (_, said) = rounds.end();
    assert!(said.contains("no recording was asked for"), "{said}");
    assert_eq!(names_with(&workshop, ".heaptrace"), [] as [&str; 0]);
}

#[test]
fn on_and_off_and_on() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--no-summary"]);
    let mut socket = rounds.socket(&workshop);
    rounds.order("ak");
    let first = socket.ask_well("stop");
    assert_eq!(first["program_ended"], false);
    let first = PathBuf::from(first["path"].as_str().expect("a file"));
    assert_totals(&first, 1100, 1000, ROUND_BYTES + 30_000);
    // Of these nothing is in any file.
    rounds.order("at");
    assert_eq!(socket.ask("stop")["ok"], false);
    let started = socket.ask_well("start");
    assert_eq!(started["mode"], "exact");
    assert_eq!(socket.ask("start")["busy"], true);
    let status = socket.ask_well("status");
    assert_eq!(status["recording"]["mode"], "exact");
    assert_eq!(status["pid"], rounds.pid);
    socket.ask_well("mark half-way");
    rounds.order("aargk");
    let second = socket.ask_well("stop");
    let second = PathBuf::from(second["path"].as_str().expect("a file"));
    // The first hundred frees are of blocks from before.
    let profile = assert_totals(&second, 2200, 2000, 2 * ROUND_BYTES + 100 * (600 + 300));
    assert_eq!(profile["live_at_end"]["blocks"], 200);
    let read = harness::run(["summary".as_ref(), second.as_os_str()]).fine();
    assert!(
        read.stderr
            .contains("frees of blocks whose allocation was not recorded"),
        "{}",
        read.stderr
    );
    assert_ne!(first, second);
    // A stopped recording with nothing in it is a recording, too.
    socket.ask_well("start");
    let third = socket.ask_well("stop");
    assert_totals(Path::new(third["path"].as_str().expect("a file")), 0, 0, 0);
    rounds.end();
    assert_eq!(names_with(&workshop, ".heaptrace").len(), 3);
}

#[test]
fn marks_by_the_command_line() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--no-summary", "-o", "marked"]);
    let pid = rounds.pid.to_string();
    let mark = |text: &str| {
        let mut command = heapatlas_in(&workshop);
        answer(
            command.args(["record", "--pid", &pid, "--mark", text]),
            None,
        )
    };
    rounds.order("a");
    let marked = mark("half way");
    assert_eq!((marked.code, marked.stderr.as_str()), (Some(0), ""));
    rounds.order("k");
    assert_eq!(mark(" ").code, Some(2));
    let mut socket = rounds.socket(&workshop);
    socket.ask_well("stop");
    let refused = mark("too late");
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("nothing is being recorded"),
        "{}",
        refused.stderr
    );
    rounds.end();
    let profile = profile(&workshop.path("marked"));
    assert_eq!(profile["marks"][0]["text"], "half way");
    // What was allocated before the mark is not asked for.
    let mut summary = heapatlas_in(&workshop);
    summary.args(["summary", "marked", "--json", "--from", "mark:half way"]);
    let later: Value = serde_json::from_str(&answer(&mut summary, None).stdout).expect("JSON");
    assert_eq!(profile["totals"]["allocations"], 1100);
    assert_eq!(later["totals"]["allocations"], 100);
}

#[test]
fn what_is_in_the_socket_s_folder() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let folder = workshop.path("heapatlas");
    let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let socket = folder.join(format!("{}.socket", rounds.pid));
    assert!(
        fs::metadata(&socket)
            .expect("there")
            .file_type()
            .is_socket()
    );
    assert_eq!(mode(&socket), 0o600);
    for request in ["", "go", "start sampled 0", "start output relative", "mark"] {
        let answer = rounds.socket(&workshop).ask(request);
        assert_eq!(answer["ok"], false, "{request}");
        assert!(answer["error"].is_string(), "{request}");
    }
    // Lines without an end, and nothing at all.
    let mut endless = rounds.socket(&workshop);
    let _ = endless.stream.write_all(&vec![b'x'; 100_000]);
    drop(rounds.socket(&workshop));
    rounds.order("a");
    rounds.end();
    assert_eq!(fs::read_dir(&folder).expect("there").count(), 0);
}

#[test]
fn a_file_that_cannot_be_written_is_the_asker_s_trouble() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
    let mut socket = rounds.socket(&workshop);
    socket.ask_well("start output /no/such/folder/trace");
    rounds.order("a");
    let stopped = socket.ask("stop");
    assert_eq!(stopped["ok"], false, "{stopped}");
    socket.ask_well("start");
    rounds.order("a");
    let stopped = socket.ask_well("stop");
    let path = PathBuf::from(stopped["path"].as_str().expect("a file"));
    assert_totals(&path, 1000, 1000, ROUND_BYTES);
    rounds.end();
}

#[test]
fn a_signal_to_the_launcher() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(
        &workshop,
        &program,
        &["--idle", "-o", "by-signal.heaptrace"],
    );
    let mut socket = rounds.socket(&workshop);
    for (round, name) in ["by-signal.heaptrace", "by-signal.2.heaptrace"]
        .iter()
        .enumerate()
    {
        rounds.order("a");
        send(&rounds.launcher, "USR1");
        // It is asked after the signal was sent.
        let status = socket.ask_well("status");
        assert_eq!(status["recording"]["mode"], "exact", "{status}");
        // The program has this signal for itself.
        let answer = rounds.order("aau");
        assert_eq!(answer, format!("aa{} u", round + 1));
        send(&rounds.launcher, "USR1");
        let line = rounds.hears("wrote");
        assert!(line.contains(name), "{line}");
        assert_totals(&workshop.path(name), 2000, 2000, 2 * ROUND_BYTES);
    }
    rounds.end();
}

#[test]
fn forks_and_threads_in_every_state() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    for how in ["exact", "sampled 1", "sampled 500", "counting"] {
        let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
        let mut socket = rounds.socket(&workshop);
        rounds.order("kfft");
        let request = format!("start {how}");
        socket.ask_well(&request);
        rounds.order("ftfaf");
        let first = socket.ask_well("stop");
        rounds.order("fr");
        socket.ask_well(&request);
        rounds.order("fa");
        let second = socket.ask_well("stop");
        rounds.order("f");
        rounds.end();
        // What the thread costs besides: a stack's table or none.
        let check = |answer: &Value, blocks: u64| {
            let found = match answer.get("counts") {
                Some(counts) => counts["allocations"].clone(),
                None => {
                    let path = PathBuf::from(answer["path"].as_str().expect("a file"));
                    profile(&path)["totals"]["allocations"].clone()
                }
            };
            let found = found.as_u64().expect("a figure");
            // The rests of the stacks come on top.
            let interval = how
                .strip_prefix("sampled ")
                .and_then(|bytes| bytes.parse().ok());
            let rounds = (blocks / 1000) as u32;
            let slack = 4 + interval.map_or(0, |bytes| bounds(rounds, bytes).0 as u64);
            assert!(
                found.abs_diff(blocks) <= slack,
                "{how}: {found}, not {blocks}"
            );
        };
        check(&first, 2000);
        check(&second, 1000);
    }
}

/// The one who asked is killed: the recording ends, and what was recorded is kept.
#[test]
fn a_client_that_is_killed() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
    let mut client = heapatlas_in(&workshop);
    client
        .args(["record", "--pid", &rounds.pid.to_string(), "-o", "kept"])
        .stderr(Stdio::piped());
    let mut client = client.spawn().expect("starts");
    let mut line = String::new();
    let mut said = BufReader::new(client.stderr.take().expect("piped"));
    said.read_line(&mut line).expect("UTF-8");
    assert!(line.contains("recording process"), "{line}");
    rounds.order("a");
    // Two at a time: the second one is told, and changes nothing.
    let mut second = heapatlas_in(&workshop);
    second.args(["record", "--pid", &rounds.pid.to_string()]);
    let refused = answer(&mut second, None);
    assert!(
        refused.error().contains("a recording is on already"),
        "{refused:?}"
    );
    rounds.order("k");
    client.kill().expect("killed");
    wait(&mut client);
    rounds.hears("wrote");
    rounds.order("a");
    rounds.end();
    assert_totals(&workshop.path("kept"), 1100, 1000, ROUND_BYTES + 30_000);
}

/// The program ends while somebody records it.
#[test]
fn a_program_that_ends_under_its_client() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
    let mut client = heapatlas_in(&workshop);
    client
        .args(["record", "--json", "--pid", &rounds.pid.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().expect("starts");
    let mut said = BufReader::new(client.stderr.take().expect("piped"));
    said.read_line(&mut String::new()).expect("UTF-8");
    rounds.order("a");
    let pid = rounds.pid;
    rounds.end();
    let mut summary = String::new();
    let mut out = client.stdout.take().expect("piped");
    out.read_to_string(&mut summary).expect("UTF-8");
    assert_eq!(wait(&mut client).code(), Some(0));
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["totals"]["allocations"], 1000);
    assert_eq!(
        names_with(&workshop, ".heaptrace"),
        [format!("heapatlas.rounds.{pid}.heaptrace")]
    );
}

#[test]
fn processes_that_cannot_be_asked() {
    let workshop = Workshop::new();
    let ask = |pid: &str| {
        let mut client = heapatlas_in(&workshop);
        answer(client.args(["record", "--pid", pid]), None)
    };
    let none = ask("4294967294");
    assert!(none.error().contains("there is no process 4294967294"));
    // Its arguments are quoted where a shell needs that.
    let mut sleeper = Command::new("sh");
    sleeper.args(["-c", "echo on; read line", "two words"]);
    sleeper.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sleeper = sleeper.spawn().expect("starts");
    first_line(sleeper.stdout.as_mut().expect("piped"));
    let none = ask(&sleeper.id().to_string());
    assert!(none.error().contains("has no recorder"), "{none:?}");
    let command = "`heapatlas record --idle -- sh -c 'echo on; read line' 'two words'`";
    assert!(none.stderr.contains(command), "{}", none.stderr);
    drop(sleeper.stdin.take());
    wait(&mut sleeper);
}

#[test]
fn options_that_do_not_go_together() {
    let workshop = Workshop::new();
    let cases: [(&[&str], &str); 7] = [
        (
            &["--mode", "exact", "--sample", "1MB", "--", "true"],
            "--sample",
        ),
        (
            &["--mode", "counting", "--overhead", "2%", "--", "true"],
            "--overhead",
        ),
        (&["--mode", "counting", "-o", "x", "--", "true"], "--output"),
        (&["--idle", "--duration", "1s", "--", "true"], "--duration"),
        (&["--pid", "1", "--", "true"], "--pid"),
        (&["--pid", "1", "--idle"], "--idle"),
        (&["--sample", "0", "--", "true"], "--sample"),
    ];
    for (options, word) in cases {
        let mut command = heapatlas_in(&workshop);
        let refused = answer(command.arg("record").args(options), None);
        assert!(refused.error().contains(word), "{refused:?}");
    }
    assert_eq!(names_with(&workshop, ""), [] as [&str; 0]);
}

#[test]
fn a_recording_of_some_time() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let options = ["--duration", "300ms", "-o", "short.heaptrace"];
    let mut rounds = Rounds::start(&workshop, &program, &options);
    rounds.hears("the program runs on");
    let mut socket = rounds.socket(&workshop);
    assert_eq!(socket.ask_well("status")["recording"], Value::Null);
    rounds.order("aaa");
    let (_, said) = rounds.end();
    assert!(said.contains("short.heaptrace"), "{said}");
    assert_totals(&workshop.path("short.heaptrace"), 0, 0, 0);
}

/// Five standard deviations (the draws are others in each run) of an estimated sum over `rounds` orders `a`, of blocks and of bytes: the number of
/// samples of a size is binomial.
fn bounds(rounds: u32, interval: f64) -> (f64, f64) {
    let (mut blocks, mut bytes) = (0.0, 0.0);
    for size in (1..=1000).map(f64::from) {
        let share = -(-size / interval).exp_m1();
        let variance = (1.0 - share) / share * f64::from(rounds);
        blocks += variance;
        bytes += variance * size * size;
    }
    (5.0 * blocks.sqrt(), 5.0 * bytes.sqrt())
}

#[test]
fn samples_stand_for_all() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    for interval in [1_u64, 300, 4096] {
        let sample = interval.to_string();
        let options = ["--sample", &sample, "-o", "sampled.heaptrace"];
        let mut rounds = Rounds::start(&workshop, &program, &options);
        rounds.order("AkgAr");
        let (_, said) = rounds.end();
        assert!(said.contains("all figures are estimates"), "{said}");
        let profile = profile(&workshop.path("sampled.heaptrace"));
        assert_eq!(profile["mode"], "sampled");
        assert_eq!(profile["sample_interval_bytes"], interval);
        assert_eq!(profile["temporary"]["allocations"], 0);
        let figure = |path: &str| {
            profile
                .pointer(path)
                .and_then(Value::as_f64)
                .expect("a figure")
        };
        let (blocks, bytes) = bounds(200, interval as f64);
        // The kept and the grown blocks are few, and their part of the deviation is below a tenth of this.
        let near = |path: &str, expected: f64, bound: f64| {
            let found = figure(path);
            assert!(
                (found - expected).abs() <= 1.1 * bound + 1.0,
                "{interval}: {path} is {found}, not {expected}"
            );
        };
        near("/totals/allocations", 200_200.0, blocks);
        near("/totals/frees", 200_200.0, blocks);
        near(
            "/totals/bytes",
            200.0 * ROUND_BYTES as f64 + 90_000.0,
            bytes,
        );
        // Each sampled block is freed by the end.
        assert_eq!(figure("/live_at_end/blocks"), 0.0);
        assert_eq!(figure("/live_at_end/bytes"), 0.0);
    }
}

/// Every function of the family, sampled at every byte: nearly every block is recorded, and every figure is as in an
/// exact recording but for chance, which leaves out one in e^s blocks of s bytes.
#[test]
fn the_whole_family_in_samples_and_sums() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "family.c");
    let record = |options: &[&str]| {
        let mut command = heapatlas_in(&workshop);
        command.arg("record").args(options).arg("--").arg(&program);
        let answer = answer(&mut command, None);
        assert_eq!(answer.code, Some(7), "{}", answer.stderr);
        answer
    };
    record(&["--no-summary", "-o", "exact"]);
    record(&["--no-summary", "--sample", "1", "-o", "sampled"]);
    let (exact, sampled) = (
        profile(&workshop.path("exact")),
        profile(&workshop.path("sampled")),
    );
    for path in [
        "/totals/allocations",
        "/totals/frees",
        "/totals/bytes",
        "/live_at_end/bytes",
    ] {
        let figure = |profile: &Value| profile.pointer(path).and_then(Value::as_u64);
        let (Some(exact), Some(sampled)) = (figure(&exact), figure(&sampled)) else {
            panic!("{path}")
        };
        assert!(
            exact.abs_diff(sampled) <= 40,
            "{path}: {sampled}, not {exact}"
        );
    }
    let counted = record(&["--mode", "counting", "--json"]);
    let counts = last_json(&counted);
    assert_eq!(counts["totals"], exact["totals"]);
    assert_eq!(counts["mode"], "counting");
}

/// The JSON on stderr.
#[track_caller]
fn last_json(answer: &Answer) -> Value {
    let line = answer.stderr.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.expect("JSON")).expect("JSON")
}

#[test]
fn sums_of_threads() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--mode", "counting"]);
    let mut socket = rounds.socket(&workshop);
    rounds.order("k");
    let before = socket.ask_well("status")["counts"].clone();
    assert_eq!(before["allocations"], 100);
    assert_eq!(before["bytes"], 30_000);
    // glibc's usable sizes: 8 more than a multiple of 16.
    assert_eq!(before["live_bytes"], 100 * 312);
    rounds.order("atar");
    let after = socket.ask_well("status")["counts"].clone();
    assert_eq!(after["frees"], 3100);
    // A thread has a table that the linker keeps.
    let allocations = after["allocations"].as_u64().expect("a figure");
    assert!((3100..=3102).contains(&allocations), "{after}");
    let peak = after["peak_bytes"].as_u64().expect("a figure");
    let error = after["peak_error_bytes"].as_u64().expect("a figure");
    let expected = 30_000 + ROUND_BYTES;
    // Usable bytes are at most 24 more than those that were asked for.
    assert!(peak.abs_diff(expected) <= error + 24 * 1200, "{after}");
    let (_, said) = rounds.end();
    assert!(said.contains("counted for"), "{said}");
    assert_eq!(names_with(&workshop, ".heaptrace"), [] as [&str; 0]);
}

/// Whatever intervals were used, each sample counts by the one that it was drawn with: the sum lies as near as it
/// does for the largest of them.
#[test]
fn an_interval_that_follows_the_cost() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let options = ["--overhead", "90%", "--sample", "1MiB", "-o", "trace"];
    let mut rounds = Rounds::start(&workshop, &program, &options);
    for _ in 0..40 {
        rounds.order("A");
    }
    let (_, said) = rounds.end();
    assert!(said.contains("sampled every"), "{said}");
    let profile = profile(&workshop.path("trace"));
    assert_eq!(profile["mode"], "sampled");
    let interval = profile["sample_interval_bytes"].as_f64().expect("a figure");
    assert!(interval >= 1048576.0, "{interval}");
    let (_, bound) = bounds(4000, interval);
    let found = profile.pointer("/totals/bytes").and_then(Value::as_f64);
    let (found, expected) = (found.expect("a figure"), 4000.0 * ROUND_BYTES as f64);
    assert!(
        (found - expected).abs() <= bound,
        "{found}, not {expected}: {said}"
    );
}

/// Programs that do hard things do them all the same, whatever the recorder does; survive.c says what.
#[test]
fn what_programs_do_in_every_mode() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile(C, "survive.c");
    let modes: [&[&str]; 4] = [
        &["--idle"],
        &["--sample", "1"],
        &["--sample", "50KiB"],
        &["--mode", "counting"],
    ];
    for name in [
        "threads",
        "fork",
        "cancel",
        "abort",
        "close-all",
        "signals",
        "jumps",
        "spawn",
        "replace",
    ] {
        let bare = answer(Command::new(&program).arg(name).stdin(Stdio::null()), None);
        for mode in modes {
            let mut recorder = heapatlas_in(&workshop);
            recorder.args(["record", "--no-summary"]).args(mode);
            recorder.arg("--").arg(&program).arg(name);
            let recorded = answer(&mut recorder, None);
            assert_eq!(
                recorded.status, bare.status,
                "{name} {mode:?}: {}",
                recorded.stderr
            );
            assert_eq!(recorded.stdout, bare.stdout, "{name} {mode:?}");
        }
    }
    for trace in names_with(&workshop, ".heaptrace") {
        profile(&workshop.path(&trace));
    }
}

/// Those who run it from a script see what it says of itself.
#[test]
fn an_idle_recorder_says_how_to_begin() {
    let Some((workshop, program)) = rounds() else {
        return;
    };
    let mut rounds = Rounds::start(&workshop, &program, &["--idle"]);
    let line = rounds.hears("is idle");
    assert!(
        line.contains(&format!("record --pid {}", rounds.pid)),
        "{line}"
    );
    assert!(
        line.contains(&format!("kill -USR1 {}", rounds.launcher.id())),
        "{line}"
    );
    rounds.end();
}
