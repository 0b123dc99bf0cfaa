//! From the streams of threads to the columns of a block. All of it runs beside the measured program,
//! for each of its events.

use heapatlas_trace::payload::{EventsHeader, Put, Segment};
use heapatlas_trace::{Decoder, Encoder, Event, MAX_EVENT_BYTES, varint};

use super::columns::{
    ADDRESSES, CODE_ADDRESSES, COLUMNS, EXACT_TICKS, KINDS, LINES, OTHERS, PARENTS, SIZES, STACKS,
    WORD_BYTES, end_of, kind,
};
use super::line::{Line, LineWriter, unit_bits};
use super::pages::{Pages, page_of};

/// The events of a block, as they are gathered.
#[derive(Default)]
pub(super) struct Columns {
    columns: [Column; COLUMNS],
    runs: Vec<RunHead>,
    /// The last run, which may go on.
    open: Option<OpenRun>,
    /// How much earlier than they were events may be told.
    tolerance: u64,
    /// But not before this tick, unless they were.
    earliest: u64,
    /// Of the last event.
    last_tick: u64,
}

/// One thread's events in a block.
struct RunHead {
    thread: u64,
    base_tick: u64,
    /// Of its part of each column.
    lengths: [usize; COLUMNS],
}

struct OpenRun {
    thread: u64,
    base_tick: u64,
    /// Where its part of each column begins.
    starts: [usize; COLUMNS],
    /// What the next event is the difference to.
    address: u64,
    next_address: u64,
    code_address: u64,
    exact_tick: u64,
    line: LineWriter,
}

/// What is known of a thread from one gathering to the next.
#[derive(Default)]
pub(super) struct Thread {
    pub decoder: Decoder,
    /// Of its last event.
    pub tick: u64,
}

/// Which times must be told exactly, since order hangs on them.
pub(super) struct Order<'a> {
    /// Up to which all events were gathered the time before, and this time.
    pub gathered: [u64; 2],
    /// Lists of modules hold from these ticks on; in order.
    pub module_ticks: &'a [u64],
    /// Where several threads work; `None` when there is one only.
    pub pages: Option<&'a Pages>,
    pub is_always_exact: bool,
}

impl Columns {
    /// Begins a gathering, of which events may be told up to `tolerance` earlier than they were.
    pub fn begin(&mut self, tolerance: u64) {
        // What is left when writing failed is lost.
        self.clear();
        self.tolerance = tolerance;
        self.earliest = 0;
    }

    /// What comes after the last event, in another thread, is told after it.
    pub fn end_turn(&mut self) {
        self.earliest = self.last_tick.saturating_add(1);
    }

