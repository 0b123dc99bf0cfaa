//! From chunks to segments: what the threads of each process image have committed since the last time.
//!
//! ```text
//!   its first chunk             its process has ended, or its number belongs to a later image
//!  --------------------> runs --------------------------------------------------------------> gone
//!                                                                                               |
//!         ended <-------------- all that it has committed was taken in a pass that began later -+
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use heapatlas_trace::payload::{EventsHeader, ImageInfo, Segment, ThreadInfo};
use heapatlas_trace::shared::{CHUNKS, CLOSED, FREE, KIND_EVENTS, KIND_IMAGE, KIND_MODULES_END};

use crate::processes::{self, Marks, Process, State};
use crate::region::Region;

/// A program in a process: begun by `exec`, or by `fork` in the middle of another one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// Its number within the recording, in the order in which images began.
    pub number: u32,
    /// The system's number of its process. Several images have the same when one replaced the other.
    pub pid: u32,
    /// That of the process' parent when the image began.
    pub parent_pid: u32,
    /// The image that this one was forked off from.
    pub forked_from: Option<u32>,
    /// When it began.
    pub start_tick: u64,
    /// The program's path.
    pub executable: Vec<u8>,
    /// The program's arguments, its name first.
    pub arguments: Vec<Vec<u8>>,
}

/// How an image ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageEnd {
    /// When that was noticed.
    pub tick: u64,
    /// The same in nanoseconds since the recording began.
    pub elapsed_ns: u64,
    /// As from `wait`. Known of the process that we started only, and only when it has ended.
    pub status: Option<i32>,
    /// The program that took its place and did not load the recorder.
    pub went_on_as: Option<PathBuf>,
    /// What the recorder counted while the image was there, other images that were there included.
    pub counters: Counters,
}

/// What the recorder counts in a whole recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Events that could not be recorded.
    pub dropped_events: u64,
    /// Nanoseconds that threads waited for us.
    pub waited_ns: u64,
    /// Captures that were compared with a full walk.
    pub checked: u64,
    /// Those that differed.
    pub differences: u64,
}

/// Takes what is gathered. Images are told apart by their numbers.
pub trait Sink {
    /// A new image; what is told of it comes after.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn image(&mut self, image: &Image) -> io::Result<()>;

    /// A thread that was not known, or has another name now.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn thread(&mut self, image: u32, thread: ThreadInfo<'_>) -> io::Result<()>;

    /// The payload of a `modules` block.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn modules(&mut self, image: u32, payload: &[u8]) -> io::Result<()>;

    /// Events of all threads of an image.
    ///
    /// # Errors
    /// When they cannot be kept.
    fn events(
        &mut self,
        image: u32,
        header: EventsHeader,
        segments: &[Segment<'_>],
    ) -> io::Result<()>;

    /// Nothing more comes of an image.
    ///
    /// # Errors
    /// When that cannot be kept.
    fn ended(&mut self, image: u32, end: &ImageEnd) -> io::Result<()>;

    /// Whether as much was kept as there may be: the recording is to end.
    fn is_full(&self) -> bool {
        false
    }
}

/// The process that we started.
#[derive(Clone, Copy)]
pub struct Main {
    pub pid: u32,
    /// As from `wait`, once it has ended.
    pub status: Option<i32>,
}

/// What of each chunk of one recording was read, and the images whose chunks they are.
pub struct Gatherer {
    /// The recording whose chunks are read.
    recording: u32,
    /// For each chunk the bytes that were read.
    read: Vec<usize>,
    /// By number.
    images: BTreeMap<u32, Running>,
    /// Images that have ended: forked children may come up later.
    ended: BTreeMap<u32, Facts>,
    /// Images of which a chunk was seen, but not yet the one that tells of it.
    untold: HashSet<u32>,
    own_namespace: Vec<u8>,
    marks: Marks,
    /// Processes with our marks that told nothing when they were looked for.
    silent: Vec<Silent>,
    /// Processes that have our path only: their programs do not load the recorder.
    strangers: HashSet<u32>,
}

/// A process that may tell something yet.
struct Silent {
    process: Process,
    /// How often it was looked at, and how often it did not have the region.
    looks: u32,
    doubts: u32,
}

/// A process that does not have the region may still be loading: it is looked at every so many passes, and so often.
const LOOK_PASSES: u32 = 8;
const MOST_DOUBTS: u32 = 4;

/// An image that has not ended.
struct Running {
    facts: Facts,
    /// `None` if its process cannot be watched: its number is of another namespace.
    process: Option<Process>,
    /// Why nothing more comes of it.
    gone: Option<Gone>,
    /// Passes without events.
    idle_passes: u32,
    /// For each thread the place of its next chunk.
    next: HashMap<u32, u64>,
    /// For each thread the name last told.
    names: HashMap<u32, [u8; 16]>,
    /// Module lists that are not whole yet, by publication.
    modules: HashMap<u32, ModuleParts>,
    /// When the image began.
    counters: Counters,
}

/// Why nothing more comes of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Gone {
    /// Its process has ended.
    Ended,
    /// A later image has its process number.
    Replaced,
    /// So has this program, which did not load the recorder.
    WentOnAs(PathBuf),
    /// It runs, and nobody listens any more.
    LeftAlone,
}

