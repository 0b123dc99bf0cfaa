//! Flat arrays of integers, fast.
//!
//! Nearly all of a snapshot is `[9,1,1,0,12,0,0\n,9,2,…]`. Blocks of 64 bytes are turned into
//! bit masks (digit, comma, line feed); the masks tell where each number starts and ends and
//! whether the block is laid out as V8 lays it out; each number is then converted from one or
//! two 8-byte loads without a loop over its digits. Whatever is laid out otherwise (white space
//! elsewhere, signs, floats, errors) goes to the slow parser, one number at a time, which also
//! finds the exact place of an error.

use serde_json::value::RawValue;
use wide::u8x16;

use super::blocks::{BACK, BLOCK, Layout, Masks, Portable, Processor, Window};
use super::cursor::{Cursor, is_white_space};
use super::decimal::{self, Whole};
use super::error::{Problem, ReadError};

/// Commas of a piece of a flat array, up to its closing bracket if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PieceCount {
    pub commas: u64,
    /// Where the array ends, relative to the piece.
    pub end: Option<usize>,
}

/// Counts the commas before the first `]`.
pub(super) fn count_piece(piece: &[u8]) -> PieceCount {
    let (blocks, _) = piece.as_chunks::<BLOCK>();
    let (mut commas, mut whole) = (0, 0);
    // A lane of eight bits holds the commas of so many blocks, four at most from each.
    for run in blocks.chunks(u8::MAX as usize / 4) {
        let Some(count) = count_run(run) else { break };
        commas += count;
        whole += run.len();
    }
    let rest = &piece[whole * BLOCK..];
    let end = memchr::memchr(b']', rest);
    let tail = &rest[..end.unwrap_or(rest.len())];
    commas += tail.iter().filter(|&&byte| byte == b',').count() as u64;
    PieceCount {
        commas,
        end: end.map(|at| whole * BLOCK + at),
    }
}

/// The commas of some blocks; `None` if there is a `]` among them. Counts in the lanes, since
/// without the population count instruction, which not every x86-64 has, masks are dear to count.
fn count_run(blocks: &[[u8; BLOCK]]) -> Option<u64> {
    let (comma, closing) = (u8x16::splat(b','), u8x16::splat(b']'));
    let mut counts = u8x16::splat(0);
    for block in blocks {
        let mut closed = u8x16::splat(0);
        for lane in block.as_chunks::<16>().0 {
            let lane = u8x16::new(*lane);
            // A hit is all ones, which is minus one.
            counts -= lane.simd_eq(comma);
            closed |= lane.simd_eq(closing);
        }
        if closed.to_bitmask() != 0 {
            return None;
        }
    }
    Some(counts.to_array().into_iter().map(u64::from).sum())
}

/// The position after the `count`-th comma from `at` on; `at` itself for none.
pub(super) fn skip_commas(bytes: &[u8], at: usize, count: usize) -> usize {
    let mut at = at;
    for _ in 0..count {
        at += memchr::memchr(b',', &bytes[at..]).map_or(bytes.len() - at, |offset| offset + 1);
    }
    at
}

/// Reads numbers one after the other from inside a flat array.
pub(super) struct NumberReader<'a> {
    bytes: &'a [u8],
    section: &'a str,
    at: usize,
    /// What the byte before `at` was.
    before: Before,
    /// Start of the number that runs into `at`.
    number_start: usize,
    /// Negative numbers that were read as 0.
    pub negatives: u64,
    is_slow: bool,
}

/// The fast path, compiled for each way to work on blocks.
struct FastBlocks<'r, 'a, 'o> {
    reader: &'r mut NumberReader<'a>,
    out: &'o mut [u64],
    wanted: usize,
}

impl FastBlocks<'_, '_, '_> {
    /// Reads numbers until there are enough, no room is left for a block's, or a block is not
    /// laid out as expected; gives how many.
    fn run(self) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            return v3.vectorize(OnV3(v3, self));
        }
        self.run_on(Portable)
    }

    #[inline(always)]
    fn run_on(self, processor: impl Processor) -> usize {
        let Self {
            reader,
            out,
            wanted,
        } = self;
        let mut filled = 0;
        while filled < wanted && out.len() - filled >= BLOCK {
            match reader.fast_block(processor, &mut out[filled..]) {
                Some(read) => filled += read,
                None => {
                    reader.become_slow();
                    break;
                }
            }
        }
        filled
    }
}

