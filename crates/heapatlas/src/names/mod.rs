//! Names for addresses of this process: function, file and line, read from its own executable and libraries.
//!
//! | module | what it knows |
//! |---|---|
//! | `modules` | which files are loaded, and where |
//! | `mapping` | a file as bytes |
//! | `elf` | sections, build ids and symbols of such bytes |
//! | `debug_info` | the units of a file; `unit` opens one, `lines` and `functions` are its tables |
//! | `cxx`, `demangle` | names as a programmer writes them |
//!
//! Linux, 64 bit, little endian, DWARF 4 and 5, beside the code or in a file of its own (by build id below
//! `/usr/lib/debug`, or by `.gnu_debuglink` if the build ids are the same). Split DWARF (`.dwo`, `.dwp`), compressed
//! debug sections and supplementary files of `dwz` are not read: there, functions are named by the symbol table, and
//! lines are told if the file itself has them. On other systems a frame is an address.
//!
//! Nothing is read before the first address of a file is asked for, and of its units only those that addresses lie in.

mod cxx;
mod debug_info;
mod demangle;
mod elf;
mod functions;
mod lines;
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little",
    not(any(miri, heapatlas_fallback))
))]
mod mapping;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little",
    not(any(miri, heapatlas_fallback))
)))]
#[path = "no_mapping.rs"]
mod mapping;
mod module_names;
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little",
    not(any(miri, heapatlas_fallback))
))]
mod modules;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little",
    not(any(miri, heapatlas_fallback))
)))]
#[path = "no_modules.rs"]
mod modules;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::HashMap;
use std::sync::Arc;

use module_names::ModuleNames;
use modules::{Generation, LoadedModule};

/// One frame of a stack, as its debug information names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Demangled: the path of a Rust function without its hash.
    pub(crate) function: Option<String>,
    pub(crate) file: Option<String>,
    /// From 1.
    pub(crate) line: Option<u32>,
    /// From 1.
    pub(crate) column: Option<u32>,
    /// The return address that was asked for.
    pub(crate) address: u64,
    /// The file that the code is of.
    pub(crate) module: Option<Arc<str>>,
    /// The return address as that file counts, for tools that name it later; the address itself without a module.
    pub(crate) offset: u64,
    /// Its code was put into that of the next frame.
    pub(crate) is_inlined: bool,
}

/// Names the frames of stacks. What was read of the files is kept until it is dropped; files are mapped, not copied.
pub(crate) struct Resolver {
    /// Those loaded now, then those that were.
    modules: Vec<Module>,
    generation: Option<Generation>,
    known: HashMap<u64, Box<[Frame]>>,
}

struct Module {
    loaded: LoadedModule,
    path: Arc<str>,
    /// Read at the first address.
    names: Option<ModuleNames>,
}

/// So many addresses are kept: about 100 MB with long names.
const MOST_KNOWN: usize = 100_000;

impl Resolver {
    /// Reads nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            modules: Vec::new(),
            generation: None,
            known: HashMap::new(),
        }
    }

    /// The frames of a return address: inlined ones first, and last the function that the machine called. Never
    /// empty: without names there is one frame that has its module and offset, if it is in one.
    pub(crate) fn frames(&mut self, return_address: u64) -> &[Frame] {
        if !self.known.contains_key(&return_address) {
            if self.known.len() >= MOST_KNOWN {
                self.known.clear();
            }
            let frames = self.look_up(return_address).into_boxed_slice();
            self.known.insert(return_address, frames);
        }
        &self.known[&return_address]
    }

    fn look_up(&mut self, return_address: u64) -> Vec<Frame> {
        self.follow_loads();
        // The call ends where it returns to; it may be the last instruction of its line or of its function.
        let inside_call = return_address.saturating_sub(1);
        let Some(module) = self
            .modules
            .iter_mut()
            .find(|module| module.loaded.holds(inside_call))
        else {
            return vec![Frame::at(return_address, None, return_address)];
        };
        let loaded = &module.loaded;
        let names = module
            .names
            .get_or_insert_with(|| ModuleNames::of_loaded(loaded));
        let base = loaded.base;
        let unnamed = Frame::at(
            return_address,
            Some(Arc::clone(&module.path)),
            return_address.wrapping_sub(base),
        );
        named(names.look_up(inside_call.wrapping_sub(base)), &unnamed)
    }

    /// Reads the list of modules again if one was loaded or unloaded.
    fn follow_loads(&mut self) {
        let generation = modules::generation();
        if generation == self.generation && generation.is_some() {
            return;
        }
        self.generation = generation;
        let mut known = std::mem::take(&mut self.modules);
        for loaded in modules::loaded() {
            let same = known.iter().position(|module| module.loaded == loaded);
            self.modules.push(match same {
                Some(place) => known.swap_remove(place),
                None => Module {
                    path: loaded.shown_path().into(),
                    loaded,
                    names: None,
                },
            });
        }
        // Addresses of what is no longer loaded may still be asked for.
        self.modules.append(&mut known);
    }
}

impl Frame {
    fn at(address: u64, module: Option<Arc<str>>, offset: u64) -> Self {
        Self {
            function: None,
            file: None,
            line: None,
            column: None,
            address,
            module,
            offset,
            is_inlined: false,
        }
    }
}

/// A frame's names alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    function: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
}

fn named(places: Vec<Place>, unnamed: &Frame) -> Vec<Frame> {
    let count = places.len();
    if count == 0 {
        return vec![unnamed.clone()];
    }
    let frame = |(index, place): (usize, Place)| Frame {
        function: place.function,
        file: place.file,
        line: place.line,
        column: place.column,
        is_inlined: index + 1 < count,
        ..unnamed.clone()
    };
    places.into_iter().enumerate().map(frame).collect()
}

/// A symbol as a programmer writes it; itself if it is not mangled, or in a way that is not known.
fn demangled(symbol: &str) -> String {
    demangle::demangle(symbol)
        .or_else(|| cxx::demangle(symbol))
        .unwrap_or_else(|| symbol.to_string())
}
