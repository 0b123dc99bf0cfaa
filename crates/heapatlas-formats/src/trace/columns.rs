//! Events sorted into columns: kinds with kinds, sizes with sizes. What is alike packs into a
//! fraction of the bytes that events take one after the other, and in less time.
//!
//! Here is what a block of columns is made of, and how it is read; `sort` writes it.

use std::ops::Range;
use std::sync::Arc;

use heapatlas_trace::payload::EventsHeader;
use heapatlas_trace::{Decoder, Event, Malformed, varint};

use super::line::LineReader;

/// Columns of a block, in their order in the file.
pub(super) const COLUMNS: usize = 9;
pub(super) const KINDS: usize = 0;
pub(super) const STACKS: usize = 1;
pub(super) const PARENTS: usize = 2;
pub(super) const SIZES: usize = 3;
pub(super) const ADDRESSES: usize = 4;
pub(super) const CODE_ADDRESSES: usize = 5;
/// Times, as a broken line over the events.
pub(super) const LINES: usize = 6;
/// Times on which order hangs.
pub(super) const EXACT_TICKS: usize = 7;
/// Rare events, whole.
pub(super) const OTHERS: usize = 8;

/// Addresses are told in such words; allocators give no others.
pub(super) const WORD_BYTES: u64 = 8;

/// Where an allocator that has no freed block at hand puts the next one, if it is glibc's: behind a block of so many
/// bytes and the eight that it needs itself.
#[inline(always)]
pub(super) fn end_of(address: u64, size_bytes: u64) -> u64 {
    const LEAST_BYTES: u64 = 32;
    let chunk_bytes = size_bytes.wrapping_add(8 + 15) & !15;
    address.wrapping_add(chunk_bytes.max(LEAST_BYTES))
}

/// What the first column says of an event.
pub(super) mod kind {
    pub const NODE: u8 = 0;
    pub const ALLOCATION: u8 = 1;
    pub const FREE: u8 = 2;
    pub const REALLOCATION_BEGINS: u8 = 3;
    pub const REALLOCATION_ENDS: u8 = 4;
    pub const REALLOCATION_FAILED: u8 = 5;
    pub const OTHER: u8 = 6;
    /// Beside one of those that have a time: it is told exactly.
    pub const IS_EXACT: u8 = 8;
}

/// Events of one thread in a block, of which some may have been read.
pub(super) struct Run {
    pub thread: u64,
    payload: Arc<Vec<u8>>,
    /// What is left of each column.
    columns: [Range<usize>; COLUMNS],
    state: State,
}

/// What the next event of a run is the difference to.
#[derive(Clone, Copy)]
struct State {
    address: u64,
    /// Where the next block is expected.
    next_address: u64,
    code_address: u64,
    line: LineReader,
    unit_bits: u32,
    exact_tick: u64,
    /// Of the last event.
    tick: u64,
}

/// What a block holds.
///
/// # Errors
/// When the payload ends too early, or holds what is no number. Whether the columns hold events shows when
/// these are read.
pub(super) fn runs(payload: Vec<u8>) -> Result<(EventsHeader, Vec<Run>), Malformed> {
    let payload = Arc::new(payload);
    let mut rest = &payload[..];
    let header = EventsHeader {
        tick: varint::take(&mut rest)?,
        elapsed_ns: varint::take(&mut rest)?,
        resident_bytes: varint::take(&mut rest)?,
    };
    let unit_bits = varint::take(&mut rest)?.min(u64::from(u64::BITS)) as u32;
    let count = varint::take(&mut rest)?;
    let mut runs = Vec::new();
    let mut column_bytes = [0_usize; COLUMNS];
    for _ in 0..count {
        let (thread, base_tick) = (varint::take(&mut rest)?, varint::take(&mut rest)?);
        let mut columns = [const { 0..0 }; COLUMNS];
        for (column, bytes) in columns.iter_mut().zip(&mut column_bytes) {
            let length = usize::try_from(varint::take(&mut rest)?).map_err(|_| Malformed::Cut)?;
            let end = bytes.checked_add(length).ok_or(Malformed::Cut)?;
            *column = *bytes..end;
            *bytes = end;
        }
        runs.push(Run {
            thread,
            payload: Arc::clone(&payload),
            columns,
            state: State::new(base_tick, unit_bits),
        });
    }
    place(&mut runs, &column_bytes, payload.len() - rest.len())?;
    Ok((header, runs))
}

/// Moves the columns of all runs to where they stand in the payload.
fn place(
    runs: &mut [Run],
    column_bytes: &[usize; COLUMNS],
    mut offset: usize,
) -> Result<(), Malformed> {
    for (column, &bytes) in column_bytes.iter().enumerate() {
        for run in &mut *runs {
            let Range { start, end } = &mut run.columns[column];
            *start = start.checked_add(offset).ok_or(Malformed::Cut)?;
            *end = end.checked_add(offset).ok_or(Malformed::Cut)?;
            if *end > run.payload.len() {
                return Err(Malformed::Cut);
            }
        }
        offset = offset.checked_add(bytes).ok_or(Malformed::Cut)?;
    }
    Ok(())
}

