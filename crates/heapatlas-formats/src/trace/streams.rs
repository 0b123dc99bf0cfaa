//! How the parts of a block of columns are packed: each part as the next piece of its own zstd frame, so that it can refer
//! to what stood in the same part of the blocks before. A small block alone would pack badly.
//!
//! A frame is never ended, only flushed, so that each block is whole in the file. After some MiB all frames begin anew:
//! such *groups* of blocks are unpacked side by side.

use std::io;

use heapatlas_trace::file::{Codec, MAX_GROUP_BYTES};
use heapatlas_trace::{Malformed, varint};
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective,
    get_error_name,
};

use super::columns::COLUMNS;
use super::error::Problem;

/// The head of the payload, and each column.
pub(super) const PARTS: usize = COLUMNS + 1;

/// A group ends with the block that makes it this long, unpacked.
const GROUP_BYTES: usize = 8 << 20;

/// How far back a part may refer: further than the same part of the block before is.
const WINDOW_BITS: u32 = 20;

/// Finds nearly all that there is to be found, and takes no more time than the levels below it where much is found.
const THOROUGH: i32 = 5;
/// Enough for what packs badly.
const FAST: i32 = 1;
/// What packs to less than one part of so many packs well.
const PACKS_WELL: usize = 8;
/// Shorter parts tell nothing of that.
const TELLING_BYTES: usize = 256 << 10;

/// Packs blocks.
#[derive(Default)]
pub(super) struct Packer {
    streams: [PackingStream; PARTS],
    /// A packed part, until its length is known. Kept for its memory.
    packed: Vec<u8>,
    group_bytes: usize,
    /// Whether the next block can refer to the one before.
    is_open: bool,
}

#[derive(Default)]
struct PackingStream {
    context: Option<CCtx<'static>>,
    is_fast: bool,
    /// Of this group.
    raw_bytes: usize,
    packed_bytes: usize,
}

impl Packer {
    /// Appends the next block's parts, packed, and says how.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn pack(&mut self, parts: [&[u8]; PARTS], out: &mut Vec<u8>) -> io::Result<Codec> {
        let goes_on = std::mem::take(&mut self.is_open)
            && self.group_bytes < GROUP_BYTES
            && !self.streams.iter().any(PackingStream::is_too_thorough);
        if !goes_on {
            self.group_bytes = 0;
        }
        for (stream, part) in self.streams.iter_mut().zip(parts) {
            if !goes_on {
                stream.begin()?;
            }
            put(out, part.len());
            if !part.is_empty() {
                self.packed.clear();
                stream.pack(part, &mut self.packed)?;
                put(out, self.packed.len());
                out.extend_from_slice(&self.packed);
            }
            self.group_bytes += part.len();
        }
        self.is_open = true;
        Ok(match goes_on {
            true => Codec::StreamsContinued,
            false => Codec::Streams,
        })
    }

    /// Has the next block stand alone: the last one is not in the file.
    pub fn begin_anew(&mut self) {
        self.is_open = false;
    }
}

impl PackingStream {
    fn packs_badly(&self) -> bool {
        self.raw_bytes >= TELLING_BYTES && self.packed_bytes > self.raw_bytes / PACKS_WELL
    }

    fn is_too_thorough(&self) -> bool {
        !self.is_fast && self.packs_badly()
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.raw_bytes >= TELLING_BYTES {
            self.is_fast = self.packs_badly();
        }
        (self.raw_bytes, self.packed_bytes) = (0, 0);
        let Some(context) = &mut self.context else {
            return Ok(());
        };
        let done = context.reset(ResetDirective::SessionOnly);
        done.map_err(packing_error)?;
        set_level(context, self.is_fast)
    }

    fn pack(&mut self, part: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
        let context = match &mut self.context {
            Some(context) => context,
            none => {
                let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
                set_level(&mut context, self.is_fast)?;
                none.insert(context)
            }
        };
        let mut input = InBuffer::around(part);
        let mut is_flushed = false;
        while !is_flushed {
            packed.reserve(CCtx::out_size());
            let written = packed.len();
            let mut output = OutBuffer::around_pos(packed, written);
            if input.pos() < part.len() {
                let done = context.compress_stream(&mut output, &mut input);
                done.map_err(packing_error)?;
            } else {
                let left = context.flush_stream(&mut output);
                is_flushed = left.map_err(packing_error)? == 0;
            }
        }
        self.raw_bytes += part.len();
        self.packed_bytes += packed.len();
        Ok(())
    }
}

