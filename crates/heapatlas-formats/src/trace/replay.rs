//! The events of all threads, in order of time: each thread's stream is in order, so they are merged.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use heapatlas_model::{Mark, StackId, StackTable};
use heapatlas_trace::payload::Segment;
use heapatlas_trace::{Decoder, Event, Malformed};
use rustc_hash::FxHashMap;

use super::code::Code;
use super::columns::Run;
use super::error::Warning;
use super::ledger::Ledger;

/// Events are kept back until what comes before them is known to be there; but not more than so many
/// bytes of them, whatever their ticks say.
const MAX_HELD_BYTES: usize = 256 << 20;

/// From so many threads on those that have ended may be retired.
const MANY_THREADS: usize = 1024;

/// Marks at most: a program that sets one at each request shall not fill our memory.
const MAX_MARKS: usize = 10_000;

/// Applies the streams of all threads to a ledger.
pub(super) struct Replay {
    pub ledger: Ledger,
    pub code: Code,
    pub warnings: Vec<Warning>,
    /// In order of their first segments; the ledger's threads are in the same order.
    pub streams: Vec<Stream>,
    by_number: FxHashMap<u64, u32>,
    /// The streams that have an action, by its tick.
    order: BinaryHeap<Reverse<(u64, u32)>>,
    pub last_tick: u64,
    /// Marks of threads that are retired.
    marks: Marks,
    retirement: Option<Retirement>,
}

/// How threads that ended make room for others.
struct Retirement {
    /// With so many streams those that ended are looked for.
    sweep_at: usize,
    /// Streams that stand for no thread any more.
    free: Vec<u32>,
    /// The numbers of threads that are retired and that nobody was told of.
    retired: Vec<u64>,
}

/// The named moments of a stream.
#[derive(Default)]
struct Marks {
    /// Ticks and names.
    marks: Vec<(u64, String)>,
    /// Those that were too many.
    left_out: u64,
}

/// What is left of one thread's stream.
pub(super) struct Stream {
    /// The thread's number within the recording.
    pub number: u64,
    decoder: Decoder,
    /// The stacks that its node numbers stand for.
    stacks: Vec<StackId>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// What was decoded ahead, and how much of it was taken.
    steps: Vec<Step>,
    taken: usize,
    /// What ends the stream behind the last step.
    problem: Option<Malformed>,
    /// Nodes that come before the next action.
    nodes: Vec<(u32, u64)>,
    next: Option<Action>,
    is_broken: bool,
    marks: Marks,
    has_ended: bool,
    /// It stands for no thread any more, and for none yet.
    pub is_unused: bool,
}

/// Events that wait for their time.
struct Held {
    /// Where their block is in the file.
    offset: usize,
    events: HeldEvents,
}

enum HeldEvents {
    Segment {
        base_tick: Option<u64>,
        bytes: Vec<u8>,
        /// How much of them was decoded.
        at: usize,
    },
    Run(Run),
}

/// An event that matters here.
#[derive(Clone, Copy)]
enum Step {
    Node { parent: u32, address: u64 },
    Act { tick: u64, action: Action },
}

/// So many events are decoded at once. Their blocks are on the way from memory while those before them are applied.
const EVENTS_AHEAD: usize = 32;

/// What an event does to the ledger.
#[derive(Clone, Copy)]
enum Action {
    Allocate {
        stack: u32,
        size_bytes: u64,
        address: u64,
    },
    Free {
        address: u64,
    },
    BeginReallocation {
        address: u64,
    },
    EndReallocation {
        stack: u32,
        size_bytes: u64,
        address: u64,
    },
    FailReallocation,
    SetSampleInterval {
        interval_bytes: u64,
    },
}

impl Replay {
    pub fn new(ledger: Ledger) -> Self {
        let mut replay = Self {
            ledger,
            code: Code::new(),
            warnings: Vec::new(),
            streams: Vec::new(),
            by_number: FxHashMap::default(),
            order: BinaryHeap::new(),
            last_tick: 0,
            marks: Marks::default(),
            retirement: None,
        };
        replay.ledger.add_stacks(replay.code.stacks.len());
        replay
    }

    /// Has the sums of threads that ended be put together when there are many, so that memory is bounded by
    /// those that run, or have something live.
    pub fn with_retirement(mut self) -> Self {
        self.retirement = Some(Retirement {
            sweep_at: MANY_THREADS,
            free: Vec::new(),
            retired: Vec::new(),
        });
        self
    }

    /// The threads that were retired since the last time.
    pub fn take_retired(&mut self) -> Vec<u64> {
        let retirement = self.retirement.as_mut();
        retirement.map_or_else(Vec::new, |retirement| {
            std::mem::take(&mut retirement.retired)
        })
    }

