//! Damaged and foreign files: one clear error with section and byte offset, exit code 2, no panic.

mod harness;

use harness::{Answer, answer, fixture, fixture_text, gzip, heapatlas, run, temporary_file};

/// A small file that has something in each section.
fn small() -> String {
    String::from_utf8(fixture_text("micro/m09-trace.heapsnapshot"))
        .unwrap()
        .replace(r#""locations":[]"#, r#""locations":[28,1,2,3,35,1,5,6]"#)
}

fn summary(content: &[u8], options: &[&str]) -> Answer {
    let file = temporary_file(content);
    let mut args = vec!["summary", "--json"];
    args.extend(options);
    args.push(file.path().to_str().unwrap());
    run(args)
}

/// Replaces a part of the small file, which must be there.
#[track_caller]
fn with(old: &str, new: &str) -> String {
    let text = small();
    assert!(text.contains(old), "{old}");
    text.replacen(old, new, 1)
}

#[track_caller]
fn check_refused(content: impl AsRef<[u8]>, section: &str, problem: &str) {
    let answer = summary(content.as_ref(), &[]);
    let error = answer.error();
    let place = format!("{section} at byte ");
    let has_offset = error
        .split_once(&place)
        .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    assert!(has_offset, "{error} does not name {section} and an offset");
    assert!(error.contains(problem), "{error} does not say {problem}");
}

#[track_caller]
fn check_accepted(content: impl AsRef<[u8]>, warning: &str) {
    let answer = summary(content.as_ref(), &[]).fine();
    assert!(
        answer.stderr.contains(warning),
        "{} does not say {warning}",
        answer.stderr
    );
}

#[test]
fn not_a_file() {
    assert!(
        run(["summary", "no-such-file"])
            .error()
            .contains("cannot open it")
    );
    let directory = fixture("micro");
    assert!(
        run(["summary", &directory])
            .error()
            .contains("this is a directory")
    );
}

#[test]
fn an_empty_file_tells_of_a_killed_writer() {
    let plain = summary(b"", &[]);
    assert!(plain.error().contains("file at byte 0: the file is empty"));
    assert!(
        plain
            .stderr
            .contains("hint: the process that wrote it was probably killed")
    );
    let packed = summary(&gzip(b""), &[]);
    assert!(packed.error().contains("the file is empty"));
}

#[test]
fn something_else() {
    check_refused("hello world", "file", "not a V8 heap snapshot");
    check_refused(r#"{"a": 1}"#, "file", "not a V8 heap snapshot");
    check_refused("[1, 2, 3]", "file", "not a V8 heap snapshot");
    check_refused("dartheap\x01\x02", "file", "a Dart heap snapshot");
    check_refused(b"\x7fELF\x02\x01", "file", "a program or shared library");
    check_refused(r#"{"dhatFileVersion":2}"#, "file", "a DHAT profile");
    check_refused(gzip(&gzip(b"{}")), "file", "a gzip file");
    let profile = run(["summary", &fixture("node20-features.heapprofile.gz")]);
    assert!(
        profile
            .error()
            .contains("file at byte 0: this is a V8 sampling heap profile")
    );
    assert!(
        profile
            .stderr
            .contains("hint: it counts allocations and holds no objects")
    );
}

#[test]
fn truncated_in_each_section() {
    const SECTIONS: [&str; 8] = [
        "snapshot",
        "nodes",
        "edges",
        "trace_function_infos",
        "trace_tree",
        "samples",
        "locations",
        "strings",
    ];
    for section in SECTIONS {
        let text = small();
        let start = text.find(&format!("\"{section}\":")).unwrap() + section.len() + 3;
        let end = start + text[start..].find('\n').unwrap_or(text.len() - start);
        check_refused(&text[..(start + end) / 2], section, "the file ends here");
    }
}

/// Wherever a file is cut, it is refused; salvaging never panics and says what it did.
#[test]
fn cut_at_every_byte() {
    let text = small();
    let whole = text.trim_end().len();
    for length in 0..whole {
        let cut = &text.as_bytes()[..length];
        summary(cut, &[]).error();
        let salvaged = summary(cut, &["--salvage"]);
        match salvaged.code {
            Some(0) => assert!(
                salvaged.stderr.contains("salvaged"),
                "{length}: {salvaged:?}"
            ),
            _ => drop(salvaged.error()),
        }
    }
}

#[test]
fn salvaged_files_work_with_every_verb() {
    let text = small();
    let strings = text.find("\"strings\"").unwrap();
    let cut = temporary_file(&text.as_bytes()[..strings + 30]);
    let path = cut.path().to_str().unwrap();
    let verbs: [&[&str]; 6] = [
        &["summary", path],
        &["summary", "--quick", path],
        &["compare", path, path],
        &["leaks", path],
        &["show", path, "@7"],
        &["export", "--to", "csv", path],
    ];
    for verb in verbs {
        let refused = run(verb);
        assert!(
            refused
                .stderr
                .contains("hint: `--salvage` keeps what is whole"),
            "{verb:?}"
        );
        refused.error();
        let salvaged = run(verb.iter().chain(&["--salvage"])).fine();
        assert!(
            salvaged.stderr.contains("salvaged"),
            "{verb:?}: {}",
            salvaged.stderr
        );
    }
}

#[test]
fn damaged_compression() {
    let text = fixture_text("micro/m01-owned-sizes.heapsnapshot");
    for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
        let cut = summary(&packed[..packed.len() - 10], &[]);
        assert!(
            cut.error().contains("of what was unpacked: the data is "),
            "{}",
            cut.stderr
        );
        let salvaged = summary(&packed[..packed.len() - 10], &["--salvage"]);
        assert!(salvaged.code == Some(0) || salvaged.error().contains(" at byte "));
    }
    let mut wrong_checksum = gzip(&text);
    let checksum = wrong_checksum.len() - 8;
    wrong_checksum[checksum] ^= 1;
    summary(&wrong_checksum, &[]).error();
    let salvaged = summary(&wrong_checksum, &["--salvage"]).fine();
    assert!(salvaged.stderr.contains("salvaged"));
}

/// The arrays are what counts; V8 itself writes wrong counts into timelines.
#[test]
fn wrong_counts_in_the_header_are_told_of() {
    let cases = [
        (
            r#""node_count":7"#,
            r#""node_count":8"#,
            "counts 8 nodes, the file has 7",
        ),
        (
            r#""node_count":7"#,
            r#""node_count":6"#,
            "counts 6 nodes, the file has 7",
        ),
        (
            r#""edge_count":6"#,
            r#""edge_count":9"#,
            "counts 9 edges, the file has 6",
        ),
        (
            r#""edge_count":6"#,
            r#""edge_count":3"#,
            "counts 3 edges, the file has 6",
        ),
        (
            r#""node_count":7"#,
            r#""node_count":10000000000"#,
            "counts 10000000000 nodes",
        ),
    ];
    for (old, new, warning) in cases {
        check_accepted(with(old, new), warning);
    }
}

/// No memory is reserved on a header's word: 10^10 nodes would be 180 GB.
#[cfg(target_os = "linux")]
#[test]
fn huge_counts_in_little_memory() {
    let huge = with(
        r#""node_count":7,"edge_count":6"#,
        r#""node_count":10000000000,"edge_count":10000000000"#,
    );
    let file = temporary_file(huge.as_bytes());
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 1000000 && exec \"$0\" \"$@\""]);
    limited.arg(heapatlas().get_program());
    limited.args(["summary", "--json", file.path().to_str().unwrap()]);
    answer(&mut limited, None).fine();
}

