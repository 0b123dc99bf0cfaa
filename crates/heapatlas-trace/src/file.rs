//! The frame of a file: its header, the headers of its blocks, its tail.

use crate::crc32;

/// The version of the format.
pub const VERSION: u8 = 2;

/// The largest payload, stored or raw.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// The most bytes that a group of blocks has that are packed together, raw.
pub const MAX_GROUP_BYTES: usize = 32 << 20;

/// The bytes of the file's header.
pub const HEADER_BYTES: usize = 16;

/// The bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 20;

/// The bytes of the file's tail.
pub const TAIL_BYTES: usize = 16;

const MAGIC: &[u8; 9] = b"heaptrace";
const BLOCK_MAGIC: &[u8; 4] = b"HTB1";
const TAIL_MAGIC: &[u8; 8] = b"HTINDEX1";

/// What stands in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BlockKind {
    /// The process; the first block.
    Process = 1,
    /// The loaded files from a tick on.
    Modules = 2,
    /// Segments of the threads' streams.
    Events = 3,
    /// A thread's number and name.
    Thread = 4,
    /// What a JIT compiler told.
    Map = 5,
    /// How the recording ended.
    End = 6,
    /// Where the blocks are.
    Index = 7,
    /// What [`Events`](Self::Events) is, sorted into columns.
    Columns = 8,
    /// Sums by stack, in place of events.
    Sums = 9,
    /// A chunk of a thread's stream, as the measured process itself wrote it.
    Chunk = 10,
}

impl BlockKind {
    /// The kind of a code in a file; `None` for one that is not known.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Process,
            2 => Self::Modules,
            3 => Self::Events,
            4 => Self::Thread,
            5 => Self::Map,
            6 => Self::End,
            7 => Self::Index,
            8 => Self::Columns,
            9 => Self::Sums,
            10 => Self::Chunk,
            _ => return None,
        })
    }
}

/// How a payload is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Plain = 0,
    /// One zstd frame.
    Zstd = 1,
    /// Each part of the payload in a zstd frame of its own that begins here.
    Streams = 2,
    /// The same, with frames that began in a block before.
    StreamsContinued = 3,
}

impl Codec {
    /// The codec of a code in a file; `None` for one that is not known.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Plain,
            1 => Self::Zstd,
            2 => Self::Streams,
            3 => Self::StreamsContinued,
            _ => return None,
        })
    }
}

/// The header of a block. Kind and codec are as they stand there, for a reader to judge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// A [`BlockKind`].
    pub kind: u8,
    /// A [`Codec`].
    pub codec: u8,
    /// The bytes of the payload in the file.
    pub stored_bytes: u32,
    /// The bytes of the payload when it is unpacked.
    pub raw_bytes: u32,
    /// The sum of the stored payload.
    pub crc32: u32,
}

/// Where the flags are in the header of a file.
const FLAGS_AT: usize = 10;

/// The flag of a file that the measured process itself writes.
const IS_RAW: u8 = 1;

/// The header of a file that the measured process itself writes: its events are in [`BlockKind::Chunk`] blocks.
pub const fn raw_header() -> [u8; HEADER_BYTES] {
    let mut bytes = header();
    bytes[FLAGS_AT] = IS_RAW;
    bytes
}

/// Whether a file that begins with `head` was written by the measured process itself.
pub fn is_raw(head: &[u8]) -> bool {
    version(head).is_some() && head.get(FLAGS_AT).is_some_and(|flags| flags & IS_RAW != 0)
}

/// The header of a file.
pub const fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut index = 0;
    while index < MAGIC.len() {
        bytes[index] = MAGIC[index];
        index += 1;
    }
    bytes[MAGIC.len()] = VERSION;
    bytes
}

/// The version of a file that begins with `head`; `None` when it is no trace.
///
/// ```
/// use heapatlas_trace::file;
/// assert_eq!(file::version(&file::header()), Some(file::VERSION));
/// assert_eq!(file::version(b"heaptrac"), None);
/// ```
pub fn version(head: &[u8]) -> Option<u8> {
    head.strip_prefix(MAGIC)?.first().copied()
}

/// The tail of a file whose index block begins at `index_offset`.
pub fn tail(index_offset: u64) -> [u8; TAIL_BYTES] {
    let mut bytes = [0; TAIL_BYTES];
    bytes[..8].copy_from_slice(&index_offset.to_le_bytes());
    bytes[8..].copy_from_slice(TAIL_MAGIC);
    bytes
}

/// Where the index block of a file begins; `None` when the file does not end in a tail.
pub fn index_offset(file: &[u8]) -> Option<u64> {
    let (_, offset) = file.strip_suffix(TAIL_MAGIC)?.split_last_chunk()?;
    Some(u64::from_le_bytes(*offset))
}

impl BlockHeader {
    /// The header of a payload.
    ///
    /// # Panics
    /// When a payload is larger than 32 bits count.
    pub fn new(kind: BlockKind, codec: Codec, stored: &[u8], raw_bytes: usize) -> Self {
        let size = |bytes| u32::try_from(bytes).expect("a payload is far smaller than 4 GiB");
        Self {
            kind: kind as u8,
            codec: codec as u8,
            stored_bytes: size(stored.len()),
            raw_bytes: size(raw_bytes),
            crc32: crc32(stored),
        }
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        bytes[..4].copy_from_slice(BLOCK_MAGIC);
        bytes[4..6].copy_from_slice(&[self.kind, self.codec]);
        bytes[8..12].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[16..].copy_from_slice(&self.crc32.to_le_bytes());
        bytes
    }

    /// The header in these bytes; `None` when they are none.
    pub fn from_bytes(bytes: &[u8; BLOCK_HEADER_BYTES]) -> Option<Self> {
        let fields = bytes.strip_prefix(BLOCK_MAGIC)?;
        let (&[kind, codec, _, _], numbers) = fields.split_first_chunk()?;
        let mut numbers = numbers
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b));
        Some(Self {
            kind,
            codec,
            stored_bytes: numbers.next()?,
            raw_bytes: numbers.next()?,
            crc32: numbers.next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_the_frame() {
        assert_eq!(&header(), b"heaptrace\x02\0\0\0\0\0\0");
        assert_eq!(&raw_header(), b"heaptrace\x02\x01\0\0\0\0\0");
        assert!(is_raw(&raw_header()) && !is_raw(&header()) && !is_raw(b"heaptrace\x02"));
        assert_eq!(&tail(0x0102), b"\x02\x01\0\0\0\0\0\0HTINDEX1");
        let block = BlockHeader::new(BlockKind::Events, Codec::Zstd, b"123456789", 258);
        let expected = b"HTB1\x03\x01\0\0\x09\0\0\0\x02\x01\0\0\x26\x39\xF4\xCB";
        assert_eq!(&block.to_bytes(), expected);
    }

    #[test]
    fn what_was_written_is_read() {
        let block = BlockHeader {
            kind: 200,
            codec: 9,
            stored_bytes: 1,
            raw_bytes: u32::MAX,
            crc32: 7,
        };
        assert_eq!(BlockHeader::from_bytes(&block.to_bytes()), Some(block));
        assert_eq!(BlockHeader::from_bytes(b"HTB2................"), None);
        assert_eq!(version(b"heaptrace\x07..."), Some(7));
        assert_eq!(index_offset(&tail(77)), Some(77));
        assert_eq!(index_offset(b"HTINDEX1"), None);
        for code in 0..=255 {
            assert!(BlockKind::from_code(code).is_none_or(|kind| kind as u8 == code));
            assert!(Codec::from_code(code).is_none_or(|codec| codec as u8 == code));
        }
    }
}
