//! ELF files: opened, and their sections unpacked.

use std::io::Read;
use std::path::{Path, PathBuf};

use object::{CompressedData, CompressionFormat, Object, ObjectSection};

use crate::{DebugFiles, Warning};

/// An ELF file whose bytes [`DebugFiles`] owns.
pub(crate) struct ElfFile<'a> {
    pub path: PathBuf,
    pub bytes: &'a [u8],
    pub object: object::File<'a>,
    /// Empty if it has none.
    pub build_id: &'a [u8],
}

impl<'a> ElfFile<'a> {
    /// Opens a file and reads its headers.
    pub(crate) fn open(files: &'a DebugFiles, path: &Path) -> Result<Self, Warning> {
        let bytes = files.map(path).map_err(|error| Warning::Unreadable {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        let object = object::File::parse(bytes).map_err(|error| not_an_object(path, &error))?;
        let build_id = object
            .build_id()
            .map_err(|error| not_an_object(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            object,
            build_id: build_id.unwrap_or_default(),
        })
    }

    /// Whether functions and lines can be read from it.
    pub(crate) fn has_debug_info(&self) -> bool {
        let info = self.find_section(".debug_info");
        info.is_some_and(|section| section.size() > 0)
    }

    /// The bytes of a section, unpacked; none if there is no such section.
    ///
    /// # Errors
    /// In words, when the section lies outside of the file or cannot be unpacked.
    pub(crate) fn section(&self, files: &'a DebugFiles, name: &str) -> Result<&'a [u8], String> {
        let Some(section) = self.find_section(name) else {
            return Ok(&[]);
        };
        let packed = section.compressed_data();
        let packed = packed.map_err(|error| format!("section {name}: {error}"))?;
        match packed.format {
            CompressionFormat::None => Ok(packed.data),
            _ => unpack(&packed)
                .map(|bytes| files.keep(bytes))
                .map_err(|problem| format!("section {name}: {problem}")),
        }
    }

    /// A section by its name, or by the one that it had when it was packed the older way
    /// (`.zdebug_info`).
    fn find_section(&self, name: &str) -> Option<object::Section<'a, '_>> {
        let packed = || {
            let rest = name.strip_prefix(".debug_")?;
            self.object.section_by_name(&format!(".zdebug_{rest}"))
        };
        self.object.section_by_name(name).or_else(packed)
    }
}

fn not_an_object(path: &Path, error: &object::Error) -> Warning {
    Warning::NotAnObject {
        path: path.to_owned(),
        problem: error.to_string(),
    }
}

/// No compressor makes debug information this much smaller; a header that says so is a trap.
const LARGEST_RATIO: u64 = 1024;

fn unpack(packed: &CompressedData<'_>) -> Result<Vec<u8>, String> {
    let size = packed.uncompressed_size;
    if size / LARGEST_RATIO > packed.data.len() as u64 {
        return Err(format!(
            "{size} bytes unpacked are said to be in {}",
            packed.data.len()
        ));
    }
    match packed.format {
        CompressionFormat::Zlib => read_exactly(flate2::read::ZlibDecoder::new(packed.data), size),
        CompressionFormat::Zstandard => zstd::Decoder::with_buffer(packed.data)
            .map_err(|error| error.to_string())
            .and_then(|decoder| read_exactly(decoder, size)),
        _ => Err("unknown compression".to_owned()),
    }
}

fn read_exactly(decoder: impl Read, size: u64) -> Result<Vec<u8>, String> {
    // Grows as bytes come: the header's size is a claim.
    let mut bytes = Vec::new();
    let read = decoder.take(size).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 != size {
        return Err(format!("{size} bytes were expected, {} came", bytes.len()));
    }
    Ok(bytes)
}
