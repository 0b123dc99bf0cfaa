//! One thread's stream, written. All of this runs inside `malloc` of the measured program.

use crate::event::{kind, subkind};
use crate::varint;

/// The room that an event is written to. Most of it is for writing whole words; no event is longer
/// than this.
pub const MAX_EVENT_BYTES: usize = 64;

/// The most text that a mark takes; longer text is cut.
pub const MAX_MARK_BYTES: usize = 48;

/// Numbers below this are at most four bytes long.
const SHORT_BITS: u32 = 28;

/// The state of one thread's stream: what the next event is the difference to.
///
/// Each method writes one event to the front of `out` and says how many bytes it took. What lies behind
/// these may be overwritten. A tick smaller than the one before counts as that.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    address: u64,
    tick: u64,
    node_address: u64,
}

impl Encoder {
    /// The state at the beginning of a stream with base tick 0.
    pub const fn new() -> Self {
        Self {
            address: 0,
            tick: 0,
            node_address: 0,
        }
    }

    /// Sets the differences anew: what follows belongs to a segment with this base tick.
    #[inline]
    pub fn start(&mut self, base_tick: u64) {
        *self = Self {
            tick: base_tick,
            ..Self::new()
        };
    }

    /// A stack that was not there yet. It gets the thread's next number; the caller counts, from 2.
    #[inline]
    pub fn node(&mut self, out: &mut [u8; MAX_EVENT_BYTES], parent: u32, address: u64) -> usize {
        let difference = address.wrapping_sub(self.node_address) as i64;
        self.node_address = address;
        let zigzag = (difference << 1 ^ difference >> 63) as u64;
        two(out, u64::from(parent) << 3 | kind::NODE, zigzag)
    }

    /// A block was allocated.
    #[inline]
    pub fn allocation(
        &mut self,
        out: &mut [u8; MAX_EVENT_BYTES],
        stack: u32,
        size_bytes: u64,
        address: u64,
        tick: u64,
    ) -> usize {
        let ticks = self.ticks_until(tick);
        if !is_aligned(address) {
            let arguments = [u64::from(stack), size_bytes, address, ticks];
            return other(out, subkind::ALLOCATION, &arguments);
        }
        let first = u64::from(stack) << 3 | kind::ALLOCATION;
        four(out, first, size_bytes, self.difference_to(address), ticks)
    }

    /// A block is about to be freed.
    #[inline]
    pub fn free(&mut self, out: &mut [u8; MAX_EVENT_BYTES], address: u64, tick: u64) -> usize {
        let ticks = self.ticks_until(tick);
        if !is_aligned(address) {
            return other(out, subkind::FREE, &[address, ticks]);
        }
        two(out, self.difference_to(address) << 3 | kind::FREE, ticks)
    }

    /// A block is about to be reallocated.
    #[inline]
    pub fn reallocation_begins(
        &mut self,
        out: &mut [u8; MAX_EVENT_BYTES],
        address: u64,
        tick: u64,
    ) -> usize {
        let ticks = self.ticks_until(tick);
        if !is_aligned(address) {
            return other(out, subkind::REALLOCATION_BEGINS, &[address, ticks]);
        }
        let first = self.difference_to(address) << 3 | kind::REALLOCATION_BEGINS;
        two(out, first, ticks)
    }

    /// The reallocation gave this block.
    #[inline]
    pub fn reallocation_ends(
        &mut self,
        out: &mut [u8; MAX_EVENT_BYTES],
        stack: u32,
        size_bytes: u64,
        address: u64,
        tick: u64,
    ) -> usize {
        let ticks = self.ticks_until(tick);
        if !is_aligned(address) {
            let arguments = [u64::from(stack), size_bytes, address, ticks];
            return other(out, subkind::REALLOCATION_ENDS, &arguments);
        }
        let first = u64::from(stack) << 3 | kind::REALLOCATION_ENDS;
        four(out, first, size_bytes, self.difference_to(address), ticks)
    }

    /// The reallocation failed.
    #[inline]
    pub fn reallocation_failed(&mut self, out: &mut [u8; MAX_EVENT_BYTES], tick: u64) -> usize {
        let ticks = self.ticks_until(tick);
        two(out, kind::REALLOCATION_FAILED, ticks)
    }

    /// The program set a mark; its text is cut to [`MAX_MARK_BYTES`].
    pub fn mark(&mut self, out: &mut [u8; MAX_EVENT_BYTES], tick: u64, text: &[u8]) -> usize {
        let text = text.get(..MAX_MARK_BYTES).unwrap_or(text);
        let ticks = self.ticks_until(tick);
        other_with_text(out, subkind::MARK, &[ticks], text)
    }

