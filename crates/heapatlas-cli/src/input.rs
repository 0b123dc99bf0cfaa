//! From a path to a heap: opens, unpacks, recognizes, reads, computes.
//!
//! ```text
//!  path --+-- plain file ---------> mapped --------+-> format? -> reader -> Heap::open
//!         +-- .gz, .zst ----------> anonymous -----+
//!         +-- -, fifo, device ----> memory --------+
//! ```
//!
//! Verbs that take heaps and profiles alike open the file first ([`open_any`]), ask what it is,
//! and then read it; profiles are read in [`profile_input`](crate::profile_input).

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use heapatlas_analysis::{Heap, OpenOptions};
use heapatlas_formats::detect::{FileFormat, HEAD_BYTES as DETECTED_BYTES, detect};
use heapatlas_formats::v8::{self, Problem, ReadError, ReadOptions, Snapshot, Warning};
use heapatlas_model::{AllocationProfile, ByteSource, HeapGraph};
use rayon::prelude::*;

use crate::console::Console;
use crate::exit::Hint;
use crate::mapping::MappedFile;
use crate::paths::{is_stdin, quoted};
use crate::profile_input::{self, ProfileOptions};
use crate::progress::{FileProgress, Progress};
use crate::unpack::{Compression, HEAD_BYTES, unpack};

/// What to do about a damaged file.
const SALVAGE_HINT: &str = "`--salvage` keeps what is whole";
const READABLE_HINT: &str =
    "heapatlas reads V8 heap snapshots (`.heapsnapshot`, `.heaptimeline`), also as .gz and .zst";

/// Opens one file; see [`open_all`].
///
/// # Errors
/// As [`open_all`].
pub fn open(path: &Path, options: OpenOptions, console: &Console) -> anyhow::Result<Heap> {
    let mut heaps = open_all(&[path.to_owned()], options, console)?;
    Ok(heaps.pop().expect("one path gives one heap"))
}

/// Reads all files at once and computes their figures.
///
/// # Errors
/// When any of them cannot be read, or is damaged and `--salvage` was not asked for.
pub fn open_all(
    paths: &[PathBuf],
    options: OpenOptions,
    console: &Console,
) -> anyhow::Result<Vec<Heap>> {
    if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
        bail!("stdin can be read only once");
    }
    let progress = console.progress(total_bytes(paths));
    let results: Vec<_> = console.measure("read", || {
        let read = |path: &PathBuf| read_file(path, console.salvages, &progress.of_file());
        paths.par_iter().map(read).collect()
    });
    progress.start("computing");
    let mut graphs = Vec::with_capacity(paths.len());
    for (path, result) in paths.iter().zip(results) {
        graphs.push(graph_of(path, result, console)?);
    }
    let open = |graph| Heap::open(graph, options);
    Ok(console.measure("open", || graphs.into_par_iter().map(open).collect()))
}

/// A file that was opened and recognized, and is yet to be read.
pub struct OpenedFile {
    path: PathBuf,
    source: Source,
    format: FileFormat,
    progress: Progress,
}

/// Opens one file, whatever it holds.
///
/// # Errors
/// When it cannot be opened or unpacked.
pub fn open_any(path: &Path, console: &Console) -> anyhow::Result<OpenedFile> {
    let progress = console.progress(total_bytes(&[path.to_owned()]));
    let source = console
        .measure("open file", || open_source(path, &progress.of_file()))
        .with_context(|| format!("while reading {}", quoted(path)))?;
    Ok(OpenedFile {
        path: path.to_owned(),
        format: detect_format(source.bytes.bytes()),
        source,
        progress,
    })
}

impl OpenedFile {
    /// Whether it is an allocation profile; else it is taken for a heap snapshot.
    pub fn is_profile(&self) -> bool {
        self.format == FileFormat::Heaptrace
    }

    /// Reads a heap snapshot and computes its figures.
    ///
    /// # Errors
    /// As [`open_all`].
    pub fn into_heap(self, options: OpenOptions, console: &Console) -> anyhow::Result<Heap> {
        let file = console.measure("read", || {
            read_source(&self.source, console.salvages, &self.progress.of_file())
        });
        self.progress.start("computing");
        let graph = graph_of(&self.path, file, console)?;
        Ok(console.measure("open", || Heap::open(graph, options)))
    }