    /// About how many bytes the payload will have.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.length).sum()
    }

    /// Adds the events of a segment. Those that come from after the gathering are noted as `late`. Returns what cannot be
    /// understood.
    pub fn add<'a>(
        &mut self,
        segment: &Segment<'a>,
        thread: &mut Thread,
        order: &Order<'_>,
        late: &mut Pages,
    ) -> Option<Segment<'a>> {
        if let Some(tick) = segment.base_tick {
            thread.decoder.start(tick);
        }
        let open = self.open.take_if(|open| open.thread == segment.thread);
        let open = open.unwrap_or_else(|| self.open_run(segment, thread, order));
        let mut sorter = Sorter {
            columns: &mut self.columns,
            run: open,
            tick: thread.tick,
            exact_from: order.first_exact_tick(),
            order,
            late,
        };
        let rest = match order.pages {
            Some(pages) => sorter.add_all(&mut thread.decoder, segment.bytes, is_on_shared(pages)),
            None => sorter.add_all(&mut thread.decoder, segment.bytes, |_| false),
        };
        thread.tick = sorter.tick;
        self.last_tick = sorter.tick;
        self.open = Some(sorter.run);
        rest.map(|bytes| Segment {
            thread: segment.thread,
            base_tick: Some(thread.tick),
            bytes,
            is_exclusive: false,
        })
    }

    /// Begins the run that the events of a segment belong to.
    fn open_run(&mut self, segment: &Segment<'_>, thread: &Thread, order: &Order<'_>) -> OpenRun {
        self.close_run();
        let first_tick = first_tick(segment.bytes, thread.decoder.clone()).unwrap_or(0);
        // What was gathered before is told before. The line begins in the middle of what is tolerated.
        let base_tick = first_tick
            .saturating_sub(self.tolerance / 2)
            .max(first_tick.min(order.gathered[0].max(self.earliest)))
            .max(thread.tick);
        OpenRun {
            thread: segment.thread,
            base_tick,
            starts: self.columns.each_ref().map(|column| column.length),
            address: 0,
            next_address: 0,
            code_address: 0,
            exact_tick: base_tick,
            line: LineWriter::new(base_tick, self.tolerance),
        }
    }

    fn close_run(&mut self) {
        let Some(mut run) = self.open.take() else {
            return;
        };
        put_line(&mut self.columns[LINES], run.line.finish());
        let mut lengths = run.starts;
        for (length, column) in lengths.iter_mut().zip(&self.columns) {
            *length = column.length - *length;
        }
        self.runs.push(RunHead {
            thread: run.thread,
            base_tick: run.base_tick,
            lengths,
        });
    }

    /// Ends the block, and appends the head of its payload.
    pub fn finish(&mut self, header: EventsHeader, out: &mut impl Put) {
        self.close_run();
        header.write(out);
        put_to(out, u64::from(unit_bits(self.tolerance)));
        put_to(out, self.runs.len() as u64);
        for run in &self.runs {
            put_to(out, run.thread);
            put_to(out, run.base_tick);
            for length in run.lengths {
                put_to(out, length as u64);
            }
        }
    }

    /// What follows the head in the payload.
    pub fn columns(&self) -> [&[u8]; COLUMNS] {
        self.columns
            .each_ref()
            .map(|column| &column.bytes[..column.length])
    }

    /// Begins the next block of the gathering.
    pub fn clear(&mut self) {
        self.open = None;
        self.runs.clear();
        self.columns.iter_mut().for_each(|column| column.length = 0);
    }
}

fn first_tick(mut bytes: &[u8], mut decoder: Decoder) -> Option<u64> {
    while let Ok(Some(event)) = decoder.next(&mut bytes) {
        if let Some(tick) = event.tick() {
            return Some(tick);
        }
    }
    None
}

/// Whether addresses are where several threads work. Most are where the one before was.
fn is_on_shared(pages: &Pages) -> impl FnMut(u64) -> bool {
    let mut last = None;
    move |address| {
        let page = page_of(address);
        match last {
            Some((last_page, is_shared)) if last_page == page => is_shared,
            _ => last.insert((page, pages.is_shared(page))).1,
        }
    }
}

impl Order<'_> {
    /// From which tick on a thread's next event is to be looked at.
    fn first_exact_tick(&self) -> u64 {
        match self.module_ticks.first() {
            _ if self.is_always_exact => 0,
            Some(&tick) => tick,
            None => self.first_late_tick(),
        }
    }

    /// Events from then on wait for those of the next gathering.
    fn first_late_tick(&self) -> u64 {
        self.gathered[1].saturating_add(1)
    }
}

/// Takes the events of a segment to where they belong.
struct Sorter<'a> {
    columns: &'a mut [Column; COLUMNS],
    run: OpenRun,
    /// Of the last event.
    tick: u64,
    /// From which tick on times are exact, or at least that of one event.
    exact_from: u64,
    order: &'a Order<'a>,
    late: &'a mut Pages,
}

