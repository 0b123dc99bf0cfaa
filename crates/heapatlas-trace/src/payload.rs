//! What stands in each kind of block. Writers go over [`Put`]; readers borrow from the payload and
//! iterate, since there is no memory to be had here.

use crate::decode::take_slice;
use crate::{Malformed, varint};

/// Where a payload is written to.
pub trait Put {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);
}

/// What a process image says of itself when it begins. Not a block of the file: it goes from the measured
/// process to the launcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImageInfo<'a> {
    /// The process image that this one was forked off from; `None` for one that was started by `exec`.
    pub forked_from: Option<u32>,
    /// The process' parent.
    pub parent_pid: u64,
    /// When it began.
    pub start_tick: u64,
    /// What the system calls the namespace that its process numbers are of; empty where it does not tell.
    pub namespace: &'a [u8],
    /// The program's path; empty in a forked child, which is what its parent is.
    pub executable: &'a [u8],
    /// The arguments, each ended by a zero; empty in a forked child.
    pub arguments: &'a [u8],
}

/// How a recording was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Mode {
    /// Every allocation.
    #[default]
    Exact = 0,
    /// Some, by chance.
    Sampled = 1,
    /// Sums by stack.
    Aggregate = 2,
    /// Sums.
    Counting = 3,
}

/// The measured process. `A` is its arguments, anything that can be iterated twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProcessInfo<'a, A> {
    /// The process' number.
    pub pid: u64,
    /// Its parent's.
    pub parent_pid: u64,
    /// When the recording began, in nanoseconds since 1970; 0 where unknown.
    pub start_unix_ns: u64,
    /// Ticks in a second.
    pub ticks_per_second: u64,
    /// The tick when the recording began.
    pub start_tick: u64,
    /// The bytes of a page.
    pub page_bytes: u64,
    /// The bytes of a pointer.
    pub pointer_bytes: u64,
    /// How the recording is made.
    pub mode: Mode,
    /// The mean distance of samples; 0 unless sampled.
    pub sample_interval_bytes: u64,
    /// The program's path.
    pub executable: &'a [u8],
    /// Its arguments, the program's name first.
    pub arguments: A,
    /// Who recorded.
    pub recorder_version: &'a [u8],
}

/// A loaded file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModuleInfo<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// Its build-id; empty where there is none.
    pub build_id: &'a [u8],
    /// Address in memory less address in its program headers, modulo 2^64.
    pub bias: u64,
    /// The first address of its loaded segments.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
}

/// The head of an events block; segments follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventsHeader {
    /// No event before this tick comes later, but for those that were being written.
    pub tick: u64,
    /// When the segments were gathered, in nanoseconds since the recording began.
    pub elapsed_ns: u64,
    /// Resident memory of the process at that time; 0 where unknown.
    pub resident_bytes: u64,
}

/// A piece of one thread's stream: whole events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment<'a> {
    /// The thread's number within the recording.
    pub thread: u64,
    /// Set where differences start anew: the tick that they start from.
    pub base_tick: Option<u64>,
    /// The events.
    pub bytes: &'a [u8],
    /// Whether all of them are about memory that no other thread had touched before. Not in files: `false` where
    /// unknown.
    pub is_exclusive: bool,
}

/// A thread's number and name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThreadInfo<'a> {
    /// Its number within the recording.
    pub thread: u64,
    /// The system's number.
    pub os_thread_id: u64,
    /// Its name; empty if it has none.
    pub name: &'a [u8],
}

/// What a JIT compiler told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapFile<'a> {
    /// Where it stood.
    pub path: &'a [u8],
    /// A perf map: lines of address, size and name.
    pub contents: &'a [u8],
}

/// How a recording ended, and what it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct End {
    /// The last tick.
    pub tick: u64,
    /// How long was recorded.
    pub elapsed_ns: u64,
    /// As from `wait`; `None` when the process was still running.
    pub status: Option<u32>,
    /// Events that the recorder had to drop.
    pub dropped_events: u64,
    /// How long threads waited for the launcher, all together.
    pub waited_ns: u64,
    /// Stacks that were captured.
    pub captures: u64,
    /// Captures that were checked against a full walk.
    pub checked: u64,
    /// Checked captures that were different.
    pub differences: u64,
}

/// A row of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexEntry {
    /// Where the block's header is in the file.
    pub offset: u64,
    /// A [`BlockKind`](crate::file::BlockKind).
    pub kind: u8,
    /// The bytes of the unpacked payload.
    pub raw_bytes: u64,
}

