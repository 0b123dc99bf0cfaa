//! Names against those of other readers, and of damaged files.

mod bad_input;
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little",
    not(any(miri, heapatlas_fallback))
))]
mod loaded;
mod peer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mapping::Mapping;
use super::module_names::ModuleNames;
use peer::{Compared, Peer};

/// A program of `programs`, compiled; `None`, loudly, without the compiler.
pub(super) fn compile(name: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
    use std::io::Write as _;
    let folder =
        std::env::temp_dir().join(format!("heapatlas-names-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/names/tests/programs");
    let tool = if source.ends_with(".rs") {
        "rustc"
    } else {
        "g++"
    };
    let mut command = Command::new(tool);
    command
        .arg(programs.join(source))
        .args(flags)
        .arg("-o")
        .arg(folder.join("prog"));
    // The older mangling of Rust is an unstable option by now.
    command.env("RUSTC_BOOTSTRAP", "1");
    let Ok(output) = command.output() else {
        let is_required =
            std::env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!is_required, "`{tool}` is missing");
        // Not `eprintln!`, which the test runner keeps to itself.
        let note = format!("SKIPPED, a peer is missing: `{tool}`\n");
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return None;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(folder.join("prog"))
}

fn compare(path: &Path, step: usize) -> Compared {
    let bytes = std::fs::read(path).unwrap();
    let peer = Peer::new(&bytes);
    let names = ModuleNames::of_file(Mapping::open(path).unwrap(), path);
    let compared = peer.compare(&names, &peer.addresses(step));
    assert!(
        compared.differences.is_empty(),
        "{}",
        compared.differences.join("\n")
    );
    compared
}

fn check(name: &str, source: &str, flags: &[&str]) -> Option<Compared> {
    let program = compile(name, source, flags)?;
    // The libraries of Rust are large.
    let step = if source.ends_with(".rs") { 23 } else { 3 };
    let compared = compare(&program, step);
    std::fs::remove_dir_all(program.parent().unwrap()).unwrap();
    assert!(compared.with_lines > 1000, "{compared:?}");
    Some(compared)
}

#[test]
fn a_debug_build_of_rust() {
    check("dev", "inlined.rs", &["-Cdebuginfo=2"]);
}

#[test]
fn an_optimized_build_of_rust() {
    let compared = check(
        "release",
        "inlined.rs",
        &["-Cdebuginfo=2", "-O", "-Csymbol-mangling-version=v0"],
    );
    assert!(compared.is_none_or(|compared| compared.inlined > 1000));
}

#[test]
fn rust_with_less_debug_information() {
    check("limited", "inlined.rs", &["-Cdebuginfo=1", "-O"]);
    check(
        "lines",
        "inlined.rs",
        &["-Cdebuginfo=line-tables-only", "-O"],
    );
}

#[test]
fn rust_with_older_debug_information() {
    check(
        "dwarf4",
        "inlined.rs",
        &[
            "-Cdebuginfo=2",
            "-O",
            "-Zdwarf-version=4",
            "-Zunstable-options",
            "-Csymbol-mangling-version=legacy",
        ],
    );
    check(
        "lto",
        "inlined.rs",
        &["-Cdebuginfo=2", "-O", "-Clto=fat", "-Zdwarf-version=5"],
    );
}

#[test]
fn cpp() {
    check("cpp", "inlined.cpp", &["-g"]);
    check("cpp-optimized", "inlined.cpp", &["-g", "-O2"]);
    check("cpp-dwarf4", "inlined.cpp", &["-gdwarf-4", "-O2"]);
    check("cpp-lto", "inlined.cpp", &["-g", "-O2", "-flto"]);
    check("cpp-less", "inlined.cpp", &["-g1", "-O2"]);
}

#[test]
fn this_test_itself() {
    let compared = compare(&std::env::current_exe().unwrap(), 509);
    assert!(
        compared.with_lines > 1000 && compared.inlined > 100,
        "{compared:?}"
    );
}

/// Functions that have no mangled name in the debug information get the path of what they stand in.
#[test]
fn names_that_are_not_mangled() {
    let Some(program) = compile("paths", "inlined.cpp", &["-g", "-O2"]) else {
        return;
    };
    let bytes = std::fs::read(&program).unwrap();
    let names = ModuleNames::of_file(Mapping::open(&program).unwrap(), &program);
    let addresses = Peer::new(&bytes).addresses(1);
    let places = addresses.iter().flat_map(|address| names.look_up(*address));
    let found: BTreeSet<String> = places.filter_map(|place| place.function).collect();
    // Inlined: without a symbol that would tell the path.
    let expected = "shapes::(anonymous namespace)::describe";
    assert!(found.contains(expected), "{found:?}");
    std::fs::remove_dir_all(program.parent().unwrap()).unwrap();
}
