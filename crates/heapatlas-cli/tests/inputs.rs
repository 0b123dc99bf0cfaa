//! The same figures whatever way a file comes in.

mod harness;

use harness::{
    Answer, fixture, fixture_names, fixture_text, gzip, run, run_with_stdin, temporary_file,
};

fn summary_of_file(content: &[u8]) -> Answer {
    let file = temporary_file(content);
    run(["summary", "--json", file.path().to_str().unwrap()])
}

#[track_caller]
fn check(name: &str) {
    let text = fixture_text(name);
    let expected = run(["summary", "--json", &fixture(name)]).fine().stdout;
    let packed = [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()];
    assert_eq!(
        summary_of_file(&text).fine().stdout,
        expected,
        "{name}: plain"
    );
    for packed in &packed {
        assert_eq!(
            summary_of_file(packed).fine().stdout,
            expected,
            "{name}: packed"
        );
    }
    let [gz, zst] = packed;
    for stdin in [text, gz, zst] {
        let answer = run_with_stdin(["summary", "--json", "-"], stdin).fine();
        assert_eq!(answer.stdout, expected, "{name}: stdin");
    }
}

#[test]
fn hand_made_graphs() {
    for name in fixture_names("micro", ".heapsnapshot") {
        check(&format!("micro/{name}"));
    }
}

#[test]
fn real_heaps() {
    for name in [
        "node20-features.heaptimeline.gz",
        "chromium156-page-2.heapsnapshot.gz",
    ] {
        check(name);
    }
}

/// Byte order mark, CR LF and indentation are all the same to JSON.
#[test]
fn other_spellings_of_the_same_json() {
    let name = "micro/m01-owned-sizes.heapsnapshot";
    let expected = run(["summary", "--json", &fixture(name)]).fine().stdout;
    let text = String::from_utf8(fixture_text(name)).unwrap();
    let spellings = [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        text.replace("],\n\"", "\t]\n,\n  \"")
            .replace("\":[", "\" : [\n    "),
    ];
    for other in spellings {
        assert_ne!(other, text);
        assert_eq!(summary_of_file(other.as_bytes()).fine().stdout, expected);
    }
}

#[test]
fn members_in_another_order() {
    let name = "micro/m01-owned-sizes.heapsnapshot";
    let expected = run(["summary", "--json", &fixture(name)]).fine().stdout;
    let text = String::from_utf8(fixture_text(name)).unwrap();
    let inside = text
        .trim()
        .strip_prefix('{')
        .unwrap()
        .strip_suffix('}')
        .unwrap();
    let in_order = |is_early: fn(&str) -> bool| {
        let (mut early, late): (Vec<_>, Vec<_>) =
            inside.split(",\n").partition(|member| is_early(member));
        early.extend(late);
        format!("{{{}}}", early.join(",\n"))
    };
    let strings_first = in_order(|member| member.starts_with("\"strings\""));
    let edges_last = in_order(|member| !member.starts_with("\"edges\""));
    let edges_first = in_order(|member| !member.starts_with("\"nodes\""));
    for other in [strings_first, edges_last, edges_first] {
        assert_ne!(other, text);
        assert_eq!(summary_of_file(other.as_bytes()).fine().stdout, expected);
    }
}

#[cfg(unix)]
#[test]
fn a_fifo_is_a_stream() {
    let name = "micro/m01-owned-sizes.heapsnapshot";
    let expected = run(["summary", "--json", &fixture(name)]).fine().stdout;
    let answer = run_with_stdin(["summary", "--json", "/dev/stdin"], fixture_text(name));
    assert_eq!(answer.fine().stdout, expected);
}

#[test]
fn stdin_stands_beside_files() {
    let second = fixture_text("node20-leak-2.heapsnapshot.gz");
    let first = fixture("node20-leak-1.heapsnapshot.gz");
    let answer = run_with_stdin(["compare", "--json", "--paths", "0", &first, "-"], second);
    assert_eq!(answer.json()["totals"]["new"], 25326);
    let twice = run(["compare", "-", "-"]);
    assert!(twice.error().contains("stdin can be read only once"));
}

/// Trailing bytes are no reason to refuse a file, as for `gzip -d`.
#[test]
fn trailing_bytes_are_told_of() {
    let mut packed = gzip(&fixture_text("micro/m01-owned-sizes.heapsnapshot"));
    packed.extend(b"\0\0\0\0");
    let answer = summary_of_file(&packed).fine();
    assert!(answer.stderr.starts_with("warning: "), "{}", answer.stderr);
}
