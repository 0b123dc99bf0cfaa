//! Demangled C++ names against `c++filt` of binutils.

mod peers;

use std::fs;
use std::path::Path;

use heapatlas_symbols::demangle;
use peers::{compile, run};

/// Checks that at most so many in a thousand functions of a file have another name than the peer
/// gives. `cpp_demangle` cannot read expressions in return types (`enable_if`), and is wrong about
/// constructors that a class inherits.
fn check(folder: &Path, symbols: &str, file: &str, most_per_mille: usize) {
    let arguments = [symbols, "--defined-only", "--without-symbol-versions", file];
    let Some(list) = run(folder, "nm", &arguments) else {
        return;
    };
    let functions = list.lines().filter_map(|line| line.rsplit_once(' '));
    let functions: Vec<_> = functions
        .filter(|(rest, name)| rest.ends_with(['T', 't', 'W', 'w']) && is_compared(name))
        .map(|(_, name)| name)
        .collect();
    fs::write(folder.join("names"), functions.join("\n")).unwrap();
    let Some(peer) = run(folder, "sh", &["-c", "c++filt <names"]) else {
        return;
    };
    let pairs = functions.iter().zip(peer.lines());
    let different: Vec<_> = pairs
        .filter(|(name, peer)| demangle(name) != *peer)
        .collect();
    let rate = different.len() * 1000 / functions.len();
    assert!(rate <= most_per_mille, "{different:#?}");
}

/// The peer writes thunks in other words, and `std::string` in full.
fn is_compared(name: &str) -> bool {
    let has_abbreviation = ["Ss", "Sa", "Sb", "Si", "So", "Sd"]
        .iter()
        .any(|short| name.contains(short));
    name.starts_with("_Z") && !name.starts_with("_ZT") && !has_abbreviation
}

#[test]
fn names_of_a_program() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(program) = compile(folder.path(), "shapes.cpp", &["-g"]) {
        check(folder.path(), "-a", program.to_str().unwrap(), 40);
    }
}

#[test]
fn names_of_the_standard_library() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-print-file-name=libstdc++.so.6"];
    if let Some(library) = run(folder.path(), "g++", &arguments) {
        check(folder.path(), "-D", library.trim(), 2);
    }
}
