//! From chunks to segments: what threads have committed since the last time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use heapatlas_trace::payload::{EventsHeader, Segment, ThreadInfo};
use heapatlas_trace::shared::{CHUNKS, CLOSED, FREE, KIND_EVENTS, KIND_MODULES_END};

use crate::region::Region;

/// Takes what is gathered.
pub trait Sink {
    /// Everything from here on is of a new process image: the first one, or one that replaced the
    /// last by `exec`.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn image(&mut self, pid: u32) -> io::Result<()>;

    /// A thread that was not known, or has another name now.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn thread(&mut self, thread: ThreadInfo<'_>) -> io::Result<()>;

    /// The payload of a `modules` block.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn modules(&mut self, payload: &[u8]) -> io::Result<()>;

    /// Events of all threads; no segment when there are no new ones.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn events(&mut self, header: EventsHeader, segments: &[Segment<'_>]) -> io::Result<()>;
}

/// What of each chunk of one recording was read.
#[derive(Default)]
pub struct Gatherer {
    /// The recording whose chunks are read.
    recording: u32,
    /// The process image whose events come now.
    process: Option<u32>,
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
    process: u32,
    kind: u32,
    thread: u32,
    sequence: u64,
    chunk: usize,
    is_closed: bool,
}

impl Gatherer {
    /// One that has read nothing of a recording yet.
    pub fn new(recording: u32) -> Self {
        Self {
            recording,
            ..Self::default()
        }
    }

    /// Whether a process image was told of.
    pub fn has_image(&self) -> bool {
        self.process.is_some()
    }

    /// Hands on what was committed since the last time. Gives how many bytes that were. The header's
    /// tick was taken before.
    ///
    /// # Errors
    /// What the sink says. Nothing is freed then.
    pub fn pass(
        &mut self,
        region: &Region,
        header: EventsHeader,
        sink: &mut dyn Sink,
    ) -> io::Result<usize> {
        self.read.resize(CHUNKS, 0);
        let mut used = used_chunks(region, self.recording);
        used.sort_unstable();
        let latest = used.last().map(|used| used.process);
        for used in &mut used {
            // Its threads are gone: `exec` ended them, or the last image would be the latest.
            used.is_closed |= Some(used.process) < latest;
        }
        let mut bytes = 0;
        for image in used.chunk_by(|a, b| a.process == b.process) {
            if self
                .process
                .is_none_or(|process| process < image[0].process)
            {
                self.process = Some(image[0].process);
                sink.image(region.chunk(image[0].chunk).pid.load(Relaxed))?;
            }
            bytes += self.take_image(region, header, image, sink)?;
        }
        Ok(bytes)
    }

    /// Hands on what one image has committed.
    fn take_image(
        &mut self,
        region: &Region,
        header: EventsHeader,
        image: &[Used],
        sink: &mut dyn Sink,
    ) -> io::Result<usize> {
        let mut done = Vec::new();
        let mut segments = Vec::new();
        for &used in image {
            if used.kind == KIND_EVENTS {
                // A later chunk of the thread was seen before the one that comes first.
                let next = self.next.entry(used.thread).or_insert(1);
                if used.sequence != *next {
                    continue;
                }
                *next += u64::from(used.is_closed);
                self.tell_thread(region, used, sink)?;
                segments.push(self.segment(region, used));
            } else if used.is_closed {
                self.take_modules(region, used, sink)?;
            }
            if used.is_closed {
                done.push(used.chunk);
            }
        }
        segments.retain(|segment| !segment.bytes.is_empty());
        sink.events(header, &segments)?;
        let bytes = segments.iter().map(|segment| segment.bytes.len()).sum();
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
            thread: u64::from(used.thread),
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
            let end = name
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(name.len());
            sink.thread(ThreadInfo {
                thread: u64::from(used.thread),
                os_thread_id: u64::from(header.os_thread_id.load(Relaxed)),
                name: &name[..end],
            })?;
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

/// The chunks of a recording that are in use. Those of earlier recordings are freed as soon as their threads are done
/// with them: nobody reads them any more. (The state is read before the length: what a closed chunk holds is final.)
fn used_chunks(region: &Region, recording: u32) -> Vec<Used> {
    let used = |chunk: usize| {
        let state = region.state(chunk).load(Acquire);
        let header = region.chunk(chunk);
        let sequence = header.sequence.load(Acquire);
        let kind = header.kind.load(Relaxed);
        let is_ready = state != FREE && sequence != 0 && kind <= KIND_MODULES_END;
        if is_ready && header.recording.load(Relaxed) != recording {
            if state == CLOSED {
                region.free(chunk);
            }
            return None;
        }
        is_ready.then(|| Used {
            process: header.process.load(Relaxed),
            kind,
            thread: header.thread.load(Relaxed),
            sequence,
            chunk,
            is_closed: state == CLOSED,
        })
    };
    (0..region.used_chunks()).filter_map(used).collect()
}
