//! All that is known of one module's code.

use std::path::PathBuf;

use addr2line::gimli;
use heapatlas_model::{Frame, Module};

use crate::demangle::{Names, is_mangled};
use crate::dwarf::DebugInfo;
use crate::locate::{Located, locate};
use crate::split_dwarf::SplitFiles;
use crate::symbol_table::SymbolTable;
use crate::{DebugFiles, Level, Options, Warning};

/// Looks up addresses of one module.
///
/// ```no_run
/// # fn example(module: &heapatlas_model::Module, address: u64) {
/// use heapatlas_symbols::{DebugFiles, ModuleSymbols, Options};
/// let files = DebugFiles::new();
/// let mut symbols = ModuleSymbols::open(&files, module, &Options::default());
/// for frame in symbols.frames(address - module.bias) {
///     println!("{} at {}:{}", frame.function, frame.file, frame.line);
/// }
/// for warning in symbols.into_warnings() {
///     eprintln!("{warning}");
/// }
/// # }
/// ```
pub struct ModuleSymbols<'a> {
    level: Level,
    symbols: SymbolTable<'a>,
    debug_info: Option<DebugInfo<'a>>,
    names: Names<'a>,
    warnings: Vec<Warning>,
    damage: Option<Damage>,
    debug_path: PathBuf,
}

struct Damage {
    problem: gimli::Error,
    addresses: usize,
}

impl<'a> ModuleSymbols<'a> {
    /// Opens a module's file and its debug files. What is missing or damaged is told by
    /// [`into_warnings`](Self::into_warnings); frames are then as complete as they can be.
    pub fn open(files: &'a DebugFiles, module: &Module, options: &Options<'_>) -> Self {
        Self::from_located(files, locate(files, module, options), options)
    }

    pub(crate) fn from_located(
        files: &'a DebugFiles,
        mut located: Located<'a>,
        options: &Options<'_>,
    ) -> Self {
        let debug_path = located.debug_path().to_owned();
        let debug_info = match options.level {
            Level::Names => None,
            Level::Lines | Level::Full => open_debug_info(files, &mut located),
        };
        Self {
            level: options.level,
            symbols: SymbolTable::new(&located.files()),
            debug_info,
            names: Names::default(),
            warnings: located.warnings,
            damage: None,
            debug_path,
        }
    }

    /// The frames at an address of the file (address in memory less [`Module::bias`]), innermost
    /// inlined first; none where nothing is known. For a caller's frame the address is one less
    /// than the return address.
    pub fn frames(&mut self, address: u64) -> Vec<Frame> {
        // addr2line adds one to the address.
        if address == u64::MAX {
            return Vec::new();
        }
        let found = match (&self.debug_info, self.level) {
            (None, _) | (_, Level::Names) => Ok((Vec::new(), None)),
            (Some(info), Level::Lines) => info
                .line(address)
                .map(|frame| (Vec::from_iter(frame), None)),
            (Some(info), Level::Full) => info.frames(address, &mut self.names),
        };
        let (mut frames, name) = found.unwrap_or_else(|problem| {
            self.note(problem);
            (Vec::new(), None)
        });
        self.name_outermost(address, name, &mut frames);
        frames
    }

    /// What kept names from being found.
    pub fn into_warnings(self) -> Vec<Warning> {
        let mut warnings = self.warnings;
        warnings.extend(self.damage.map(|damage| Warning::DamagedDebugInfo {
            path: self.debug_path,
            problem: damage.problem.to_string(),
            addresses: damage.addresses,
        }));
        warnings.extend(self.debug_info.and_then(DebugInfo::into_warning));
        warnings
    }

    /// Names the function that others were inlined into from the symbol table, where that says
    /// more than debug information does: compilers give functions that are local to a file by
    /// their bare name there, without namespace and parameters.
    fn name_outermost(&mut self, address: u64, name: Option<&[u8]>, frames: &mut Vec<Frame>) {
        if name.is_some_and(is_mangled) {
            return;
        }
        let symbol = self.symbols.get(address);
        let Some(symbol) = symbol.filter(|symbol| name.is_none() || is_mangled(symbol)) else {
            return;
        };
        let function = self.names.get(symbol);
        match frames.last_mut() {
            Some(frame) => frame.function = function,
            None => frames.push(Frame {
                function,
                ..Frame::default()
            }),
        }
    }

    fn note(&mut self, problem: gimli::Error) {
        let damage = self.damage.get_or_insert(Damage {
            problem,
            addresses: 0,
        });
        damage.addresses += 1;
    }
}

fn open_debug_info<'a>(files: &'a DebugFiles, located: &mut Located<'a>) -> Option<DebugInfo<'a>> {
    let Located {
        own,
        debug,
        supplement,
        search,
        module,
        warnings,
    } = located;
    let file = debug.as_ref().or(own.as_ref())?;
    if !file.has_debug_info() {
        return None;
    }
    let split = SplitFiles::new(files, search, module);
    DebugInfo::open(files, file, supplement.as_ref(), split, warnings)
        .inspect_err(|problem| {
            warnings.push(Warning::DamagedDebugInfo {
                path: file.path.clone(),
                problem: problem.to_string(),
                addresses: 0,
            });
        })
        .ok()
}
