//! Functions, lines and inlined frames against `addr2line` of binutils.

mod peers;

use std::path::Path;

use heapatlas_model::Frame;
use heapatlas_symbols::{DebugFiles, ModuleSymbols, Options};
use peers::{compile, module, peer_frames, code_addresses};

/// Checks a program at many addresses.
fn check(source: &str, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    if let Some(program) = compile(folder.path(), source, flags) {
        check_program(&program, &Options::default());
    }
}

fn check_program(program: &Path, options: &Options<'_>) {
    let addresses = code_addresses(program, 7);
    let Some(expected) = peer_frames(program, &addresses) else {
        return;
    };
    let files = DebugFiles::new();
    let mut symbols = ModuleSymbols::open(&files, &module(program), options);
    let mut differences = 0;
    for (address, expected) in addresses.iter().zip(&expected) {
        let found = symbols.frames(*address);
        if !is_same(&found, expected) {
            differences += 1;
            if differences < 400 {
                println!("{address:#x}\n  ours {found:?}\n  peer {expected:?}");
            }
        }
    }
    assert_eq!(symbols.into_warnings(), []);
    assert_eq!(differences, 0, "of {}", addresses.len());
}

/// Whether both say the same, but for what the peer does differently:
fn is_same(found: &[Frame], expected: &[Frame]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            let has_place = expected.line != 0;
            found.line == expected.line && (!has_place || found.file == expected.file)
        })
        && found.iter().zip(expected).enumerate().all(|(at, (found, peer))| {
            let is_quirk = at == 0 && expected.len() > 1;
            is_quirk || found.function == without_suffix(&peer.function)
        })
}

/// Parts of a function have its name in debug information.
fn without_suffix(function: &str) -> &str {
    match function.split_once('.') {
        Some((name, "cold")) => name,
        _ => function,
    }
}

#[test]
fn c_without_optimization() {
    check("shapes.c", &["-g"]);
}

#[test]
fn c_with_inlined_functions() {
    check("shapes.c", &["-g", "-O2"]);
}

#[test]
fn cpp_without_optimization() {
    check("shapes.cpp", &["-g"]);
}

#[test]
fn cpp_with_inlined_functions() {
    check("shapes.cpp", &["-g", "-O2"]);
}

#[test]
fn rust_mangled_the_old_way() {
    check("shapes.rs", &["-g", "-O", "-Zunstable-options", "-Csymbol-mangling-version=legacy"]);
}

#[test]
fn rust_mangled_the_new_way() {
    check("shapes.rs", &["-g", "-O", "-Csymbol-mangling-version=v0"]);
}
