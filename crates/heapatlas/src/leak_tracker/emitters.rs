//! Where leaks are written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::allocation::Allocation;
use super::leak_file;
use super::report::Style;

/// Takes the leaks that [`LeakTracker::emit`](super::LeakTracker::emit) finds. Closures are emitters:
///
/// ```
/// # use heapatlas::{Allocation, LeakTracker};
/// LeakTracker::emit(&mut |leaks: &[Allocation]| {
///     for leak in leaks {
///         println!("{} bytes at {:#x}", leak.size_bytes, leak.address);
///     }
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait LeaksEmitter {
    /// Is given all leaks, in the order of allocation; none is a case, too.
    ///
    /// # Errors
    /// They could not be written.
    fn emit(&mut self, leaks: &[Allocation]) -> io::Result<()>;
}

impl<F: FnMut(&[Allocation]) -> io::Result<()>> LeaksEmitter for F {
    fn emit(&mut self, leaks: &[Allocation]) -> io::Result<()> {
        self(leaks)
    }
}

/// Writes leaks as text for people: equal ones together, the largest first.
pub struct ConsoleEmitter<W: Write> {
    out: W,
    has_color: bool,
}

impl ConsoleEmitter<io::Stdout> {
    /// To standard output, in color if that is a terminal and `NO_COLOR` is not set.
    pub fn stdout() -> Self {
        let out = io::stdout();
        let has_color = is_color_wanted(out.is_terminal());
        Self { out, has_color }
    }
}

impl ConsoleEmitter<io::Stderr> {
    /// To standard error, in color if that is a terminal and `NO_COLOR` is not set.
    pub fn stderr() -> Self {
        let out = io::stderr();
        let has_color = is_color_wanted(out.is_terminal());
        Self { out, has_color }
    }
}

impl<W: Write> ConsoleEmitter<W> {
    /// To anything else, without color.
    pub fn new(out: W) -> Self {
        Self {
            out,
            has_color: false,
        }
    }
}

fn is_color_wanted(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl<W: Write> LeaksEmitter for ConsoleEmitter<W> {
    fn emit(&mut self, leaks: &[Allocation]) -> io::Result<()> {
        let style = Style {
            title: "✗ Native memory leaks detected",
            filter: None,
            scope: None,
            has_color: self.has_color,
        };
        if leaks.is_empty() {
            writeln!(self.out, "{}", style.no_leaks())?;
        } else {
            let mut text = String::new();
            style
                .write(&mut text, leaks)
                .map_err(|_| io::Error::other("the report could not be put together"))?;
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }
}

/// Writes leaks as JSON, which [`read_leaks`](super::read_leaks) reads:
///
/// ```text
/// {"heapatlas_leaks":1,"leaks":[
/// {"address":94230812345,"type":"my_crate::Packet","size":64,"timestamp":"2026-11-25T12:30:00.123456Z",
///  "thread":{"number":1,"name":"main"},"scope":"import","location":{"file":"src/main.rs","line":7,"column":5},
///  "stack":[{"address":94000000,"function":"my_crate::make","file":"src/main.rs","line":7,"column":5}]}]}
/// ```
///
/// (Each leak stands in a line of its own.) `heapatlas_leaks` is the version: it changes when a field changes its meaning.
/// New fields may come at any time. What is not known is left out: `thread` and its `name`, `scope`, `location`; of a frame
/// `function`, `file`, `line` and `column`. Frames without a function may have a `module`: file and offset. Times are in UTC.
///
/// A file is written under another name first and renamed when it is complete. It can be read by its owner only:
/// stacks and types tell of the program.
pub struct JsonEmitter(Target);

enum Target {
    File(PathBuf),
    Writer(Box<dyn Write + Send>),
}

impl JsonEmitter {
    /// Into a file, which is replaced.
    #[inline]
    pub fn to_file(path: impl Into<PathBuf>) -> Self {
        Self(Target::File(path.into()))
    }

    /// To anything else.
    #[inline]
    pub fn to_writer(out: impl Write + Send + 'static) -> Self {
        Self(Target::Writer(Box::new(out)))
    }
}

impl LeaksEmitter for JsonEmitter {
    #[inline]
    fn emit(&mut self, leaks: &[Allocation]) -> io::Result<()> {
        let text = leak_file::write(leaks);
        match &mut self.0 {
            Target::File(path) => replace_file(path, text.as_bytes()),
            Target::Writer(out) => {
                out.write_all(text.as_bytes())?;
                out.flush()
            }
        }
    }
}

/// So many names are tried for the temporary file.
const ATTEMPTS: u32 = 100;

#[inline]
fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content)
        .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display())))
}

#[inline]
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A new file in the same folder, which nobody else writes or was here before.
#[inline]
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let Some(file_name) = path.file_name() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is not the path of a file",
        ));
    };
    let mut attempt = 0;
    loop {
        let mut name = file_name.to_owned();
        name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        match create_private(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {
                attempt += 1;
            }
            created => return Ok((temporary, created?)),
        }
    }
}

#[inline]
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