/// What holds for forked children, too.
#[derive(Default)]
struct Facts {
    image: Image,
    namespace: Vec<u8>,
    /// The last list of modules.
    modules: Option<Rc<[u8]>>,
}

/// So many images that have ended are remembered.
const MOST_ENDED: usize = 4096;

/// An image without events is looked at more closely after so many passes, and after twice as many, and so on.
const IDLE_PASSES: u32 = 8;

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
    image: u32,
    kind: u32,
    thread: u32,
    sequence: u64,
    chunk: usize,
    is_closed: bool,
}

impl Gatherer {
    /// Of a recording of which nothing was gathered.
    pub fn new(region: &Region, recording: u32) -> Self {
        Self {
            recording,
            read: vec![0; CHUNKS],
            images: BTreeMap::new(),
            ended: BTreeMap::new(),
            untold: HashSet::new(),
            own_namespace: processes::own_namespace(),
            marks: region.marks(),
            silent: Vec::new(),
            strangers: HashSet::new(),
        }
    }

    /// The images that are there, by their numbers.
    pub fn images(&self) -> Vec<u32> {
        self.images.keys().copied().collect()
    }

    /// Hands on what was committed since the last time. Gives how many bytes that were. The header's
    /// tick was taken before.
    ///
    /// # Errors
    /// What the sink says. Nothing is freed then.
    pub fn pass(
        &mut self,
        region: &Region,
        now: EventsHeader,
        main: Main,
        sink: &mut dyn Sink,
    ) -> io::Result<usize> {
        self.note_ends();
        self.note_suspicious();
        self.take_all(region, now, main, sink)
    }

    /// Hands on what is there yet, and ends all images: the recording is over, whatever its processes do.
    ///
    /// # Errors
    /// What the sink says.
    pub fn finish(
        &mut self,
        region: &Region,
        now: EventsHeader,
        main: Main,
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        self.note_ends();
        self.take_all(region, now, main, sink)?;
        for image in self.images.values_mut() {
            image.gone.get_or_insert(Gone::LeftAlone);
        }
        self.take_all(region, now, main, sink)?;
        Ok(())
    }

    /// Tells of the process that we started if no image was told of: nothing was allocated, and that is a
    /// recording, too.
    ///
    /// # Errors
    /// What the sink says.
    pub fn ensure_image(
        &mut self,
        now: EventsHeader,
        main: Main,
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        if !self.images.is_empty() || !self.ended.is_empty() {
            return Ok(());
        }
        let image = Image {
            number: u32::MAX,
            pid: main.pid,
            start_tick: now.tick,
            ..Image::default()
        };
        sink.image(&image)?;
        let end = ImageEnd {
            tick: now.tick,
            elapsed_ns: now.elapsed_ns,
            status: main.status,
            ..ImageEnd::default()
        };
        sink.ended(image.number, &end)
    }

