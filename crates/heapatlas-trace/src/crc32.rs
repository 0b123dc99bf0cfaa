/// The CRC-32 of zlib and PNG (IEEE, reflected).
///
/// Eight bytes at a time: a byte at a time takes longer than all the rest of writing a block but compression.
pub fn crc32(bytes: &[u8]) -> u32 {
    Crc32::new().with(bytes).sum()
}

/// The same of bytes that come in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Crc32 {
    /// Of no bytes.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// With these bytes behind those before.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let (words, tail) = bytes.as_chunks::<8>();
        let crc = words
            .iter()
            .fold(self.0, |crc, word| after_word(crc, *word));
        Self(tail.iter().fold(crc, |crc, &byte| after_byte(crc, byte)))
    }

    /// The sum.
    pub const fn sum(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

/// `TABLES[n][b]`: what byte `b` comes to when `n` more bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

fn after_byte(crc: u32, byte: u8) -> u32 {
    crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)]
}

fn after_word(crc: u32, word: [u8; 8]) -> u32 {
    let mixed = (u64::from_le_bytes(word) ^ u64::from(crc)).to_le_bytes();
    let mut result = 0;
    for (table, byte) in TABLES.iter().rev().zip(mixed) {
        result ^= table[usize::from(byte)];
    }
    result
}

const fn tables() -> [[u32; 256]; 8] {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut following = 1;
    while following < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[following - 1][byte];
            tables[following][byte] = crc >> 8 ^ tables[0][(crc & 0xFF) as usize];
            byte += 1;
        }
        following += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: u32) {
        assert_eq!(crc32(bytes), expected);
    }

    /// The check value of every catalog of CRCs, and what zlib says of the rest.
    #[test]
    fn known_sums() {
        check(b"", 0);
        check(b"123456789", 0xCBF4_3926);
        check(b"The quick brown fox jumps over the lazy dog", 0x414F_A339);
        check(&[0; 32], 0x190A_55AD);
        check(&[0xFF; 32], 0xFF6C_AB0B);
    }

    #[test]
    fn pieces_have_the_sum_of_the_whole() {
        let bytes = b"The quick brown fox jumps over the lazy dog";
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(Crc32::new().with(head).with(tail).sum(), 0x414F_A339);
        }
    }
}
