//! Whole profiles: several modules, modules without a file, code made at run time, the cache.

mod peers;

use std::fs;
use std::path::Path;

use heapatlas_model::{Frame, Module};
use heapatlas_symbols::{Options, Warning, resolve};
use peers::profiles::profile;
use peers::{compile, functions, module};

fn named(function: &str) -> Vec<Frame> {
    vec![Frame {
        function: function.to_owned(),
        ..Frame::default()
    }]
}

fn start_of(program: &Path, name: &str) -> u64 {
    let functions = functions(program);
    functions
        .iter()
        .find(|function| function.name == name)
        .unwrap()
        .range
        .start
}

#[test]
fn without_debug_information_functions_have_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path(), "shapes.cpp", &["-O2"]) else {
        return;
    };
    let make_all = start_of(&program, "shapes::make_all[abi:cxx11](int)");
    let biased = Module {
        bias: 0x5555_0000_0000,
        ..module(&program)
    };
    let mut profile = profile(vec![biased], &[(0x5555_0000_0000 + make_all, Some(0))]);
    assert_eq!(resolve(&mut profile, &Options::default()), []);
    assert_eq!(profile.frames, [named("shapes::make_all[abi:cxx11](int)")]);
}

#[test]
fn without_symbols_only_what_is_exported_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-O1", "-shared", "-fPIC", "-g0"];
    let Some(library) = compile(folder.path(), "shapes.c", &flags) else {
        return;
    };
    let (build, compare) = (start_of(&library, "build"), start_of(&library, "compare"));
    peers::run(folder.path(), "strip", &[library.to_str().unwrap()]);
    let mut profile = profile(
        vec![module(&library)],
        &[(build, Some(0)), (compare, Some(0))],
    );
    assert_eq!(resolve(&mut profile, &Options::default()), []);
    assert_eq!(profile.frames, [named("build"), vec![]]);
}

#[test]
fn a_file_that_was_loaded_twice_is_looked_up_with_both_biases() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path(), "shapes.c", &["-O2"]) else {
        return;
    };
    let build = start_of(&program, "build");
    let modules = [0x1000, 0x7000_0000].map(|bias| Module {
        bias,
        ..module(&program)
    });
    let locations = [(build + 0x7000_0000, Some(1)), (build + 0x1000, Some(0))];
    let mut profile = profile(modules.to_vec(), &locations);
    resolve(&mut profile, &Options::default());
    assert_eq!(profile.frames, [named("build"), named("build")]);
}

#[test]
fn the_kernels_module_has_a_name_and_no_file() {
    let paths = ["[vdso]", "linux-vdso.so.1"];
    let modules = paths.map(|path| Module {
        path: path.to_owned(),
        ..Module::default()
    });
    let mut profile = profile(modules.to_vec(), &[(1, Some(0)), (2, Some(1))]);
    assert_eq!(resolve(&mut profile, &Options::default()), []);
    assert_eq!(profile.frames, [named("[vdso]"), named("[vdso]")]);
}

#[test]
fn a_missing_file_is_told_once() {
    let missing = Module {
        path: "/missing/libx.so".to_owned(),
        ..Module::default()
    };
    let mut profile = profile(vec![missing], &[(1, Some(0)), (2, Some(0)), (3, None)]);
    let warnings = resolve(&mut profile, &Options::default());
    assert!(
        matches!(&warnings[..], [Warning::Unreadable { .. }]),
        "{warnings:?}"
    );
    assert_eq!(profile.frames, [vec![], vec![], vec![]]);
}

#[test]
fn results_are_kept_until_the_files_change() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path(), "shapes.c", &["-g", "-O2"]) else {
        return;
    };
    let addresses: Vec<u64> = functions(&program)
        .into_iter()
        .flat_map(|function| function.range)
        .collect();
    let locations: Vec<_> = addresses
        .iter()
        .map(|&address| (address, Some(0)))
        .collect();
    let plain = &mut profile(vec![module(&program)], &locations);
    resolve(plain, &Options::default());
    let cache = folder.path().join("cache");
    let options = Options {
        cache: Some(cache.clone()),
        ..Options::default()
    };
    let check = || {
        let mut profile = profile(vec![module(&program)], &locations);
        assert_eq!(resolve(&mut profile, &options), []);
        assert_eq!(profile.frames, plain.frames);
    };
    check();
    let file = kept_file(&cache);
    let kept = fs::read(&file).unwrap();
    check();
    for (at, bytes) in damaged(&kept).into_iter().enumerate() {
        fs::write(&file, bytes).unwrap();
        check();
        assert_eq!(fs::read(&file).unwrap(), kept, "damage {at} is repaired");
    }
}

#[test]
fn what_is_not_kept_yet_is_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path(), "shapes.c", &["-g", "-O2"]) else {
        return;
    };
    let options = Options {
        cache: Some(folder.path().join("cache")),
        ..Options::default()
    };
    let (build, main) = (start_of(&program, "build"), start_of(&program, "main"));
    for addresses in [&[build][..], &[main, build, main], &[main]] {
        let locations: Vec<_> = addresses
            .iter()
            .map(|&address| (address, Some(0)))
            .collect();
        let mut profile = profile(vec![module(&program)], &locations);
        assert_eq!(resolve(&mut profile, &options), []);
        let expected = addresses
            .iter()
            .map(|&address| if address == main { "main" } else { "build" });
        let found = profile
            .frames
            .iter()
            .map(|frames| &frames.last().unwrap().function[..]);
        assert!(found.eq(expected));
    }
}

fn kept_file(cache: &Path) -> std::path::PathBuf {
    let mut modules = fs::read_dir(cache.join("symbols")).unwrap();
    modules.next().unwrap().unwrap().path().join("frames")
}

/// Empty, cut off at many places, a byte changed at many places.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let places = (0..whole.len()).step_by(whole.len() / 20);
    let changed = places.clone().map(|at| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x55;
        bytes
    });
    changed
        .chain(places.map(|at| whole[..at].to_vec()))
        .collect()
}