#[test]
fn wrong_counts_in_the_rows() {
    check_refused(with("9,1,1,0,2,0,0", "9,1,1,0,1,0,0"), "edges", "");
    check_refused(with("9,1,1,0,2,0,0", "9,1,1,0,3,0,0"), "edges", "");
    check_refused(with("9,1,1,0,2,0,0", "9,1,1,0,10000000000,0,0"), "", "");
    check_refused(with("13,40,0,3,0]", "13,40,0,3]"), "nodes", "");
    check_refused(with("2,11,42]", "2,11]"), "edges", "");
}

#[test]
fn edges_out_of_range() {
    check_refused(with("2,11,42]", "2,11,700]"), "edges", "points to");
    check_refused(with("2,11,42]", "2,11,49]"), "edges", "points to");
    check_refused(with("2,11,42]", "2,11,41]"), "edges", "no multiple");
    check_refused(with("2,11,42]", "2,11,99999999999999]"), "edges", "");
}

#[test]
fn odd_and_still_readable() {
    check_accepted(
        with("3,5,9,20", "3,5,7,20"),
        "object id that another node has",
    );
    check_accepted(with(r#""A","B""#, r#""\uD83D","\u0000""#), "");
    check_accepted(with(r#""A","B""#, "\"\x7f\",\"\u{e9}\""), "");
    check_accepted(with("3,5,9,20", "99,5,9,20"), "");
    check_accepted(
        with("\"samples\"", "\"unknown\":{\"a\":[1,{}]},\n\"samples\""),
        "",
    );
}

/// NUL and other raw control bytes within a string are no JSON, but no reason to give up.
#[test]
fn raw_control_characters() {
    let answer = summary(with("\"A\"", "\"\0\x01\"").as_bytes(), &[]);
    assert!(answer.code == Some(0) || answer.error().contains("strings at byte "));
}

#[test]
fn deep_nesting() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [1000, 1_000_000] {
        let unknown = with(
            "\"samples\"",
            &format!("\"unknown\":{},\n\"samples\"", deep(depth)),
        );
        let answer = summary(unknown.as_bytes(), &[]);
        assert!(answer.code == Some(0) || answer.error().contains(" at byte "));
    }
    let tree = format!("{}{}", "1,0,0,0,[".repeat(100_000), "]".repeat(100_000));
    let answer = summary(
        with("[1,0,0,0,[2", &format!("[{tree},1,0,0,0,[2")).as_bytes(),
        &[],
    );
    assert!(answer.code == Some(0) || answer.error().contains("trace_tree at byte "));
}

#[test]
fn an_error_in_one_of_several_files_names_it() {
    let good = fixture("micro/m01-owned-sizes.heapsnapshot");
    let bad = temporary_file(b"");
    let bad = bad.path().to_str().unwrap();
    let answer = run(["compare", &good, bad, "no-such-file"]);
    assert!(answer.error().contains(bad), "{}", answer.stderr);
}