impl Run {
    /// How many bytes are left to be read.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(ExactSizeIterator::len).sum()
    }

    /// Reads the next events, so many at most. Gives whether there are more.
    ///
    /// # Errors
    /// When the next event is none. Nothing behind it can be read.
    #[inline(always)]
    pub fn read(
        &mut self,
        most: usize,
        mut take: impl FnMut(Event<'_>),
    ) -> Result<bool, Malformed> {
        let mut reader = Reader {
            columns: self
                .columns
                .each_ref()
                .map(|left| &self.payload[left.clone()]),
            state: self.state,
        };
        let count = most.min(reader.columns[KINDS].len());
        for _ in 0..count {
            reader.event()?.into_iter().for_each(&mut take);
        }
        for (left, rest) in self.columns.iter_mut().zip(reader.columns) {
            left.start = left.end - rest.len();
        }
        self.state = reader.state;
        Ok(!self.columns[KINDS].is_empty())
    }
}

impl State {
    fn new(base_tick: u64, unit_bits: u32) -> Self {
        Self {
            address: 0,
            next_address: 0,
            code_address: 0,
            line: LineReader::new(base_tick),
            unit_bits,
            exact_tick: base_tick,
            tick: base_tick,
        }
    }
}

struct Reader<'a> {
    columns: [&'a [u8]; COLUMNS],
    state: State,
}

impl<'a> Reader<'a> {
    /// The next event; `None` for one that is not known.
    #[inline(always)]
    fn event(&mut self) -> Result<Option<Event<'a>>, Malformed> {
        let (&kind, rest) = self.columns[KINDS].split_first().ok_or(Malformed::Cut)?;
        self.columns[KINDS] = rest;
        Ok(Some(match kind & !kind::IS_EXACT {
            kind::ALLOCATION => {
                let (stack, size_bytes, address) = self.block()?;
                let tick = self.tick(kind)?;
                Event::Allocation {
                    stack,
                    size_bytes,
                    address,
                    tick,
                }
            }
            kind::FREE => Event::Free {
                address: self.freed_address()?,
                tick: self.tick(kind)?,
            },
            kind::NODE => {
                let parent = self.small(PARENTS)?;
                let difference = unzigzag(self.number(CODE_ADDRESSES)?);
                self.state.code_address = self.state.code_address.wrapping_add(difference);
                Event::Node {
                    parent,
                    address: self.state.code_address,
                }
            }
            kind::REALLOCATION_BEGINS => Event::ReallocationBegins {
                address: self.freed_address()?,
                tick: self.tick(kind)?,
            },
            kind::REALLOCATION_ENDS => {
                let (stack, size_bytes, address) = self.block()?;
                let tick = self.tick(kind)?;
                Event::ReallocationEnds {
                    stack,
                    size_bytes,
                    address,
                    tick,
                }
            }
            kind::REALLOCATION_FAILED => Event::ReallocationFailed {
                tick: self.tick(kind)?,
            },
            kind::OTHER => return self.other(),
            _ => return Err(Malformed::ReservedKind),
        }))
    }

    #[cold]
    fn other(&mut self) -> Result<Option<Event<'a>>, Malformed> {
        let length = usize::try_from(self.number(OTHERS)?).map_err(|_| Malformed::Cut)?;
        let bytes = self.columns[OTHERS];
        let mut event = bytes.get(..length).ok_or(Malformed::Cut)?;
        self.columns[OTHERS] = &bytes[length..];
        let mut decoder = Decoder::new();
        decoder.start(self.state.exact_tick);
        let event = decoder.next(&mut event)?;
        let tick = event.as_ref().and_then(Event::tick);
        self.state.exact_tick = tick.unwrap_or(self.state.exact_tick);
        self.state.tick = self.state.tick.max(self.state.exact_tick);
        Ok(event)
    }

    #[inline(always)]
    fn number(&mut self, column: usize) -> Result<u64, Malformed> {
        varint::take(&mut self.columns[column])
    }

    #[inline(always)]
    fn small(&mut self, column: usize) -> Result<u32, Malformed> {
        u32::try_from(self.number(column)?).map_err(|_| Malformed::LargeStack)
    }

    /// Stack, size and address of a block.
    #[inline(always)]
    fn block(&mut self) -> Result<(u32, u64, u64), Malformed> {
        let stack = self.small(STACKS)?;
        let size_bytes = self.number(SIZES)?;
        let address = self.address_near(self.state.next_address)?;
        self.state.next_address = end_of(address, size_bytes);
        Ok((stack, size_bytes, address))
    }

    #[inline(always)]
    fn freed_address(&mut self) -> Result<u64, Malformed> {
        let address = self.address_near(self.state.address)?;
        self.state.next_address = address;
        Ok(address)
    }

    #[inline(always)]
    fn address_near(&mut self, other: u64) -> Result<u64, Malformed> {
        let number = self.number(ADDRESSES)?;
        let difference = (number >> 1).wrapping_mul(WORD_BYTES);
        let is_below = (number & 1).wrapping_neg();
        let difference = (difference ^ is_below).wrapping_sub(is_below);
        self.state.address = other.wrapping_add(difference);
        Ok(self.state.address)
    }

    #[inline(always)]
    fn tick(&mut self, kind: u8) -> Result<u64, Malformed> {
        let state = &mut self.state;
        let tick = if kind & kind::IS_EXACT == 0 {
            state.line.next(state.unit_bits, &mut self.columns[LINES])?
        } else {
            let later = varint::take(&mut self.columns[EXACT_TICKS])?;
            state.exact_tick = state.exact_tick.saturating_add(later);
            state.exact_tick
        };
        // The line may be behind an event whose time is exact.
        state.tick = state.tick.max(tick);
        Ok(state.tick)
    }
}

#[inline]
pub(super) fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

/// A signed difference as a number that is small when the difference is near zero.
#[inline]
pub(super) fn zigzag(difference: u64) -> u64 {
    let signed = difference.cast_signed();
    (signed << 1 ^ signed >> 63).cast_unsigned()
}
