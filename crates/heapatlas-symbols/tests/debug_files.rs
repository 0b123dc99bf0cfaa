//! Debug information that stands in other files than the program.

mod peers;

use std::fs;
use std::path::{Path, PathBuf};

use heapatlas_model::Module;
use heapatlas_symbols::{DebugFiles, ModuleSymbols, Options, Warning};
use peers::compare::check_module;
use peers::{compile, functions, module, run};
use tempfile::TempDir;

/// A program, and beside it `whole`, a copy with everything in it.
struct Stripped {
    folder: TempDir,
    program: PathBuf,
    whole: PathBuf,
}

/// Compiles a program and moves its debug information to `debug` in its folder.
fn stripped(flags: &[&str]) -> Option<Stripped> {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["-g", "-O2"];
    arguments.extend(flags);
    let program = compile(folder.path(), "shapes.cpp", &arguments)?;
    let whole = folder.path().join("whole");
    fs::copy(&program, &whole).unwrap();
    let path = program.to_str().unwrap();
    run(
        folder.path(),
        "objcopy",
        &["--only-keep-debug", path, "prog.debug"],
    )?;
    run(folder.path(), "strip", &[path])?;
    Some(Stripped {
        folder,
        program,
        whole,
    })
}

impl Stripped {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn link(&self) {
        let path = self.program.to_str().unwrap();
        run(
            self.folder.path(),
            "objcopy",
            &["--add-gnu-debuglink=prog.debug", path],
        );
    }

    fn move_debug(&self, to: &str) {
        let place = self.path(to);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::rename(self.path("prog.debug"), place).unwrap();
    }

    fn check(&self, options: &Options<'_>) {
        let warnings = check_module(&module(&self.program), options, &self.whole);
        assert_eq!(warnings, []);
    }
}

fn with_debug_path(path: &Path) -> Options<'static> {
    Options {
        debug_paths: vec![path.to_owned()],
        ..Options::default()
    }
}

/// Where the build-id of a module puts its debug file.
fn build_id_place(module: &Module) -> String {
    let hex: String = module
        .build_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(".build-id/{}/{}.debug", &hex[..2], &hex[2..])
}

#[test]
fn a_linked_file_beside_the_program_or_in_a_debug_path() {
    for place in ["prog.debug", ".debug/prog.debug"] {
        let Some(stripped) = stripped(&[]) else {
            return;
        };
        stripped.link();
        stripped.move_debug(place);
        stripped.check(&Options::default());
    }
    let Some(stripped) = stripped(&[]) else {
        return;
    };
    stripped.link();
    stripped.move_debug("elsewhere/prog.debug");
    stripped.check(&with_debug_path(&stripped.path("elsewhere")));
}

#[test]
fn a_linked_file_is_proved_by_its_checksum() {
    let Some(stripped) = stripped(&["-Wl,--build-id=none"]) else {
        return;
    };
    stripped.link();
    stripped.check(&Options::default());
    let mut debug = fs::read(stripped.path("prog.debug")).unwrap();
    debug.push(0);
    fs::write(stripped.path("prog.debug"), debug).unwrap();
    let files = DebugFiles::new();
    let symbols = ModuleSymbols::open(&files, &module(&stripped.program), &Options::default());
    let path = stripped.path("prog.debug");
    assert_eq!(
        symbols.into_warnings(),
        [Warning::ForeignDebugFile { path }]
    );
}

#[test]
fn a_file_found_by_build_id() {
    let Some(stripped) = stripped(&[]) else {
        return;
    };
    let place = build_id_place(&module(&stripped.program));
    stripped.move_debug(&format!("debug/{place}"));
    stripped.check(&with_debug_path(&stripped.path("debug")));
}

#[test]
fn a_debug_file_outlives_its_program() {
    let Some(stripped) = stripped(&[]) else {
        return;
    };
    let module = module(&stripped.program);
    stripped.move_debug(&format!("debug/{}", build_id_place(&module)));
    fs::remove_file(&stripped.program).unwrap();
    let options = with_debug_path(&stripped.path("debug"));
    let warnings = check_module(&module, &options, &stripped.whole);
    assert!(
        matches!(&warnings[..], [Warning::Unreadable { .. }]),
        "{warnings:?}"
    );
}

#[test]
fn a_system_below_a_folder() {
    let Some(stripped) = stripped(&[]) else {
        return;
    };
    let mut module = module(&stripped.program);
    stripped.move_debug(&format!("root/usr/lib/debug/{}", build_id_place(&module)));
    fs::create_dir_all(stripped.path("root/opt")).unwrap();
    fs::rename(&stripped.program, stripped.path("root/opt/prog")).unwrap();
    module.path = "/opt/prog".to_owned();
    let options = Options {
        sysroot: Some(stripped.path("root")),
        ..Options::default()
    };
    assert_eq!(check_module(&module, &options, &stripped.whole), []);
}

