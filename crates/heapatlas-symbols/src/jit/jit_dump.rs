//! Jitdump files, the format of Linux' perf (`tools/perf/Documentation/jitdump-specification.txt`).
//!
//! ```text
//!  header  magic "JiTD" version:u32 total_size:u32 elf_mach:u32 zero:u32 pid:u32 time:u64 flags:u64
//!  record  id:u32 total_size:u32 time:u64, then by id:
//!   0 load   pid:u32 tid:u32 vma:u64 code_addr:u64 code_size:u64 code_index:u64 name\0 code
//!   1 move   pid:u32 tid:u32 vma:u64 old_addr:u64 new_addr:u64 code_size:u64 code_index:u64
//!   2 lines  code_addr:u64 count:u64, then for each: addr:u64 line:u32 discriminator:u32 file\0
//! ```
//!
//! All numbers have the byte order of the machine that wrote them. A record of lines comes before
//! the load that it belongs to. A file name of the one byte 255 repeats the one before.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;

use heapatlas_model::Frame;

use super::Unnamed;
use crate::Warning;

/// Names what a jitdump knows. A file that is cut off counts up to there.
pub(super) fn resolve(path: &str, contents: &[u8], unnamed: &mut Unnamed<'_>) -> Option<Warning> {
    let mut dump = Dump::default();
    let read = dump.read(contents);
    for code in dump.codes.iter().rev() {
        unnamed.name(code.range.clone(), |address| code.frame(address));
    }
    read.err().map(|damage| Warning::DamagedJitFile {
        path: path.to_owned(),
        offset: damage.offset,
        problem: damage.problem.to_owned(),
    })
}

/// V8 counts the header of the ELF file that perf makes of each function.
const ELF_HEADER_BYTES: u64 = 64;
const MAGIC: u32 = u32::from_be_bytes(*b"JiTD");
const HEADER_BYTES: usize = 40;
const RECORD_HEADER_BYTES: usize = 16;

/// What a file tells, in its order.
#[derive(Default)]
struct Dump<'a> {
    codes: Vec<Code<'a>>,
    /// Row of each code in `codes`, by its index in the file.
    rows: HashMap<u64, usize>,
    /// Lines of functions whose load is yet to come, by address.
    lines: HashMap<u64, Lines<'a>>,
}

/// A function at a place.
#[derive(Clone)]
struct Code<'a> {
    range: Range<u64>,
    name: &'a [u8],
    /// Where it was when its lines were written.
    written_at: u64,
    lines: Option<Lines<'a>>,
}

/// Entries of a record of lines.
#[derive(Clone, Copy)]
struct Lines<'a> {
    first: Fields<'a>,
    count: u64,
    /// By so much all addresses are too high.
    shift: u64,
}

struct Line<'a> {
    address: u64,
    line: u32,
    file: &'a [u8],
    /// What comes after the entry.
    rest: Fields<'a>,
}

/// What is wrong, and where.
struct Damage {
    offset: usize,
    problem: &'static str,
}

impl<'a> Dump<'a> {
    fn read(&mut self, contents: &'a [u8]) -> Result<(), Damage> {
        let (mut at, is_big_endian) = header(contents)?;
        while at < contents.len() {
            let cut_off = Damage {
                offset: at,
                problem: "the record is cut off; the rest was skipped",
            };
            let rest = &contents[at..];
            let (id, size) = record_header(rest, is_big_endian).ok_or(cut_off)?;
            let cut_off = Damage {
                offset: at,
                problem: "the record's size is wrong; the rest was skipped",
            };
            let body = rest.get(RECORD_HEADER_BYTES..size).ok_or(cut_off)?;
            let damaged = Damage {
                offset: at,
                problem: "the record ends too early; the rest was skipped",
            };
            self.record(
                id,
                Fields {
                    bytes: body,
                    is_big_endian,
                },
            )
            .ok_or(damaged)?;
            at += size;
        }
        Ok(())
    }

    fn record(&mut self, id: u32, fields: Fields<'a>) -> Option<()> {
        match id {
            0 => self.load(fields),
            1 => self.relocate(fields),
            2 => self.lines(fields),
            _ => Some(()),
        }
    }

    fn load(&mut self, mut fields: Fields<'a>) -> Option<()> {
        fields.skip(16)?;
        let (start, size, index) = (fields.u64()?, fields.u64()?, fields.u64()?);
        self.rows.insert(index, self.codes.len());
        let range = start..start.saturating_add(size);
        let lines = self.lines.remove(&start);
        self.codes.push(Code {
            name: fields.text()?,
            written_at: start,
            lines: lines.filter(|lines| lines.are_within(&range)),
            range,
        });
        Some(())
    }

