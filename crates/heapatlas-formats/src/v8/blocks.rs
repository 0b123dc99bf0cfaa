//! Blocks of 64 bytes of a flat array, and the two ways to work on them: on any processor, and
//! on x86-64 ones with AVX2, where four numbers are converted at once. Which way is decided at
//! run time.

use wide::u8x16;

/// Bytes worked on at a time: one bit each in a mask.
pub(super) const BLOCK: usize = 64;
/// How far a block looks back for the head of a number that ends in it.
pub(super) const BACK: usize = 16;
/// Digits of a number that a block converts. (A mask of all lengths of a block is below 16
/// exactly if each of them is.)
const LONGEST: usize = 15;

/// A block, after the bytes before it.
pub(super) type Window = [u8; BACK + BLOCK];

/// Bit masks of a block: bit `i` is byte `i`.
#[derive(Clone, Copy)]
pub(super) struct Masks {
    pub digits: u64,
    pub commas: u64,
    pub zeros: u64,
    pub line_feeds: u64,
}

/// A block whose layout was found to be the expected one: where its numbers start and end.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub digits: u64,
    /// The first digit of each number that starts in the block.
    pub starts: u64,
    /// The byte after each number that ends in the block (before it, for bit 0).
    pub ends: u64,
    /// Digits of the first number that stand before the block.
    pub carried: usize,
}

/// A way to work on blocks.
pub(super) trait Processor: Copy {
    /// Where a block has which bytes.
    fn masks(self, block: &[u8; BLOCK]) -> Masks;

    /// Converts the numbers that end in the block and gives how many; `None` if one is too long.
    /// What follows those in `out` may be overwritten.
    fn convert(self, window: &Window, layout: Layout, out: &mut [u64; BLOCK]) -> Option<usize>;
}

/// Any processor.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Processor for Portable {
    #[inline(always)]
    fn masks(self, block: &[u8; BLOCK]) -> Masks {
        let (zero, nine) = (u8x16::splat(b'0'), u8x16::splat(9));
        let digits = mask(block, |lane| {
            let value = lane - zero;
            value.min(nine).simd_eq(value)
        });
        let equal = |byte| {
            let wanted = u8x16::splat(byte);
            mask(block, |lane| lane.simd_eq(wanted))
        };
        Masks::new(digits, equal)
    }

    #[inline(always)]
    fn convert(self, window: &Window, layout: Layout, out: &mut [u64; BLOCK]) -> Option<usize> {
        convert_each(window, layout, out)
    }
}

impl Masks {
    #[inline(always)]
    fn new(digits: u64, equal: impl Fn(u8) -> u64) -> Self {
        let commas = equal(b',');
        // Newer writers have none.
        let has_others = digits | commas != u64::MAX;
        Self {
            digits,
            commas,
            zeros: equal(b'0'),
            line_feeds: if has_others { equal(b'\n') } else { 0 },
        }
    }
}

/// Bit `i` is set where the test holds for byte `i`.
#[inline(always)]
fn mask(block: &[u8; BLOCK], test: impl Fn(u8x16) -> u8x16) -> u64 {
    let (lanes, _) = block.as_chunks::<16>();
    lanes.iter().enumerate().fold(0, |bits, (index, lane)| {
        bits | u64::from(test(u8x16::new(*lane)).to_bitmask()) << (index * 16)
    })
}

/// One number after the other.
#[inline(always)]
fn convert_each(window: &Window, layout: Layout, out: &mut [u64; BLOCK]) -> Option<usize> {
    let Layout {
        mut starts,
        mut ends,
        carried,
        ..
    } = layout;
    let count = ends.count_ones() as usize;
    let mut lengths = 0;
    let mut slots = out[..count].iter_mut();
    // Relative to the block, so "negative" for a number that began before it.
    let mut start = 0_usize.wrapping_sub(carried);
    if carried == 0 {
        start = first_bit(starts);
        starts &= starts.wrapping_sub(1);
    }
    for slot in &mut slots {
        let end = first_bit(ends);
        ends &= ends.wrapping_sub(1);
        let length = end.wrapping_sub(start);
        lengths |= length;
        *slot = convert(window, end, length);
        start = first_bit(starts);
        starts &= starts.wrapping_sub(1);
    }
    (lengths <= LONGEST).then_some(count)
}

/// The position of the lowest bit that is set, below 64 whatever the bits are.
#[inline(always)]
fn first_bit(bits: u64) -> usize {
    // With the highest bit set there is no case of zero to take care of.
    (bits | 1 << (BLOCK - 1)).trailing_zeros() as usize
}

