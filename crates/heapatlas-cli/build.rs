//! Tells the code whether there is a recorder for this target: `cfg(has_recorder)`.
//!
//! The dependency on `heapatlas-capture` in Cargo.toml has the same condition.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_recorder)");
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let is_supported = is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_ENV", "gnu");
    // `RUSTFLAGS='--cfg heapatlas_no_recorder'`: what other systems get, tried on this one.
    let is_left_out = env::var_os("CARGO_CFG_HEAPATLAS_NO_RECORDER").is_some();
    if is_supported && !is_left_out {
        println!("cargo::rustc-cfg=has_recorder");
    }
}
