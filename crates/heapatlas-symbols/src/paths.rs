//! Where debug files may stand.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::{Options, build_id};

/// The system's debug root.
const DEBUG_ROOT: &str = "/usr/lib/debug";

/// The folders of one look-up.
#[derive(Clone, Default, Debug)]
pub(crate) struct SearchPaths {
    sysroot: Option<PathBuf>,
    debug_paths: Vec<PathBuf>,
}

impl SearchPaths {
    pub(crate) fn new(options: &Options<'_>) -> Self {
        Self {
            sysroot: options.sysroot.clone(),
            debug_paths: options.debug_paths.clone(),
        }
    }

    /// A path of the measured system as one of this system.
    pub(crate) fn in_sysroot(&self, path: &Path) -> PathBuf {
        match &self.sysroot {
            Some(root) => below(root, path),
            None => path.to_owned(),
        }
    }

    /// Debug roots: the given ones, then the system's.
    pub(crate) fn roots(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let system = self.in_sysroot(Path::new(DEBUG_ROOT));
        self.debug_paths.iter().cloned().chain([system])
    }

    /// Where a debug file stands by its build-id.
    pub(crate) fn by_build_id(&self, id: &[u8]) -> Vec<PathBuf> {
        let Some(place) = build_id::debug_path(id) else {
            return Vec::new();
        };
        self.roots().map(|root| root.join(&place)).collect()
    }

    /// Where the file that a `.gnu_debuglink` names stands, for a module whose path in the measured
    /// system is `module`: beside it, in `.debug`, in the roots with and without the module's folder.
    pub(crate) fn by_link(&self, module: &Path, name: &[u8]) -> Vec<PathBuf> {
        let folder = module.parent().unwrap_or(Path::new("/"));
        // A link is a bare name. One with folders in it could lead anywhere.
        let Some(name) = path_from(name).file_name().map(OsStr::to_owned) else {
            return Vec::new();
        };
        let beside = self.in_sysroot(folder);
        let mut places = vec![beside.join(&name), beside.join(".debug").join(&name)];
        for root in self.roots() {
            places.push(below(&root, folder).join(&name));
            places.push(root.join(&name));
        }
        places
    }

    /// Where the file that a `.gnu_debugaltlink` in `file` names stands.
    pub(crate) fn by_alternate_link(&self, file: &Path, link: &Path, id: &[u8]) -> Vec<PathBuf> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let linked = match link.is_absolute() {
            true => self.in_sysroot(link),
            false => folder.join(link),
        };
        let mut places = vec![linked];
        places.extend(self.by_build_id(id));
        if let Some(name) = link.file_name() {
            places.extend(self.roots().map(|root| root.join(".dwz").join(name)));
        }
        places
    }
}

/// A path moved below a root.
fn below(root: &Path, path: &Path) -> PathBuf {
    let inner = path.components();
    let inner = inner.filter(|part| !matches!(part, Component::RootDir | Component::Prefix(_)));
    inner.fold(root.to_owned(), |folder, part| folder.join(part))
}

/// A path from bytes of a file.
pub(crate) fn path_from(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(OsStr::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search() -> SearchPaths {
        SearchPaths {
            sysroot: Some("/target".into()),
            debug_paths: vec!["/symbols".into()],
        }
    }

    fn check(found: Vec<PathBuf>, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn given_roots_come_before_the_system() {
        check(
            search().by_build_id(&[1, 2, 3]),
            &[
                "/symbols/.build-id/01/0203.debug",
                "/target/usr/lib/debug/.build-id/01/0203.debug",
            ],
        );
    }

    #[test]
    fn linked_files_stand_beside_the_module_or_in_a_root() {
        check(
            search().by_link(Path::new("/opt/a/prog"), b"prog.debug"),
            &[
                "/target/opt/a/prog.debug",
                "/target/opt/a/.debug/prog.debug",
                "/symbols/opt/a/prog.debug",
                "/symbols/prog.debug",
                "/target/usr/lib/debug/opt/a/prog.debug",
                "/target/usr/lib/debug/prog.debug",
            ],
        );
        check(search().by_link(Path::new("/prog"), b".."), &[]);
    }

    #[test]
    fn supplementary_files_are_relative_to_the_debug_file() {
        let places = search().by_alternate_link(Path::new("/d/x.debug"), Path::new("../alt"), &[9]);
        assert_eq!(places[0], PathBuf::from("/d/../alt"));
        assert_eq!(places[1], PathBuf::from("/symbols/.dwz/alt"));
    }
}
