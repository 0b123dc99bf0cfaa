//! The blocks of a file: found by walking from the front, unpacked one by one.

use heapatlas_trace::crc32;
use heapatlas_trace::file::{
    self, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, HEADER_BYTES, MAX_GROUP_BYTES,
    MAX_PAYLOAD_BYTES, TAIL_BYTES,
};
use zstd::bulk::Decompressor;

use super::error::{Problem, ReadError};
use super::streams::Unpacker;

/// A block of a known kind, its payload whole but not looked at.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// Where its header is in the file.
    pub offset: usize,
    pub kind: BlockKind,
    header: BlockHeader,
    stored: &'a [u8],
}

/// All blocks up to the index, or to where the file is no longer whole.
pub(super) struct Blocks<'a> {
    pub blocks: Vec<Block<'a>>,
    /// Why there are no more; `None` when index and tail are there.
    pub stopped_by: Option<ReadError>,
}

/// Finds the blocks of a file.
pub(super) fn walk(source: &[u8]) -> Result<Blocks<'_>, ReadError> {
    check_header(source)?;
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut offset = HEADER_BYTES;
    let mut group_bytes = 0;
    let stopped_by = loop {
        match next_block(source, offset).and_then(|next| limit_group(&mut group_bytes, next)) {
            Ok((kind, block)) => {
                offset += BLOCK_HEADER_BYTES + block.len();
                let is_index = kind.is_some_and(|block| block.kind == BlockKind::Index);
                blocks.extend(kind);
                if is_index {
                    break check_tail(&source[offset..], offset).err();
                }
            }
            Err(error) => break Some(error),
        }
    };
    Ok(Blocks { blocks, stopped_by })
}

fn check_header(source: &[u8]) -> Result<(), ReadError> {
    let problem = match file::version(source) {
        _ if source.is_empty() => Problem::Empty,
        Some(file::VERSION) if source.len() >= HEADER_BYTES => return Ok(()),
        Some(file::VERSION) => Problem::Truncated("the rest of the header"),
        Some(version) => Problem::UnsupportedVersion(version),
        None if file::header().starts_with(source) => Problem::Truncated("the rest of the header"),
        None => Problem::NotATrace,
    };
    Err(ReadError::header(problem))
}

type Next<'a> = (Option<Block<'a>>, &'a [u8]);

/// Readers unpack groups of blocks as a whole.
fn limit_group<'a>(group_bytes: &mut usize, next: Next<'a>) -> Result<Next<'a>, ReadError> {
    let Some(block) = next.0.filter(|block| block.kind == BlockKind::Columns) else {
        return Ok(next);
    };
    if !block.continues_group() {
        *group_bytes = 0;
    }
    *group_bytes += block.raw_bytes();
    if *group_bytes > MAX_GROUP_BYTES {
        let problem = Problem::Packing("its group of blocks is too large".to_owned());
        return Err(ReadError::block(block.offset, problem));
    }
    Ok(next)
}

/// The stored payload at an offset, and the block if its kind is known.
pub(super) fn next_block(source: &[u8], offset: usize) -> Result<Next<'_>, ReadError> {
    let error = |problem| ReadError::block(offset, problem);
    let rest = &source[offset..];
    if rest.is_empty() {
        return Err(error(Problem::Truncated(
            "another block, or the end of the recording",
        )));
    }
    let (header, rest) = rest
        .split_first_chunk()
        .ok_or_else(|| error(Problem::Truncated("the rest of a block's header")))?;
    let header = BlockHeader::from_bytes(header).ok_or_else(|| {
        error(Problem::Unexpected {
            expected: "a block (`HTB1`)",
            found: format!("`{}`", header[..4].escape_ascii()),
        })
    })?;
    let largest = header.stored_bytes.max(header.raw_bytes);
    if largest as usize > MAX_PAYLOAD_BYTES {
        return Err(error(Problem::TooLarge(largest)));
    }
    let stored = rest
        .get(..header.stored_bytes as usize)
        .ok_or_else(|| error(Problem::Truncated("the rest of a block")))?;
    let kind = BlockKind::from_code(header.kind);
    Ok((
        kind.map(|kind| Block {
            offset,
            kind,
            header,
            stored,
        }),
        stored,
    ))
}

