//! The names of one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::debug_info::DebugInfo;
use super::elf::{Elf, SymbolTable};
use super::mapping::Mapping;
use super::modules::LoadedModule;
use super::{Place, demangled};

/// What names addresses of one file; of its debug information, only what was asked for is read.
pub(super) struct ModuleNames {
    /// The file of the symbols: the loaded one, or that of its debug information.
    file: Option<Arc<Mapping>>,
    symbols: SymbolTable,
    debug_info: DebugInfo,
}

const DEBUG_FILES: &str = "/usr/lib/debug";

impl ModuleNames {
    /// Of a loaded file; there are no names if another file is at its path now.
    pub(super) fn of_loaded(module: &LoadedModule) -> Self {
        let path = Path::new(&module.path);
        let file = Mapping::open(path)
            .ok()
            .filter(|file| Elf::parse(file).is_some_and(|elf| elf.identity() == module.identity));
        let shown_path = PathBuf::from(module.shown_path());
        file.map_or_else(Self::none, |file| Self::of_file(file, &shown_path))
    }

    /// Of a file and, if there is one, the file of its debug information. `path` is where the file is.
    pub(super) fn of_file(file: Mapping, path: &Path) -> Self {
        let apart = Elf::parse(&file).and_then(|elf| debug_file(&elf, path));
        let own = Self::of_one_file(file);
        match apart.map(Self::of_one_file) {
            Some(apart) if apart.symbols.is_empty() => Self {
                debug_info: apart.debug_info,
                ..own
            },
            Some(apart) => apart,
            None => own,
        }
    }

    /// Innermost first; without debug information the function alone.
    pub(super) fn look_up(&self, address: u64) -> Vec<Place> {
        let file: &[u8] = self.file.as_deref().map_or(&[], |file| file);
        let symbol = self.symbols.name(file, address);
        let mut places = self.debug_info.look_up(address, symbol);
        match (places.last_mut(), symbol) {
            (Some(outermost), Some(symbol)) if outermost.function.is_none() => {
                outermost.function = Some(demangled(symbol));
            }
            (None, Some(symbol)) => {
                places.push(Place {
                    function: Some(demangled(symbol)),
                    ..Place::default()
                });
            }
            _ => {}
        }
        places
    }

    fn of_one_file(file: Mapping) -> Self {
        let file = Arc::new(file);
        let elf = Elf::parse(&file);
        Self {
            symbols: elf.as_ref().map(Elf::symbols).unwrap_or_default(),
            debug_info: DebugInfo::new(Arc::clone(&file)),
            file: Some(file),
        }
    }

    fn none() -> Self {
        Self {
            file: None,
            symbols: SymbolTable::default(),
            debug_info: DebugInfo::none(),
        }
    }
}

/// The file that has the debug information of another one, if that has none itself.
fn debug_file(elf: &Elf, path: &Path) -> Option<Mapping> {
    let build_id = elf.identity().build_id;
    let has_own = elf.section(".debug_info").is_some();
    if has_own || build_id.len() < 2 {
        return None;
    }
    let is_of_it = |file: &Mapping| {
        Elf::parse(file).is_some_and(|debug| debug.identity().build_id == build_id)
    };
    let paths = debug_paths(&build_id, elf.debug_link(), path);
    paths
        .iter()
        .find_map(|path| Mapping::open(path).ok().filter(is_of_it))
}

fn debug_paths(build_id: &[u8], debug_link: Option<&str>, path: &Path) -> Vec<PathBuf> {
    let digits: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let (folder, file) = digits.split_at(2);
    let mut paths = vec![PathBuf::from(format!(
        "{DEBUG_FILES}/.build-id/{folder}/{file}.debug"
    ))];
    if let (Some(link), Some(folder)) = (debug_link, path.parent()) {
        let below = folder.strip_prefix("/").unwrap_or(folder);
        paths.push(folder.join(link));
        paths.push(folder.join(".debug").join(link));
        paths.push(Path::new(DEBUG_FILES).join(below).join(link));
    }
    paths
}
