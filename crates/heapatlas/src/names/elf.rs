//! The parts of an ELF file (64 bit, little endian) that names need. Every reading is checked: a damaged file has fewer
//! sections, no more.

use std::ops::Range;

const FILE_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;

const SHT_NOBITS: u32 = 8;
const SHF_COMPRESSED: u64 = 1 << 11;
const SHN_XINDEX: u16 = 0xffff;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;

/// What tells whether a file is the one that was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// The table as it stands in the file.
    pub(super) program_headers: Vec<u8>,
    pub(super) build_id: Vec<u8>,
}

/// An ELF file.
pub(super) struct Elf<'a> {
    bytes: &'a [u8],
    section_headers: &'a [u8],
    /// Where the names of sections are.
    section_names: &'a [u8],
}

/// A section as its header tells; [`Elf::section`] gives it only if the file has its bytes.
pub(super) struct Section {
    pub(super) bytes: Range<usize>,
    link: u32,
}

impl<'a> Elf<'a> {
    /// `None` if it is not such a file.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..FILE_HEADER)?;
        // Class 2: 64 bit; data 1: little endian.
        if header[..6] != *b"\x7fELF\x02\x01" || u16_at(header, 58)? as usize != SECTION_HEADER {
            return None;
        }
        let table = bytes.get(usize_at(header, 40)?..)?;
        // With very many sections their number, and the place of their names, stand in the first header.
        let first = table.get(..SECTION_HEADER)?;
        let count = match u16_at(header, 60)? {
            0 => usize_at(first, 32)?,
            count => count as usize,
        };
        let section_headers = table.get(..count.checked_mul(SECTION_HEADER)?)?;
        let names = match u16_at(header, 62)? {
            SHN_XINDEX => u32_at(first, 40)? as usize,
            names => names as usize,
        };
        let mut elf = Self {
            bytes,
            section_headers,
            section_names: &[],
        };
        elf.section_names = bytes.get(elf.header(names)?.bytes)?;
        Some(elf)
    }

    /// A section that is in the file as it is: not compressed, not without bytes.
    pub(super) fn section(&self, name: &str) -> Option<Section> {
        let mut headers = self.section_headers.chunks_exact(SECTION_HEADER);
        let index = headers.position(|header| {
            let at = u32_at(header, 0).map(|offset| offset as usize);
            at.and_then(|at| self.section_names.get(at..))
                .is_some_and(|rest| {
                    rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0)
                })
        })?;
        self.header(index)
    }

    /// The bytes of a section.
    pub(super) fn section_bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.bytes.get(self.section(name)?.bytes)
    }

    /// Which file this is.
    pub(super) fn identity(&self) -> Identity {
        let headers = self.program_headers().unwrap_or(&[]);
        let notes = headers
            .chunks_exact(PROGRAM_HEADER)
            .filter(|header| is_note(header));
        let build_id = notes.filter_map(|header| {
            let start = usize_at(header, 8)?;
            build_id(
                self.bytes
                    .get(start..start.checked_add(usize_at(header, 32)?)?)?,
            )
        });
        Identity {
            build_id: build_id.map(<[u8]>::to_vec).next().unwrap_or_default(),
            program_headers: headers.to_vec(),
        }
    }

    /// The name of the file that holds the debug information, beside this one.
    pub(super) fn debug_link(&self) -> Option<&'a str> {
        let section = self.section_bytes(".gnu_debuglink")?;
        let name = std::str::from_utf8(section.split(|byte| *byte == 0).next()?).ok()?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }

    /// Functions by address: those of the whole table, or, in a stripped file, those that others may call.
    pub(super) fn symbols(&self) -> SymbolTable {
        [".symtab", ".dynsym"]
            .into_iter()
            .filter_map(|name| self.symbols_of(name))
            .find(|table| !table.functions.is_empty())
            .unwrap_or_default()
    }

    fn symbols_of(&self, name: &str) -> Option<SymbolTable> {
        let section = self.section(name)?;
        let names = self.header(section.link as usize)?.bytes;
        let symbols = self.bytes.get(section.bytes)?.chunks_exact(SYMBOL);
        let mut functions: Vec<Function> = symbols.filter_map(Function::read).collect();
        // Of names for the same code the first is taken: global ones before others, and the longer code first.
        functions.sort_by_key(|function| {
            (
                function.address,
                u64::MAX - function.size,
                !function.is_global,
            )
        });
        functions.dedup_by_key(|function| function.address);
        Some(SymbolTable { functions, names })
    }

    fn program_headers(&self) -> Option<&'a [u8]> {
        let start = usize_at(self.bytes, 32)?;
        let length = u16_at(self.bytes, 56)? as usize * PROGRAM_HEADER;
        self.bytes.get(start..start.checked_add(length)?)
    }

    fn header(&self, index: usize) -> Option<Section> {
        let start = index.checked_mul(SECTION_HEADER)?;
        let header = self
            .section_headers
            .get(start..start.checked_add(SECTION_HEADER)?)?;
        if u32_at(header, 4)? == SHT_NOBITS || u64_at(header, 8)? & SHF_COMPRESSED != 0 {
            return None;
        }
        let start = usize_at(header, 24)?;
        let bytes = start..start.checked_add(usize_at(header, 32)?)?;
        self.bytes.get(bytes.clone())?;
        Some(Section {
            bytes,
            link: u32_at(header, 40)?,
        })
    }
}