#[test]
fn a_replaced_file_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path(), "shapes.c", &["-g"]) else {
        return;
    };
    let recorded = module(&program);
    compile(folder.path(), "shapes.c", &["-g", "-O2"]);
    let address = functions(&program)[0].range.start;
    let files = DebugFiles::new();
    let mut symbols = ModuleSymbols::open(&files, &recorded, &Options::default());
    assert_eq!(symbols.frames(address), []);
    let warnings = symbols.into_warnings();
    let found = module(&program).build_id;
    let text = warnings[0].to_string();
    assert_eq!(
        warnings,
        [Warning::Replaced {
            path: program,
            recorded: recorded.build_id,
            found
        }]
    );
    assert!(text.contains("was replaced since the recording"), "{text}");
}

/// A program with split debug information, and beside it `whole`, the same without the split: the
/// peer finds no inlined functions in split files.
fn split(folder: &Path, version: &str) -> Option<(PathBuf, PathBuf)> {
    let program = compile(folder, "shapes.cpp", &["-O2", "-g", version])?;
    let whole = folder.join("whole");
    fs::rename(program, &whole).unwrap();
    let program = compile(
        folder,
        "shapes.cpp",
        &["-O2", "-g", version, "-gsplit-dwarf"],
    )?;
    Some((program, whole))
}

fn split_file(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut split = entries.filter(|path| path.extension().is_some_and(|end| end == "dwo"));
    split.next().unwrap()
}

#[test]
fn split_files() {
    for version in ["-gdwarf-5", "-gdwarf-4"] {
        let folder = tempfile::tempdir().unwrap();
        let Some((program, whole)) = split(folder.path(), version) else {
            return;
        };
        assert_eq!(
            check_module(&module(&program), &Options::default(), &whole),
            []
        );
    }
}

#[test]
fn split_files_packed_into_one() {
    let folder = tempfile::tempdir().unwrap();
    let Some((program, whole)) = split(folder.path(), "-gdwarf-4") else {
        return;
    };
    run(folder.path(), "dwp", &["-e", "prog", "-o", "prog.dwp"]);
    fs::remove_file(split_file(folder.path())).unwrap();
    assert_eq!(
        check_module(&module(&program), &Options::default(), &whole),
        []
    );
}

#[test]
fn split_files_in_a_debug_path() {
    let folder = tempfile::tempdir().unwrap();
    let Some((program, whole)) = split(folder.path(), "-gdwarf-5") else {
        return;
    };
    let file = split_file(folder.path());
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&file, elsewhere.join(file.file_name().unwrap())).unwrap();
    let options = with_debug_path(&elsewhere);
    assert_eq!(check_module(&module(&program), &options, &whole), []);
}

#[test]
fn missing_split_files_leave_lines_and_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let Some((program, _)) = split(folder.path(), "-gdwarf-5") else {
        return;
    };
    fs::remove_file(split_file(folder.path())).unwrap();
    let main = functions(&program)
        .into_iter()
        .find(|function| function.name == "main")
        .unwrap();
    let files = DebugFiles::new();
    let mut symbols = ModuleSymbols::open(&files, &module(&program), &Options::default());
    let frames = symbols.frames(main.range.start);
    assert_eq!((frames.len(), &frames[0].function[..]), (1, "main"));
    assert!(frames[0].line > 0);
    let warnings = symbols.into_warnings();
    assert!(
        matches!(&warnings[..], [Warning::NoSplitFiles { count: 1, .. }]),
        "{warnings:?}"
    );
}

#[test]
fn information_that_files_share() {
    let Some(stripped) = stripped(&[]) else {
        return;
    };
    stripped.link();
    fs::copy(stripped.path("prog.debug"), stripped.path("second.debug")).unwrap();
    let arguments = [
        "-m",
        "shared",
        "-M",
        "../shared",
        "prog.debug",
        "second.debug",
    ];
    if run(stripped.folder.path(), "dwz", &arguments).is_none() {
        return;
    }
    stripped.move_debug(".debug/prog.debug");
    stripped.check(&Options::default());
    fs::remove_file(stripped.path("shared")).unwrap();
    let files = DebugFiles::new();
    let symbols = ModuleSymbols::open(&files, &module(&stripped.program), &Options::default());
    let warnings = symbols.into_warnings();
    assert!(
        matches!(&warnings[..], [Warning::NoSupplement { .. }]),
        "{warnings:?}"
    );
}