impl Sorter<'_> {
    /// Returns the bytes from where they are no events.
    #[inline(always)]
    fn add_all<'a>(
        &mut self,
        decoder: &mut Decoder,
        mut bytes: &'a [u8],
        mut is_shared: impl FnMut(u64) -> bool,
    ) -> Option<&'a [u8]> {
        // A copy of our own can stay in registers.
        let mut state = decoder.clone();
        let rest = loop {
            match state.next(&mut bytes) {
                Ok(Some(event)) => self.add(&event, &mut is_shared),
                Ok(None) => break None,
                Err(_) => break Some(bytes),
            }
        };
        *decoder = state;
        rest
    }

    #[inline(always)]
    fn add(&mut self, event: &Event<'_>, is_shared: &mut impl FnMut(u64) -> bool) {
        match *event {
            Event::Allocation {
                stack,
                size_bytes,
                address,
                tick,
            } if is_aligned(address) => {
                self.put_block(stack, size_bytes, address);
                self.put_kind(kind::ALLOCATION, tick, address, is_shared);
            }
            Event::Free { address, tick } if is_aligned(address) => {
                self.put_freed_address(address);
                self.put_kind(kind::FREE, tick, address, is_shared);
            }
            Event::Node { parent, address } => self.put_node(parent, address),
            Event::ReallocationBegins { address, tick } if is_aligned(address) => {
                self.put_freed_address(address);
                self.put_kind(kind::REALLOCATION_BEGINS, tick, address, is_shared);
            }
            Event::ReallocationEnds {
                stack,
                size_bytes,
                address,
                tick,
            } if is_aligned(address) => {
                self.put_block(stack, size_bytes, address);
                self.put_kind(kind::REALLOCATION_ENDS, tick, address, is_shared);
            }
            // The block is wherever the reallocation began.
            Event::ReallocationFailed { tick } => {
                let address = self.run.address;
                self.put_kind(kind::REALLOCATION_FAILED, tick, address, is_shared);
            }
            ref other => self.put_other(other),
        }
    }

    #[inline(always)]
    fn put_node(&mut self, parent: u32, address: u64) {
        self.columns[KINDS].put_byte(kind::NODE);
        self.columns[PARENTS].put(u64::from(parent));
        let difference = address.wrapping_sub(self.run.code_address).cast_signed();
        let zigzag = (difference << 1 ^ difference >> 63).cast_unsigned();
        self.columns[CODE_ADDRESSES].put(zigzag);
        self.run.code_address = address;
    }

    #[inline(always)]
    fn put_block(&mut self, stack: u32, size_bytes: u64, address: u64) {
        self.columns[STACKS].put(u64::from(stack));
        self.columns[SIZES].put(size_bytes);
        self.put_address(address, self.run.next_address);
        self.run.next_address = end_of(address, size_bytes);
    }

    #[inline(always)]
    fn put_freed_address(&mut self, address: u64) {
        self.put_address(address, self.run.address);
        self.run.next_address = address;
    }

    #[inline(always)]
    fn put_address(&mut self, address: u64, other: u64) {
        let difference = address.wrapping_sub(other).cast_signed();
        let words = difference.unsigned_abs() / WORD_BYTES;
        self.columns[ADDRESSES].put(words << 1 | u64::from(difference < 0));
        self.run.address = address;
    }

    #[inline(always)]
    fn put_kind(
        &mut self,
        kind: u8,
        tick: u64,
        address: u64,
        is_shared: &mut impl FnMut(u64) -> bool,
    ) {
        // Clocks of two processors may disagree a little; a thread's ticks never go back.
        self.tick = tick.max(self.tick);
        let is_exact = self.tick >= self.exact_from && self.is_exact(address);
        if is_exact || is_shared(address) {
            self.columns[KINDS].put_byte(kind | kind::IS_EXACT);
            self.columns[EXACT_TICKS].put(self.tick - self.run.exact_tick);
            self.run.exact_tick = self.tick;
            return;
        }
        self.columns[KINDS].put_byte(kind);
        if let Some(line) = self.run.line.add(self.tick) {
            put_line(&mut self.columns[LINES], Some(line));
        }
    }

    /// Whether an event must be told exactly because of its time.
    #[cold]
    fn is_exact(&mut self, address: u64) -> bool {
        if self.order.is_always_exact {
            return true;
        }
        if self.is_late() {
            // Those of the next gathering are told so that they fit in between.
            self.late.touch(page_of(address), self.run.thread);
            return true;
        }
        // It is the first one after modules changed: it was not before.
        let mut left = self.order.module_ticks.iter();
        self.exact_from = match left.find(|&&tick| tick > self.tick) {
            Some(&tick) => tick,
            None => self.order.first_late_tick(),
        };
        true
    }

    fn is_late(&self) -> bool {
        self.tick > self.order.gathered[1]
    }

    /// A rare event, as a stream has it that begins at this moment.
    #[cold]
    fn put_other(&mut self, event: &Event<'_>) {
        self.tick = self.tick.max(event.tick().unwrap_or(0));
        if self.is_late()
            && let Some(address) = event.address()
        {
            self.late.touch(page_of(address), self.run.thread);
        }
        let mut encoder = Encoder::new();
        encoder.start(self.run.exact_tick);
        let mut out = [0; MAX_EVENT_BYTES];
        let length = encode(&mut encoder, &mut out, event);
        self.columns[KINDS].put_byte(kind::OTHER);
        self.columns[OTHERS].put(length as u64);
        self.columns[OTHERS].put_bytes(&out[..length]);
        self.run.exact_tick = self.run.exact_tick.max(event.tick().unwrap_or(0));
    }
}