    /// The marks in order of time, and how many are left out.
    pub fn marks(&self) -> (Vec<Mark>, u64) {
        let all = || std::iter::once(&self.marks).chain(self.streams.iter().map(|s| &s.marks));
        let mut marks: Vec<_> = all().flat_map(|marks| &marks.marks).collect();
        marks.sort_by_key(|(tick, _)| *tick);
        let left_out = all().map(|marks| marks.left_out).sum::<u64>();
        let too_many = marks.len().saturating_sub(MAX_MARKS) as u64;
        marks.truncate(MAX_MARKS);
        let mark = |(tick, text): &(u64, String)| Mark {
            time_ns: self.ledger.clock().ns_at(*tick),
            text: text.clone(),
        };
        (
            marks.into_iter().map(mark).collect(),
            left_out.saturating_add(too_many),
        )
    }

    /// Adds a segment of a block at `offset`; `is_counted` tells of a new thread whether it is asked for.
    pub fn add(&mut self, segment: &Segment<'_>, offset: usize, is_counted: impl FnOnce() -> bool) {
        let events = HeldEvents::Segment {
            base_tick: segment.base_tick,
            bytes: segment.bytes.to_vec(),
            at: 0,
        };
        self.hold(segment.thread, Held { offset, events }, is_counted);
    }

    /// The same with events from columns.
    pub fn add_run(&mut self, run: Run, offset: usize, is_counted: impl FnOnce() -> bool) {
        let thread = run.thread;
        let events = HeldEvents::Run(run);
        self.hold(thread, Held { offset, events }, is_counted);
    }

    fn hold(&mut self, thread: u64, held: Held, is_counted: impl FnOnce() -> bool) {
        let known = self.by_number.get(&thread).copied();
        let index = known.unwrap_or_else(|| self.add_stream(thread, is_counted));
        let stream = &mut self.streams[index as usize];
        stream.push(held);
        if stream.next.is_none() {
            let next = stream.advance(&self.ledger);
            self.order.extend(
                next.report(&mut self.warnings)
                    .map(|tick| Reverse((tick, index))),
            );
        }
    }

    fn add_stream(&mut self, number: u64, is_counted: impl FnOnce() -> bool) -> u32 {
        let index = self.free_stream().unwrap_or_else(|| {
            self.ledger.add_thread(is_counted());
            self.streams.push(Stream::new(number));
            self.streams.len() as u32 - 1
        });
        let stream = &mut self.streams[index as usize];
        (stream.number, stream.is_unused) = (number, false);
        self.by_number.insert(number, index);
        index
    }

    /// A stream that stood for a thread that is retired.
    fn free_stream(&mut self) -> Option<u32> {
        let retirement = self.retirement.as_mut()?;
        if retirement.free.is_empty() && self.streams.len() >= retirement.sweep_at {
            self.retire();
        }
        self.retirement.as_mut()?.free.pop()
    }

    /// Retires the threads that ended. Not again before there are twice as many as are left.
    #[cold]
    fn retire(&mut self) {
        let Some(retirement) = &mut self.retirement else {
            return;
        };
        let is_done = |stream: &Stream| stream.has_ended && stream.is_idle();
        let indexes = 0..self.streams.len() as u32;
        let ended: Vec<u32> = indexes
            .filter(|&index| is_done(&self.streams[index as usize]))
            .collect();
        let free = self.ledger.retire_threads(&ended);
        for &index in &free {
            let mut free = Stream::new(0);
            free.is_unused = true;
            let stream = std::mem::replace(&mut self.streams[index as usize], free);
            self.by_number.remove(&stream.number);
            retirement.retired.push(stream.number);
            self.marks.append(stream.marks);
        }
        let left = self.streams.len() - free.len();
        retirement.sweep_at = MANY_THREADS.max(2 * left);
        retirement.free = free;
    }

    /// Applies all events up to a tick.
    pub fn run(&mut self, until: u64) {
        self.apply(until);
        let waiting = self.order.iter().map(|Reverse((_, index))| *index as usize);
        if waiting
            .map(|index| self.streams[index].held_bytes)
            .sum::<usize>()
            > MAX_HELD_BYTES
        {
            self.apply(u64::MAX);
        }
    }

