//! The recorder as a file: the dynamic linker loads paths only.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{env, hash};

/// The recorder.
pub(crate) const BYTES: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/libheapatlas_preload.so"));

/// Where the recorder is, put there if it was not. It stays: a program that outlives us may start others
/// with the same environment.
///
/// # Errors
/// When neither the user's cache folder nor the temporary folder takes it.
pub fn place() -> io::Result<PathBuf> {
    let name = format!("recorder-{:016x}.so", fingerprint());
    let folders = cache_folder().into_iter().chain([temporary_folder()]);
    let mut last_error = None;
    for folder in folders {
        match place_in(&folder, &name) {
            Ok(path) => return Ok(path),
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.expect("there is at least one folder"))
}

fn place_in(folder: &Path, name: &str) -> io::Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Whoever can write there could put another object in the place of ours.
    let metadata = fs::metadata(folder)?;
    // SAFETY: cannot fail.
    let user = unsafe { libc::geteuid() };
    if metadata.uid() != user || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "`{}` is not ours alone",
            folder.display()
        )));
    }
    let path = folder.join(name);
    if fs::read(&path).is_ok_and(|found| found == BYTES) {
        return Ok(path);
    }
    let unfinished = folder.join(format!("{name}.{}", std::process::id()));
    let written = write_new(&unfinished).and_then(|()| fs::rename(&unfinished, &path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.map(|()| path)
}

fn write_new(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(BYTES)
}

fn cache_folder() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    // A list of objects to preload is cut at blanks and colons.
    let is_usable = |path: &PathBuf| {
        path.is_absolute()
            && !path
                .as_os_str()
                .as_encoded_bytes()
                .iter()
                .any(|b| b" :\t\n".contains(b))
    };
    base.filter(is_usable).map(|base| base.join("heapatlas"))
}

fn temporary_folder() -> PathBuf {
    // SAFETY: cannot fail.
    let user = unsafe { libc::geteuid() };
    PathBuf::from(format!("/tmp/heapatlas-{user}"))
}

/// Tells builds apart in one folder.
fn fingerprint() -> u64 {
    let mut hasher = hash::DefaultHasher::new();
    hash::Hash::hash(BYTES, &mut hasher);
    hash::Hasher::finish(&hasher)
}