fn check_tail(rest: &[u8], offset: usize) -> Result<(), ReadError> {
    let problem = match file::index_offset(rest) {
        Some(_) if rest.len() == TAIL_BYTES => return Ok(()),
        _ if rest.len() < TAIL_BYTES => Problem::Truncated("the tail"),
        _ => Problem::Unexpected {
            expected: "the tail, and nothing behind it",
            found: format!("{} bytes", rest.len()),
        },
    };
    Err(ReadError {
        section: "tail",
        offset,
        problem,
    })
}

impl<'a> Block<'a> {
    /// How many bytes the payload says that it has.
    pub fn raw_bytes(&self) -> usize {
        self.header.raw_bytes as usize
    }

    /// Whether it can only be unpacked behind the block of columns before it.
    pub fn continues_group(&self) -> bool {
        self.header.codec == Codec::StreamsContinued as u8
    }

    /// The payload of a block that stands alone, checked and unpacked.
    pub fn unpack(&self, decompressor: &mut Decompressor<'_>) -> Result<Vec<u8>, ReadError> {
        self.check()
            .and_then(|codec| self.try_unpack(codec, decompressor))
            .map_err(|problem| ReadError::block(self.offset, problem))
    }

    /// The payload of a block of columns, checked and unpacked behind those of its group before it.
    pub fn unpack_columns(&self, unpackers: &mut Unpackers) -> Result<Vec<u8>, ReadError> {
        self.check()
            .and_then(|codec| match codec {
                Codec::Streams | Codec::StreamsContinued => {
                    unpackers
                        .streams
                        .unpack(codec, self.stored, self.raw_bytes())
                }
                _ => self.try_unpack(codec, &mut unpackers.frames),
            })
            .map_err(|problem| ReadError::block(self.offset, problem))
    }

    /// The payload, when it is stored as it is.
    pub fn plain(&self) -> Option<&'a [u8]> {
        let is_plain = self.header.codec == Codec::Plain as u8;
        is_plain.then_some(self.stored)
    }

    /// Whether the payload is what was written.
    pub fn check_sum(&self) -> Result<(), ReadError> {
        let checked = self.check();
        checked.map_or_else(
            |problem| Err(ReadError::block(self.offset, problem)),
            |_| Ok(()),
        )
    }

    /// Where the next block begins.
    pub fn end(&self) -> usize {
        self.offset + BLOCK_HEADER_BYTES + self.stored.len()
    }

    /// That it is packed in a way that is not known here.
    pub fn packed_otherwise(&self) -> ReadError {
        ReadError::block(self.offset, self.unknown_codec())
    }

    fn check(&self) -> Result<Codec, Problem> {
        let found = crc32(self.stored);
        if found != self.header.crc32 {
            return Err(Problem::Checksum {
                expected: self.header.crc32,
                found,
            });
        }
        Codec::from_code(self.header.codec).ok_or_else(|| self.unknown_codec())
    }

    fn unknown_codec(&self) -> Problem {
        Problem::Packing(format!("codec {} is unknown", self.header.codec))
    }

    fn try_unpack(
        &self,
        codec: Codec,
        decompressor: &mut Decompressor<'_>,
    ) -> Result<Vec<u8>, Problem> {
        let raw = match codec {
            Codec::Plain => self.stored.to_vec(),
            Codec::Zstd => decompressor
                .decompress(self.stored, self.raw_bytes())
                .map_err(|error| Problem::Packing(error.to_string()))?,
            Codec::Streams | Codec::StreamsContinued => return Err(self.unknown_codec()),
        };
        if raw.len() != self.raw_bytes() {
            return Err(Problem::Packing(format!(
                "it has {} bytes, and its header says {}",
                raw.len(),
                self.raw_bytes()
            )));
        }
        Ok(raw)
    }
}

/// What unpacks the blocks of a group.
pub(super) struct Unpackers {
    frames: Decompressor<'static>,
    streams: Unpacker,
}

impl Unpackers {
    pub fn new() -> Self {
        Self {
            frames: decompressor(),
            streams: Unpacker::default(),
        }
    }

    /// The payload of any block.
    pub fn unpack(&mut self, block: &Block<'_>) -> Result<Vec<u8>, ReadError> {
        match block.kind {
            BlockKind::Columns => block.unpack_columns(self),
            _ => block.unpack(&mut self.frames),
        }
    }
}

/// What unpacks blocks.
pub(super) fn decompressor() -> Decompressor<'static> {
    Decompressor::new().expect("there is memory for a zstd context")
}