/// The fast path in a function that may use the processor's newer instructions.
#[cfg(target_arch = "x86_64")]
struct OnV3<'r, 'a, 'o>(pulp::x86::V3, FastBlocks<'r, 'a, 'o>);

#[cfg(target_arch = "x86_64")]
impl pulp::NullaryFnOnce for OnV3<'_, '_, '_> {
    type Output = usize;

    #[inline(always)]
    fn call(self) -> usize {
        self.1.run_on(self.0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A comma or the opening bracket: a number must follow.
    Comma,
    /// A digit: the number may go on.
    Digit,
    /// A line feed after a number: a comma must follow.
    LineFeed,
}

impl<'a> NumberReader<'a> {
    /// Starts right after a comma or the opening bracket.
    pub fn new(bytes: &'a [u8], at: usize, section: &'a str) -> Self {
        let (before, number_start, is_slow) = (Before::Comma, at, false);
        Self {
            bytes,
            section,
            at,
            before,
            number_start,
            negatives: 0,
            is_slow,
        }
    }

    /// Reads numbers into `out` and gives how many: all before an error, at least one, at most
    /// `wanted` unless the fast path ran over (what is past `wanted` is right, too, if it belongs to the array).
    ///
    /// `out` must have room for 64 numbers.
    pub fn fill(&mut self, out: &mut [u64], wanted: usize) -> Result<usize, ReadError> {
        if !self.is_slow {
            let fast = FastBlocks {
                reader: self,
                out,
                wanted,
            };
            let filled = fast.run();
            if filled > 0 || !self.is_slow {
                return Ok(filled);
            }
        }
        let wanted = wanted.min(out.len());
        for (index, slot) in out[..wanted].iter_mut().enumerate() {
            let before = (self.at, self.negatives);
            match self.slow_number() {
                Ok(value) => *slot = value,
                Err(error) if index == 0 => return Err(error),
                // What was read is handed out; the next call comes upon the error again.
                Err(_) => {
                    (self.at, self.negatives) = before;
                    return Ok(index);
                }
            }
        }
        Ok(wanted)
    }

    /// Where reading stopped. After the last number of an array that is its closing bracket,
    /// with nothing but white space between.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Reads the numbers that end in the next block. `None` leaves everything as it was: the
    /// block is not laid out as expected.
    #[inline(always)]
    fn fast_block(&mut self, processor: impl Processor, out: &mut [u64]) -> Option<usize> {
        let out = out.first_chunk_mut()?;
        let window: &Window = self
            .bytes
            .get(self.at.checked_sub(BACK)?..)?
            .first_chunk()?;
        let block: &[u8; BLOCK] = window.last_chunk()?;
        let Masks {
            digits,
            commas,
            zeros,
            line_feeds,
        } = processor.masks(block);
        let after = |before: Before| u64::from(self.before == before);
        let after_digit = digits << 1 | after(Before::Digit);
        let after_comma = commas << 1 | after(Before::Comma);
        let after_line_feed = line_feeds << 1 | after(Before::LineFeed);
        let starts = digits & !after_digit;
        let starts_with_zero = (starts & zeros) << 1;
        // A number that began in the last block with a zero and goes on here.
        let zero_goes_on = self.before == Before::Digit
            && digits & 1 != 0
            && self.number_start + 1 == self.at
            && self.bytes[self.number_start] == b'0';
        let wrong = !(digits | commas | line_feeds)
            | after_comma & !digits
            | after_line_feed & !commas
            | line_feeds & !after_digit
            | starts_with_zero & digits;
        if wrong != 0 || zero_goes_on {
            return None;
        }
        let layout = Layout {
            digits,
            starts,
            ends: after_digit & !digits,
            carried: match self.before {
                Before::Digit => self.at - self.number_start,
                _ => 0,
            },
        };
        let count = processor.convert(window, layout, out)?;
        if starts != 0 {
            self.number_start = self.at + starts.ilog2() as usize;
        }
        self.at += BLOCK;
        self.before = if digits >> 63 != 0 {
            Before::Digit
        } else if commas >> 63 != 0 {
            Before::Comma
        } else {
            Before::LineFeed
        };
        Some(count)
    }

    /// From now on number by number, from the last place that is surely between two.
    fn become_slow(&mut self) {
        if self.is_slow {
            return;
        }
        self.is_slow = true;
        match self.before {
            Before::Digit => self.at = self.number_start,
            Before::Comma => {}
            // The number was handed out when its end was seen, its comma comes first.
            Before::LineFeed => self.skip_comma(),
        }
    }

    /// A number and the comma after it, if there is one.
    fn slow_number(&mut self) -> Result<u64, ReadError> {
        let value = self.number_alone()?;
        let mut cursor = self.cursor();
        match cursor.peek() {
            Some(b',') => self.at = cursor.at + 1,
            Some(b']') => self.at = cursor.at,
            _ => return Err(cursor.unexpected("`,` or `]`")),
        }
        Ok(value)
    }

    /// A number, white space before it skipped.
    fn number_alone(&mut self) -> Result<u64, ReadError> {
        let mut cursor = self.cursor();
        let Some(_) = cursor.peek() else {
            return Err(cursor.truncated("a number"));
        };
        let start = cursor.at;
        let length = self.bytes[start..]
            .iter()
            .take_while(|&&byte| is_number_byte(byte))
            .count();
        let text = &self.bytes[start..start + length];
        match parse_json_number(text) {
            Some(Number::Unsigned(value)) => {
                self.at = start + length;
                Ok(value)
            }
            Some(Number::Negative) => {
                self.at = start + length;
                self.negatives += 1;
                Ok(0)
            }
            Some(Number::TooLarge) => Err(cursor.error(Problem::Unexpected {
                expected: "a number below 2^64".to_owned(),
                found: format!("`{}`", String::from_utf8_lossy(&text[..length.min(40)])),
            })),
            None => Err(cursor.unexpected("a number")),
        }
    }

    fn skip_comma(&mut self) {
        let mut cursor = self.cursor();
        if cursor.accept(b',') {
            self.at = cursor.at;
        }
    }

    fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.bytes, self.at, self.section)
    }
}

