//! Arguments, exit codes, streams that end, colors, help.

mod harness;

use std::fs;
use std::fs::File;
use std::process::Stdio;

use harness::{answer, fixture, fixture_text, heapatlas, run, temporary_file};

fn features() -> String {
    fixture("node20-features.heapsnapshot.gz")
}

fn leak(number: u32) -> String {
    fixture(&format!("node20-leak-{number}.heapsnapshot.gz"))
}

#[test]
fn help_of_every_verb_ends_with_examples() {
    for verb in ["leaks", "summary", "compare", "show", "export"] {
        for flag in ["-h", "--help"] {
            let help = run([verb, flag]).fine().stdout;
            let (_, examples) = help.split_once("\nExamples:\n").unwrap();
            assert!(
                examples
                    .lines()
                    .all(|line| line.starts_with("  heapatlas ")),
                "{examples}"
            );
            assert!(help.ends_with('\n'));
        }
    }
    let help = run(["--help"]).fine().stdout;
    assert!(help.contains("HEAPATLAS_TIMINGS") && help.contains("Exit codes"));
    assert!(!help.contains("completions"));
}

#[test]
fn completions_and_man_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]).fine().stdout;
        assert!(script.contains("fail-on"), "{shell}");
    }
    assert!(run(["man"]).fine().stdout.contains("heapatlas\\-summary"));
    let page = run(["man", "summary"]).fine().stdout;
    assert!(
        page.contains("\\-\\-quick") && page.contains("\\-\\-salvage"),
        "{page}"
    );
    assert!(
        run(["man", "nonsense"])
            .error()
            .contains("no verb `nonsense`")
    );
}

#[test]
fn a_wrong_command_line_is_an_error() {
    let cases: [&[&str]; 9] = [
        &[],
        &["nonsense"],
        &["summary"],
        &["summary", "a", "--nonsense"],
        &["summary", "a", "--select", "nonsense"],
        &["summary", "a", "--filter", "/(/"],
        &["compare", "a"],
        &["compare", "a", "b", "--fail-on", "size=5"],
        &["leaks", "a", "--fail-on", "10XB"],
    ];
    for args in cases {
        let answer = run(args);
        assert_eq!(
            (answer.code, answer.stdout.as_str()),
            (Some(2), ""),
            "{args:?}"
        );
        assert!(!answer.stderr.is_empty());
    }
}

#[test]
fn options_stand_before_or_after_the_verb() {
    let before = run(["--json", "summary", "--top", "1", &features()])
        .fine()
        .stdout;
    let after = run(["summary", "--top", "1", &features(), "--json"])
        .fine()
        .stdout;
    assert_eq!(before, after);
}

#[test]
fn top_filter_and_sort() {
    let features = features();
    let names = |options: &[&str]| -> Vec<String> {
        let mut args = vec!["summary", "--json", features.as_str()];
        args.extend(options);
        let summary = run(args).json();
        harness::rows(&summary["classes"])
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["--top", "3"]).len(), 3);
    assert_eq!(names(&["--top", "0"]), names(&[]));
    let maps = names(&["--filter", "MAP"]);
    assert!(!maps.is_empty() && maps.iter().all(|name| name.to_lowercase().contains("map")));
    assert_eq!(names(&["--filter", "/^Map$/"]), ["Map"]);
    let sorted = names(&["--sort", "name"]);
    assert!(sorted.is_sorted());
}

#[test]
fn checks_fail_with_exit_code_1() {
    let (first, third) = (leak(1), leak(3));
    let compare = |limit: &str| {
        run([
            "compare",
            &first,
            &third,
            "--paths",
            "0",
            "--fail-on",
            limit,
        ])
    };
    for limit in [
        "grow=1MB",
        "count=1000",
        "new=Session:1999",
        "grow=Session:1KB",
    ] {
        let answer = compare(limit);
        assert_eq!(answer.code, Some(1), "{limit}");
        assert!(
            answer.stderr.contains("failed: "),
            "{limit}: {}",
            answer.stderr
        );
        assert!(!answer.stdout.is_empty());
    }
    for limit in [
        "grow=1GB",
        "count=1000000",
        "new=Session:2000",
        "new=NoSuchClass:0",
    ] {
        compare(limit).fine();
    }
    let leaks = |limit: &str| run(["leaks", &first, &third, "--fail-on", limit]);
    assert_eq!(leaks("suspects").code, Some(1));
    assert_eq!(leaks("1KB").code, Some(1));
    leaks("1GB").fine();
}

