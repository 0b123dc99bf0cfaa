//! Programs and tests of users, built in a package of their own as `cargo new` makes it, and what they say.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const HEAPATLAS: &str = env!("CARGO_MANIFEST_DIR");

/// A hundred tests, made by [`hundred_tests`].
const HUNDRED_TESTS: &str = r#"
use heapatlas::{LeakTracker, adaptive_calloc, adaptive_free};

#[repr(C)]
struct Planted<const N: usize>([u8; 24]);

/// Blocks of the same size in all tests: what one frees, another is given. Half of them are freed by another thread.
fn run<const N: usize>(leaks: bool) {
    let _scope = LeakTracker::test_scope();
    for round in 0..50 {
        let blocks: Vec<usize> = (0..10).map(|_| allocate::<N>()).collect();
        let (ours, theirs) = blocks.split_at(5);
        let theirs = theirs.to_vec();
        let other = std::thread::spawn(move || theirs.into_iter().for_each(free::<N>));
        let left = usize::from(leaks && round == 25);
        ours[left..].iter().copied().for_each(free::<N>);
        other.join().unwrap();
    }
}

fn allocate<const N: usize>() -> usize {
    adaptive_calloc::<Planted<N>>(1).unwrap().as_ptr() as usize
}

fn free<const N: usize>(block: usize) {
    unsafe { adaptive_free(block as *mut Planted<N>) }
}
"#;

/// Every seventh test has a leak.
fn has_leak(number: usize) -> bool {
    number % 7 == 3
}

fn hundred_tests() -> String {
    let mut source = HUNDRED_TESTS.to_owned();
    for number in 0..100 {
        let leaks = has_leak(number);
        writeln!(
            source,
            "#[test] fn number_{number:02}() {{ run::<{number}>({leaks}) }}"
        )
        .unwrap();
    }
    source
}

/// The package, written once.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leak_programs");
        let manifest = format!(
            "[package]\nname = \"leak_programs\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
             [dependencies]\nheapatlas = {{ path = {HEAPATLAS:?} }}\n\
             [[bin]]\nname = \"ffi_leak\"\npath = \"{HEAPATLAS}/examples/ffi_leak.rs\"\n\
             [[test]]\nname = \"leak_tests\"\npath = \"{HEAPATLAS}/examples/leak_tests.rs\"\n"
        );
        fs::create_dir_all(folder.join("tests")).unwrap();
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.join("tests/hundred.rs"), hundred_tests()).unwrap();
        // The versions that the workspace has: nothing is looked for elsewhere.
        fs::copy(format!("{HEAPATLAS}/../../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        folder
    })
}

/// What a program wrote, and whether it succeeded.
struct Outcome {
    is_success: bool,
    text: String,
}

fn cargo(arguments: &[&str]) -> Outcome {
    let folder = package();
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUST_TEST_THREADS")
        .env_remove("RUST_BACKTRACE")
        .current_dir(folder);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("cargo runs");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Outcome {
        is_success: status.success(),
        text: text.concat(),
    }
}

/// `file:line` of the line of an example that has a text.
fn line_of(example: &str, text: &str) -> String {
    let path = format!("{HEAPATLAS}/examples/{example}.rs");
    let source = fs::read_to_string(path).unwrap();
    let index = source.lines().position(|line| line.contains(text));
    format!("examples/{example}.rs:{}:", index.expect(text) + 1)
}

/// What was written under a heading, up to the next one.
fn report<'t>(text: &'t str, heading: &str) -> &'t str {
    let start = text.find(heading);
    let start = start.unwrap_or_else(|| panic!("no {heading:?} in\n{text}"));
    let report = &text[start..];
    report.split("\n---- ").next().unwrap_or(report)
}

/// Frames of a report, without their numbers.
fn frames(report: &str) -> Vec<&str> {
    let lines = report.lines().map(str::trim);
    let numbered = lines.filter(|line| line.starts_with('#'));
    numbered
        .filter_map(|line| Some(line.split_once(' ')?.1.trim()))
        .collect()
}

