//! Files that are either whole or not there.
//!
//! ```text
//!  temporary name, 0600, same directory -> write -> sync -> rename -> sync the directory
//! ```
//!
//! A full disk, an error or a kill leaves the final name as it was: with its old contents, or not
//! there. What is not a plain file (a pipe, `/dev/stdout`) is written to directly.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

/// Writes a file, packed when its name ends in `.gz` or `.zst`.
pub fn write(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        let file = File::options().write(true).open(path)?;
        return write_packed(&file, path, content);
    }
    // A link stays a link: the file that it names is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = directory_of(&path);
    let temporary = tempfile::Builder::new()
        .prefix(".heapatlas-")
        .tempfile_in(&directory)?;
    write_packed(temporary.as_file(), &path, content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(&path)?;
    // So that the new name survives a power cut, too. Not every file system can.
    let _ = File::open(&directory).and_then(|directory| directory.sync_all());
    Ok(())
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn write_packed(
    file: &File,
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(256 << 10, file);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            let mut packer = GzEncoder::new(&mut file, flate2::Compression::default());
            content(&mut packer)?;
            packer.finish()?;
        }
        Some("zst") => {
            let mut packer = zstd::Encoder::new(&mut file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            content(&mut packer)?;
            packer.finish()?;
        }
        _ => content(&mut file)?,
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        write(&path, |out| out.write_all(b"old")).unwrap();
        let result = write(&path, |out| {
            out.write_all(b"new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(result.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["out"]);
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        write(&path, |out| out.write_all(b"text")).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn packs_by_the_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["out.gz", "out.zst"] {
            let path = directory.path().join(name);
            write(&path, |out| out.write_all(b"text")).unwrap();
            let packed = fs::read(&path).unwrap();
            assert!(crate::unpack::Compression::of(&packed).is_some(), "{name}");
        }
    }
}
