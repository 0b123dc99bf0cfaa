//! Marks: moments with a name, shown and used as times. The recordings are made by hand.

mod harness;

use harness::{rows, run, temporary_file};
use heapatlas_formats::trace::{Aggregator, End, ProcessInfo, Segment, Writer};
use heapatlas_trace::{Encoder, MAX_EVENT_BYTES};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// What happens at a time in microseconds.
enum Event {
    Allocate { bytes: u64, address: u64 },
    Free { address: u64 },
    Mark(&'static str),
}

use Event::{Allocate, Free, Mark};

/// Two requests between two marks each; every block lives on but for three.
const EVENTS: [(u64, Event); 13] = [
    (
        100,
        Allocate {
            bytes: 1,
            address: 16,
        },
    ),
    (200, Mark("begin")),
    (
        300,
        Allocate {
            bytes: 10,
            address: 32,
        },
    ),
    (
        310,
        Allocate {
            bytes: 20,
            address: 48,
        },
    ),
    (320, Free { address: 48 }),
    (330, Free { address: 16 }),
    (400, Mark("end")),
    (500, Free { address: 32 }),
    (600, Mark("begin")),
    (
        700,
        Allocate {
            bytes: 100,
            address: 64,
        },
    ),
    (800, Mark("end")),
    (
        900,
        Allocate {
            bytes: 1000,
            address: 80,
        },
    ),
    (990, Mark("\u{1b}[31mred")),
];

const LENGTH_NS: u64 = 1_000_000;

fn stream() -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.start(0);
    let mut bytes = Vec::new();
    for (microseconds, event) in &EVENTS {
        let tick = 1000 * microseconds;
        let mut out = [0; MAX_EVENT_BYTES];
        let length = match *event {
            Allocate { bytes, address } => encoder.allocation(&mut out, 0, bytes, address, tick),
            Free { address } => encoder.free(&mut out, address, tick),
            Mark(text) => encoder.mark(&mut out, tick, text.as_bytes()),
        };
        bytes.extend_from_slice(&out[..length]);
    }
    bytes
}

fn process() -> ProcessInfo<'static, [&'static str; 1]> {
    ProcessInfo {
        ticks_per_second: 1_000_000_000,
        arguments: ["server"],
        ..ProcessInfo::default()
    }
}

fn end() -> End {
    End {
        tick: LENGTH_NS,
        elapsed_ns: LENGTH_NS,
        status: Some(0),
        ..End::default()
    }
}

fn segment(bytes: &[u8]) -> Segment<'_> {
    Segment {
        thread: 0,
        base_tick: Some(0),
        bytes,
        is_exclusive: false,
    }
}

fn trace() -> NamedTempFile {
    let mut writer = Writer::new(Vec::new(), &process())
        .unwrap()
        .with_exact_times();
    let stream = stream();
    let segments = [segment(&stream)].into_iter();
    writer.events(LENGTH_NS, LENGTH_NS, 0, segments).unwrap();
    temporary_file(&writer.end(&end()).unwrap())
}

fn aggregate_trace() -> NamedTempFile {
    let mut aggregator = Aggregator::new(&process());
    let stream = stream();
    let segments = [segment(&stream)].into_iter();
    aggregator.events(LENGTH_NS, LENGTH_NS, 0, segments);
    temporary_file(&aggregator.end(&end(), Vec::new()).unwrap())
}

fn path(trace: &NamedTempFile) -> &str {
    trace.path().to_str().expect("UTF-8")
}

#[test]
fn are_listed() {
    for trace in [trace(), aggregate_trace()] {
        let profile = run(["summary", "--json", path(&trace)]).json();
        let mark = |time_ns: u64, text: &str| json!({"time_ns": time_ns, "text": text});
        assert_eq!(
            rows(&profile["marks"]),
            [
                mark(200_000, "begin"),
                mark(400_000, "end"),
                mark(600_000, "begin"),
                mark(800_000, "end"),
                mark(990_000, "\u{1b}[31mred"),
            ]
        );
        let text = run(["summary", "--top", "4", path(&trace)]).fine().stdout;
        assert!(text.contains("\nmarks\n"), "{text}");
        assert!(text.contains("\n200.0 µs  begin\n"), "{text}");
        assert!(text.contains("… 1 more mark"), "{text}");
        assert_eq!(text.matches('▲').count() + text.matches('^').count(), 5);
        // Text of a program does not reach the terminal as it is.
        assert!(
            !run(["summary", path(&trace)])
                .fine()
                .stdout
                .contains('\u{1b}')
        );
    }
}

#[track_caller]
fn check(options: &[&str], allocations: u64, bytes: u64, live_bytes: u64) {
    let trace = trace();
    let arguments = ["summary", "--json", path(&trace)];
    let profile: Value = run(arguments.iter().chain(options)).json();
    let figures = (
        profile["totals"]["allocations"].as_u64().unwrap(),
        profile["totals"]["bytes"].as_u64().unwrap(),
        profile["live_at_end"]["bytes"].as_u64().unwrap(),
    );
    assert_eq!(figures, (allocations, bytes, live_bytes), "{options:?}");
}

/// Allocated within, and still alive at the end of it.
#[test]
fn are_times() {
    check(&[], 5, 1131, 1100);
    check(&["--from", "mark:begin", "--to", "mark:end"], 2, 30, 10);
    check(&["--from", "mark:begin"], 4, 1130, 1100);
    check(&["--to", "mark:begin"], 1, 1, 1);
    check(&["--to", "mark:end"], 3, 31, 10);
    check(&["--from", "500us", "--to", "mark:end"], 1, 100, 100);
    // From the first request to the second.
    check(&["--from", "mark:begin", "--to", "mark:begin"], 2, 30, 0);
}

#[test]
fn exports_take_them() {
    let trace = trace();
    let options = ["--from", "mark:begin", "--until", "mark:end"];
    let export = ["export", path(&trace), "--to", "json", "-o", "-"];
    let profile = run(export.into_iter().chain(options)).json();
    assert_eq!(profile["live_at_end"]["bytes"], 10);
}

#[test]
fn those_that_are_not_there() {
    let trace = trace();
    let answer = run(["summary", path(&trace), "--from", "mark:start"]);
    assert!(answer.error().contains("the recording has no mark `start`"));
    assert!(
        answer.stderr.contains("hint: there are: `begin`, `end`"),
        "{}",
        answer.stderr
    );
    let answer = run([
        "summary",
        path(&trace),
        "--from",
        "900us",
        "--to",
        "mark:end",
    ]);
    assert!(
        answer
            .error()
            .contains("no mark `end` comes after 900.0 µs")
    );
    let aggregate = aggregate_trace();
    let answer = run(["summary", path(&aggregate), "--from", "mark:begin"]);
    assert!(answer.error().contains("sums in place of events"));
}