    /// The thread is about to end.
    pub fn thread_ends(&mut self, out: &mut [u8; MAX_EVENT_BYTES], tick: u64) -> usize {
        let ticks = self.ticks_until(tick);
        other(out, subkind::THREAD_ENDS, &[ticks])
    }

    /// Pages were mapped.
    pub fn mapping(
        &mut self,
        out: &mut [u8; MAX_EVENT_BYTES],
        stack: u32,
        size_bytes: u64,
        address: u64,
        tick: u64,
    ) -> usize {
        let ticks = self.ticks_until(tick);
        let arguments = [u64::from(stack), size_bytes, address, ticks];
        other(out, subkind::MAPPING, &arguments)
    }

    /// Pages are about to be unmapped.
    pub fn unmapping(
        &mut self,
        out: &mut [u8; MAX_EVENT_BYTES],
        size_bytes: u64,
        address: u64,
        tick: u64,
    ) -> usize {
        let ticks = self.ticks_until(tick);
        other(out, subkind::UNMAPPING, &[size_bytes, address, ticks])
    }

    /// From here on the thread's allocations are sampled with this mean number of bytes between samples; 0:
    /// every one is recorded.
    pub fn sample_interval(
        &mut self,
        out: &mut [u8; MAX_EVENT_BYTES],
        interval_bytes: u64,
        tick: u64,
    ) -> usize {
        let ticks = self.ticks_until(tick);
        other(out, subkind::SAMPLE_INTERVAL, &[interval_bytes, ticks])
    }

    /// Clocks of two processors may disagree a little; a stream's ticks never go back.
    #[inline(always)]
    fn ticks_until(&mut self, tick: u64) -> u64 {
        let ticks = tick.saturating_sub(self.tick);
        self.tick += ticks;
        ticks
    }

    /// Eighths of the difference to the address before, the sign as lowest bit.
    #[inline(always)]
    fn difference_to(&mut self, address: u64) -> u64 {
        let difference = address.wrapping_sub(self.address) as i64;
        self.address = address;
        difference.unsigned_abs() >> 2 | u64::from(difference < 0)
    }
}

#[inline(always)]
fn is_aligned(address: u64) -> bool {
    address.is_multiple_of(8)
}

/// Two numbers below 2^28 as varints one behind the other, and how many bytes they take together.
///
/// Both are spread in one word, without a branch for each byte: lengths vary from event to event,
/// and a branch guessed wrong costs more than all of this.
#[inline(always)]
fn pair(a: u64, b: u64) -> (u64, usize) {
    const CONTINUED: u64 = 0x0080_8080;
    let (a_bytes, b_bytes) = (short_length(a), short_length(b));
    let word = a | b << 32;
    let word = (word & 0x0FFF_C000_0FFF_C000) << 2 | (word & 0x0000_3FFF_0000_3FFF);
    let word = (word & 0x3F80_3F80_3F80_3F80) << 1 | (word & 0x007F_007F_007F_007F);
    let a = (word & 0xFFFF_FFFF) | CONTINUED >> (32 - 8 * a_bytes);
    let b = word >> 32 | CONTINUED >> (32 - 8 * b_bytes);
    (a | b << (8 * a_bytes), (a_bytes + b_bytes) as usize)
}

/// The bytes of a varint below 2^28: 1 to 4.
#[inline(always)]
fn short_length(value: u64) -> u32 {
    let highest_bit = (value as u32 | 1).ilog2();
    // One more than a seventh, for numbers up to 63.
    (highest_bit * 9 + 73) >> 6
}

#[inline(always)]
fn two(out: &mut [u8; MAX_EVENT_BYTES], a: u64, b: u64) -> usize {
    if (a | b) >> SHORT_BITS != 0 {
        return put_all(out, &[a, b]);
    }
    let (word, length) = pair(a, b);
    out[..8].copy_from_slice(&word.to_le_bytes());
    length
}

#[inline(always)]
fn four(out: &mut [u8; MAX_EVENT_BYTES], a: u64, b: u64, c: u64, d: u64) -> usize {
    if (a | b | c | d) >> SHORT_BITS != 0 {
        return put_all(out, &[a, b, c, d]);
    }
    let ((head, head_bytes), (tail, tail_bytes)) = (pair(a, b), pair(c, d));
    out[..8].copy_from_slice(&head.to_le_bytes());
    // It is at most 8; the mask tells the compiler that nothing can be out of bounds.
    let at = head_bytes & 15;
    out[at..at + 8].copy_from_slice(&tail.to_le_bytes());
    head_bytes + tail_bytes
}

#[cold]
#[inline(never)]
fn put_all(out: &mut [u8; MAX_EVENT_BYTES], numbers: &[u64]) -> usize {
    put_at(out, 0, numbers)
}

