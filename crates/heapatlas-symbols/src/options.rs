//! How much is looked up, and where.

use std::path::PathBuf;

/// How much is looked up. Less costs less time, and memory above all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// Function names from symbol tables.
    Names,
    /// Also the file and line of the instruction, which may stand in a function that was inlined.
    Lines,
    /// Also the functions that were inlined, with a line each.
    #[default]
    Full,
}

/// How much is looked up, and where.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// How much is looked up.
    pub level: Level,
    /// Where the measured system's root is; `None` for this system.
    pub sysroot: Option<PathBuf>,
    /// Folders with debug files, asked before `/usr/lib/debug`, laid out like it
    /// (`.build-id/xx/yyyy.debug`, or paths of modules), or flat.
    pub debug_paths: Vec<PathBuf>,
    /// Folder where results are kept for the next time; `None` keeps nothing. Modules without
    /// a build-id are never kept.
    pub cache: Option<PathBuf>,
    /// Path and contents of perf maps: lines `START SIZE NAME`, the later ones being right.
    pub perf_maps: &'a [(String, String)],
    /// Path and contents of jitdump files. They come before perf maps, as they know lines.
    pub jit_dumps: &'a [(String, Vec<u8>)],
}