    /// The numbers of the processes that are recorded and still there. If there are none, those that may be
    /// recorded yet, if `follows_forks`.
    pub fn running(&mut self, follows_forks: bool) -> Vec<u32> {
        self.note_ends();
        let images = self.images.values();
        let running = images.filter(|image| image.process.is_some() && image.gone.is_none());
        let running: Vec<_> = running.map(|image| image.facts.image.pid).collect();
        if running.is_empty() && follows_forks {
            self.look_for_silent();
            return self
                .silent
                .iter()
                .map(|silent| silent.process.pid())
                .collect();
        }
        running
    }

    /// A process that was forked off and has not allocated anything has not told of itself, either.
    fn look_for_silent(&mut self) {
        let (marks, strangers) = (&self.marks, &mut self.strangers);
        self.silent.retain_mut(|silent| {
            let stays = silent.stays(marks);
            if !stays {
                strangers.insert(silent.process.pid());
            }
            stays
        });
        if self.silent.is_empty() {
            let found = marks.processes().into_iter();
            let found = found.filter(|process| !strangers.contains(&process.pid()));
            self.silent.extend(found.map(|process| Silent {
                process,
                looks: 0,
                doubts: 0,
            }));
        }
    }

    /// Which images are gone. What they have committed until now is all there is.
    fn note_ends(&mut self) {
        for image in self
            .images
            .values_mut()
            .filter(|image| image.gone.is_none())
        {
            let process = image.process.as_ref();
            if process.is_some_and(Process::has_ended) {
                image.gone = Some(Gone::Ended);
            }
        }
    }

    /// Looks more closely at images that have been silent for long: another program may be in their place.
    fn note_suspicious(&mut self) {
        for image in self
            .images
            .values_mut()
            .filter(|image| image.gone.is_none())
        {
            image.idle_passes = image.idle_passes.saturating_add(1);
            let is_suspicious =
                image.idle_passes >= IDLE_PASSES && image.idle_passes.is_power_of_two();
            let process = image.process.as_ref().filter(|_| is_suspicious);
            image.gone = match process.map(|process| process.state(&self.marks)) {
                None | Some(State::Runs) => None,
                Some(State::Ended) => Some(Gone::Ended),
                Some(State::Replaced(program)) => Some(Gone::WentOnAs(program)),
            };
        }
    }

    fn take_all(
        &mut self,
        region: &Region,
        now: EventsHeader,
        main: Main,
        sink: &mut dyn Sink,
    ) -> io::Result<usize> {
        let mut used = used_chunks(region, self.recording);
        used.sort_unstable();
        let gone: Vec<u32> = (self.images.iter())
            .filter_map(|(&number, image)| image.gone.is_some().then_some(number))
            .collect();
        let mut bytes = 0;
        for chunks in used.chunk_by(|a, b| a.image == b.image) {
            if self.begin(region, chunks, sink)? {
                bytes += self.take_image(region, now, chunks, sink)?;
            }
        }
        for number in gone {
            self.end(region, number, now, main, sink)?;
        }
        self.note_replaced();
        Ok(bytes)
    }

    /// Has the image of some chunks begin, if it has not. `false` if that must wait for the next pass: the chunk that
    /// tells of it was not there yet when we came by.
    fn begin(&mut self, region: &Region, chunks: &[Used], sink: &mut dyn Sink) -> io::Result<bool> {
        let number = chunks[0].image;
        if self.images.contains_key(&number) {
            return Ok(true);
        }
        let told = chunks.iter().find(|used| used.kind == KIND_IMAGE);
        if told.is_none() && self.untold.insert(number) {
            return Ok(false);
        }
        self.untold.remove(&number);
        let chunk = told.unwrap_or(&chunks[0]).chunk;
        let header = region.chunk(chunk);
        let committed = header.committed.load(Acquire) as usize;
        let payload = region.committed(chunk, 0, committed);
        let info = told.and_then(|_| ImageInfo::read(payload).ok());
        let facts = self.facts(number, header.pid.load(Relaxed), info.unwrap_or_default());
        sink.image(&facts.image)?;
        if let Some(modules) = &facts.modules {
            sink.modules(number, modules)?;
        }
        let is_ours = !facts.namespace.is_empty() && facts.namespace == self.own_namespace;
        let process = is_ours.then(|| Process::open(facts.image.pid));
        let running = Running::new(facts, process, counters(region));
        self.images.insert(number, running);
        Ok(true)
    }