fn encode(encoder: &mut Encoder, out: &mut [u8; MAX_EVENT_BYTES], event: &Event<'_>) -> usize {
    match *event {
        Event::Node { parent, address } => encoder.node(out, parent, address),
        Event::Allocation {
            stack,
            size_bytes,
            address,
            tick,
        } => encoder.allocation(out, stack, size_bytes, address, tick),
        Event::Free { address, tick } => encoder.free(out, address, tick),
        Event::ReallocationBegins { address, tick } => {
            encoder.reallocation_begins(out, address, tick)
        }
        Event::ReallocationEnds {
            stack,
            size_bytes,
            address,
            tick,
        } => encoder.reallocation_ends(out, stack, size_bytes, address, tick),
        Event::ReallocationFailed { tick } => encoder.reallocation_failed(out, tick),
        Event::Mark { tick, text } => encoder.mark(out, tick, text),
        Event::ThreadEnds { tick } => encoder.thread_ends(out, tick),
        Event::SampleInterval {
            interval_bytes,
            tick,
        } => encoder.sample_interval(out, interval_bytes, tick),
        Event::Mapping {
            stack,
            size_bytes,
            address,
            tick,
        } => encoder.mapping(out, stack, size_bytes, address, tick),
        Event::Unmapping {
            size_bytes,
            address,
            tick,
        } => encoder.unmapping(out, size_bytes, address, tick),
        // A kind that this version does not know is not decoded either.
        _ => 0,
    }
}

/// Bytes that grow at their end.
#[derive(Default)]
struct Column {
    /// Longer than what is written, so that whole words can be.
    bytes: Vec<u8>,
    length: usize,
}

/// The least by which a column grows.
const MIN_GROWTH: usize = 4096;

impl Column {
    #[inline(always)]
    fn put_byte(&mut self, byte: u8) {
        match self.bytes.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.put_bytes(&[byte]),
        }
    }

    #[inline(always)]
    fn put(&mut self, number: u64) {
        // Most numbers have one byte or two, in no order that a processor could guess.
        if number < 1 << 14
            && let Some(place) = self.bytes.get_mut(self.length..self.length + 2)
        {
            let is_longer = u16::from(number >= 0x80);
            let low = number as u16;
            let word = low & 0x7F | is_longer << 7 | (low & 0x3F80) << 1;
            place.copy_from_slice(&word.to_le_bytes());
            self.length += 1 + usize::from(is_longer);
            return;
        }
        self.put_long(number);
    }

    #[inline(never)]
    fn put_long(&mut self, number: u64) {
        let (bytes, length) = varint::encode(number);
        self.put_bytes(&bytes[..length]);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if end > self.bytes.len() {
            self.bytes.resize((2 * end).max(MIN_GROWTH), 0);
        }
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}

#[cold]
fn put_line(lines: &mut Column, line: Option<Line>) {
    for number in line.iter().flat_map(|line| [line.events, line.rise]) {
        lines.put(number);
    }
}

fn put_to(out: &mut impl Put, number: u64) {
    let (bytes, length) = varint::encode(number);
    out.put(&bytes[..length]);
}

#[inline(always)]
fn is_aligned(address: u64) -> bool {
    address.is_multiple_of(WORD_BYTES)
}
