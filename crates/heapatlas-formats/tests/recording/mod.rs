//! Recordings made by hand: what the recorder and its launcher would have written.
#![allow(dead_code)]
// Each test file is a crate of its own and uses a part of this.

use std::collections::{HashMap, HashSet};

use heapatlas_formats::trace::{
    Aggregator, End, ModuleInfo, ProcessInfo, ReadError, ReadOptions, Segment, ThreadInfo, Warning,
    Writer, read,
};
use heapatlas_model::{AllocationProfile, Amount, CodeLocation, StackFigures, StackId, StackTable};
use heapatlas_trace::file::{BLOCK_HEADER_BYTES, BlockHeader, HEADER_BYTES};
use heapatlas_trace::{Encoder, MAX_EVENT_BYTES, crc32};

/// Ticks are nanoseconds, and begin here.
pub const START_TICK: u64 = 1000;

/// A call stack: return addresses, innermost first, and whether it is cut off.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Path {
    pub addresses: Vec<u64>,
    pub is_cut_off: bool,
}

/// A recording that is being made. Ticks are given in nanoseconds since the start.
pub struct Recording {
    pub writer: Writer<Vec<u8>>,
    /// Is told the same.
    pub aggregator: Aggregator,
    threads: Vec<Thread>,
    /// What was gathered: thread, base tick, events.
    pub gathered: Vec<(u64, u64, Vec<u8>)>,
}

#[derive(Default)]
struct Thread {
    encoder: Encoder,
    base_tick: Option<u64>,
    bytes: Vec<u8>,
    /// Segments before `bytes`: the recorder's are of one chunk each, and so never large.
    full: Vec<(Option<u64>, Vec<u8>)>,
    stacks: HashMap<Path, u32>,
}

impl Thread {
    fn end_segment(&mut self) {
        if !self.bytes.is_empty() {
            let segment = (self.base_tick.take(), std::mem::take(&mut self.bytes));
            self.full.push(segment);
        }
    }
}

pub fn process() -> ProcessInfo<'static, [&'static str; 2]> {
    ProcessInfo {
        pid: 42,
        ticks_per_second: 1_000_000_000,
        start_tick: START_TICK,
        start_unix_ns: 7,
        page_bytes: 4096,
        pointer_bytes: 8,
        executable: b"/bin/program",
        arguments: ["program", "--fast"],
        ..ProcessInfo::default()
    }
}

pub fn path(addresses: &[u64]) -> Path {
    Path {
        addresses: addresses.to_vec(),
        is_cut_off: false,
    }
}

pub fn cut_off(addresses: &[u64]) -> Path {
    Path {
        is_cut_off: true,
        ..path(addresses)
    }
}

pub fn amount(bytes: u64, blocks: u64) -> Amount {
    Amount { bytes, blocks }
}

impl Recording {
    /// A recording of threads 0 and up, whose numbers in the system are 100 and up.
    pub fn new(threads: usize) -> Self {
        let writer = Writer::new(Vec::new(), &process()).unwrap();
        Self::written_by(writer.with_exact_times(), threads)
    }

    /// The same as it is when nobody asks for exact times.
    pub fn with_coarse_times(threads: usize) -> Self {
        Self::written_by(Writer::new(Vec::new(), &process()).unwrap(), threads)
    }

    fn written_by(mut writer: Writer<Vec<u8>>, threads: usize) -> Self {
        let mut aggregator = Aggregator::new(&process());
        for thread in 0..threads as u64 {
            let name = format!("worker {thread}");
            let thread = ThreadInfo {
                thread,
                os_thread_id: 100 + thread,
                name: name.as_bytes(),
            };
            writer.thread(&thread).unwrap();
            aggregator.thread(&thread);
        }
        let threads = (0..threads).map(|_| Thread::default()).collect();
        Self {
            writer,
            aggregator,
            threads,
            gathered: Vec::new(),
        }
    }

    pub fn allocate(&mut self, thread: usize, stack: &Path, size: u64, address: u64, time: u64) {
        let stack = self.stack(thread, stack);
        self.event(thread, time, |e, out, tick| {
            e.allocation(out, stack, size, address, tick)
        });
    }