    fn apply(&mut self, until: u64) {
        while let Some(mut first) = self.order.peek_mut() {
            let Reverse((tick, index)) = *first;
            if tick > until {
                break;
            }
            let stream = &mut self.streams[index as usize];
            let applied = stream.apply(index, tick, &mut self.code, &mut self.ledger);
            let next = match applied {
                Ok(()) => stream.advance(&self.ledger),
                Err(problem) => Err(stream.give_up(problem)),
            };
            self.last_tick = self.last_tick.max(tick);
            match next.report(&mut self.warnings) {
                Some(next_tick) => *first = Reverse((next_tick, index)),
                None => drop(PeekMut::pop(first)),
            }
        }
    }
}

impl Marks {
    fn push(&mut self, tick: u64, text: &[u8]) {
        if self.marks.len() == MAX_MARKS {
            self.left_out += 1;
            return;
        }
        let text = String::from_utf8_lossy(text).into_owned();
        self.marks.push((tick, text));
    }

    /// Adds those of another stream.
    fn append(&mut self, other: Self) {
        let room = MAX_MARKS - self.marks.len();
        self.left_out += other.left_out + other.marks.len().saturating_sub(room) as u64;
        self.marks.extend(other.marks.into_iter().take(room));
    }
}

trait Report {
    fn report(self, warnings: &mut Vec<Warning>) -> Option<u64>;
}

impl Report for Result<Option<u64>, Warning> {
    #[inline]
    fn report(self, warnings: &mut Vec<Warning>) -> Option<u64> {
        self.unwrap_or_else(|warning| {
            warnings.push(warning);
            None
        })
    }
}

impl Stream {
    fn new(number: u64) -> Self {
        Self {
            number,
            decoder: Decoder::new(),
            stacks: vec![StackTable::EMPTY, StackTable::CUT_OFF],
            held: VecDeque::new(),
            held_bytes: 0,
            steps: Vec::new(),
            taken: 0,
            problem: None,
            nodes: Vec::new(),
            next: None,
            is_broken: false,
            marks: Marks::default(),
            has_ended: false,
            is_unused: false,
        }
    }

    /// Whether all that came was applied.
    fn is_idle(&self) -> bool {
        self.next.is_none() && self.held.is_empty()
    }

    fn push(&mut self, held: Held) {
        if self.is_broken {
            return;
        }
        self.held_bytes += held.events.bytes();
        self.held.push_back(held);
    }

    /// Goes on to the next action and returns its tick; `None` at the end of what is there.
    #[inline]
    fn advance(&mut self, ledger: &Ledger) -> Result<Option<u64>, Warning> {
        self.next = None;
        loop {
            while let Some(&step) = self.steps.get(self.taken) {
                self.taken += 1;
                match step {
                    Step::Node { parent, address } => self.nodes.push((parent, address)),
                    Step::Act { tick, action } => {
                        self.next = Some(action);
                        return Ok(Some(tick));
                    }
                }
            }
            if let Some(malformed) = self.problem {
                return Err(self.give_up(Broken::Event(malformed)));
            }
            if !self.decode_ahead(ledger) {
                return Ok(None);
            }
        }
    }

    /// Decodes the next steps of what is held; `false` when there is none.
    fn decode_ahead(&mut self, ledger: &Ledger) -> bool {
        self.taken = 0;
        self.steps.clear();
        let Some(held) = self.held.front_mut() else {
            // There may be a million threads, of which most have ended.
            self.steps = Vec::new();
            return false;
        };
        let bytes = held.events.bytes();
        let (steps, marks) = (&mut self.steps, &mut self.marks);
        let mut has_ended = false;
        let decoded = held.events.decode(&mut self.decoder, |event| {
            match (Step::of(event, ledger), event) {
                (Some(step), _) => steps.push(step),
                (None, Event::Mark { tick, text }) => marks.push(tick, text),
                (None, Event::ThreadEnds { .. }) => has_ended = true,
                _ => {}
            }
        });
        self.has_ended |= has_ended;
        self.held_bytes -= bytes - held.events.bytes();
        match decoded {
            Ok(true) => {}
            Ok(false) => drop(self.held.pop_front()),
            Err(malformed) => self.problem = Some(malformed),
        }
        true
    }

    /// Applies the next action.
    #[inline]
    fn apply(
        &mut self,
        thread: u32,
        tick: u64,
        code: &mut Code,
        ledger: &mut Ledger,
    ) -> Result<(), Broken> {
        if !self.nodes.is_empty() {
            let added = self.add_stacks(tick, code);
            // Some may have been added before one that could not.
            ledger.add_stacks(code.stacks.len());
            added?;
        }
        match self.next {
            Some(Action::Allocate {
                stack,
                size_bytes,
                address,
            }) => {
                ledger.allocate(thread, self.stack(stack)?.0, size_bytes, address, tick);
            }
            Some(Action::Free { address }) => ledger.free(thread, address, tick),
            Some(Action::BeginReallocation { address }) => {
                ledger.begin_reallocation(thread, address, tick);
            }
            Some(Action::EndReallocation {
                stack,
                size_bytes,
                address,
            }) => {
                ledger.end_reallocation(thread, self.stack(stack)?.0, size_bytes, address, tick);
            }
            Some(Action::FailReallocation) => ledger.fail_reallocation(thread, tick),
            Some(Action::SetSampleInterval { interval_bytes }) => {
                ledger.set_sample_interval(thread, interval_bytes);
            }
            None => {}
        }
        Ok(())
    }

