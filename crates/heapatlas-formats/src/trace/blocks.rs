//! The blocks of a file: found by walking from the front, unpacked one by one.

use heapatlas_trace::crc32;
use heapatlas_trace::file::{
    self, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, HEADER_BYTES, MAX_PAYLOAD_BYTES,
    TAIL_BYTES,
};
use zstd::bulk::Decompressor;

use super::error::{Problem, ReadError};

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
    let mut blocks = Vec::new();
    let mut offset = HEADER_BYTES;
    let stopped_by = loop {
        match next_block(source, offset) {
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

/// The stored payload at an offset, and the block if its kind is known.
fn next_block(source: &[u8], offset: usize) -> Result<(Option<Block<'_>>, &[u8]), ReadError> {
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

impl Block<'_> {
    /// How many bytes the payload says that it has.
    pub fn raw_bytes(&self) -> usize {
        self.header.raw_bytes as usize
    }

    /// The payload, checked and unpacked.
    pub fn unpack(&self, decompressor: &mut Decompressor<'_>) -> Result<Vec<u8>, ReadError> {
        self.try_unpack(decompressor)
            .map_err(|problem| ReadError::block(self.offset, problem))
    }

    fn try_unpack(&self, decompressor: &mut Decompressor<'_>) -> Result<Vec<u8>, Problem> {
        let found = crc32(self.stored);
        if found != self.header.crc32 {
            return Err(Problem::Checksum {
                expected: self.header.crc32,
                found,
            });
        }
        let raw = match Codec::from_code(self.header.codec) {
            Some(Codec::Plain) => self.stored.to_vec(),
            Some(Codec::Zstd) => decompressor
                .decompress(self.stored, self.raw_bytes())
                .map_err(|error| Problem::Packing(error.to_string()))?,
            None => {
                return Err(Problem::Packing(format!(
                    "codec {} is unknown",
                    self.header.codec
                )));
            }
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

/// What unpacks blocks.
pub(super) fn decompressor() -> Decompressor<'static> {
    Decompressor::new().expect("there is memory for a zstd context")
}
