//! Functions, lines and inlined frames from DWARF.

use addr2line::gimli::{self, Dwarf, EndianSlice, RunTimeEndian};
use addr2line::{Context, Location, LookupResult};
use heapatlas_model::Frame;
use object::Object;

use crate::demangle::Names;
use crate::elf::ElfFile;
use crate::split_dwarf::SplitFiles;
use crate::{DebugFiles, Warning};

pub(crate) type Reader<'a> = EndianSlice<'a, RunTimeEndian>;

/// The debug information of one module.
pub(crate) struct DebugInfo<'a> {
    context: Context<Reader<'a>>,
    split: SplitFiles<'a>,
}

impl<'a> DebugInfo<'a> {
    /// Reads the list of units of `file`, which `supplement` may complete. Sections that cannot
    /// be read count as empty, with a warning.
    pub(crate) fn open(
        files: &'a DebugFiles,
        file: &ElfFile<'a>,
        supplement: Option<&ElfFile<'a>>,
        split: SplitFiles<'a>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, gimli::Error> {
        let mut dwarf = load(files, file, warnings)?;
        if let Some(supplement) = supplement {
            dwarf.set_sup(load(files, supplement, warnings)?);
        }
        dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        let context = Context::from_dwarf(dwarf)?;
        Ok(Self { context, split })
    }

    /// The frames at an address, innermost first, and the outermost one's name as it stands
    /// there; none where the debug information is silent.
    pub(crate) fn frames(
        &self,
        address: u64,
        names: &mut Names<'a>,
    ) -> Result<(Vec<Frame>, Option<&'a [u8]>), gimli::Error> {
        let mut lookup = self.context.find_frames(address);
        let mut found = loop {
            match lookup {
                LookupResult::Output(found) => break found?,
                LookupResult::Load { load, continuation } => {
                    lookup =
                        addr2line::LookupContinuation::resume(continuation, self.split.load(&load));
                }
            }
        };
        let mut frames = Vec::new();
        let mut outermost = None;
        while let Some(frame) = found.next()? {
            outermost = frame.function.map(|function| function.name.slice());
            let function = outermost.map(|name| names.get(name));
            frames.push(new_frame(function, frame.location));
        }
        Ok((frames, outermost))
    }

    /// The line at an address as a frame without a function.
    pub(crate) fn line(&self, address: u64) -> Result<Option<Frame>, gimli::Error> {
        let location = self.context.find_location(address)?;
        Ok(location.map(|location| new_frame(None, Some(location))))
    }

    /// What could not be found on the way.
    pub(crate) fn into_warning(self) -> Option<Warning> {
        self.split.into_warning()
    }
}

fn new_frame(function: Option<String>, location: Option<Location<'_>>) -> Frame {
    let (file, line) = location.map_or((None, None), |location| (location.file, location.line));
    Frame {
        function: function.unwrap_or_default(),
        file: file.unwrap_or_default().to_owned(),
        line: line.unwrap_or(0),
    }
}

fn load<'a>(
    files: &'a DebugFiles,
    file: &ElfFile<'a>,
    warnings: &mut Vec<Warning>,
) -> Result<Dwarf<Reader<'a>>, gimli::Error> {
    Dwarf::load(|id| Ok(section(files, file, Some(id.name()), warnings)))
}

/// A section for gimli; an empty one if it has no name in this kind of file, and, with a warning,
/// if it cannot be read.
pub(crate) fn section<'a>(
    files: &'a DebugFiles,
    file: &ElfFile<'a>,
    name: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Reader<'a> {
    let bytes = name.map_or(Ok(&[][..]), |name| file.section(files, name));
    let bytes = bytes.unwrap_or_else(|problem| {
        warnings.push(Warning::DamagedDebugInfo {
            path: file.path.clone(),
            problem,
            addresses: 0,
        });
        &[]
    });
    EndianSlice::new(bytes, endian(file))
}

fn endian(file: &ElfFile<'_>) -> RunTimeEndian {
    match file.object.is_little_endian() {
        true => RunTimeEndian::Little,
        false => RunTimeEndian::Big,
    }
}
