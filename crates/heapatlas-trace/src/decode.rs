//! One thread's stream, read.

use crate::event::{kind, subkind};
use crate::{Event, Malformed, varint};

/// The state of one thread's stream: what the next event is the difference to.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    address: u64,
    tick: u64,
    node_address: u64,
}

impl Decoder {
    /// The state at the beginning of a stream with base tick 0.
    pub const fn new() -> Self {
        Self {
            address: 0,
            tick: 0,
            node_address: 0,
        }
    }

    /// Sets the differences anew, at the beginning of a segment with this base tick.
    pub fn start(&mut self, base_tick: u64) {
        *self = Self {
            tick: base_tick,
            ..Self::new()
        };
    }

    /// Takes the next event off the front of `bytes`; `None` at their end. Subkinds that are not
    /// known are skipped.
    ///
    /// # Errors
    /// When the bytes are no event. Then `bytes` begin with it, and nothing behind it can be read,
    /// since its differences are lost.
    #[inline]
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Event<'a>>, Malformed> {
        if let Some(window) = bytes.first_chunk()
            && let Some((event, length)) = self.common_event(window)
        {
            *bytes = bytes.get(length..).unwrap_or_default();
            return Ok(Some(event));
        }
        self.next_of_any_kind(bytes)
    }

    /// Nearly every event: of a common kind, with short numbers, not close to the end. All that it
    /// needs stays in registers.
    #[inline(always)]
    fn common_event<'a>(&mut self, bytes: &[u8; WINDOW_BYTES]) -> Option<(Event<'a>, usize)> {
        let mut state = self.clone();
        let mut window = Window { bytes, at: 0 };
        let first = window.take().ok()?;
        let event = state.event(first, &mut window).ok()?;
        *self = state;
        Some((event, window.at))
    }

    #[inline(never)]
    fn next_of_any_kind<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, Malformed> {
        while !bytes.is_empty() {
            let mut rest = *bytes;
            let first = varint::take(&mut rest)?;
            let event = match first & 7 {
                kind::OTHER => self.other(first >> 3, take_slice(&mut rest)?)?,
                _ => Some(self.event(first, &mut rest)?),
            };
            *bytes = rest;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    #[inline(always)]
    fn event<'a>(
        &mut self,
        first: u64,
        numbers: &mut impl Numbers,
    ) -> Result<Event<'a>, Malformed> {
        let argument = first >> 3;
        Ok(match first & 7 {
            kind::ALLOCATION => {
                let (size_bytes, address, tick) = self.block(numbers)?;
                let stack = stack(argument)?;
                Event::Allocation {
                    stack,
                    size_bytes,
                    address,
                    tick,
                }
            }
            kind::FREE => {
                let (address, tick) = (self.address_at(argument), self.tick_after(numbers)?);
                Event::Free { address, tick }
            }
            kind::NODE => {
                let (parent, address) = (stack(argument)?, self.node_address(numbers)?);
                Event::Node { parent, address }
            }
            kind::REALLOCATION_BEGINS => {
                let (address, tick) = (self.address_at(argument), self.tick_after(numbers)?);
                Event::ReallocationBegins { address, tick }
            }
            kind::REALLOCATION_ENDS => {
                let (size_bytes, address, tick) = self.block(numbers)?;
                let stack = stack(argument)?;
                Event::ReallocationEnds {
                    stack,
                    size_bytes,
                    address,
                    tick,
                }
            }
            kind::REALLOCATION_FAILED => Event::ReallocationFailed {
                tick: self.tick_after(numbers)?,
            },
            _ => return Err(Malformed::ReservedKind),
        })
    }

    #[cold]
    fn other<'a>(
        &mut self,
        subkind: u64,
        mut bytes: &'a [u8],
    ) -> Result<Option<Event<'a>>, Malformed> {
        let bytes = &mut bytes;
        Ok(Some(match subkind {
            subkind::ALLOCATION => {
                let (stack, size_bytes, address, tick) = self.plain_block(bytes)?;
                Event::Allocation {
                    stack,
                    size_bytes,
                    address,
                    tick,
                }
            }
            subkind::FREE => {
                let (address, tick) = (varint::take(bytes)?, self.tick_after(bytes)?);
                Event::Free { address, tick }
            }
            subkind::MARK => {
                let tick = self.tick_after(bytes)?;
                Event::Mark { tick, text: bytes }
            }
            subkind::THREAD_ENDS => Event::ThreadEnds {
                tick: self.tick_after(bytes)?,
            },
            subkind::MAPPING => {
                let (stack, size_bytes, address, tick) = self.plain_block(bytes)?;
                Event::Mapping {
                    stack,
                    size_bytes,
                    address,
                    tick,
                }
            }
            subkind::UNMAPPING => {
                let (size_bytes, address) = (varint::take(bytes)?, varint::take(bytes)?);
                let tick = self.tick_after(bytes)?;
                Event::Unmapping {
                    size_bytes,
                    address,
                    tick,
                }
            }
            subkind::REALLOCATION_BEGINS => {
                let (address, tick) = (varint::take(bytes)?, self.tick_after(bytes)?);
                Event::ReallocationBegins { address, tick }
            }
            subkind::REALLOCATION_ENDS => {
                let (stack, size_bytes, address, tick) = self.plain_block(bytes)?;
                Event::ReallocationEnds {
                    stack,
                    size_bytes,
                    address,
                    tick,
                }
            }
            subkind::SAMPLE_INTERVAL => {
                let (interval_bytes, tick) = (varint::take(bytes)?, self.tick_after(bytes)?);
                Event::SampleInterval {
                    interval_bytes,
                    tick,
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Size, address and tick of a block whose address is a difference.
    #[inline(always)]
    fn block(&mut self, numbers: &mut impl Numbers) -> Result<(u64, u64, u64), Malformed> {
        let size_bytes = numbers.take()?;
        let address = self.address_at(numbers.take()?);
        Ok((size_bytes, address, self.tick_after(numbers)?))
    }

    /// Stack, size, address and tick of a block whose address is itself.
    fn plain_block(&mut self, bytes: &mut &[u8]) -> Result<(u32, u64, u64, u64), Malformed> {
        let stack = stack(varint::take(bytes)?)?;
        let (size_bytes, address) = (varint::take(bytes)?, varint::take(bytes)?);
        Ok((stack, size_bytes, address, self.tick_after(bytes)?))
    }

    #[inline(always)]
    fn address_at(&mut self, difference: u64) -> u64 {
        let distance = difference >> 1 << 3;
        let is_below = (difference & 1).wrapping_neg();
        self.address = self
            .address
            .wrapping_add((distance ^ is_below).wrapping_sub(is_below));
        self.address
    }

    #[inline(always)]
    fn node_address(&mut self, numbers: &mut impl Numbers) -> Result<u64, Malformed> {
        let zigzag = numbers.take()?;
        let difference = zigzag >> 1 ^ (zigzag & 1).wrapping_neg();
        self.node_address = self.node_address.wrapping_add(difference);
        Ok(self.node_address)
    }

    #[inline(always)]
    fn tick_after(&mut self, numbers: &mut impl Numbers) -> Result<u64, Malformed> {
        self.tick = self.tick.saturating_add(numbers.take()?);
        Ok(self.tick)
    }
}

/// Where an event's numbers are taken from.
trait Numbers {
    fn take(&mut self) -> Result<u64, Malformed>;
}

impl Numbers for &[u8] {
    fn take(&mut self) -> Result<u64, Malformed> {
        varint::take(self)
    }
}

/// Enough for four numbers of eight bytes, and for the compiler to see that nothing is out of bounds.
const WINDOW_BYTES: usize = 40;

/// The bytes from an event on. Numbers of more than eight bytes are left to others.
struct Window<'a> {
    bytes: &'a [u8; WINDOW_BYTES],
    at: usize,
}

impl Numbers for Window<'_> {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Malformed> {
        let at = self.at & 31;
        let word = self.bytes[at..at + 8].try_into().expect("these are eight");
        let word = u64::from_le_bytes(word);
        // Most numbers have one byte or two, in no order that a processor could guess.
        let is_longer = word >> 7 & 1;
        if word & is_longer << 15 == 0 {
            self.at += 1 + is_longer as usize;
            return Ok(word & 0x7F | word >> 1 & (0x3F80 & is_longer.wrapping_neg()));
        }
        let (value, length) = varint::short(word).ok_or(Malformed::LongNumber)?;
        self.at += length;
        Ok(value)
    }
}

#[inline]
fn stack(argument: u64) -> Result<u32, Malformed> {
    u32::try_from(argument).map_err(|_| Malformed::LargeStack)
}

/// A length and so many bytes.
pub(crate) fn take_slice<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(varint::take(bytes)?).map_err(|_| Malformed::Cut)?;
    let (slice, rest) = bytes.split_at_checked(length).ok_or(Malformed::Cut)?;
    *bytes = rest;
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<Event<'_>>, Malformed>, left: usize) {
        let mut rest = bytes;
        assert_eq!(Decoder::new().next(&mut rest), expected, "{bytes:?}");
        assert_eq!(rest.len(), left, "{bytes:?}");
    }

    #[test]
    fn skips_what_it_does_not_know() {
        let failed = Event::ReallocationFailed { tick: 9 };
        check(&[12 << 3 | 7, 2, 1, 1, 5, 9], Ok(Some(failed)), 0);
        check(&[15 << 3 | 7, 0], Ok(None), 0);
        // Known, and longer than known.
        check(
            &[3 << 3 | 7, 3, 9, 1, 1],
            Ok(Some(Event::ThreadEnds { tick: 9 })),
            0,
        );
    }

    #[test]
    fn what_is_no_event_is_left_where_it_is() {
        check(&[6], Err(Malformed::ReservedKind), 1);
        check(&[1, 5, 2], Err(Malformed::Cut), 3);
        check(&[7, 9, 1], Err(Malformed::Cut), 3);
        check(&[1 << 3 | 7, 1, 0x80], Err(Malformed::Cut), 3);
        check(
            &[0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0],
            Err(Malformed::LargeStack),
            7,
        );
    }
}