    /// A forked child is what its parent is.
    fn facts(&self, number: u32, pid: u32, info: ImageInfo<'_>) -> Facts {
        let parent = info.forked_from.and_then(|parent| {
            let running = self.images.get(&parent).map(|image| &image.facts);
            running.or_else(|| self.ended.get(&parent))
        });
        let (executable, arguments) = match parent {
            Some(parent) => (
                parent.image.executable.clone(),
                parent.image.arguments.clone(),
            ),
            None => (info.executable.to_vec(), split_arguments(info.arguments)),
        };
        Facts {
            image: Image {
                number,
                pid,
                parent_pid: info.parent_pid as u32,
                forked_from: info.forked_from,
                start_tick: info.start_tick,
                executable,
                arguments,
            },
            namespace: info.namespace.to_vec(),
            modules: parent.and_then(|parent| parent.modules.clone()),
        }
    }

    /// Hands on what one image has committed.
    fn take_image(
        &mut self,
        region: &Region,
        now: EventsHeader,
        chunks: &[Used],
        sink: &mut dyn Sink,
    ) -> io::Result<usize> {
        let number = chunks[0].image;
        let Some(image) = self.images.get_mut(&number) else {
            return Ok(0);
        };
        let is_dead = !matches!(image.gone, None | Some(Gone::LeftAlone));
        let mut done = Vec::new();
        let mut segments = Vec::new();
        for &used in chunks {
            // Whoever wrote to it is gone.
            let is_closed = used.is_closed || is_dead;
            if used.kind == KIND_EVENTS {
                // A later chunk of the thread was seen before the one that comes first.
                let next = image.next.entry(used.thread).or_insert(1);
                if used.sequence != *next {
                    continue;
                }
                *next += u64::from(is_closed);
                image.tell_thread(region, used, sink)?;
                segments.push(segment(region, used, &mut self.read));
            } else if is_closed && used.kind != KIND_IMAGE {
                image.take_modules(region, used, sink)?;
            }
            if is_closed {
                done.push(used.chunk);
            }
        }
        segments.retain(|segment| !segment.bytes.is_empty());
        let bytes = segments.iter().map(|segment| segment.bytes.len()).sum();
        if bytes > 0 {
            let resident_bytes = processes::resident_bytes(image.facts.image.pid).unwrap_or(0);
            let header = EventsHeader {
                resident_bytes,
                ..now
            };
            sink.events(number, header, &segments)?;
            image.idle_passes = 0;
        }
        for &chunk in &done {
            self.read[chunk] = 0;
            region.free(chunk);
        }
        if !done.is_empty() {
            region.tell_freed();
        }
        Ok(bytes)
    }

    /// An image was gone before its chunks were looked at.
    fn end(
        &mut self,
        region: &Region,
        number: u32,
        now: EventsHeader,
        main: Main,
        sink: &mut dyn Sink,
    ) -> io::Result<()> {
        let Some(image) = self.images.remove(&number) else {
            return Ok(());
        };
        // Where the system tells of no namespaces there is only ours.
        let is_ours = image.process.is_some() || image.facts.namespace.is_empty();
        let is_main = is_ours && image.facts.image.pid == main.pid;
        let has_status = is_main && image.gone != Some(Gone::Replaced);
        let end = ImageEnd {
            tick: now.tick,
            elapsed_ns: now.elapsed_ns,
            status: main.status.filter(|_| has_status),
            went_on_as: match image.gone {
                Some(Gone::WentOnAs(program)) => Some(program),
                _ => None,
            },
            counters: counters(region).since(image.counters),
        };
        self.ended.insert(number, image.facts);
        if self.ended.len() > MOST_ENDED {
            self.ended.pop_first();
        }
        sink.ended(number, &end)
    }