#[test]
fn missing_objects_and_classes() {
    let unknown = run(["show", &features(), "@1"]);
    assert_eq!(unknown.code, Some(0), "the root is number 1");
    assert!(
        run(["show", &features(), "@2"])
            .error()
            .contains("no object @2")
    );
    let unknown = run(["show", &features(), "arraybuffe"]);
    assert!(unknown.error().contains("no class `arraybuffe`"));
    assert!(
        unknown.stderr.contains("hint: there are: ") && unknown.stderr.contains("`ArrayBuffer`")
    );
}

/// `heapatlas … | head`: whoever closed the pipe has seen enough.
#[test]
fn a_closed_pipe_is_a_normal_end() {
    let chromium = fixture("chromium156-page-2.heapsnapshot.gz");
    let verbs: [&[&str]; 5] = [
        &["summary", "--json", &chromium],
        &["summary", "--top", "0", &chromium],
        &["export", "--to", "v8", &chromium],
        &["--help"],
        &["completions", "bash"],
    ];
    for args in verbs {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = heapatlas()
            .args(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let features = features();
    let verbs: [&[&str]; 5] = [
        &["summary", &features],
        &["summary", "--json", &features],
        &["export", "--to", "csv", &features],
        &["--help"],
        &["man"],
    ];
    for args in verbs {
        let full = File::create("/dev/full").unwrap();
        let output = heapatlas()
            .args(args)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(
            stderr.starts_with("error: while writing to stdout: "),
            "{args:?}: {stderr}"
        );
    }
    let answer = run(["export", "--to", "csv", &features, "-o", "/dev/full"]);
    assert!(answer.error().contains("while writing `/dev/full`"));
}

#[test]
fn colors_on_request_only() {
    let is_colored = |text: &str| text.contains('\x1b');
    let features = features();
    assert!(!is_colored(&run(["summary", &features]).fine().stdout));
    assert!(is_colored(
        &run(["summary", "--color", "always", &features])
            .fine()
            .stdout
    ));
    let mut command = heapatlas();
    command.env("NO_COLOR", "1").args(["summary", &features]);
    assert!(!is_colored(&answer(&mut command, None).fine().stdout));
}

/// Names come from somebody's heap: they must not reach a terminal as commands.
#[test]
fn hostile_names_stay_text() {
    let text = String::from_utf8(fixture_text("micro/m09-trace.heapsnapshot")).unwrap();
    let file = temporary_file(
        text.replace(r#""A","B""#, r#""\u001b[2J","B\u202e""#)
            .as_bytes(),
    );
    let path = file.path().to_str().unwrap();
    let verbs: [&[&str]; 4] = [
        &["summary", path],
        &["show", path, "@9"],
        &["show", path, "@7"],
        &["leaks", path],
    ];
    for args in verbs {
        let text = run(args).fine().stdout;
        assert!(!text.contains(['\x1b', '\u{202e}']), "{args:?}: {text}");
    }
}

#[test]
fn timings_on_request() {
    let mut command = heapatlas();
    command
        .env("HEAPATLAS_TIMINGS", "1")
        .args(["compare", "--json", &leak(1), &leak(2)]);
    let stderr = answer(&mut command, None).fine().stderr;
    let phases: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("timing: ")?.split(' ').next())
        .collect();
    assert_eq!(phases, ["read", "open", "compare", "render"]);
    assert!(stderr.contains(" cpu_ms=") && stderr.contains(" wall_ms="));
}

#[test]
fn text_of_leaks_says_what_to_do_next() {
    let (first, second, third) = (leak(1), leak(2), leak(3));
    let text = run(["leaks", &first, &second, &third]).fine().stdout;
    assert!(text.contains("200 → 1,200 → 2,200 (+1,000 each)"), "{text}");
    assert!(text.contains("\nnext:\n  heapatlas show "), "{text}");
}

#[test]
fn exports() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let features = features();
    let summary = run(["summary", "--json", &features]).fine().stdout;

    let json = path("classes.json");
    run(["export", "--to", "json", &features, "-o", &json]).fine();
    assert_eq!(fs::read_to_string(&json).unwrap(), summary);

    let csv = run(["export", "--to", "csv", &features]).fine().stdout;
    assert!(csv.starts_with("name,key,count,distance,shallow_bytes,retained_bytes\r\n"));
    assert_eq!(csv.matches("\r\n").count(), 180);

    for name in [
        "again.heapsnapshot",
        "again.heapsnapshot.gz",
        "again.heapsnapshot.zst",
    ] {
        run(["export", "--to", "v8", &features, "-o", &path(name)]).fine();
        assert_eq!(
            run(["summary", "--json", &path(name)]).fine().stdout,
            summary,
            "{name}"
        );
    }
    let missing = run([
        "export",
        "--to",
        "csv",
        &features,
        "-o",
        &path("no/such/folder.csv"),
    ]);
    assert!(missing.error().contains("while writing"));
}
