//! The recorder as a shared object: the `malloc` family, forwarded to the next definition and
//! recorded on the way.
//!
//! **The caller provides** nothing: `heapatlas-capture` builds this crate as a `cdylib` with
//! `--cfg heapatlas_preload`, and the dynamic linker loads the object in front of all others.
//! **This crate provides** the exported functions (`interpose`; `pages` for `mmap`, `operators` for
//! C++), their next definitions (`next`)
//! and the start (`start`). Whatever decides anything is in `heapatlas-record`.
//! **Not for** linking into a program: without the cfg it is empty, since an exported `malloc` would
//! take over every program that merely depends on it.

#![no_std]

#[cfg(heapatlas_preload)]
mod interpose;
#[cfg(heapatlas_preload)]
mod next;
#[cfg(heapatlas_preload)]
mod operators;
#[cfg(heapatlas_preload)]
mod pages;
#[cfg(heapatlas_preload)]
mod start;

/// Where the sources of this crate are: the build script of `heapatlas-capture` builds them anew.
pub const SOURCE_FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// Nothing in the recorder may take the program down, so nothing panics on purpose. If something
/// does, there is no way on.
#[cfg(heapatlas_preload)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}
