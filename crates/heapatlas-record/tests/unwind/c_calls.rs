//! Random walks through C: `alloca`, realigned stacks, `longjmp`, signals, coroutines.

use std::ffi::CString;
use std::path::Path;
use std::process::Command;
use std::{env, mem};

use crate::probe::{self, Summary, probe, probing};

type RunCalls = extern "C" fn(extern "C" fn(), u64, i32, i32) -> i32;

const SIGNALS: i32 = 1;
const COROUTINES: i32 = 2;

/// Builds `calls.c` with these flags and loads it.
fn load(name: &str, flags: &[&str]) -> RunCalls {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind/calls.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls-{name}.so"));
    let status = Command::new("gcc")
        .args(flags)
        .args(["-g0", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("gcc is installed");
    assert!(status.success());
    let path = CString::new(library.to_str().expect("plain path")).expect("no null byte");
    // SAFETY: our own library; the symbol has that type.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null());
        let symbol = libc::dlsym(handle, c"run_calls".as_ptr());
        assert!(!symbol.is_null());
        mem::transmute::<*mut libc::c_void, RunCalls>(symbol)
    }
}

fn check(run: RunCalls, seeds: std::ops::Range<u64>, kinds: i32, captures: u64) -> Summary {
    probing(|| {
        for seed in seeds
            .cycle()
            .map(|seed| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        {
            run(probe, seed, 4 + (seed >> 32) as i32 % 16, kinds);
            if probe::captures() >= captures {
                break;
            }
        }
    })
}

fn check_build(name: &str, flags: &[&str]) {
    let run = load(name, flags);
    for kinds in [0, SIGNALS, COROUTINES, SIGNALS | COROUTINES] {
        let summary = check(run, 1..100_000, kinds, 60_000);
        // A coroutine's stack is complete where `makecontext` began it.
        assert_eq!(summary.cut_off, 0);
    }
}

/// One test: the signal handlers are the process's, and each build brings its own.
#[test]
fn every_build() {
    check_build("o2", &["-O2"]);
    check_build("o0", &["-O0"]);
    check_build("fp", &["-O2", "-fno-omit-frame-pointer"]);
}