fn is_note(program_header: &[u8]) -> bool {
    u32_at(program_header, 0) == Some(PT_NOTE)
}

/// Address and length of the segments that hold code, by the table of program headers.
pub(super) fn code(program_headers: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    program_headers
        .chunks_exact(PROGRAM_HEADER)
        .filter_map(|header| {
            let is_code = u32_at(header, 0)? == PT_LOAD && u32_at(header, 4)? & PF_X != 0;
            let segment = (u64_at(header, 16)?, u64_at(header, 40)?);
            is_code.then_some(segment)
        })
}

/// The build id among notes.
pub(super) fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (name, text, kind) = (u32_at(notes, 0)?, u32_at(notes, 4)?, u32_at(notes, 8)?);
        let text_at = 12 + (name as usize).checked_next_multiple_of(4)?;
        let text_end = text_at.checked_add(text as usize)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") && text > 0 {
            return notes.get(text_at..text_end);
        }
        notes = notes.get(text_end.checked_next_multiple_of(4)?..)?;
    }
}

/// The functions of a file.
#[derive(Default)]
pub(super) struct SymbolTable {
    /// By address; no two have the same.
    functions: Vec<Function>,
    /// Where their names are in the file.
    names: Range<usize>,
}

struct Function {
    address: u64,
    /// 0: to the next one.
    size: u64,
    name: u32,
    is_global: bool,
}

impl Function {
    fn read(symbol: &[u8]) -> Option<Self> {
        let info = symbol[4];
        let is_defined = u16_at(symbol, 6)? != 0;
        let (name, address) = (u32_at(symbol, 0)?, u64_at(symbol, 8)?);
        let is_function = matches!(info & 0xf, STT_FUNC | STT_GNU_IFUNC);
        (is_function && is_defined && name != 0 && address != 0).then_some(Self {
            address,
            size: u64_at(symbol, 16)?,
            name,
            is_global: info >> 4 != 0,
        })
    }
}

impl SymbolTable {
    pub(super) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The mangled name of the function at an address of `file`, the bytes that the table is of.
    pub(super) fn name<'a>(&self, file: &'a [u8], address: u64) -> Option<&'a str> {
        let after = self
            .functions
            .partition_point(|function| function.address <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        if function.size != 0 && address - function.address >= function.size {
            return None;
        }
        let name = file
            .get(self.names.clone())?
            .get(function.name as usize..)?;
        // Behind an `@` stands the version that a library gives its symbol.
        std::str::from_utf8(name.split(|byte| matches!(byte, 0 | b'@')).next()?).ok()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u16::from_le_bytes(*word))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u32::from_le_bytes(*word))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| u64::from_le_bytes(*word))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64_at(bytes, at)?).ok()
}