impl<'a> ImageInfo<'a> {
    /// Writes the payload.
    pub fn write(&self, out: &mut impl Put) {
        let forked_from = self.forked_from.map_or(0, |process| u64::from(process) + 1);
        put_numbers(out, &[forked_from, self.parent_pid, self.start_tick]);
        put_string(out, self.namespace);
        put_string(out, self.executable);
        put_string(out, self.arguments);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(mut payload: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = &mut payload;
        let forked_from = varint::take(bytes)?;
        Ok(Self {
            forked_from: forked_from
                .checked_sub(1)
                .and_then(|process| u32::try_from(process).ok()),
            parent_pid: varint::take(bytes)?,
            start_tick: varint::take(bytes)?,
            namespace: take_slice(bytes)?,
            executable: take_slice(bytes)?,
            arguments: take_slice(bytes)?,
        })
    }
}

impl Mode {
    fn from_code(code: u8) -> Result<Self, Malformed> {
        Ok(match code {
            0 => Self::Exact,
            1 => Self::Sampled,
            2 => Self::Aggregate,
            3 => Self::Counting,
            _ => return Err(Malformed::UnknownMode),
        })
    }
}

impl<A> ProcessInfo<'_, A>
where
    A: Clone + IntoIterator<Item: AsRef<[u8]>>,
{
    /// Writes the payload of a process block.
    pub fn write(&self, out: &mut impl Put) {
        put_numbers(out, &[self.pid, self.parent_pid, self.start_unix_ns]);
        put_numbers(out, &[self.ticks_per_second, self.start_tick]);
        put_numbers(out, &[self.page_bytes, self.pointer_bytes]);
        out.put(&[self.mode as u8]);
        put_numbers(out, &[self.sample_interval_bytes]);
        put_string(out, self.executable);
        put_numbers(out, &[self.arguments.clone().into_iter().count() as u64]);
        for argument in self.arguments.clone() {
            put_string(out, argument.as_ref());
        }
        put_string(out, self.recorder_version);
    }
}

impl<'a> ProcessInfo<'a, Strings<'a>> {
    /// Reads the payload of a process block.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(mut payload: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = &mut payload;
        Ok(Self {
            pid: varint::take(bytes)?,
            parent_pid: varint::take(bytes)?,
            start_unix_ns: varint::take(bytes)?,
            ticks_per_second: varint::take(bytes)?,
            start_tick: varint::take(bytes)?,
            page_bytes: varint::take(bytes)?,
            pointer_bytes: varint::take(bytes)?,
            mode: Mode::from_code(take_byte(bytes)?)?,
            sample_interval_bytes: varint::take(bytes)?,
            executable: take_slice(bytes)?,
            arguments: Strings::take(bytes)?,
            recorder_version: take_slice(bytes)?,
        })
    }
}

/// Strings that were checked to be whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Strings<'a> {
    count: u64,
    bytes: &'a [u8],
}

impl<'a> Strings<'a> {
    fn take(bytes: &mut &'a [u8]) -> Result<Self, Malformed> {
        let count = varint::take(bytes)?;
        let strings = Self { count, bytes };
        for _ in 0..count {
            take_slice(bytes)?;
        }
        Ok(strings)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        take_slice(&mut self.bytes).ok()
    }
}

/// Writes the payload of a modules block.
pub fn write_modules(out: &mut impl Put, tick: u64, modules: &[ModuleInfo<'_>]) {
    put_numbers(out, &[tick, modules.len() as u64]);
    for module in modules {
        put_string(out, module.path);
        put_string(out, module.build_id);
        put_numbers(out, &[module.bias, module.start, module.end]);
    }
}

/// Reads the payload of a modules block: the tick from which on they are loaded, and the modules.
///
/// # Errors
/// When it is none. A module that is none is an error when it is reached, and the last item.
pub fn read_modules(
    mut payload: &[u8],
) -> Result<(u64, impl Iterator<Item = Result<ModuleInfo<'_>, Malformed>>), Malformed> {
    let tick = varint::take(&mut payload)?;
    let count = varint::take(&mut payload)?;
    Ok((tick, items(payload, count, ModuleInfo::take)))
}

impl<'a> ModuleInfo<'a> {
    fn take(bytes: &mut &'a [u8]) -> Result<Self, Malformed> {
        Ok(Self {
            path: take_slice(bytes)?,
            build_id: take_slice(bytes)?,
            bias: varint::take(bytes)?,
            start: varint::take(bytes)?,
            end: varint::take(bytes)?,
        })
    }
}

impl EventsHeader {
    /// Writes the head of an events block; [`Segment::write`] writes the rest.
    pub fn write(&self, out: &mut impl Put) {
        put_numbers(out, &[self.tick, self.elapsed_ns, self.resident_bytes]);
    }
}

/// Reads the payload of an events block: its head and the segments.
///
/// # Errors
/// When it is none. A segment that is none is an error when it is reached, and the last item.
pub fn read_events(
    mut payload: &[u8],
) -> Result<
    (
        EventsHeader,
        impl Iterator<Item = Result<Segment<'_>, Malformed>>,
    ),
    Malformed,
> {
    let bytes = &mut payload;
    let header = EventsHeader {
        tick: varint::take(bytes)?,
        elapsed_ns: varint::take(bytes)?,
        resident_bytes: varint::take(bytes)?,
    };
    Ok((header, items(payload, u64::MAX, Segment::take)))
}

impl<'a> Segment<'a> {
    const STARTS_ANEW: u64 = 1;

    /// Appends the segment to an events block.
    pub fn write(&self, out: &mut impl Put) {
        match self.base_tick {
            Some(tick) => put_numbers(out, &[self.thread, Self::STARTS_ANEW, tick]),
            None => put_numbers(out, &[self.thread, 0]),
        }
        put_string(out, self.bytes);
    }

    fn take(bytes: &mut &'a [u8]) -> Result<Self, Malformed> {
        let thread = varint::take(bytes)?;
        let base_tick = match varint::take(bytes)? & Self::STARTS_ANEW {
            0 => None,
            _ => Some(varint::take(bytes)?),
        };
        let bytes = take_slice(bytes)?;
        Ok(Self {
            thread,
            base_tick,
            bytes,
            is_exclusive: false,
        })
    }
}

impl<'a> ThreadInfo<'a> {
    /// Writes the payload of a thread block.
    pub fn write(&self, out: &mut impl Put) {
        put_numbers(out, &[self.thread, self.os_thread_id]);
        put_string(out, self.name);
    }

    /// Reads the payload of a thread block.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(mut payload: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = &mut payload;
        Ok(Self {
            thread: varint::take(bytes)?,
            os_thread_id: varint::take(bytes)?,
            name: take_slice(bytes)?,
        })
    }
}

