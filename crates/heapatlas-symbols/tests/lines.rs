//! Functions, lines and inlined frames of programs with debug information, against binutils.

mod peers;

use std::path::Path;

use heapatlas_model::Frame;
use heapatlas_symbols::{DebugFiles, Level, ModuleSymbols, Options};
use peers::compare::{check_module, check_program};
use peers::{compile, functions, module, run};

fn check(source: &str, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    if let Some(program) = compile(folder.path(), source, flags) {
        check_program(&program, &Options::default());
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
fn c_with_old_debug_information() {
    check("shapes.c", &["-gdwarf-4", "-O2"]);
    check("shapes.c", &["-gdwarf-3", "-O2"]);
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
    check(
        "shapes.rs",
        &[
            "-g",
            "-O",
            "-Zunstable-options",
            "-Csymbol-mangling-version=legacy",
        ],
    );
}

#[test]
fn rust_mangled_the_new_way() {
    check("shapes.rs", &["-g", "-O", "-Csymbol-mangling-version=v0"]);
}

#[test]
fn packed_sections() {
    for packing in ["zlib-gabi", "zlib-gnu", "zstd"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(program) = compile(folder.path(), "shapes.cpp", &["-g", "-O2"]) else {
            return;
        };
        let flag = format!("--compress-debug-sections={packing}");
        run(folder.path(), "objcopy", &[&flag, "prog", "packed"]);
        let packed = module(&folder.path().join("packed"));
        assert_eq!(check_module(&packed, &Options::default(), &program), []);
    }
}

/// Frames all over `build`, which has `push` inlined.
fn frames_in_build(program: &Path, level: Level) -> Vec<Vec<Frame>> {
    let functions = functions(program);
    let build = functions
        .iter()
        .find(|function| function.name == "build")
        .unwrap();
    let files = DebugFiles::new();
    let options = Options {
        level,
        ..Options::default()
    };
    let mut symbols = ModuleSymbols::open(&files, &module(program), &options);
    build
        .range
        .clone()
        .map(|address| symbols.frames(address))
        .collect()
}

#[test]
fn a_lower_level_tells_less() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path(), "shapes.c", &["-g", "-O2"]) else {
        return;
    };
    let levels = [Level::Names, Level::Lines, Level::Full];
    let [names, lines, full] = levels.map(|level| frames_in_build(&program, level));
    let named = Frame {
        function: "build".to_owned(),
        ..Frame::default()
    };
    assert!(names.iter().all(|frames| *frames == [named.clone()]));
    assert!(
        full.iter()
            .any(|frames| frames.len() == 2 && frames[0].function == "push")
    );
    for (lines, full) in lines.iter().zip(&full) {
        assert_eq!((&lines[0].function[..], lines.len()), ("build", 1));
        assert_eq!(
            (&lines[0].file, lines[0].line),
            (&full[0].file, full[0].line)
        );
    }
}
