//! What a process writes that records itself: chunks of its threads' streams as they become full, in no order.

use crate::decode::take_slice;
use crate::payload::{Put, put_numbers, put_string, take_byte};
use crate::{Malformed, varint};

/// What is in a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum ChunkKind {
    /// Events of a thread.
    #[default]
    Events = 0,
    /// A part of the payload of a `modules` block.
    Modules = 1,
    /// The last part of one.
    ModulesEnd = 2,
}

/// A chunk, or a piece of one: the payload of a chunk block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Chunk<'a> {
    /// What is in it.
    pub kind: ChunkKind,
    /// Whether nothing of this chunk follows.
    pub is_last_piece: bool,
    /// The thread's number within the recording; of a list of modules the list's number.
    pub thread: u64,
    /// The system's number of the thread.
    pub os_thread_id: u64,
    /// The chunk's place among those of its thread (or list), from 1.
    pub sequence: u64,
    /// How many bytes of the chunk came in pieces before.
    pub from: u64,
    /// The tick that the chunk's ticks count from.
    pub base_tick: u64,
    /// When it was written.
    pub tick: u64,
    /// The same in nanoseconds since the recording began.
    pub elapsed_ns: u64,
    /// Resident memory of the process a moment ago; 0 where unknown.
    pub resident_bytes: u64,
    /// The thread's name; empty if it has none.
    pub thread_name: &'a [u8],
    /// The bytes of the thread's stream, or of the list.
    pub bytes: &'a [u8],
}

/// The most bytes that a chunk's head has in front of its own bytes, with a thread's name of 16 bytes.
pub const MAX_CHUNK_HEAD_BYTES: usize = 2 + 8 * varint::MAX_BYTES + 1 + 16;

impl ChunkKind {
    fn from_code(code: u8) -> Result<Self, Malformed> {
        Ok(match code {
            0 => Self::Events,
            1 => Self::Modules,
            2 => Self::ModulesEnd,
            _ => return Err(Malformed::UnknownChunk),
        })
    }
}

impl<'a> Chunk<'a> {
    const IS_LAST_PIECE: u8 = 1;

    /// Writes the payload but for [`Self::bytes`], which come behind.
    pub fn write_head(&self, out: &mut impl Put) {
        let flags = if self.is_last_piece {
            Self::IS_LAST_PIECE
        } else {
            0
        };
        out.put(&[self.kind as u8, flags]);
        put_numbers(out, &[self.thread, self.os_thread_id]);
        put_numbers(out, &[self.sequence, self.from, self.base_tick]);
        put_numbers(out, &[self.tick, self.elapsed_ns, self.resident_bytes]);
        put_string(out, self.thread_name);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(mut payload: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = &mut payload;
        let kind = ChunkKind::from_code(take_byte(bytes)?)?;
        let flags = take_byte(bytes)?;
        Ok(Self {
            kind,
            is_last_piece: flags & Self::IS_LAST_PIECE != 0,
            thread: varint::take(bytes)?,
            os_thread_id: varint::take(bytes)?,
            sequence: varint::take(bytes)?,
            from: varint::take(bytes)?,
            base_tick: varint::take(bytes)?,
            tick: varint::take(bytes)?,
            elapsed_ns: varint::take(bytes)?,
            resident_bytes: varint::take(bytes)?,
            thread_name: take_slice(bytes)?,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[derive(Default)]
    struct Bytes(Vec<u8>);

    impl Put for Bytes {
        fn put(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }

    fn payload_of(chunk: &Chunk<'_>) -> Vec<u8> {
        let mut out = Bytes::default();
        chunk.write_head(&mut out);
        out.put(chunk.bytes);
        out.0
    }

    #[test]
    fn the_layout_of_a_chunk() {
        let chunk = Chunk {
            kind: ChunkKind::ModulesEnd,
            is_last_piece: true,
            thread: 3,
            os_thread_id: 200,
            sequence: 4,
            from: 5,
            base_tick: 6,
            tick: 7,
            elapsed_ns: 8,
            resident_bytes: 9,
            thread_name: b"ab",
            bytes: b"xyz",
        };
        let payload = payload_of(&chunk);
        assert_eq!(
            payload,
            b"\x02\x01\x03\xC8\x01\x04\x05\x06\x07\x08\x09\x02abxyz"
        );
        assert_eq!(Chunk::read(&payload), Ok(chunk));
        for length in 0..payload.len() - 3 {
            assert_eq!(Chunk::read(&payload[..length]), Err(Malformed::Cut));
        }
        assert_eq!(Chunk::read(b"\x03\0"), Err(Malformed::UnknownChunk));
    }

    #[test]
    fn the_longest_head_has_the_room_that_is_meant_for_it() {
        let most = u64::MAX;
        let chunk = Chunk {
            thread: most,
            os_thread_id: most,
            sequence: most,
            from: most,
            base_tick: most,
            tick: most,
            elapsed_ns: most,
            resident_bytes: most,
            thread_name: &[b'x'; 16],
            ..Chunk::default()
        };
        assert_eq!(payload_of(&chunk).len(), MAX_CHUNK_HEAD_BYTES);
    }
}