impl<'a> MapFile<'a> {
    /// Writes the payload of a map block.
    pub fn write(&self, out: &mut impl Put) {
        put_string(out, self.path);
        put_string(out, self.contents);
    }

    /// Reads the payload of a map block.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(mut payload: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = &mut payload;
        Ok(Self {
            path: take_slice(bytes)?,
            contents: take_slice(bytes)?,
        })
    }
}

impl End {
    /// Writes the payload of an end block.
    pub fn write(&self, out: &mut impl Put) {
        put_numbers(out, &[self.tick, self.elapsed_ns]);
        out.put(&[u8::from(self.status.is_some())]);
        put_numbers(out, &[u64::from(self.status.unwrap_or(0))]);
        put_numbers(out, &[self.dropped_events, self.waited_ns, self.captures]);
        put_numbers(out, &[self.checked, self.differences]);
    }

    /// Reads the payload of an end block.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(mut payload: &[u8]) -> Result<Self, Malformed> {
        let bytes = &mut payload;
        let (tick, elapsed_ns) = (varint::take(bytes)?, varint::take(bytes)?);
        let (has_status, status) = (take_byte(bytes)?, varint::take(bytes)?);
        Ok(Self {
            tick,
            elapsed_ns,
            status: (has_status != 0).then_some(status as u32),
            dropped_events: varint::take(bytes)?,
            waited_ns: varint::take(bytes)?,
            captures: varint::take(bytes)?,
            checked: varint::take(bytes)?,
            differences: varint::take(bytes)?,
        })
    }
}

/// Writes the payload of an index block. Entries are in order of their offsets.
pub fn write_index(out: &mut impl Put, entries: &[IndexEntry]) {
    put_numbers(out, &[entries.len() as u64]);
    let mut before = 0;
    for entry in entries {
        put_numbers(out, &[entry.offset.wrapping_sub(before)]);
        out.put(&[entry.kind]);
        put_numbers(out, &[entry.raw_bytes]);
        before = entry.offset;
    }
}

/// Reads the payload of an index block.
///
/// # Errors
/// When it is none. An entry that is none is an error when it is reached, and the last item.
pub fn read_index(
    mut payload: &[u8],
) -> Result<impl Iterator<Item = Result<IndexEntry, Malformed>>, Malformed> {
    let count = varint::take(&mut payload)?;
    let mut before = 0_u64;
    Ok(items(payload, count, move |bytes| {
        before = before.wrapping_add(varint::take(bytes)?);
        Ok(IndexEntry {
            offset: before,
            kind: take_byte(bytes)?,
            raw_bytes: varint::take(bytes)?,
        })
    }))
}

/// At most `count` items, or so many as the bytes hold when the count is unknown.
fn items<'a, T>(
    mut bytes: &'a [u8],
    mut count: u64,
    mut take: impl FnMut(&mut &'a [u8]) -> Result<T, Malformed>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    let ends_with_bytes = count == u64::MAX;
    core::iter::from_fn(move || {
        if count == 0 || ends_with_bytes && bytes.is_empty() {
            return None;
        }
        let item = take(&mut bytes);
        count = if item.is_ok() { count - 1 } else { 0 };
        Some(item)
    })
}

pub(crate) fn put_numbers(out: &mut impl Put, numbers: &[u64]) {
    for &number in numbers {
        let (bytes, length) = varint::encode(number);
        out.put(&bytes[..length]);
    }
}

pub(crate) fn put_string(out: &mut impl Put, string: &[u8]) {
    put_numbers(out, &[string.len() as u64]);
    out.put(string);
}

pub(crate) fn take_byte(bytes: &mut &[u8]) -> Result<u8, Malformed> {
    let (&byte, rest) = bytes.split_first().ok_or(Malformed::Cut)?;
    *bytes = rest;
    Ok(byte)
}
