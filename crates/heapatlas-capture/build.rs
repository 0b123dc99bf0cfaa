//! Builds the recorder, which travels inside the binary: `cargo install` copies no shared objects.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A packager's own build of the recorder, in place of ours.
const PREBUILT: &str = "HEAPATLAS_PREBUILT_RECORDER";

fn main() {
    if !has_recorder() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    let recorder = match env::var_os(PREBUILT) {
        Some(path) => PathBuf::from(path),
        None => build(&out),
    };
    let target = out.join("libheapatlas_preload.so");
    std::fs::copy(&recorder, &target)
        .unwrap_or_else(|error| panic!("while copying `{}`: {error}", recorder.display()));
    println!("cargo::rerun-if-changed={}", recorder.display());
}

/// The recorder knows one system; elsewhere this crate is empty.
fn has_recorder() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
}

/// A build of its own: another crate type, another `panic`, and a cfg that nothing else may see.
fn build(out: &Path) -> PathBuf {
    let sources = Path::new(heapatlas_preload::SOURCE_FOLDER);
    for member in ["heapatlas-preload", "heapatlas-record", "heapatlas-trace"] {
        println!(
            "cargo::rerun-if-changed={}",
            sources.with_file_name(member).display()
        );
    }
    let target = env::var("TARGET").expect("cargo sets it");
    let folder = out.join("recorder");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets it"))
        .args([
            "rustc",
            "--release",
            "--lib",
            "--crate-type",
            "cdylib",
            "--target",
            &target,
        ])
        .arg("--manifest-path")
        .arg(sources.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        // Flags for sanitizers or coverage must not reach the recorder.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg\u{1f}heapatlas_preload")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .status()
        .expect("cargo runs, since it runs this");
    assert!(status.success(), "the recorder does not build; see above");
    folder.join(target).join("release/libheapatlas_preload.so")
}