/// A JSON number as far as we care.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Number {
    /// Floats are cut toward zero.
    Unsigned(u64),
    Negative,
    TooLarge,
}

pub(super) fn is_number_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Reads a whole text as a JSON number; `None` if it is none.
pub(super) fn parse_json_number(text: &[u8]) -> Option<Number> {
    let is_plain = text.iter().all(u8::is_ascii_digit);
    if is_plain && !text.is_empty() && (text[0] != b'0' || text.len() == 1) {
        let value = text.iter().try_fold(0_u64, |value, &digit| {
            value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        return Some(value.map_or(Number::TooLarge, Number::Unsigned));
    }
    let whole = truncate_json(text)?;
    Some(match whole.magnitude {
        _ if whole.is_negative => Number::Negative,
        Some(value) => Number::Unsigned(value),
        None => Number::TooLarge,
    })
}

/// The whole part of a JSON number; `None` if the text is none.
fn truncate_json(text: &[u8]) -> Option<Whole> {
    let is_number = text.first().is_some_and(|&first| is_number_byte(first));
    let value: &RawValue = serde_json::from_slice(text).ok().filter(|_| is_number)?;
    Some(decimal::truncate(value.get()))
}

/// Reads a flat array of signed integers of any layout, from its opening bracket on.
pub(super) fn read_signed_array(cursor: &mut Cursor<'_>) -> Result<Vec<i64>, ReadError> {
    let mut values = Vec::new();
    cursor.expect(b'[')?;
    if cursor.accept(b']') {
        return Ok(values);
    }
    loop {
        let Some(_) = cursor.peek() else {
            return Err(cursor.truncated("a number"));
        };
        let text = &cursor.bytes[cursor.at..];
        let length = text
            .iter()
            .take_while(|&&byte| is_number_byte(byte))
            .count();
        let value = signed(&text[..length]).ok_or_else(|| cursor.unexpected("a number"))?;
        values.push(value);
        cursor.at += length;
        if cursor.accept(b']') {
            return Ok(values);
        }
        cursor
            .expect(b',')
            .map_err(|_| cursor.unexpected("`,` or `]`"))?;
    }
}

/// A JSON number as a signed one; floats are cut toward zero, what is too large is clamped.
fn signed(text: &[u8]) -> Option<i64> {
    let whole = truncate_json(text)?;
    let size = whole.magnitude.unwrap_or(u64::MAX);
    Some(if whole.is_negative {
        0_i64.saturating_sub_unsigned(size)
    } else {
        0_i64.saturating_add_unsigned(size)
    })
}

/// Whether everything from `at` to `end` is white space.
pub(super) fn is_blank(bytes: &[u8], at: usize, end: usize) -> bool {
    bytes[at.min(end)..end]
        .iter()
        .all(|&byte| is_white_space(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands before each array, as the header does in a file: the fast path looks back 16 bytes.
    const HEAD: &str = "{\"snapshot\":0,0,";

    /// All numbers of an array's inside, by way of `fill`.
    fn read_all(text: &str, count: usize) -> Result<Vec<u64>, ReadError> {
        let text = format!("{HEAD}{text}");
        let mut reader = NumberReader::new(text.as_bytes(), HEAD.len() + 1, "test");
        let mut values = Vec::new();
        let mut buffer = [0; 256];
        while values.len() < count {
            let read = reader.fill(&mut buffer, count - values.len())?;
            values.extend_from_slice(&buffer[..read.min(count - values.len())]);
        }
        Ok(values)
    }

    #[track_caller]
    fn check(separators: &[&str], values: &[u64]) {
        let mut text = "[".to_owned();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                text.push_str(separators[index % separators.len()]);
            }
            text.push_str(&value.to_string());
        }
        text.push(']');
        assert_eq!(read_all(&text, values.len()).unwrap(), values, "{text}");
        let counted = count_piece(text.as_bytes());
        assert_eq!(counted.commas as usize, values.len() - 1);
        assert_eq!(counted.end, Some(text.len() - 1));
    }

    #[test]
    fn reads_numbers_of_every_length_at_every_offset() {
        let every_length: Vec<u64> = (0..20)
            .map(|digits| 10_u64.pow(digits))
            .chain([
                0,
                7,
                99_999_999,
                100_000_000,
                9_999_999_999_999_999,
                u64::MAX,
            ])
            .collect();
        for offset in 0..70 {
            let mut values = vec![1; offset];
            values.extend(&every_length);
            values.extend(vec![3; offset + 40]);
            check(&[","], &values);
            check(&[",", "\n,"], &values);
            check(&[",", ",\n  "], &values);
        }
    }

    #[test]
    fn floats_are_cut_and_negatives_counted() {
        let mut text = "[1.9,-3,2e2,".to_owned();
        text.push_str(&"5,".repeat(60));
        text.push_str("6]");
        let mut reader = NumberReader::new(text.as_bytes(), 1, "test");
        let mut buffer = [0; 128];
        assert_eq!(reader.fill(&mut buffer, 64).unwrap(), 64);
        assert_eq!(buffer[..4], [1, 0, 200, 5]);
        assert_eq!(reader.negatives, 1);
    }

    #[track_caller]
    fn check_error(text: &str, count: usize, offset: usize) {
        assert_eq!(
            read_all(text, count).unwrap_err().offset,
            HEAD.len() + offset,
            "{text}"
        );
    }

    #[test]
    fn errors_tell_the_place() {
        check_error("[1,,2]", 3, 3);
        check_error("[1 2]", 2, 3);
        check_error("[01]", 1, 1);
        check_error("[1,x]", 2, 3);
        check_error("[1,2", 2, 4);
        check_error("[99999999999999999999]", 1, 1);
        let long = format!("[{}007,{}]", "1,".repeat(60), "1,".repeat(60));
        check_error(&long, 121, 121);
    }
}
