//! Finds the files that tell about a module.

use std::path::{Path, PathBuf};

use heapatlas_model::Module;
use object::Object;

use crate::elf::ElfFile;
use crate::paths::{SearchPaths, path_from};
use crate::{DebugFiles, Options, Warning};

/// The files that tell about a module.
pub(crate) struct Located<'a> {
    /// The module's file, if it is the one that was loaded.
    pub own: Option<ElfFile<'a>>,
    /// The file with its debug information, if that is another.
    pub debug: Option<ElfFile<'a>>,
    /// What debug information shared by several files was moved to (by `dwz`).
    pub supplement: Option<ElfFile<'a>>,
    pub search: SearchPaths,
    /// Path of the module's file on this system, whether it is there or not.
    pub module: PathBuf,
    pub warnings: Vec<Warning>,
}

impl<'a> Located<'a> {
    /// The file that debug information is read from.
    pub(crate) fn debug_path(&self) -> &Path {
        let file = self.debug.as_ref().or(self.own.as_ref());
        file.map_or(&self.module, |file| &file.path)
    }

    /// The files with symbols.
    pub(crate) fn files(&self) -> Vec<&ElfFile<'a>> {
        self.own.iter().chain(&self.debug).collect()
    }
}

/// Opens the module's file and, where that has no debug information, the file that has.
pub(crate) fn locate<'a>(
    files: &'a DebugFiles,
    module: &Module,
    options: &Options<'_>,
) -> Located<'a> {
    let search = SearchPaths::new(options);
    let mut located = Located {
        own: None,
        debug: None,
        supplement: None,
        module: search.in_sysroot(Path::new(&module.path)),
        search,
        warnings: Vec::new(),
    };
    located.find_own(files, module);
    if !located.own.as_ref().is_some_and(ElfFile::has_debug_info) {
        located.find_debug(files, module);
    }
    located.find_supplement(files);
    located
}

impl<'a> Located<'a> {
    fn find_own(&mut self, files: &'a DebugFiles, module: &Module) {
        match ElfFile::open(files, &self.module) {
            Ok(file) if is_same_build(&module.build_id, file.build_id) => self.own = Some(file),
            Ok(file) => self.warnings.push(Warning::Replaced {
                path: file.path,
                recorded: module.build_id.clone(),
                found: file.build_id.to_owned(),
            }),
            Err(warning) => self.warnings.push(warning),
        }
    }

    /// By build-id (the recorded one will do when the module's file is gone), then by link.
    fn find_debug(&mut self, files: &'a DebugFiles, module: &Module) {
        let own_id = self.own.as_ref().map_or(&[][..], |own| own.build_id);
        let id = if own_id.is_empty() {
            &module.build_id
        } else {
            own_id
        };
        let places = self.search.by_build_id(id);
        let link = self
            .own
            .as_ref()
            .and_then(|own| own.object.gnu_debuglink().ok()?);
        let (name, crc) = link.unwrap_or_default();
        let linked = match name.is_empty() {
            true => Vec::new(),
            false => self.search.by_link(Path::new(&module.path), name),
        };
        let is_own = |file: &ElfFile<'_>| is_debug_file(file, id, crc);
        self.debug = first_of(
            files,
            &places,
            |file| file.build_id == id,
            &mut self.warnings,
        )
        .or_else(|| first_of(files, &linked, is_own, &mut self.warnings));
    }

    fn find_supplement(&mut self, files: &'a DebugFiles) {
        let Some(file) = self.debug.as_ref().or(self.own.as_ref()) else {
            return;
        };
        let Ok(Some((link, id))) = file.object.gnu_debugaltlink() else {
            return;
        };
        let link = path_from(link);
        let places = self.search.by_alternate_link(&file.path, &link, id);
        let has_id = |file: &ElfFile<'_>| file.build_id == id;
        self.supplement = first_of(files, &places, has_id, &mut self.warnings);
        if self.supplement.is_none() {
            self.warnings.push(Warning::NoSupplement {
                path: file.path.clone(),
                wanted: link,
            });
        }
    }
}

/// Whether a file is the module that was loaded, as far as is known.
fn is_same_build(recorded: &[u8], found: &[u8]) -> bool {
    recorded.is_empty() || recorded == found
}

/// Whether a linked file belongs to the module. Equal build-ids prove it; only without them is the
/// whole file read for its checksum.
fn is_debug_file(file: &ElfFile<'_>, id: &[u8], crc: u32) -> bool {
    match id.is_empty() || file.build_id.is_empty() {
        true => checksum(file.bytes) == crc,
        false => file.build_id == id,
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The first file that can be opened and is the right one. Another build's is worth a warning.
fn first_of<'a>(
    files: &'a DebugFiles,
    places: &[PathBuf],
    is_right: impl Fn(&ElfFile<'_>) -> bool,
    warnings: &mut Vec<Warning>,
) -> Option<ElfFile<'a>> {
    for path in places.iter().filter(|path| path.exists()) {
        match ElfFile::open(files, path) {
            Ok(file) if is_right(&file) => return Some(file),
            Ok(file) => warnings.push(Warning::ForeignDebugFile { path: file.path }),
            Err(warning) => warnings.push(warning),
        }
    }
    None
}