/// The eight bytes before `end`, which is relative to the block.
#[inline(always)]
fn eight_before(window: &Window, end: usize) -> u64 {
    // No check remains of these: `end` is below 64 and the window reaches back by 16.
    let at = (end & (BLOCK - 1)) + BACK - 8;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Converts the `length` digits before `end`, which is relative to the block. Anything for more
/// than 15 of them.
#[inline(always)]
fn convert(window: &Window, end: usize, length: usize) -> u64 {
    let low = eight_before(window, end);
    if length <= 8 {
        return convert_8(low, length);
    }
    let mut bytes = [0; 8];
    let at = end & (BLOCK - 1);
    bytes.copy_from_slice(&window[at..at + 8]);
    let high = convert_8(u64::from_le_bytes(bytes), (length - 8).min(8));
    high.wrapping_mul(100_000_000)
        .wrapping_add(convert_8(low, 8))
}

/// The value of the last `length` (1 to 8) of eight ASCII digits, pairwise in parallel:
/// tens and ones, then hundreds, then ten thousands.
#[inline(always)]
fn convert_8(text: u64, length: usize) -> u64 {
    let digits = text & 0x0f0f_0f0f_0f0f_0f0f << (64 - 8 * length);
    let pairs = (digits.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

/// x86-64 with AVX2 and BMI, as nearly all since 2015: half the instructions a number.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use std::arch::x86_64::__m256i;

    use pulp::cast;
    use pulp::x86::V3;

    use super::{BLOCK, Layout, Masks, Processor, Window, convert_each, eight_before, first_bit};

    impl Processor for V3 {
        #[inline(always)]
        fn masks(self, block: &[u8; BLOCK]) -> Masks {
            let (low, high) = block.split_at(BLOCK / 2);
            let half = |bytes: &[u8]| {
                let bytes: [u8; BLOCK / 2] = bytes.try_into().expect("split in the middle");
                cast::<_, __m256i>(bytes)
            };
            let halves = [half(low), half(high)];
            let mask = |test: &dyn Fn(__m256i) -> __m256i| {
                let [low, high] =
                    halves.map(|half| self.avx2._mm256_movemask_epi8(test(half)).cast_unsigned());
                u64::from(low) | u64::from(high) << 32
            };
            let digits = mask(&|bytes| is_digit(self, bytes).0);
            let equal = |byte: u8| {
                let wanted = self.avx._mm256_set1_epi8(byte.cast_signed());
                mask(&|bytes| self.avx2._mm256_cmpeq_epi8(bytes, wanted))
            };
            Masks::new(digits, equal)
        }

        #[inline(always)]
        fn convert(self, window: &Window, layout: Layout, out: &mut [u64; BLOCK]) -> Option<usize> {
            if has_more_than_8_digits(layout) {
                return convert_each(window, layout, out);
            }
            let mut ends = layout.ends;
            let count = ends.count_ones() as usize;
            let (groups, _) = out.as_chunks_mut::<4>();
            for group in &mut groups[..count.div_ceil(4)] {
                let mut next = || {
                    let text = eight_before(window, first_bit(ends));
                    ends &= ends.wrapping_sub(1);
                    text.cast_signed()
                };
                let [a, b, c, d] = [next(), next(), next(), next()];
                let texts = self.avx._mm256_set_epi64x(d, c, b, a);
                *group = cast(convert_4(self, texts));
            }
            Some(count)
        }
    }

    /// Whether each byte is a digit (all its bits, or none), and the bytes less `0`.
    #[inline(always)]
    fn is_digit(v3: V3, bytes: __m256i) -> (__m256i, __m256i) {
        let values = v3
            .avx2
            ._mm256_sub_epi8(bytes, v3.avx._mm256_set1_epi8(0x30));
        let small = v3.avx2._mm256_min_epu8(values, v3.avx._mm256_set1_epi8(9));
        (v3.avx2._mm256_cmpeq_epi8(small, values), values)
    }

    #[inline(always)]
    fn has_more_than_8_digits(layout: Layout) -> bool {
        let digits = layout.digits;
        let twos = digits & digits >> 1;
        let fours = twos & twos >> 2;
        let eights = fours & fours >> 4;
        let carried_on = layout.carried + (!digits).trailing_zeros() as usize;
        eights & digits >> 8 != 0 || (layout.carried > 0 && carried_on > 8)
    }

    /// The values of four numbers of up to eight digits, each at the end of its eight bytes, with
    /// something else than a digit before it. Pairwise in parallel: tens and ones, then hundreds,
    /// then ten thousands.
    #[inline(always)]
    fn convert_4(v3: V3, texts: __m256i) -> __m256i {
        let avx2 = v3.avx2;
        let (is_digit, values) = is_digit(v3, texts);
        // All bytes up to the last one that is no digit: it is smeared down over those before it.
        let mut other = avx2._mm256_andnot_si256(is_digit, v3.avx._mm256_set1_epi8(-1));
        other = avx2._mm256_or_si256(other, avx2._mm256_srli_epi64::<8>(other));
        other = avx2._mm256_or_si256(other, avx2._mm256_srli_epi64::<16>(other));
        other = avx2._mm256_or_si256(other, avx2._mm256_srli_epi64::<32>(other));
        let digits = avx2._mm256_andnot_si256(other, values);
        let pairs = avx2._mm256_maddubs_epi16(digits, v3.avx._mm256_set1_epi16(1 << 8 | 10));
        let fours = avx2._mm256_madd_epi16(pairs, v3.avx._mm256_set1_epi32(1 << 16 | 100));
        let thousands = avx2._mm256_mul_epu32(fours, v3.avx._mm256_set1_epi64x(10_000));
        avx2._mm256_add_epi64(thousands, avx2._mm256_srli_epi64::<32>(fours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of `text` that end in its block, which begins after `BACK` bytes.
    fn read(processor: impl Processor, text: &[u8; BACK + BLOCK]) -> Option<Vec<u64>> {
        let block: &[u8; BLOCK] = text.last_chunk().unwrap();
        let masks = processor.masks(block);
        let carried = text[..BACK].iter().rev();
        let carried = carried.take_while(|byte| byte.is_ascii_digit()).count();
        let after_digit = masks.digits << 1 | u64::from(carried > 0);
        let layout = Layout {
            digits: masks.digits,
            starts: masks.digits & !after_digit,
            ends: after_digit & !masks.digits,
            carried,
        };
        let mut out = [0; BLOCK];
        let count = processor.convert(text, layout, &mut out)?;
        Some(out[..count].to_vec())
    }

    /// All processors give the numbers that end in the block.
    #[track_caller]
    fn check(text: &str) {
        let window: &[u8; BACK + BLOCK] = text.as_bytes().first_chunk().unwrap();
        let mut expected = Vec::new();
        let mut end = 0;
        for number in text[..BACK + BLOCK].split_inclusive(',') {
            end += number.len();
            let digits = number.trim_end_matches([',', '\n']);
            let last = end - number.len() + digits.len();
            if (BACK..BACK + BLOCK).contains(&last) && !digits.is_empty() {
                expected.push(digits.trim_start().parse().unwrap());
            }
        }
        assert_eq!(read(Portable, window).as_ref(), Some(&expected), "{text}");
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            assert_eq!(read(v3, window), Some(expected), "{text}");
        }
    }

    #[test]
    fn all_processors_convert_numbers_of_every_length_at_every_place() {
        for length in 1..=15 {
            for before in 0..40 {
                let number = &"987654321098765"[..length];
                let rest = format!("{},", &number[length / 2..]).repeat(80);
                check(&format!("{}{number},\n{rest}", "7,".repeat(before)));
                check(&format!(",{}{number},{rest}", "10,".repeat(before)));
            }
        }
    }

    #[test]
    fn all_processors_refuse_what_is_too_long() {
        for digits in 16..40 {
            let text = format!(
                "{},{},{}",
                "1,".repeat(8),
                "9".repeat(digits),
                "2,".repeat(40)
            );
            let window: &[u8; BACK + BLOCK] = text.as_bytes().first_chunk().unwrap();
            assert_eq!(read(Portable, window), None, "{text}");
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                assert_eq!(read(v3, window), None, "{text}");
            }
        }
    }

    #[test]
    fn all_processors_see_the_same_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        for block in bytes.windows(BLOCK) {
            let block: &[u8; BLOCK] = block.first_chunk().unwrap();
            let bits = |masks: Masks| [masks.digits, masks.commas, masks.zeros, masks.line_feeds];
            let expected = [
                b"0123456789".as_slice(),
                b",".as_slice(),
                b"0".as_slice(),
                b"\n".as_slice(),
            ]
            .map(|wanted| {
                (0..).zip(block).fold(0, |bits, (at, byte)| {
                    bits | u64::from(wanted.contains(byte)) << at
                })
            });
            assert_eq!(bits(Portable.masks(block)), expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                assert_eq!(bits(v3.masks(block)), expected);
            }
        }
    }
}