#[cold]
#[inline(never)]
fn other(out: &mut [u8; MAX_EVENT_BYTES], subkind: u64, arguments: &[u64]) -> usize {
    other_with_text(out, subkind, arguments, &[])
}

/// Subkind and length are one byte each: there are few subkinds, and an event is short.
fn other_with_text(
    out: &mut [u8; MAX_EVENT_BYTES],
    subkind: u64,
    arguments: &[u64],
    text: &[u8],
) -> usize {
    let text_at = put_at(out, 2, arguments);
    let end = put_bytes(out, text_at, text);
    out[0] = (subkind << 3 | kind::OTHER) as u8;
    out[1] = (end - 2) as u8;
    end
}

/// Writes varints from `at` on and returns where they end.
fn put_at(out: &mut [u8; MAX_EVENT_BYTES], at: usize, numbers: &[u64]) -> usize {
    numbers.iter().fold(at, |at, &number| {
        let (bytes, length) = varint::encode(number);
        put_bytes(out, at, bytes.get(..length).unwrap_or_default())
    })
}

/// Every event fits; were there one that does not, it would be cut rather than panic.
fn put_bytes(out: &mut [u8; MAX_EVENT_BYTES], at: usize, bytes: &[u8]) -> usize {
    let room = out.get_mut(at..).unwrap_or_default();
    for (slot, byte) in room.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    at + bytes.len().min(MAX_EVENT_BYTES.saturating_sub(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        write: impl FnOnce(&mut Encoder, &mut [u8; MAX_EVENT_BYTES]) -> usize,
        expected: &[u8],
    ) {
        let mut encoder = Encoder::new();
        encoder.start(1000);
        let mut out = [0xEE; MAX_EVENT_BYTES];
        let length = write(&mut encoder, &mut out);
        assert_eq!(&out[..length], expected);
    }

    #[test]
    fn the_layout_of_each_event() {
        check(|e, out| e.node(out, 2, 0x80), &[2 << 3, 0x80, 2]);
        check(
            |e, out| e.allocation(out, 1, 200, 16, 1003),
            &[1 << 3 | 1, 0xC8, 1, 4, 3],
        );
        check(|e, out| e.free(out, 16, 1300), &[4 << 3 | 2, 0xAC, 2]);
        check(
            |e, out| e.reallocation_begins(out, 8, 1001),
            &[2 << 3 | 3, 1],
        );
        check(
            |e, out| e.reallocation_ends(out, 0, 5, 8, 1001),
            &[4, 5, 2, 1],
        );
        check(|e, out| e.reallocation_failed(out, 1001), &[5, 1]);
        check(
            |e, out| e.allocation(out, 3, 4, 17, 1002),
            &[7, 4, 3, 4, 17, 2],
        );
        check(|e, out| e.free(out, 17, 1002), &[1 << 3 | 7, 2, 17, 2]);
        check(
            |e, out| e.mark(out, 1002, b"go"),
            &[2 << 3 | 7, 3, 2, b'g', b'o'],
        );
        check(|e, out| e.thread_ends(out, 1002), &[3 << 3 | 7, 1, 2]);
        check(
            |e, out| e.mapping(out, 3, 4, 17, 1002),
            &[4 << 3 | 7, 4, 3, 4, 17, 2],
        );
        check(
            |e, out| e.unmapping(out, 4, 17, 1002),
            &[5 << 3 | 7, 3, 4, 17, 2],
        );
        check(
            |e, out| e.reallocation_begins(out, 17, 1002),
            &[6 << 3 | 7, 2, 17, 2],
        );
        check(
            |e, out| e.reallocation_ends(out, 3, 4, 17, 1002),
            &[7 << 3 | 7, 4, 3, 4, 17, 2],
        );
        check(
            |e, out| e.sample_interval(out, 300, 1002),
            &[8 << 3 | 7, 3, 0xAC, 2, 2],
        );
    }

    #[test]
    fn differences_go_both_ways_and_time_does_not() {
        let mut encoder = Encoder::new();
        let mut out = [0; MAX_EVENT_BYTES];
        encoder.allocation(&mut out, 0, 1, 0x100, 50);
        let length = encoder.free(&mut out, 0xF8, 40);
        assert_eq!(out[..length], [0b11 << 3 | 2, 0]);
    }

    #[test]
    fn the_longest_events_fit() {
        let mut encoder = Encoder::new();
        let mut out = [0; MAX_EVENT_BYTES];
        let most = u64::MAX;
        assert_eq!(
            encoder.allocation(&mut out, u32::MAX, most, most, most),
            2 + 5 + 10 + 10 + 10
        );
        encoder.start(0);
        assert_eq!(
            encoder.mark(&mut out, most, &[b'x'; 100]),
            2 + 10 + MAX_MARK_BYTES
        );
    }
}