    fn add_stacks(&mut self, tick: u64, code: &mut Code) -> Result<(), Broken> {
        for index in 0..self.nodes.len() {
            let (parent, address) = self.nodes[index];
            let stack = code.stack_id(self.stack(parent)?, address, tick);
            self.stacks.push(stack.ok_or(Broken::TooManyStacks)?);
        }
        self.nodes.clear();
        Ok(())
    }

    #[inline]
    fn stack(&self, node: u32) -> Result<StackId, Broken> {
        self.stacks
            .get(node as usize)
            .copied()
            .ok_or(Broken::UnknownNode(node))
    }

    /// Leaves the rest of the stream out: without one event, the differences of all others are lost.
    #[cold]
    fn give_up(&mut self, problem: Broken) -> Warning {
        let offset = self.held.front().map_or(0, |held| held.offset);
        self.is_broken = true;
        self.next = None;
        self.held_bytes = 0;
        self.held.clear();
        self.steps = Vec::new();
        self.nodes = Vec::new();
        Warning::loss(format!(
            "block at byte {offset}: the events of thread {} are left out from here on: {problem}",
            self.number
        ))
    }
}

impl HeldEvents {
    /// How many bytes of them are left.
    fn bytes(&self) -> usize {
        match self {
            Self::Segment { bytes, at, .. } => bytes.len() - at,
            Self::Run(run) => run.bytes(),
        }
    }

    /// Hands on the next events. Gives whether there are more.
    #[inline(always)]
    fn decode(
        &mut self,
        decoder: &mut Decoder,
        mut take: impl FnMut(Event<'_>),
    ) -> Result<bool, Malformed> {
        let (base_tick, bytes, at) = match self {
            Self::Run(run) => return run.read(EVENTS_AHEAD, take),
            Self::Segment {
                base_tick,
                bytes,
                at,
            } => (base_tick, bytes, at),
        };
        if let Some(tick) = base_tick.take() {
            decoder.start(tick);
        }
        let mut rest = &bytes[*at..];
        for _ in 0..EVENTS_AHEAD {
            let Some(event) = decoder.next(&mut rest)? else {
                return Ok(false);
            };
            take(event);
        }
        *at = bytes.len() - rest.len();
        Ok(true)
    }
}

/// Why a stream cannot be read on.
enum Broken {
    Event(Malformed),
    UnknownNode(u32),
    TooManyStacks,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(malformed) => write!(f, "an event is malformed: {malformed}"),
            Self::UnknownNode(node) => write!(f, "there is no stack {node}"),
            Self::TooManyStacks => f.write_str("there are more stacks than 32 bits count"),
        }
    }
}

impl Step {
    /// What an event does, `None` if nothing here. The ledger is told of a block that it will be asked for.
    #[inline(always)]
    fn of(event: Event<'_>, ledger: &Ledger) -> Option<Self> {
        let (tick, action, address) = match event {
            Event::Node { parent, address } => return Some(Self::Node { parent, address }),
            Event::Allocation {
                stack,
                size_bytes,
                address,
                tick,
            } => (
                tick,
                Action::Allocate {
                    stack,
                    size_bytes,
                    address,
                },
                address,
            ),
            Event::Free { address, tick } => (tick, Action::Free { address }, address),
            Event::ReallocationBegins { address, tick } => {
                (tick, Action::BeginReallocation { address }, address)
            }
            Event::ReallocationEnds {
                stack,
                size_bytes,
                address,
                tick,
            } => (
                tick,
                Action::EndReallocation {
                    stack,
                    size_bytes,
                    address,
                },
                address,
            ),
            Event::ReallocationFailed { tick } => {
                return Some(Self::Act {
                    tick,
                    action: Action::FailReallocation,
                });
            }
            Event::SampleInterval {
                interval_bytes,
                tick,
            } => {
                return Some(Self::Act {
                    tick,
                    action: Action::SetSampleInterval { interval_bytes },
                });
            }
            _ => return None,
        };
        ledger.prefetch(address);
        Some(Self::Act { tick, action })
    }
}
