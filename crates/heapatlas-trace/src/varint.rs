//! Varints: LEB128 of at most 64 bits.

use crate::Malformed;

/// The longest varint.
pub const MAX_BYTES: usize = 10;

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// A number's varint: a buffer and how many bytes of it count.
#[inline]
pub fn encode(mut value: u64) -> ([u8; MAX_BYTES], usize) {
    let mut bytes = [0; MAX_BYTES];
    let mut length = 0;
    for byte in &mut bytes {
        *byte = value as u8 | 0x80;
        length += 1;
        value >>= 7;
        if value == 0 {
            *byte &= 0x7F;
            break;
        }
    }
    (bytes, length)
}

/// Takes a varint off the front of `bytes`.
///
/// # Errors
/// When the bytes end within it, or it has more than 64 bits; then nothing is taken.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    if let [byte @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok(u64::from(*byte));
    }
    take_long(bytes)
}

#[inline]
fn take_long(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let word = bytes.first_chunk().copied().map(u64::from_le_bytes);
    let Some((value, length)) = word.and_then(short) else {
        return take_slowly(bytes);
    };
    *bytes = bytes.get(length..).unwrap_or_default();
    Ok(value)
}

/// The varint at the low end of a word and its length, unless it is longer than the word.
/// Without a branch for each byte: lengths vary, and a branch guessed wrong costs more than all of this.
#[inline(always)]
pub(crate) fn short(word: u64) -> Option<(u64, usize)> {
    let ends = !word & HIGH_BITS;
    if ends == 0 {
        return None;
    }
    let length = ends.trailing_zeros() as usize / 8 + 1;
    Some((join_groups(word & (ends ^ (ends - 1)) & !HIGH_BITS), length))
}

/// Eight groups of seven bits, one in each byte, put together.
#[inline]
fn join_groups(word: u64) -> u64 {
    let word = (word & 0x007F_007F_007F_007F) | (word & 0x7F00_7F00_7F00_7F00) >> 1;
    let word = (word & 0x0000_3FFF_0000_3FFF) | (word & 0x3FFF_0000_3FFF_0000) >> 2;
    (word & 0x0FFF_FFFF) | (word & 0x0FFF_FFFF_0000_0000) >> 4
}

#[cold]
fn take_slowly(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        let shift = 7 * index as u32;
        let group = u64::from(byte & 0x7F);
        if group << shift >> shift != group {
            return Err(Malformed::LongNumber);
        }
        value |= group << shift;
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < MAX_BYTES {
        Malformed::Cut
    } else {
        Malformed::LongNumber
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<u64, Malformed>) {
        for padding in [0, 1, 16] {
            let taken = expected.map_or(0, |_| bytes.len());
            let mut padded = Vec::from(bytes);
            if expected.is_ok() {
                padded.resize(bytes.len() + padding, 0xFF);
            }
            let mut rest = &padded[..];
            assert_eq!(take(&mut rest), expected, "{bytes:x?}");
            assert_eq!(rest, &padded[taken..], "{bytes:x?}");
        }
    }

    #[test]
    fn numbers_of_every_length() {
        check(&[0], Ok(0));
        check(&[0x7F], Ok(127));
        check(&[0x80, 1], Ok(128));
        check(&[0xE5, 0x8E, 0x26], Ok(624_485));
        check(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], Ok(1 << 49));
        check(
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
            Ok(u64::MAX >> 1),
        );
        check(
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            Ok(u64::MAX),
        );
        // Longer than it must be.
        check(&[0x85, 0x80, 0], Ok(5));
    }

    #[test]
    fn what_is_none() {
        check(&[], Err(Malformed::Cut));
        check(&[0x80], Err(Malformed::Cut));
        check(&[0xFF; 9], Err(Malformed::Cut));
        check(&[0xFF; 10], Err(Malformed::LongNumber));
        check(
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2],
            Err(Malformed::LongNumber),
        );
        check(&[0x80; 40], Err(Malformed::LongNumber));
    }

    proptest::proptest! {
        #[test]
        fn round_trip(value: u64, shift in 0_u32..64) {
            let value = value >> shift;
            let (bytes, length) = encode(value);
            check(&bytes[..length], Ok(value));
            assert_eq!(length, (64 - (value | 1).leading_zeros()).div_ceil(7) as usize);
        }
    }
}