fn set_level(context: &mut CCtx<'_>, is_fast: bool) -> io::Result<()> {
    // Tables of the usual size would be several times as large as what they are for.
    let (level, hash_bits) = if is_fast { (FAST, 15) } else { (THOROUGH, 17) };
    let parameters = [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(WINDOW_BITS),
        CParameter::HashLog(hash_bits),
    ];
    for parameter in parameters {
        context.set_parameter(parameter).map_err(packing_error)?;
    }
    Ok(())
}

fn packing_error(code: ErrorCode) -> io::Error {
    io::Error::other(format!("packing failed: {}", get_error_name(code)))
}

fn put(out: &mut Vec<u8>, number: usize) {
    let (bytes, length) = varint::encode(number as u64);
    out.extend_from_slice(&bytes[..length]);
}

/// Unpacks the blocks of a group, in their order.
#[derive(Default)]
pub(super) struct Unpacker {
    contexts: [Option<DCtx<'static>>; PARTS],
    is_open: bool,
}

impl Unpacker {
    /// The payload of the next block.
    pub fn unpack(
        &mut self,
        codec: Codec,
        mut stored: &[u8],
        raw_bytes: usize,
    ) -> Result<Vec<u8>, Problem> {
        let goes_on = codec == Codec::StreamsContinued;
        if goes_on && !self.is_open {
            let message = "it continues a block that is not there";
            return Err(Problem::Packing(message.to_owned()));
        }
        self.is_open = false;
        let mut raw = vec![0; raw_bytes];
        let mut rest = &mut raw[..];
        for context in &mut self.contexts {
            let length = take_length(&mut stored)?;
            let too_long = || Problem::Packing(TOO_LONG.to_owned());
            let (part, behind) = rest.split_at_mut_checked(length).ok_or_else(too_long)?;
            rest = behind;
            if !goes_on && let Some(context) = context {
                let done = context.reset(ResetDirective::SessionOnly);
                done.map_err(unpacking_error)?;
            }
            if length > 0 {
                unpack_part(context, take_packed(&mut stored)?, part)?;
            }
        }
        if !rest.is_empty() || !stored.is_empty() {
            return Err(Problem::Packing(TOO_LONG.to_owned()));
        }
        self.is_open = true;
        Ok(raw)
    }
}

const TOO_LONG: &str = "its parts do not have the length that its header says";

fn unpack_part(
    context: &mut Option<DCtx<'static>>,
    packed: &[u8],
    part: &mut [u8],
) -> Result<(), Problem> {
    let context = match context {
        Some(context) => context,
        none => {
            let mut context = DCtx::create();
            // No header of a frame makes us take more memory than frames need.
            let limit = DParameter::WindowLogMax(WINDOW_BITS);
            context.set_parameter(limit).map_err(unpacking_error)?;
            none.insert(context)
        }
    };
    let length = part.len();
    let (mut input, mut output) = (InBuffer::around(packed), OutBuffer::around(part));
    loop {
        let before = (input.pos(), output.pos());
        let done = context.decompress_stream(&mut output, &mut input);
        done.map_err(unpacking_error)?;
        let is_done = input.pos() == packed.len() && output.pos() == length;
        if is_done {
            return Ok(());
        }
        if before == (input.pos(), output.pos()) {
            return Err(Problem::Packing(TOO_LONG.to_owned()));
        }
    }
}

fn take_length(stored: &mut &[u8]) -> Result<usize, Problem> {
    let length = varint::take(stored).map_err(malformed)?;
    // What no memory can hold is too long in any case.
    Ok(usize::try_from(length).unwrap_or(usize::MAX))
}

fn take_packed<'a>(stored: &mut &'a [u8]) -> Result<&'a [u8], Problem> {
    let length = take_length(stored)?;
    let (packed, rest) = stored
        .split_at_checked(length)
        .ok_or_else(|| malformed(Malformed::Cut))?;
    *stored = rest;
    Ok(packed)
}

fn malformed(malformed: Malformed) -> Problem {
    Problem::Packing(malformed.to_string())
}

fn unpacking_error(code: ErrorCode) -> Problem {
    Problem::Packing(get_error_name(code).to_owned())
}

// A group that a writer ends in time is not too large for a reader.
const _: () = assert!(GROUP_BYTES + heapatlas_trace::file::MAX_PAYLOAD_BYTES <= MAX_GROUP_BYTES);
