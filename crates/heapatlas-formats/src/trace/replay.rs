//! The events of all threads, in order of time: each thread's stream is in order, so they are merged.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use heapatlas_model::{StackId, StackTable};
use heapatlas_trace::payload::Segment;
use heapatlas_trace::{Decoder, Event, Malformed};
use rustc_hash::FxHashMap;

use super::code::Code;
use super::error::Warning;
use super::ledger::Ledger;

/// Events are kept back until what comes before them is known to be there; but not more than so many
/// bytes of them, whatever their ticks say.
const MAX_HELD_BYTES: usize = 256 << 20;

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
}

/// What is left of one thread's stream.
pub(super) struct Stream {
    /// The thread's number within the recording.
    pub number: u64,
    decoder: Decoder,
    /// The stacks that its node numbers stand for.
    stacks: Vec<StackId>,
    segments: VecDeque<HeldSegment>,
    held_bytes: usize,
    /// How much of the first segment was decoded.
    at: usize,
    /// What was decoded ahead, and how much of it was taken.
    steps: Vec<Step>,
    taken: usize,
    /// What ends the stream behind the last step.
    problem: Option<Malformed>,
    /// Nodes that come before the next action.
    nodes: Vec<(u32, u64)>,
    next: Option<Action>,
    is_broken: bool,
}

struct HeldSegment {
    /// Where its block is in the file.
    offset: usize,
    base_tick: Option<u64>,
    bytes: Vec<u8>,
}

/// An event that matters here.
#[derive(Clone, Copy)]
enum Step {
    Node { parent: u32, address: u64 },
    Act { tick: u64, action: Action },
}

/// So many events are decoded at once. Their blocks are on the way from memory while those before them are applied.
const STEPS_AHEAD: usize = 32;

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
    Map {
        stack: u32,
        size_bytes: u64,
        address: u64,
    },
    Unmap {
        size_bytes: u64,
        address: u64,
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
        };
        replay.ledger.add_stacks(replay.code.stacks.len());
        replay
    }

    /// Adds a segment of a block at `offset`; `is_counted` tells of a new thread whether it is asked for.
    pub fn add(&mut self, segment: &Segment<'_>, offset: usize, is_counted: impl FnOnce() -> bool) {
        let index = *self.by_number.entry(segment.thread).or_insert_with(|| {
            self.streams.push(Stream::new(segment.thread));
            self.ledger.add_thread(is_counted());
            self.streams.len() as u32 - 1
        });
        let stream = &mut self.streams[index as usize];
        stream.push(segment, offset);
        if stream.next.is_none() {
            let next = stream.advance(&self.ledger);
            self.order.extend(
                next.report(&mut self.warnings)
                    .map(|tick| Reverse((tick, index))),
            );
        }
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
            segments: VecDeque::new(),
            held_bytes: 0,
            at: 0,
            steps: Vec::new(),
            taken: 0,
            problem: None,
            nodes: Vec::new(),
            next: None,
            is_broken: false,
        }
    }

    fn push(&mut self, segment: &Segment<'_>, offset: usize) {
        if self.is_broken {
            return;
        }
        self.held_bytes += segment.bytes.len();
        self.segments.push_back(HeldSegment {
            offset,
            base_tick: segment.base_tick,
            bytes: segment.bytes.to_vec(),
        });
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

    /// Decodes the next steps of a segment; `false` when there is none.
    fn decode_ahead(&mut self, ledger: &Ledger) -> bool {
        self.taken = 0;
        let Some(segment) = self.segments.front() else {
            // There may be a million threads, of which most have ended.
            self.steps = Vec::new();
            return false;
        };
        self.steps.clear();
        if let Some(tick) = segment.base_tick.filter(|_| self.at == 0) {
            self.decoder.start(tick);
        }
        let mut rest = &segment.bytes[self.at..];
        while self.steps.len() < STEPS_AHEAD {
            match self.decoder.next(&mut rest) {
                Ok(Some(event)) => self.steps.extend(Step::of(event, ledger)),
                Ok(None) => {
                    self.held_bytes -= segment.bytes.len();
                    self.at = 0;
                    self.segments.pop_front();
                    return true;
                }
                Err(malformed) => {
                    self.problem = Some(malformed);
                    break;
                }
            }
        }
        self.at = segment.bytes.len() - rest.len();
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
            Some(Action::Map {
                stack,
                size_bytes,
                address,
            }) => ledger.map(thread, self.stack(stack)?.0, address, size_bytes, tick),
            Some(Action::Unmap {
                size_bytes,
                address,
            }) => ledger.unmap(address, size_bytes, tick),
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
        let offset = self.segments.front().map_or(0, |segment| segment.offset);
        self.is_broken = true;
        self.next = None;
        self.held_bytes = 0;
        self.segments.clear();
        self.steps = Vec::new();
        self.nodes = Vec::new();
        Warning::loss(format!(
            "block at byte {offset}: the events of thread {} are left out from here on: {problem}",
            self.number
        ))
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
            Event::Mapping {
                stack,
                size_bytes,
                address,
                tick,
            } => {
                let action = Action::Map {
                    stack,
                    size_bytes,
                    address,
                };
                return Some(Self::Act { tick, action });
            }
            Event::Unmapping {
                size_bytes,
                address,
                tick,
            } => {
                let action = Action::Unmap {
                    size_bytes,
                    address,
                };
                return Some(Self::Act { tick, action });
            }
            _ => return None,
        };
        ledger.prefetch(address);
        Some(Self::Act { tick, action })
    }
}