    /// What moves is there from now on; it was there before, too, so that both places have its name.
    fn relocate(&mut self, mut fields: Fields<'a>) -> Option<()> {
        fields.skip(24)?;
        let (start, size, index) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let moved = self.rows.get(&index).map(|&row| self.codes[row].clone());
        self.codes.extend(moved.map(|code| Code {
            range: start..start.saturating_add(size),
            ..code
        }));
        Some(())
    }

    fn lines(&mut self, mut fields: Fields<'a>) -> Option<()> {
        let (start, count) = (fields.u64()?, fields.u64()?);
        let first = fields;
        let shift = match first.clone().u64()?.checked_sub(start) {
            Some(ELF_HEADER_BYTES) => ELF_HEADER_BYTES,
            _ => 0,
        };
        self.lines.insert(
            start,
            Lines {
                first,
                count,
                shift,
            },
        );
        Some(())
    }
}

impl Code<'_> {
    fn frame(&self, address: u64) -> Frame {
        let written_at = address
            .wrapping_sub(self.range.start)
            .wrapping_add(self.written_at);
        let (file, line) = self
            .lines
            .and_then(|lines| lines.at(written_at))
            .unwrap_or_default();
        Frame {
            function: String::from_utf8_lossy(self.name).into_owned(),
            file: String::from_utf8_lossy(file).into_owned(),
            line,
        }
    }
}

impl<'a> Lines<'a> {
    /// File and line of the last entry at an address or before it.
    fn at(self, address: u64) -> Option<(&'a [u8], u32)> {
        let before = self.entries().filter(|entry| entry.address <= address);
        let nearest = before.max_by_key(|entry| entry.address)?;
        Some((nearest.file, nearest.line))
    }

    /// Whether all entries are there and in the code. Some versions of V8 write pointers in place of
    /// file names, which makes nonsense of the entries after them.
    fn are_within(self, code: &Range<u64>) -> bool {
        let is_sound = |entry: &Line<'_>| {
            (code.start..=code.end).contains(&entry.address) && str::from_utf8(entry.file).is_ok()
        };
        self.entries().take_while(is_sound).count() as u64 == self.count
    }

    fn entries(self) -> impl Iterator<Item = Line<'a>> {
        let first = self.entry(self.first, &[]);
        let next = move |line: &Line<'a>| self.entry(line.rest, line.file);
        // What is left behind the last entry is padding.
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        std::iter::successors(first, next).take(count)
    }

    fn entry(self, mut fields: Fields<'a>, file_before: &'a [u8]) -> Option<Line<'a>> {
        let (address, line, _discriminator) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let file = match fields.text()? {
            [255] => file_before,
            file => file,
        };
        Some(Line {
            address: address.wrapping_sub(self.shift),
            line,
            file,
            rest: fields,
        })
    }
}

/// Where the records begin, and whether numbers are big-endian.
fn header(contents: &[u8]) -> Result<(usize, bool), Damage> {
    let mut fields = Fields {
        bytes: contents,
        is_big_endian: true,
    };
    let is_big_endian = match fields.u32() {
        Some(MAGIC) => true,
        Some(magic) if magic.swap_bytes() == MAGIC => false,
        _ => {
            return Err(Damage {
                offset: 0,
                problem: "this is no jitdump: it does not begin with `JiTD`",
            });
        }
    };
    fields.is_big_endian = is_big_endian;
    let _version = fields.u32();
    let size = fields.u32().map_or(0, |size| size as usize);
    match (HEADER_BYTES..=contents.len()).contains(&size) {
        true => Ok((size, is_big_endian)),
        false => Err(Damage {
            offset: 8,
            problem: "the header's size is wrong",
        }),
    }
}

/// A record's kind and size with its header.
fn record_header(bytes: &[u8], is_big_endian: bool) -> Option<(u32, usize)> {
    let mut fields = Fields {
        bytes,
        is_big_endian,
    };
    let (id, size) = (fields.u32()?, fields.u32()? as usize);
    fields.skip(8)?;
    Some((id, size))
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl<'a> Fields<'a> {
    fn u32(&mut self) -> Option<u32> {
        let bytes = self.array()?;
        Some(if self.is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = self.array()?;
        Some(if self.is_big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// Bytes up to a zero, which is skipped.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.bytes.iter().position(|&byte| byte == 0)?;
        let text = &self.bytes[..end];
        self.skip(end + 1)?;
        Some(text)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.bytes = self.bytes.get(count..)?;
        Some(())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*array)
    }
}
