//! From chunks to segments: what threads have committed since the last time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use heapatlas_trace::shared::{CHUNKS, CLOSED, FREE, KIND_EVENTS, KIND_MODULES_END};

use crate::region::Region;

/// Events of one thread, in its order.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'r> {
    /// The thread's number.
    pub thread: u32,
    /// Set when the deltas start anew.
    pub base_tick: Option<u64>,
    /// So many bytes of its stream.
    pub bytes: &'r [u8],
}

/// Takes what is gathered.
pub trait Sink {
    /// A thread that was not known, or has another name now.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn thread(&mut self, thread: u32, os_thread_id: u32, name: &[u8]) -> io::Result<()>;

    /// The payload of a `modules` block.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn modules(&mut self, payload: &[u8]) -> io::Result<()>;

    /// Events of all threads; none when there are no new ones.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn events(&mut self, segments: &[Segment<'_>]) -> io::Result<()>;
}

/// What of each chunk was read.
#[derive(Default)]
pub struct Gatherer {
    /// For each chunk the bytes that were read.
    read: Vec<usize>,
    /// For each thread the place of its next chunk.
    next: HashMap<u32, u64>,
    /// For each thread the name last told.
    names: HashMap<u32, [u8; 16]>,
    /// Module lists that are not whole yet, by publication.
    modules: HashMap<u32, ModuleParts>,
}

/// Parts of a module list.
#[derive(Default)]
struct ModuleParts {
    parts: BTreeMap<u64, Vec<u8>>,
    /// How many there are, once the last one was seen.
    count: Option<u64>,
}

/// A chunk that somebody writes or wrote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Used {
    kind: u32,
    thread: u32,
    sequence: u64,
    chunk: usize,
    is_closed: bool,
}

impl Gatherer {
    /// Hands on what was committed since the last time. Gives how many bytes that were.
    ///
    /// # Errors
    /// What the sink says. Nothing is freed then.
    pub fn pass(&mut self, region: &Region, sink: &mut dyn Sink) -> io::Result<usize> {
        self.read.resize(CHUNKS, 0);
        let mut used = used_chunks(region);
        used.sort_unstable();
        let mut done = Vec::new();
        let mut segments = Vec::new();
        let mut bytes = 0;
        for used in used {
            if used.kind == KIND_EVENTS {
                // A later chunk of the thread was seen before the one that comes first.
                let next = self.next.entry(used.thread).or_insert(1);
                if used.sequence != *next {
                    continue;
                }
                *next += u64::from(used.is_closed);
                self.tell_thread(region, used, sink)?;
                let segment = self.segment(region, used);
                bytes += segment.bytes.len();
                segments.push(segment);
            } else {
                if !used.is_closed {
                    continue;
                }
                self.take_modules(region, used, sink)?;
            }
            if used.is_closed {
                done.push(used.chunk);
            }
        }
        segments.retain(|segment| !segment.bytes.is_empty());
        sink.events(&segments)?;
        for &chunk in &done {
            self.read[chunk] = 0;
            region.free(chunk);
        }
        if !done.is_empty() {
            region.tell_freed();
        }
        Ok(bytes)
    }

    fn segment<'r>(&mut self, region: &'r Region, used: Used) -> Segment<'r> {
        let header = region.chunk(used.chunk);
        let committed = header.committed.load(Acquire) as usize;
        let from = std::mem::replace(&mut self.read[used.chunk], committed);
        Segment {
            thread: used.thread,
            base_tick: (from == 0).then(|| header.base_tick.load(Relaxed)),
            bytes: region.committed(used.chunk, from, committed),
        }
    }

    fn tell_thread(&mut self, region: &Region, used: Used, sink: &mut dyn Sink) -> io::Result<()> {
        let header = region.chunk(used.chunk);
        let [first, second] = &header.thread_name;
        let mut name = [0; 16];
        name[..8].copy_from_slice(&first.load(Relaxed).to_le_bytes());
        name[8..].copy_from_slice(&second.load(Relaxed).to_le_bytes());
        if self.names.insert(used.thread, name) != Some(name) {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            sink.thread(used.thread, header.os_thread_id.load(Relaxed), &name[..end])?;
        }
        Ok(())
    }

    fn take_modules(&mut self, region: &Region, used: Used, sink: &mut dyn Sink) -> io::Result<()> {
        let committed = region.chunk(used.chunk).committed.load(Acquire) as usize;
        let part = region.committed(used.chunk, 0, committed).to_vec();
        let list = self.modules.entry(used.thread).or_default();
        list.parts.insert(used.sequence, part);
        if used.kind == KIND_MODULES_END {
            list.count = Some(used.sequence);
        }
        if list.count == Some(list.parts.len() as u64) {
            let payload: Vec<u8> = list.parts.values().flatten().copied().collect();
            self.modules.remove(&used.thread);
            sink.modules(&payload)?;
        }
        Ok(())
    }
}

/// The chunks in use. (The state is read before the length: what a closed chunk holds is final.)
fn used_chunks(region: &Region) -> Vec<Used> {
    let used = |chunk: usize| {
        let state = region.state(chunk).load(Acquire);
        let header = region.chunk(chunk);
        let sequence = header.sequence.load(Acquire);
        let kind = header.kind.load(Relaxed);
        let is_ready = state != FREE && sequence != 0 && kind <= KIND_MODULES_END;
        is_ready.then(|| Used {
            kind,
            thread: header.thread.load(Relaxed),
            sequence,
            chunk,
            is_closed: state == CLOSED,
        })
    };
    (0..region.used_chunks()).filter_map(used).collect()
}