    pub fn free(&mut self, thread: usize, address: u64, time: u64) {
        self.event(thread, time, |e, out, tick| e.free(out, address, tick));
    }

    pub fn begin(&mut self, thread: usize, address: u64, time: u64) {
        self.event(thread, time, |e, out, tick| {
            e.reallocation_begins(out, address, tick)
        });
    }

    pub fn end(&mut self, thread: usize, stack: &Path, size: u64, address: u64, time: u64) {
        let stack = self.stack(thread, stack);
        self.event(thread, time, |e, out, tick| {
            e.reallocation_ends(out, stack, size, address, tick)
        });
    }

    pub fn fail(&mut self, thread: usize, time: u64) {
        self.event(thread, time, |e, out, tick| {
            e.reallocation_failed(out, tick)
        });
    }

    pub fn event(
        &mut self,
        thread: usize,
        time: u64,
        write: impl FnOnce(&mut Encoder, &mut [u8; MAX_EVENT_BYTES], u64) -> usize,
    ) {
        let thread = &mut self.threads[thread];
        let tick = START_TICK + time;
        if thread.bytes.is_empty() {
            thread.encoder.start(tick);
            thread.base_tick = Some(tick);
        }
        let mut out = [0; MAX_EVENT_BYTES];
        let length = write(&mut thread.encoder, &mut out, tick);
        thread.bytes.extend_from_slice(&out[..length]);
        if thread.bytes.len() > 32 << 10 {
            thread.end_segment();
        }
    }

    /// The number of a stack, whose nodes are written unless they are there.
    fn stack(&mut self, thread: usize, path: &Path) -> u32 {
        let Some((&address, callers)) = path.addresses.split_first() else {
            return u32::from(path.is_cut_off);
        };
        if let Some(&known) = self.threads[thread].stacks.get(path) {
            return known;
        }
        let callers = Path {
            addresses: callers.to_vec(),
            ..*path
        };
        let parent = self.stack(thread, &callers);
        // The tick of a node is nobody's.
        let thread = &mut self.threads[thread];
        if thread.bytes.is_empty() {
            thread.encoder.start(START_TICK);
            thread.base_tick = Some(START_TICK);
        }
        let mut out = [0; MAX_EVENT_BYTES];
        let length = thread.encoder.node(&mut out, parent, address);
        thread.bytes.extend_from_slice(&out[..length]);
        let number = thread.stacks.len() as u32 + 2;
        thread.stacks.insert(path.clone(), number);
        number
    }

    /// Has a thread go on in another chunk.
    pub fn next_chunk(&mut self, thread: usize) {
        self.threads[thread].end_segment();
    }

    /// Hands on what the threads wrote; nothing older than `time` follows.
    pub fn gather(&mut self, time: u64) {
        let mut gathered = Vec::new();
        for (index, thread) in self.threads.iter_mut().enumerate() {
            thread.end_segment();
            let segments = thread.full.drain(..);
            gathered.extend(segments.map(|(base_tick, bytes)| (index, base_tick, bytes)));
        }
        let segments = gathered.iter().map(|(index, base_tick, bytes)| Segment {
            thread: *index as u64,
            base_tick: *base_tick,
            bytes,
            is_exclusive: false,
        });
        let (tick, resident_bytes) = (START_TICK + time, time << 12);
        self.aggregator
            .events(tick, time, resident_bytes, segments.clone());
        self.writer
            .events(tick, time, resident_bytes, segments)
            .unwrap();
        let chunks = gathered.into_iter();
        self.gathered.extend(
            chunks.map(|(index, base_tick, bytes)| (index as u64, base_tick.unwrap(), bytes)),
        );
    }

