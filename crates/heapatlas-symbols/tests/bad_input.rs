//! Files that are cut off, damaged, hostile or none at all: warnings and bare addresses.

mod peers;

use std::fs;
use std::path::Path;

use heapatlas_model::Module;
use heapatlas_symbols::{DebugFiles, ModuleSymbols, Options, Warning};
use peers::{compile, functions};

/// Looks up some addresses of a file of which nothing is known but its path.
fn look_up(path: &Path, addresses: &[u64]) -> (usize, Vec<Warning>) {
    let module = Module {
        path: path.to_str().unwrap().to_owned(),
        ..Module::default()
    };
    let files = DebugFiles::new();
    let mut symbols = ModuleSymbols::open(&files, &module, &Options::default());
    let frames = addresses
        .iter()
        .map(|&address| symbols.frames(address).len())
        .sum();
    (frames, symbols.into_warnings())
}

#[test]
fn what_is_no_elf_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
        fs::write(&path, bytes).unwrap();
        let (frames, warnings) = look_up(&path, &[0, 0x1000, u64::MAX]);
        assert_eq!(frames, 0);
        assert!(
            matches!(&warnings[..], [Warning::NotAnObject { .. }]),
            "{warnings:?}"
        );
    }
    let (_, warnings) = look_up(folder.path(), &[0]);
    assert!(
        matches!(&warnings[..], [Warning::Unreadable { .. }]),
        "{warnings:?}"
    );
}

/// A small program with all there is, and addresses in it.
fn sample(folder: &Path, flags: &[&str]) -> Option<(Vec<u8>, Vec<u64>)> {
    let program = compile(folder, "shapes.c", flags)?;
    let starts = functions(&program)
        .into_iter()
        .map(|function| function.range.start + 1);
    let bytes = fs::read(&program).unwrap();
    Some((bytes, starts.chain([0, u64::MAX]).collect()))
}

#[test]
fn a_file_that_is_cut_off_does_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [&["-g", "-O2"][..], &["-g", "-O2", "-gz=zlib"]] {
        let Some((bytes, addresses)) = sample(folder.path(), flags) else {
            return;
        };
        let path = folder.path().join("cut");
        for length in (0..bytes.len()).step_by(bytes.len() / 100) {
            fs::write(&path, &bytes[..length]).unwrap();
            look_up(&path, &addresses);
        }
    }
}

#[test]
fn changed_bytes_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [&["-g", "-O2"][..], &["-g", "-O2", "-gz=zlib"]] {
        let Some((bytes, addresses)) = sample(folder.path(), flags) else {
            return;
        };
        let path = folder.path().join("changed");
        // A linear congruential generator: the same changes each time.
        let mut random = 1_u64;
        for _ in 0..1000 {
            let mut changed = bytes.clone();
            for _ in 0..20 {
                random = random
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let at = (random >> 33) as usize % changed.len();
                changed[at] = (random >> 20) as u8;
            }
            fs::write(&path, changed).unwrap();
            look_up(&path, &addresses);
        }
    }
}

#[test]
fn a_damaged_section_leaves_the_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut bytes, _)) = sample(folder.path(), &["-g", "-O2", "-gz=zlib"]) else {
        return;
    };
    let program = folder.path().join("prog");
    let main = functions(&program)
        .into_iter()
        .find(|function| function.name == "main")
        .unwrap();
    let place = place_of(&program, ".debug_info");
    // The header's size of the unpacked section, then its bytes.
    for (at, change) in [(place + 8, &[0xff; 8][..]), (place + 24, &[0; 16])] {
        let whole = bytes.clone();
        bytes[at..at + change.len()].copy_from_slice(change);
        fs::write(&program, &bytes).unwrap();
        let (frames, warnings) = look_up(&program, &[main.range.start]);
        assert_eq!(frames, 1);
        let text = warnings[0].to_string();
        assert!(text.contains("section .debug_info"), "{text}");
        bytes = whole;
    }
}

/// Where a section stands in a file.
fn place_of(program: &Path, section: &str) -> usize {
    let arguments = ["-WS", program.to_str().unwrap()];
    let sections = peers::run(program.parent().unwrap(), "readelf", &arguments).unwrap();
    let line = sections
        .lines()
        .find(|line| line.contains(section))
        .unwrap();
    let fields: Vec<_> = line[line.find(section).unwrap()..]
        .split_whitespace()
        .collect();
    usize::from_str_radix(fields[3], 16).unwrap()
}
