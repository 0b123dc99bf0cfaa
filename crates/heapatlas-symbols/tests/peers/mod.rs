//! Compilers, and the address look-up of binutils as the peer.
#![allow(dead_code)] // Each test binary uses a part.

pub mod compare;
pub mod profiles;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heapatlas_model::{Frame, Module};
use heapatlas_symbols::demangle;

/// Runs a tool in a folder and gives what it prints; `None`, loudly, where it is missing.
pub fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(tool);
    // The older mangling of Rust is an unstable option by now.
    command
        .args(arguments)
        .current_dir(folder)
        .env("RUSTC_BOOTSTRAP", "1");
    let output = command.output();
    let Ok(output) = output else {
        let is_required = env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!is_required, "`{tool}` is missing");
        // Not `eprintln!`, which the test runner keeps to itself.
        let note = format!("SKIPPED, a peer is missing: `{tool}`\n");
        io::stderr().write_all(note.as_bytes()).unwrap();
        return None;
    };
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {problem}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of tests/programs, compiled to `folder/prog`.
pub fn compile(folder: &Path, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let compiler = match source.rsplit_once('.') {
        Some((_, "c")) => "gcc",
        Some((_, "cpp")) => "g++",
        _ => "rustc",
    };
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    fs::copy(programs.join(source), folder.join(source)).unwrap();
    let mut arguments = vec![source, "-o", "prog"];
    arguments.extend(flags);
    run(folder, compiler, &arguments)?;
    Some(folder.join("prog"))
}

/// A module as a recorder would tell of it, loaded at its own addresses.
pub fn module(path: &Path) -> Module {
    Module {
        path: path.to_str().unwrap().to_owned(),
        build_id: build_id(path),
        ..Module::default()
    }
}

pub fn build_id(path: &Path) -> Vec<u8> {
    let folder = path.parent().unwrap();
    let notes = run(folder, "readelf", &["-n", path.to_str().unwrap()]).unwrap();
    let Some((_, id)) = notes.split_once("Build ID: ") else {
        return Vec::new();
    };
    let digits = id.split_whitespace().next().unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A function of a program.
pub struct Function {
    pub range: Range<u64>,
    pub name: String,
}

/// The functions that `nm` finds, with a size.
pub fn functions(path: &Path) -> Vec<Function> {
    let arguments = ["-S", "--defined-only", path.to_str().unwrap()];
    let symbols = run(path.parent().unwrap(), "nm", &arguments).unwrap();
    symbols.lines().filter_map(function).collect()
}

fn function(line: &str) -> Option<Function> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [start, size, "t" | "T" | "w" | "W" | "i", name] = fields[..] else {
        return None;
    };
    let number = |digits| u64::from_str_radix(digits, 16).unwrap();
    let start = number(start);
    Some(Function {
        range: start..start + number(size),
        name: demangle(name),
    })
}

/// What `addr2line` of binutils says, in our words: unknown names and files are empty. Names are
/// demangled by us; tests/demangling.rs judges that.
pub fn peer_frames(path: &Path, addresses: &[u64]) -> Option<Vec<Vec<Frame>>> {
    let folder = path.parent().unwrap();
    run(folder, "addr2line", &["--version"])?;
    let mut input = String::new();
    for address in addresses {
        writeln!(input, "{address:#x}").unwrap();
    }
    let mut peer = Command::new("addr2line")
        .args(["-a", "-i", "-f", "-e"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = peer.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = peer.wait_with_output().unwrap();
    writer.join().unwrap();
    Some(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(output: &str) -> Vec<Vec<Frame>> {
    let mut found: Vec<Vec<Frame>> = Vec::new();
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            found.push(Vec::new());
            continue;
        }
        let place = lines.next().unwrap();
        let place = place.split(" (discriminator").next().unwrap();
        let (file, number) = place.rsplit_once(':').unwrap();
        let known = |text: &str| {
            if text == "??" {
                String::new()
            } else {
                text.to_owned()
            }
        };
        found.last_mut().unwrap().push(Frame {
            function: demangle(&known(line)),
            file: known(file),
            line: number.parse().unwrap_or(0),
        });
    }
    found
}
