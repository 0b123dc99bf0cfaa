//! The aggregator: takes what a writer takes, keeps the books at once, and writes the sums.

use std::io;

use heapatlas_model::{AllocationProfile, Module};
use heapatlas_trace::payload::{
    End, Mode, ModuleInfo, ProcessInfo, Put, Segment, Strings, ThreadInfo,
};

use super::clock::Clock;
use super::error::Warning;
use super::facts::{CodeMap, Facts};
use super::ledger::Ledger;
use super::profile::{profile, profile_so_far};
use super::replay::Replay;
use super::sums;
use super::write::Writer;

/// How many bytes of modules' names make a block.
const MODULES_BYTES: usize = 1 << 20;

/// Warnings at most; there is one for each thread whose events make no sense.
const MAX_WARNINGS: usize = 100;

/// Takes what a [`Writer`] takes, in place of it, for recordings of any length: memory and file grow with
/// stacks, threads and live blocks, not with events.
///
/// ```
/// use heapatlas_formats::trace::{Aggregator, End, ProcessInfo, ReadOptions, Segment, read};
/// let process = ProcessInfo { arguments: ["program"], ..ProcessInfo::default() };
/// let mut aggregator = Aggregator::new(&process);
/// // An allocation of 9 bytes on the empty stack at address 8, at tick 7.
/// let bytes = &[1, 9, 2, 7];
/// let segment = Segment { thread: 1, base_tick: Some(0), bytes, ..Segment::default() };
/// aggregator.events(10, 10, 0, [segment].into_iter());
/// let file = aggregator.end(&End::default(), Vec::new())?;
/// let (profile, _) = read(&file, &ReadOptions::default()).expect("it was just written");
/// assert_eq!(profile.live_at_end.bytes, 9);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Aggregator {
    /// The payload of the process block.
    process: Bytes,
    replay: Replay,
    facts: Facts,
    maps: Vec<CodeMap>,
    /// When the last events were gathered.
    elapsed_ns: u64,
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Put for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl Aggregator {
    /// Begins a recording; its mode is [`Mode::Aggregate`], whatever `process` says.
    pub fn new<A>(process: &ProcessInfo<'_, A>) -> Self
    where
        A: Clone + IntoIterator<Item: AsRef<[u8]>>,
    {
        let clock = Clock::new(process.start_tick, process.ticks_per_second);
        let process = ProcessInfo {
            mode: Mode::Aggregate,
            arguments: process.arguments.clone(),
            ..*process
        };
        let mut payload = Bytes::default();
        process.write(&mut payload);
        Self {
            process: payload,
            replay: Replay::new(Ledger::new(0..u64::MAX, clock, 0)).with_retirement(),
            facts: Facts::default(),
            maps: Vec::new(),
            elapsed_ns: 0,
        }
    }

    /// See [`Writer::modules`].
    pub fn modules(&mut self, tick: u64, modules: &[ModuleInfo<'_>]) {
        self.replay.code.load(tick, modules.iter().copied());
    }

    /// See [`Writer::thread`].
    pub fn thread(&mut self, thread: &ThreadInfo<'_>) {
        self.facts.note_thread(thread);
    }

    /// See [`Writer::events`].
    pub fn events<'a>(
        &mut self,
        tick: u64,
        elapsed_ns: u64,
        resident_bytes: u64,
        segments: impl Iterator<Item = Segment<'a>>,
    ) {
        self.elapsed_ns = self.elapsed_ns.max(elapsed_ns);
        for segment in segments {
            self.replay.add(&segment, 0, || true);
        }
        let timeline = &mut self.replay.ledger.timeline;
        timeline.note_resident(elapsed_ns, resident_bytes);
        self.replay.run(tick);
        self.replay.warnings.truncate(MAX_WARNINGS);
        for thread in self.replay.take_retired() {
            self.facts.forget_thread(thread);
        }
    }

    /// See [`Writer::map`].
    pub fn map(&mut self, path: &[u8], contents: &[u8]) {
        self.maps.push(CodeMap {
            path: String::from_utf8_lossy(path).into_owned(),
            contents: contents.to_vec(),
        });
    }

    /// Writes a file with the sums so far: it is to be replaced by a later one.
    ///
    /// # Errors
    /// When the output fails.
    pub fn write_so_far<W: io::Write>(&self, out: W) -> io::Result<W> {
        let process = process(&self.process)?;
        let profile = profile_so_far(&self.replay, &process, &self.facts, self.elapsed_ns);
        self.write(out, &process, &profile, &self.warnings())?
            .close()
    }

    /// Ends the recording, writes its file, and gives the output back.
    ///
    /// # Errors
    /// When the output fails.
    pub fn end<W: io::Write>(mut self, end: &End, out: W) -> io::Result<W> {
        self.replay.run(u64::MAX);
        self.facts.end = Some(*end);
        let process = process(&self.process)?;
        let profile = profile(&mut self.replay, &process, &self.facts, self.elapsed_ns);
        self.write(out, &process, &profile, &self.warnings())?
            .end(end)
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.replay.warnings.clone();
        warnings.extend(self.replay.ledger_warnings());
        warnings
    }

    /// A file but for its end.
    fn write<W: io::Write>(
        &self,
        out: W,
        process: &ProcessInfo<'_, Strings<'_>>,
        profile: &AllocationProfile,
        warnings: &[Warning],
    ) -> io::Result<Writer<W>> {
        let mut writer = Writer::new(out, process)?;
        for modules in batches(&profile.modules) {
            writer.modules(0, &modules)?;
        }
        for payload in sums::payloads(profile, warnings) {
            writer.sums(&payload)?;
        }
        for map in &self.maps {
            writer.map(map.path.as_bytes(), &map.contents)?;
        }
        Ok(writer)
    }
}

fn process(payload: &Bytes) -> io::Result<ProcessInfo<'_, Strings<'_>>> {
    let read = ProcessInfo::read(&payload.0);
    read.map_err(|malformed| io::Error::other(malformed.to_string()))
}

/// Modules in lists that fit a block.
fn batches(modules: &[Module]) -> Vec<Vec<ModuleInfo<'_>>> {
    let mut batches = Vec::new();
    let mut bytes = MODULES_BYTES;
    for module in modules {
        if bytes >= MODULES_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += module.path.len() + module.build_id.len();
        let batch: &mut Vec<_> = batches.last_mut().expect("one was just added");
        batch.push(ModuleInfo {
            path: module.path.as_bytes(),
            build_id: &module.build_id,
            bias: module.bias,
            start: module.range.start,
            end: module.range.end,
        });
    }
    batches
}
