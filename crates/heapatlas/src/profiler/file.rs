//! Files that are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Writes a file that only its owner may read: under another name in the same folder first, then synced, then under its
/// own. What was there before is replaced at once or not at all.
pub(crate) fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_with(path, contents, &private())
}

/// The same, for a file that holds no secrets.
pub(crate) fn write_shared(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    write_with(path, contents, options.write(true).create_new(true))
}

fn write_with(path: &Path, contents: &[u8], options: &OpenOptions) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path, options)?;
    let written = (file.write_all(contents))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A new file that only its owner may read, for what is written bit by bit. One that was there before is no more:
/// whoever has it open keeps it.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => private().open(path),
    }
}

fn create_beside(path: &Path, options: &OpenOptions) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path names no file",
        ));
    };
    loop {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        let number = NEXT.fetch_add(1, Relaxed);
        hidden.push(format!(".{}-{number}.tmp", std::process::id()));
        let temporary = path.with_file_name(hidden);
        match options.open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // Left over by a process that had our number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {}
            Err(error) => return Err(error),
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside() {
        let folder = std::env::temp_dir().join(format!("heapatlas-file-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("profile.json");
        for contents in ["one", "another"] {
            write(&path, contents.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        }
        // A folder of that name is in the way.
        fs::create_dir(folder.join("taken")).unwrap();
        assert!(write(&folder.join("taken"), b"x").is_err());
        assert!(write(&folder.join("missing/profile.json"), b"x").is_err());
        assert!(write(Path::new("/"), b"x").is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