#[track_caller]
fn check_frame(frame: &str, function: &str, place: &str) {
    let (found_function, found_place) = frame.split_once(" (").expect("a place");
    assert_eq!(found_function, function, "{frame}");
    assert!(found_place.contains(place), "{place} in {frame}");
}

#[test]
fn a_leak_in_a_program() {
    let quiet = ["run", "--offline", "--quiet", "--bin", "ffi_leak"];
    let leaking = cargo(&quiet);
    assert!(!leaking.is_success, "{}", leaking.text);
    let report = report(&leaking.text, "Native memory leaks detected");
    assert!(
        report.contains("Leak #1 - ffi_leak::Packet (64 B)"),
        "{report}"
    );
    let frames = frames(report);
    assert_eq!(frames.len(), 2, "{report}");
    let allocates = line_of("ffi_leak", "adaptive_calloc::<Packet>(1)");
    check_frame(frames[0], "ffi_leak::make_packet", &allocates);
    check_frame(
        frames[1],
        "ffi_leak::main",
        &line_of("ffi_leak", "make_packet(b\"hello\")"),
    );

    let freeing = cargo(&[&quiet[..], &["--", "--free"]].concat());
    assert!(
        freeing.is_success && freeing.text.is_empty(),
        "{}",
        freeing.text
    );
}

#[test]
fn leaks_in_a_suite_of_tests() {
    let outcome = cargo(&["test", "--offline", "--test", "leak_tests"]);
    let text = &outcome.text;
    assert!(text.contains("2 passed; 2 failed"), "{text}");

    let heading = "---- with_scopes::forgets_the_title stdout ----";
    let of_scope = report(text, heading);
    assert!(of_scope.contains("Leak #1 - u8 (10 B)"), "{of_scope}");
    assert!(
        of_scope.contains("Scope   : with_scopes::forgets_the_title"),
        "{of_scope}"
    );
    let found = frames(of_scope);
    check_frame(
        found[0],
        "leak_tests::store::title",
        &line_of("leak_tests", "copy_of("),
    );
    let caller = "leak_tests::with_scopes::forgets_the_title";
    check_frame(
        found[1],
        caller,
        &line_of("leak_tests", "let title = title();"),
    );

    let of_tracker = report(text, "---- with_one_tracker::closes_one_of_two stdout ----");
    assert!(
        of_tracker.contains("Leak #1 - [u64; 4] (128 B)"),
        "{of_tracker}"
    );
    let found = frames(of_tracker);
    check_frame(
        found[0],
        "leak_tests::store::Store::open",
        &line_of("leak_tests", "memory for the rows"),
    );
    let caller = "leak_tests::with_one_tracker::closes_one_of_two";
    check_frame(found[1], caller, &line_of("leak_tests", "Store::open(4)"));
}

#[test]
fn of_a_hundred_tests_those_with_a_leak_fail() {
    let outcome = cargo(&[
        "test",
        "--offline",
        "--test",
        "hundred",
        "--",
        "--test-threads=16",
    ]);
    let text = &outcome.text;
    for number in 0..100 {
        let verdict = if has_leak(number) { "FAILED" } else { "ok" };
        let line = format!("test number_{number:02} ... {verdict}\n");
        assert!(text.contains(&line), "no {line:?} in\n{text}");
        if has_leak(number) {
            let report = report(text, &format!("---- number_{number:02} stdout ----"));
            for expected in [
                "Leaks   : 1\n",
                "Total   : 24 B\n",
                &format!("Scope   : number_{number:02}\n"),
                &format!("Leak #1 - hundred::Planted<{number}> (24 B)\n"),
            ] {
                assert!(report.contains(expected), "no {expected:?} in\n{report}");
            }
            check_frame(frames(report)[0], "hundred::allocate", "tests/hundred.rs:");
        }
    }
}