    /// Reads an allocation profile with its names.
    ///
    /// # Errors
    /// When it cannot be read, or its compressed stream is damaged. (Traces that were cut off are
    /// whole up to there, and are read without `--salvage`.)
    pub fn into_profile(
        self,
        options: &ProfileOptions,
        console: &Console,
    ) -> anyhow::Result<AllocationProfile> {
        self.progress.start("reading");
        let (profile, mut warnings) =
            profile_input::read(self.source.bytes.bytes(), options, console)
                .with_context(|| format!("while reading {}", quoted(&self.path)))?;
        warnings.extend(self.source.damage);
        for warning in warnings {
            console.warn(&format!("{}: {warning}", quoted(&self.path)));
        }
        Ok(profile)
    }
}

struct ReadFile {
    graph: HeapGraph,
    /// What is odd about the file.
    remarks: Vec<String>,
    /// What is missing from the graph.
    losses: Vec<String>,
}

/// The bytes of a file, unpacked.
struct Source {
    bytes: Arc<dyn ByteSource>,
    /// Set for a plain file, in which somebody may still write.
    mapped: Option<Arc<MappedFile>>,
    /// How the stream broke off, in words.
    damage: Option<String>,
    has_trailing_bytes: bool,
}

fn read_file(path: &Path, salvages: bool, progress: &FileProgress) -> anyhow::Result<ReadFile> {
    read_source(&open_source(path, progress)?, salvages, progress)
}

fn read_source(
    source: &Source,
    salvages: bool,
    progress: &FileProgress,
) -> anyhow::Result<ReadFile> {
    if let Some(damage) = &source.damage
        && !salvages
    {
        return Err(anyhow!("{damage}").hint([SALVAGE_HINT]));
    }
    refuse_other_formats(source.bytes.bytes())?;
    let snapshot = read_snapshot(source, salvages, progress)?;
    Ok(ReadFile {
        remarks: remarks(source, &snapshot.warnings),
        losses: losses(source, &snapshot.warnings),
        graph: snapshot.graph,
    })
}

/// The graph of a file that was read; says what is odd about it and what is missing.
fn graph_of(
    path: &Path,
    result: anyhow::Result<ReadFile>,
    console: &Console,
) -> anyhow::Result<HeapGraph> {
    let file = result.with_context(|| format!("while reading {}", quoted(path)))?;
    for remark in &file.remarks {
        console.remark(&format!("{}: {remark}", quoted(path)));
    }
    for loss in &file.losses {
        console.warn(&format!("{}: {loss}", quoted(path)));
    }
    Ok(file.graph)
}

fn read_snapshot(
    source: &Source,
    salvages: bool,
    progress: &FileProgress,
) -> anyhow::Result<Snapshot> {
    let at = |position| progress.at(position);
    let options = ReadOptions {
        salvage: salvages,
        // A stream's progress was told while it was unpacked.
        progress: source.mapped.is_some().then_some(&at),
    };
    v8::read(source.bytes.clone(), options).map_err(|error| {
        let hints = read_error_hints(&error, salvages);
        error.hint(hints)
    })
}

fn remarks(source: &Source, warnings: &[Warning]) -> Vec<String> {
    let harmless = warnings.iter().filter(|warning| !warning.is_loss);
    let mut remarks: Vec<String> = harmless.map(|warning| warning.message.clone()).collect();
    if source.has_trailing_bytes {
        remarks.push("ignored what follows the end of the compressed data".to_owned());
    }
    if source
        .mapped
        .as_ref()
        .is_some_and(|file| file.has_changed())
    {
        remarks.push("somebody wrote to the file while it was read".to_owned());
    }
    remarks
}

fn losses(source: &Source, warnings: &[Warning]) -> Vec<String> {
    let lost = warnings.iter().filter(|warning| warning.is_loss);
    let mut losses: Vec<String> = source.damage.iter().cloned().collect();
    losses.extend(lost.map(|warning| warning.message.clone()));
    if !losses.is_empty() {
        losses.push("salvaged: all figures are of what could be read".to_owned());
    }
    losses
}

/// Maps a plain file; reads everything else to its end.
fn open_source(path: &Path, progress: &FileProgress) -> anyhow::Result<Source> {
    if is_stdin(path) {
        return read_stream(io::stdin().lock(), progress);
    }
    let mut file = File::open(path).map_err(|error| cannot_open(path, error))?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(anyhow!("this is a directory").hint(["name the files in it"]));
    }
    // Files of /proc say that they are empty, and are not.
    if !metadata.is_file() || metadata.len() == 0 {
        return read_stream(file, progress);
    }
    let head = read_head(&mut file)?;
    if Compression::of(&head).is_some() {
        return read_stream(Cursor::new(head).chain(file), progress);
    }
    let mapped = Arc::new(MappedFile::new(file).context("cannot map the file")?);
    Ok(Source {
        bytes: mapped.clone(),
        mapped: Some(mapped),
        damage: None,
        has_trailing_bytes: false,
    })
}

