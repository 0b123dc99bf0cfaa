//! From addresses to functions, files, lines and inlined frames.
//!
//! **The caller provides** an allocation profile with its modules, and [`Options`]: how much is
//! wanted, where debug files are, what JIT compilers told.
//! **This crate provides** [`resolve`], which fills [`AllocationProfile::frames`], and
//! [`ModuleSymbols`] below it, for one module at a time.
//! **Not for** asking a debug server, reading traces, or judging which frame is to blame.
//!
//! ```no_run
//! # fn example(profile: &mut heapatlas_model::AllocationProfile) {
//! use heapatlas_symbols::{Options, resolve};
//! for warning in resolve(profile, &Options::default()) {
//!     eprintln!("warning: {warning}");
//! }
//! # }
//! ```
//!
//! In reading order: `resolve` (all modules, one after the other), `locate` and `paths` (which
//! files tell about a module), `elf`, `symbol_table`, `dwarf`, `split_dwarf` (what they tell),
//! `module_symbols` (all of it together), `demangle`, `jit` (code made at run time), `cache`.
//!
//! **What is read:** ELF symbols, DWARF 2 to 5 in the module's file, in a separate file found by
//! build-id or `.gnu_debuglink`, supplementary files of `dwz`, `.dwo` and `.dwp`, sections packed
//! with zlib or zstd. **What is not:** `.gnu_debugdata` (symbols packed with xz), since it would
//! need another decompressor for names of the few functions that nobody exports.
//!
//! **Invariant:** one module's files are dropped before the next one's are opened; debug
//! information of a large program fills hundreds of megabytes. **Invariant:** a file of another
//! build than the one that ran is never used.
//!
//! [`AllocationProfile::frames`]: heapatlas_model::AllocationProfile::frames

#![warn(missing_docs)]

mod build_id;
mod cache;
mod demangle;
mod dwarf;
mod elf;
mod files;
mod jit;
mod locate;
mod lookup;
mod module_symbols;
mod options;
mod paths;
mod resolve;
mod split_dwarf;
mod symbol_table;
mod warning;

pub use demangle::demangle;
pub use files::DebugFiles;
pub use module_symbols::ModuleSymbols;
pub use options::{Level, Options};
pub use resolve::resolve;
pub use warning::Warning;