    pub fn modules(&mut self, time: u64, modules: &[ModuleInfo<'_>]) {
        self.writer.modules(START_TICK + time, modules).unwrap();
        self.aggregator.modules(START_TICK + time, modules);
    }

    /// Gathers what is left and ends the recording.
    pub fn finish(self, time: u64) -> Vec<u8> {
        self.finish_both(time).0
    }

    /// The file of events and the file of sums.
    pub fn finish_both(mut self, time: u64) -> (Vec<u8>, Vec<u8>) {
        self.gather(time);
        let end = End {
            tick: START_TICK + time,
            elapsed_ns: time,
            status: Some(3 << 8),
            dropped_events: 5,
            ..End::default()
        };
        (
            self.writer.end(&end).unwrap(),
            self.aggregator.end(&end, Vec::new()).unwrap(),
        )
    }

    /// Lets a thread set a mark.
    pub fn mark(&mut self, thread: usize, text: &str, time: u64) {
        self.event(thread, time, |e, out, tick| {
            e.mark(out, tick, text.as_bytes())
        });
    }
}

pub fn read_all(bytes: &[u8]) -> Result<(AllocationProfile, Vec<Warning>), ReadError> {
    read(bytes, &ReadOptions::default())
}

/// A recording that must be read without a warning.
#[track_caller]
pub fn read_whole(bytes: &[u8]) -> AllocationProfile {
    let (profile, warnings) = read_all(bytes).unwrap();
    assert_eq!(warnings, []);
    profile
}

/// The path of a stack in a profile.
pub fn path_of(profile: &AllocationProfile, stack: StackId) -> Path {
    let locations = profile.stacks.walk(stack);
    Path {
        addresses: locations
            .map(|id| profile.locations[id.index()].address + 1)
            .collect(),
        is_cut_off: profile.stacks.is_cut_off(stack),
    }
}

/// The figures of each stack that has any.
pub fn figures_by_path(profile: &AllocationProfile) -> HashMap<Path, StackFigures> {
    assert_eq!(profile.figures.len(), profile.stacks.len());
    let rows = profile.figures.iter().enumerate();
    rows.filter(|(_, figures)| figures.total.blocks > 0)
        .map(|(index, figures)| (path_of(profile, StackId::from_index(index)), *figures))
        .collect()
}

/// The figures of one stack.
#[track_caller]
pub fn figures(profile: &AllocationProfile, path: &Path) -> StackFigures {
    let found: Vec<_> = (0..profile.stacks.len())
        .filter(|&index| path_of(profile, StackId::from_index(index)) == *path)
        .collect();
    assert_eq!(found.len(), 1, "{path:?} is there once");
    profile.figures[found[0]]
}

/// Two profiles that say the same, in whatever order their stacks and threads are.
#[track_caller]
pub fn assert_same(one: &AllocationProfile, other: &AllocationProfile) {
    assert_eq!(figures_by_path(one), figures_by_path(other));
    assert_eq!(paths_with_modules(one), paths_with_modules(other));
    assert_eq!(without_order(one), without_order(other));
}

/// Each stack, with the modules of its locations.
fn paths_with_modules(profile: &AllocationProfile) -> HashSet<Vec<CodeLocation>> {
    let stacks = (0..profile.stacks.len()).map(StackId::from_index);
    let path = |stack| {
        let locations = profile.stacks.walk(stack);
        locations.map(|id| profile.locations[id.index()]).collect()
    };
    stacks.map(path).collect()
}

/// All but stacks, with sorted threads.
fn without_order(profile: &AllocationProfile) -> AllocationProfile {
    let mut rest = profile.clone();
    rest.locations.clear();
    rest.stacks = StackTable::new();
    rest.figures.clear();
    rest.threads
        .sort_by(|a, b| (a.os_thread_id, &a.name).cmp(&(b.os_thread_id, &b.name)));
    rest
}

/// Where each block begins, and what it is.
pub fn blocks(file: &[u8]) -> Vec<(usize, BlockHeader)> {
    let mut blocks = Vec::new();
    let mut offset = HEADER_BYTES;
    while let Some(rest) = file.get(offset..)
        && let Some(header) = rest.first_chunk().and_then(BlockHeader::from_bytes)
    {
        blocks.push((offset, header));
        offset += BLOCK_HEADER_BYTES + header.stored_bytes as usize;
    }
    blocks
}

/// Puts the right checksums into all blocks, so that changes reach what is behind them.
pub fn repair_checksums(file: &mut [u8]) {
    for (offset, header) in blocks(file) {
        let payload = offset + BLOCK_HEADER_BYTES;
        let Some(stored) = file.get(payload..payload + header.stored_bytes as usize) else {
            return;
        };
        let header = BlockHeader {
            crc32: crc32(stored),
            ..header
        };
        file[offset..payload].copy_from_slice(&header.to_bytes());
    }
}