fn read_stream(mut stream: impl Read, progress: &FileProgress) -> anyhow::Result<Source> {
    let head = read_head(&mut stream)?;
    let compression = Compression::of(&head);
    let whole = Cursor::new(head).chain(stream);
    let unpacked = unpack(compression, whole, &|position| progress.at(position))?;
    let length = unpacked.bytes.len();
    Ok(Source {
        bytes: Arc::new(unpacked.bytes.finish()?),
        mapped: None,
        damage: unpacked
            .damage
            .map(|error| damage_in_words(compression, length, &error)),
        has_trailing_bytes: unpacked.has_trailing_bytes,
    })
}

fn damage_in_words(compression: Option<Compression>, length: usize, error: &io::Error) -> String {
    let stream = compression.map_or("stream", Compression::name);
    let how = match error.kind() {
        io::ErrorKind::UnexpectedEof => "is cut off".to_owned(),
        _ => format!("is damaged ({error})"),
    };
    format!("{stream} at byte {length} of what was unpacked: the data {how}")
}

/// The first bytes of a stream; fewer when it is shorter.
fn read_head(stream: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::new();
    stream.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn cannot_open(path: &Path, error: io::Error) -> anyhow::Error {
    let looks_like_process = path
        .to_str()
        .is_some_and(|text| text.parse::<u32>().is_ok());
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    let error = anyhow::Error::from(error).context("cannot open it");
    match (is_missing, looks_like_process) {
        (true, true) => error.hint(["processes cannot be read yet: name a snapshot file"]),
        (true, false) => error.hint(["check the path; `-` reads from stdin"]),
        _ => error,
    }
}

fn detect_format(bytes: &[u8]) -> FileFormat {
    detect(&bytes[..bytes.len().min(DETECTED_BYTES)])
}

/// Files that are something we know, and not a snapshot we can read.
fn refuse_other_formats(bytes: &[u8]) -> anyhow::Result<()> {
    let format = detect_format(bytes);
    let hint = match format {
        // What nobody knows is for the reader to refuse: it says what it missed and where.
        FileFormat::V8Snapshot
        | FileFormat::Empty
        | FileFormat::OtherJson { .. }
        | FileFormat::Unknown { .. } => return Ok(()),
        FileFormat::V8SamplingProfile => {
            "it counts allocations and holds no objects: take a heap snapshot instead \
             (`v8.writeHeapSnapshot()`), or open it in the Memory panel of Chrome DevTools"
        }
        FileFormat::Gzip | FileFormat::Zstd => {
            "it is packed twice: unpack it once, for example with `gzip -d` or `zstd -d`"
        }
        FileFormat::Heaptrace => {
            "`heapatlas summary`, `heapatlas show` and `heapatlas export` take it"
        }
        FileFormat::Pprof => "`go tool pprof` opens it",
        FileFormat::Heaptrack => "`heaptrack_print` and `heaptrack_gui` open it",
        FileFormat::Dhat => "DHAT's viewer, `dh_view.html`, opens it",
        _ => READABLE_HINT,
    };
    let refusal = anyhow!(
        "file at byte 0: this is {}, {}",
        format.describe(),
        if format == FileFormat::Heaptrace {
            "and no heap snapshot"
        } else {
            "which is not read yet"
        }
    );
    Err(refusal.hint([hint]))
}

fn read_error_hints(error: &ReadError, salvages: bool) -> Vec<String> {
    let hints: &[&str] = match &error.problem {
        Problem::Empty => &[
            "the process that wrote it was probably killed: V8 writes nothing before its snapshot \
             is complete in memory, which takes up to 4 times the live heap",
            "take it again with a higher memory limit for the process or its container",
        ],
        Problem::NotASnapshot(_) => &[READABLE_HINT],
        Problem::Unexpected { .. } if error.offset == 0 => &[READABLE_HINT],
        Problem::Truncated(_) if salvages => &["too little is left of this file"],
        Problem::Truncated(_) => &[
            "the writer was probably killed, or its disk was full",
            SALVAGE_HINT,
        ],
        Problem::Unexpected { .. } | Problem::Inconsistent(_) if !salvages => &[SALVAGE_HINT],
        _ => &[],
    };
    hints.iter().map(|&hint| hint.to_owned()).collect()
}

/// The size of all files together, as far as reading them can be followed.
fn total_bytes(paths: &[PathBuf]) -> Option<u64> {
    let length = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        metadata.is_file().then_some(metadata.len())
    };
    paths.iter().map(length).sum()
}
