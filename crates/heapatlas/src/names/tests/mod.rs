//! Names against those of other readers, and of damaged files.

mod bad_input;
mod peer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::mapping::Mapping;
use super::module_names::ModuleNames;
use super::*;
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
    println!(
        "{}: {} addresses, {} with lines, {} with inlined code",
        path.display(),
        compared.addresses,
        compared.with_lines,
        compared.inlined
    );
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

#[test]
fn libraries_without_debug_information() {
    let mut resolver = Resolver::new();
    resolver.frames(1);
    let paths: Vec<String> = resolver
        .modules
        .iter()
        .map(|module| module.loaded.path.clone())
        .collect();
    let mut checked = 0;
    for path in paths
        .iter()
        .filter(|path| path.contains("libc.so") || path.contains("libgcc_s"))
    {
        let bytes = std::fs::read(path).unwrap();
        let peer = Peer::new(&bytes);
        let names = ModuleNames::of_file(Mapping::open(Path::new(path)).unwrap(), Path::new(path));
        let mut at: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (start, size, name) in peer.functions() {
            let (start, size) = (*start, *size);
            for address in [start, start + size - 1] {
                at.entry(address).or_default().push(name.clone());
            }
        }
        for (address, expected) in at {
            let places = names.look_up(address);
            let name = places.last().and_then(|place| place.function.clone());
            let is_known = name.as_ref().is_some_and(|name| expected.contains(name));
            // Debug information, where it is installed, knows names that the table does not.
            assert!(
                is_known || places.iter().any(|place| place.file.is_some()),
                "{address:#x} of {path}: {name:?}, not {expected:?}"
            );
            checked += 1;
        }
    }
    assert!(checked > 100);
}

#[inline(never)]
fn named_function() -> u64 {
    std::hint::black_box(8)
}

#[test]
fn addresses_of_this_process() {
    let mut resolver = Resolver::new();
    let start = named_function as fn() -> u64 as usize as u64;
    let frames = resolver.frames(start + 1).to_vec();
    let last = frames.last().unwrap();
    assert!(
        last.function.as_deref().unwrap().contains("named_function"),
        "{last:?}"
    );
    assert!(
        last.file
            .as_deref()
            .unwrap()
            .ends_with("src/names/tests/mod.rs"),
        "{last:?}"
    );
    assert_eq!(last.address, start + 1);
    let program = std::env::current_exe().unwrap();
    assert_eq!(last.module.as_deref(), program.to_str());

    let unknown = Frame::at(5, None, 5);
    assert_eq!(resolver.frames(5), [unknown]);
    let _ = (resolver.frames(0).len(), resolver.frames(u64::MAX).len());
}

#[test]
fn a_file_that_was_exchanged_gives_no_names() {
    let modules = modules::loaded();
    let library = modules
        .iter()
        .find(|module| module.path.contains("libc.so"))
        .unwrap();
    let address = named_function as fn() -> u64 as usize as u64;
    let is_named = |path: &str| {
        let module = LoadedModule {
            path: path.to_string(),
            ..modules[0].clone()
        };
        let names = ModuleNames::of_loaded(&module);
        !names.look_up(address - module.base).is_empty()
    };
    assert!(is_named(&modules[0].path));
    assert!(!is_named(&library.path) && !is_named("/no/such/file") && !is_named("/"));
}
