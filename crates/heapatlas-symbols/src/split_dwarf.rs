//! Split debug information: `.dwo` files, or all of them packed into one `.dwp`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use addr2line::SplitDwarfLoad;
use addr2line::gimli::{self, Dwarf, DwarfPackage, SectionId};

use crate::dwarf::{Reader, section};
use crate::elf::ElfFile;
use crate::paths::{SearchPaths, path_from};
use crate::{DebugFiles, Warning};

/// Finds the split files of one module.
pub(crate) struct SplitFiles<'a> {
    files: &'a DebugFiles,
    search: SearchPaths,
    /// Folder of the module's file: split files are looked for there, too.
    folder: PathBuf,
    package: Option<DwarfPackage<Reader<'a>>>,
    missing: RefCell<Vec<PathBuf>>,
}

impl<'a> SplitFiles<'a> {
    /// For a module's file; its package is `file.dwp`.
    pub(crate) fn new(files: &'a DebugFiles, search: &SearchPaths, file: &Path) -> Self {
        Self {
            files,
            search: search.clone(),
            folder: file.parent().unwrap_or(Path::new("")).to_owned(),
            package: open_package(files, file),
            missing: RefCell::default(),
        }
    }

    /// The debug information of one unit.
    pub(crate) fn load(
        &self,
        wanted: &SplitDwarfLoad<Reader<'a>>,
    ) -> Option<Arc<Dwarf<Reader<'a>>>> {
        let found = self.packed(wanted).or_else(|| self.single(wanted));
        if found.is_none() {
            self.missing.borrow_mut().push(relative_path(wanted));
        }
        found.map(Arc::new)
    }

    /// What was not found.
    pub(crate) fn into_warning(self) -> Option<Warning> {
        let missing = self.missing.into_inner();
        let count = missing.len();
        let first = missing.into_iter().next()?;
        Some(Warning::NoSplitFiles { first, count })
    }

    fn packed(&self, wanted: &SplitDwarfLoad<Reader<'a>>) -> Option<Dwarf<Reader<'a>>> {
        let package = self.package.as_ref()?;
        package.find_cu(wanted.dwo_id, &wanted.parent).ok()?
    }

    fn single(&self, wanted: &SplitDwarfLoad<Reader<'a>>) -> Option<Dwarf<Reader<'a>>> {
        self.places(wanted)
            .into_iter()
            .filter_map(|path| ElfFile::open(self.files, &path).ok())
            .find_map(|file| self.read(&file, wanted))
    }

    /// Where the compiler left it, then beside the program, then in the debug paths.
    fn places(&self, wanted: &SplitDwarfLoad<Reader<'a>>) -> Vec<PathBuf> {
        let path = relative_path(wanted);
        let compiled_in = wanted
            .comp_dir
            .map_or(PathBuf::new(), |folder| path_from(folder.slice()));
        let mut places = vec![self.search.in_sysroot(&compiled_in.join(&path))];
        if let Some(name) = path.file_name() {
            places.push(self.folder.join(&path));
            places.push(self.folder.join(name));
            places.extend(self.search.roots().map(|root| root.join(name)));
        }
        places
    }

    fn read(
        &self,
        file: &ElfFile<'a>,
        wanted: &SplitDwarfLoad<Reader<'a>>,
    ) -> Option<Dwarf<Reader<'a>>> {
        let mut warnings = Vec::new();
        let mut load = |id: SectionId| section(self.files, file, id.dwo_name(), &mut warnings);
        let mut dwarf = Dwarf::load(|id| Ok::<_, Infallible>(load(id))).ok()?;
        let header = dwarf.units().next().ok()??;
        let unit = dwarf.unit(header).ok()?;
        let is_wanted = unit.dwo_id == Some(wanted.dwo_id) && warnings.is_empty();
        is_wanted.then(|| {
            dwarf.make_dwo(&wanted.parent);
            dwarf
        })
    }
}

fn relative_path(wanted: &SplitDwarfLoad<Reader<'_>>) -> PathBuf {
    wanted
        .path
        .map_or(PathBuf::new(), |path| path_from(path.slice()))
}

/// The package beside a file. One that is damaged counts as none: the single files may be there.
fn open_package<'a>(files: &'a DebugFiles, file: &Path) -> Option<DwarfPackage<Reader<'a>>> {
    let mut path = file.as_os_str().to_owned();
    path.push(".dwp");
    let package = ElfFile::open(files, Path::new(&path)).ok()?;
    let mut warnings = Vec::new();
    let empty = section(files, &package, None, &mut warnings);
    let mut load = |id: SectionId| section(files, &package, id.dwo_name(), &mut warnings);
    DwarfPackage::load(|id| Ok::<_, gimli::Error>(load(id)), empty).ok()
}
