//! The machine code of a plain release build: the adaptive allocators are the C library's, and the tracker's calls vanish.
//!
//! Builds a small library as a user would, and reads what `objdump` (binutils) shows of it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the user wrote. Each function is one call.
const SOURCE: &str = r#"
use heapatlas::*;
use std::ptr::NonNull;

#[unsafe(no_mangle)]
pub extern "C" fn untyped_calloc(bytes: usize) -> Option<NonNull<u8>> { adaptive_calloc_bytes(bytes, 8) }
#[unsafe(no_mangle)]
pub extern "C" fn untyped_calloc_16(bytes: usize) -> Option<NonNull<u8>> { adaptive_calloc_bytes(bytes, 16) }
#[unsafe(no_mangle)]
pub extern "C" fn untyped_malloc(bytes: usize) -> Option<NonNull<u8>> { adaptive_malloc_bytes(bytes, 16) }
#[unsafe(no_mangle)]
pub extern "C" fn typed_calloc(count: usize) -> Option<NonNull<[u64; 3]>> { adaptive_calloc(count) }
#[unsafe(no_mangle)]
pub extern "C" fn typed_malloc(count: usize) -> Option<NonNull<[u64; 3]>> { adaptive_malloc(count) }
#[unsafe(no_mangle)]
pub extern "C" fn typed_malloc_of_bytes(count: usize) -> Option<NonNull<i8>> { adaptive_malloc(count) }
#[unsafe(no_mangle)]
pub unsafe extern "C" fn typed_free(block: *mut [u64; 3]) { unsafe { adaptive_free(block) } }
#[unsafe(no_mangle)]
pub extern "C" fn diagnostic(count: usize) -> Option<NonNull<u64>> { diagnostic_calloc(count) }
#[unsafe(no_mangle)]
pub extern "C" fn tracker() {
    LeakTracker::enable_in_debug();
    LeakTracker::verify_no_leaks_in_debug();
}
"#;

/// A package that depends on heapatlas with these features, in a folder of its own.
fn package(name: &str, features: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let heapatlas = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\nheapatlas = {{ path = {heapatlas:?}, features = [{features}] }}\n"
    );
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src/lib.rs"), SOURCE).unwrap();
    // The versions that the workspace has: nothing is looked for elsewhere.
    fs::copy(
        heapatlas.join("../../Cargo.lock"),
        folder.join("Cargo.lock"),
    )
    .unwrap();
    folder
}

/// Runs a program, which has to succeed.
fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{errors}");
    String::from_utf8_lossy(&stdout).into_owned()
}

/// The instructions of each exported function of a release build.
fn disassemble(name: &str, features: &str) -> HashMap<String, Vec<String>> {
    let folder = package(name, features);
    let target = folder.join("target");
    // The flags of whoever runs the tests are not those of a plain release build.
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--offline", "--quiet"])
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(&folder);
    run(&mut cargo);
    let library = target.join(format!("release/lib{name}.so"));
    let listing = run(Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(&library));
    let symbols = run(Command::new("objdump").arg("-T").arg(&library));
    by_name(&symbols, &functions(&listing))
}

/// Functions of equal code are one, with several names.
fn by_name(symbols: &str, functions: &HashMap<u64, Vec<String>>) -> HashMap<String, Vec<String>> {
    let named = symbols.lines().filter_map(|line| {
        let (address, _) = line.split_once(' ')?;
        let (_, name) = line.rsplit_once(' ')?;
        let address = u64::from_str_radix(address, 16).ok()?;
        Some((name.to_owned(), functions.get(&address)?.clone()))
    });
    named.collect()
}

/// Reads lines such as `1234 <name>:` and, behind a tab, `mov    $0x1,%esi`.
fn functions(listing: &str) -> HashMap<u64, Vec<String>> {
    let mut functions = HashMap::new();
    let mut start = 0;
    for line in listing.lines() {
        if let Some((address, _)) = line.split_once(" <").filter(|_| line.ends_with(">:")) {
            start = u64::from_str_radix(address, 16).expect("an address");
        } else if let Some((_, instruction)) = line.split_once(":\t") {
            let instructions: &mut Vec<String> = functions.entry(start).or_default();
            instructions.push(instruction.trim().to_owned());
        }
    }
    for instructions in functions.values_mut() {
        // What fills the space up to the next function.
        while instructions
            .last()
            .is_some_and(|last| last.contains("nop") || last.starts_with("int3"))
        {
            instructions.pop();
        }
    }
    functions
}

/// What an instruction jumps to or calls outside of its function, if it does.
fn callee<'i>(function: &str, instruction: &'i str) -> Option<&'i str> {
    let leaves = instruction.starts_with("call") || instruction.starts_with("jmp");
    let (_, target) = instruction.split_once('<').filter(|_| leaves)?;
    let name = target.split(['@', '>']).next()?;
    (!name.starts_with(function)).then_some(name)
}

/// Nothing but arguments being set and one tail jump.
#[track_caller]
fn check_is_call_of(code: &HashMap<String, Vec<String>>, function: &str, expected: &str) {
    let instructions = &code[function];
    let (last, before) = instructions.split_last().expect("instructions");
    assert_eq!(callee(function, last), Some(expected), "{instructions:#?}");
    assert!(
        before.len() <= 1 && before.iter().all(|i| i.starts_with("mov    $")),
        "{instructions:#?}"
    );
}

#[test]
fn a_plain_release_build_calls_the_c_library() {
    let code = disassemble("heapatlas_plain_release", "");
    check_is_call_of(&code, "untyped_calloc", "calloc");
    check_is_call_of(&code, "untyped_calloc_16", "calloc");
    check_is_call_of(&code, "untyped_malloc", "malloc");
    check_is_call_of(&code, "typed_malloc_of_bytes", "malloc");
    // The check of the product is that of `calloc` itself.
    check_is_call_of(&code, "typed_calloc", "calloc");
    check_is_call_of(&code, "typed_free", "free");

    let typed = &code["typed_malloc"];
    let callees: Vec<_> = typed
        .iter()
        .filter_map(|instruction| callee("typed_malloc", instruction))
        .collect();
    assert_eq!(callees, ["malloc"], "{typed:#?}");
    let is_product = |i: &String| i.starts_with("mul") || i.starts_with("imul");
    let is_check =
        |i: &String| i.starts_with("jo") || i.starts_with("jno") || i.starts_with("seto");
    assert_eq!(
        typed.iter().filter(|i| is_product(i)).count(),
        1,
        "{typed:#?}"
    );
    assert_eq!(
        typed.iter().filter(|i| is_check(i)).count(),
        1,
        "{typed:#?}"
    );
    assert!(typed.len() <= 9, "{typed:#?}");

    assert_eq!(code["tracker"], ["ret"]);
    assert!(code["diagnostic"].len() > 9, "this one is tracked");
}

#[test]
fn a_profiling_build_tracks() {
    let code = disassemble("heapatlas_profiling_release", "\"profiling\"");
    for function in ["untyped_calloc", "typed_malloc", "typed_free", "tracker"] {
        let instructions = &code[function];
        let ways_out = instructions
            .iter()
            .filter(|i| i.starts_with("call") || i.starts_with("jmp"));
        assert!(ways_out.count() > 1, "{function}: {instructions:#?}");
    }
}