    /// Of several images with one process number the last one has replaced the others: `exec` ends all
    /// threads before the new program begins. (Or the number belongs to another process by now.)
    fn note_replaced(&mut self) {
        let mut later = HashSet::new();
        for image in self.images.values_mut().rev() {
            let is_last = later.insert((image.facts.namespace.clone(), image.facts.image.pid));
            if !is_last && image.gone.is_none() {
                image.gone = Some(Gone::Replaced);
            }
        }
    }
}

impl Silent {
    fn stays(&mut self, marks: &Marks) -> bool {
        self.looks += 1;
        if self.looks.is_multiple_of(LOOK_PASSES)
            && matches!(self.process.state(marks), State::Replaced(_))
        {
            self.doubts += 1;
        }
        !self.process.has_ended() && self.doubts < MOST_DOUBTS
    }
}

impl Running {
    fn new(facts: Facts, process: Option<Process>, counters: Counters) -> Self {
        Self {
            facts,
            process,
            gone: None,
            idle_passes: 0,
            next: HashMap::new(),
            names: HashMap::new(),
            modules: HashMap::new(),
            counters,
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
            let thread = ThreadInfo {
                thread: u64::from(used.thread),
                os_thread_id: u64::from(header.os_thread_id.load(Relaxed)),
                name: &name[..end],
            };
            sink.thread(used.image, thread)?;
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
            sink.modules(used.image, &payload)?;
            self.facts.modules = Some(payload.into());
        }
        Ok(())
    }
}

impl Counters {
    pub(crate) fn since(self, start: Self) -> Self {
        let since = u64::saturating_sub;
        Self {
            dropped_events: since(self.dropped_events, start.dropped_events),
            waited_ns: since(self.waited_ns, start.waited_ns),
            checked: since(self.checked, start.checked),
            differences: since(self.differences, start.differences),
        }
    }
}

/// What the recorder has counted so far.
pub fn counters(region: &Region) -> Counters {
    let header = region.header();
    Counters {
        dropped_events: header.dropped.load(Relaxed),
        waited_ns: header.waited_ns.load(Relaxed),
        checked: header.checked.load(Relaxed),
        differences: header.differences.load(Relaxed),
    }
}

fn segment<'r>(region: &'r Region, used: Used, read: &mut [usize]) -> Segment<'r> {
    let header = region.chunk(used.chunk);
    let committed = header.committed.load(Acquire) as usize;
    let from = std::mem::replace(&mut read[used.chunk], committed);
    Segment {
        thread: u64::from(used.thread),
        base_tick: (from == 0).then(|| header.base_tick.load(Relaxed)),
        bytes: region.committed(used.chunk, from, committed),
        // Read behind the length: what is committed has been told of.
        is_exclusive: header.is_shared.load(Relaxed) == 0,
    }
}

/// Each argument ends with a zero; what was cut in the middle of one ends without.
fn split_arguments(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

/// The chunks of a recording that are in use. Those of earlier recordings are freed as soon as their threads are done
/// with them: nobody reads them any more. (The state is read before the length: what a closed chunk holds is final.)
fn used_chunks(region: &Region, recording: u32) -> Vec<Used> {
    let used = |chunk: usize| {
        let state = region.state(chunk).load(Acquire);
        let header = region.chunk(chunk);
        let sequence = header.sequence.load(Acquire);
        let kind = header.kind.load(Relaxed);
        let is_ready = state != FREE && sequence != 0 && kind <= KIND_IMAGE;
        if is_ready && header.recording.load(Relaxed) != recording {
            if state == CLOSED {
                region.free(chunk);
            }
            return None;
        }
        is_ready.then(|| Used {
            image: header.process.load(Relaxed),
            kind,
            thread: header.thread.load(Relaxed),
            sequence,
            chunk,
            is_closed: state == CLOSED,
        })
    };
    (0..region.used_chunks()).filter_map(used).collect()
}
