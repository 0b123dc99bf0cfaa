//! Compressed files, recognized by their first bytes and never by their name.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use crate::mapping::Buffer;

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    Gzip,
    Zstd,
}

/// As many bytes as [`Compression::of`] looks at.
pub const HEAD_BYTES: usize = 4;

impl Compression {
    /// Looks at a file's first bytes.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What came out of a stream.
pub struct Unpacked {
    /// Everything, or everything before the damage.
    pub bytes: Buffer,
    /// What broke the stream off.
    pub damage: Option<io::Error>,
    /// Whether something follows the compressed data that is none.
    pub has_trailing_bytes: bool,
}

/// Reads a stream to its end, unpacking it if it is compressed. `progress` is told the number of
/// bytes taken from the stream.
///
/// # Errors
/// When there is no memory for what comes out. A broken stream is no error here: see
/// [`Unpacked::damage`].
pub fn unpack(
    compression: Option<Compression>,
    packed: impl Read,
    progress: &dyn Fn(u64),
) -> io::Result<Unpacked> {
    let taken = Cell::new(0);
    let counted = Counted {
        inner: packed,
        taken: &taken,
    };
    let mut packed = BufReader::with_capacity(256 << 10, counted);
    let mut bytes = Buffer::new()?;
    let report = |_| progress(taken.get());
    let result = match compression {
        None => bytes.fill_from(&mut packed, &report),
        Some(Compression::Gzip) => fill_from_gzip(&mut bytes, &mut packed, &report),
        Some(Compression::Zstd) => zstd::Decoder::with_buffer(&mut packed)
            .and_then(|mut frames| bytes.fill_from(&mut frames, &report)),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(error),
        Err(error) => Ok(Unpacked {
            bytes,
            damage: Some(error),
            has_trailing_bytes: false,
        }),
        Ok(()) => {
            let has_trailing_bytes = packed.fill_buf().is_ok_and(|rest| !rest.is_empty());
            Ok(Unpacked {
                bytes,
                damage: None,
                has_trailing_bytes,
            })
        }
    }
}

/// A gzip file is one or more members, one after the other. What follows the last one and is no
/// member is left in the stream, as `gzip -d` does.
fn fill_from_gzip(
    bytes: &mut Buffer,
    packed: &mut impl BufRead,
    progress: &dyn Fn(u64),
) -> io::Result<()> {
    loop {
        bytes.fill_from(&mut GzDecoder::new(&mut *packed), progress)?;
        if Compression::of(packed.fill_buf()?) != Some(Compression::Gzip) {
            return Ok(());
        }
    }
}

/// Counts the bytes taken from a stream.
struct Counted<'a, R> {
    inner: R,
    taken: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapatlas_model::ByteSource;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(packed: &[u8], text: &[u8], is_damaged: bool, has_trailing_bytes: bool) {
        let unpacked = unpack(Compression::of(packed), packed, &|_| {}).unwrap();
        assert_eq!(unpacked.damage.is_some(), is_damaged);
        assert_eq!(unpacked.has_trailing_bytes, has_trailing_bytes);
        assert_eq!(unpacked.bytes.finish().unwrap().bytes(), text);
    }

    #[test]
    fn plain_gzip_and_zstd() {
        check(b"text", b"text", false, false);
        check(&gzip(b"text"), b"text", false, false);
        check(
            &zstd::encode_all(&b"text"[..], 1).unwrap(),
            b"text",
            false,
            false,
        );
    }

    #[test]
    fn members_and_frames_one_after_the_other() {
        check(
            &[gzip(b"one "), gzip(b""), gzip(b"two")].concat(),
            b"one two",
            false,
            false,
        );
        let frame = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        check(
            &[frame(b"one "), frame(b"two")].concat(),
            b"one two",
            false,
            false,
        );
    }

    #[test]
    fn what_came_before_the_damage_is_kept() {
        // Hardly compressible, so that half of the packed bytes is about half of the text.
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let text: Vec<u8> = (0..3_000_000).map(|_| next()).collect();
        for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
            let cut = &packed[..packed.len() / 2];
            let unpacked = unpack(Compression::of(cut), cut, &|_| {}).unwrap();
            assert!(unpacked.damage.is_some());
            let bytes = unpacked.bytes.finish().unwrap();
            assert!(bytes.bytes().len() > text.len() / 4 && text.starts_with(bytes.bytes()));
        }
    }

    #[test]
    fn bytes_after_the_last_member_are_noticed() {
        check(
            &[gzip(b"text"), b"\0\0".to_vec()].concat(),
            b"text",
            false,
            true,
        );
    }

    #[test]
    fn a_wrong_checksum_is_damage() {
        let mut packed = gzip(b"text");
        let checksum = packed.len() - 8;
        packed[checksum] ^= 1;
        check(&packed, b"text", true, false);
    }
}
