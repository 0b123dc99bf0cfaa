//! What is read of the writer's columns, event by event: each one as it was, in its thread's order, and its time as
//! close as it is promised.

use std::collections::{BTreeMap, BTreeSet};

use heapatlas_trace::payload::{ModuleInfo, ProcessInfo, Segment};
use heapatlas_trace::{Encoder, Event, MAX_EVENT_BYTES};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::Writer;
use super::blocks::{Unpackers, walk};
use super::columns::runs;
use heapatlas_trace::file::BlockKind;

const THREADS: usize = 3;
/// Ticks are nanoseconds: 200 µs, a sixteenth more for where lines end, and what rounding costs.
const TOLERANCE: u64 = 200_000 + 200_000 / 16 + 2;
/// Pages as the format has them.
const PAGE_BYTES: u64 = 16 << 10;

#[derive(Clone, Copy, Debug)]
struct Planned {
    number: usize,
    thread: usize,
    tick: u64,
    kind: u8,
    address: u64,
    size_bytes: u64,
}

impl Planned {
    fn page(&self) -> u64 {
        self.address / PAGE_BYTES
    }

    fn is_on_page(&self) -> bool {
        self.event().address().is_some()
    }

    fn event(&self) -> Event<'static> {
        let Self {
            tick,
            address,
            size_bytes,
            ..
        } = *self;
        match self.kind {
            0 | 1 => Event::Allocation {
                stack: self.thread as u32 % 2,
                size_bytes,
                address,
                tick,
            },
            2 | 3 => Event::Free { address, tick },
            4 => Event::ReallocationBegins { address, tick },
            5 => Event::ReallocationEnds {
                stack: 1,
                size_bytes,
                address,
                tick,
            },
            6 => Event::ThreadEnds { tick },
            _ => Event::Node {
                parent: 1,
                address: size_bytes,
            },
        }
    }

    fn write(&self, encoder: &mut Encoder, stream: &mut Vec<u8>) {
        let mut out = [0; MAX_EVENT_BYTES];
        let length = match self.event() {
            Event::Allocation {
                stack,
                size_bytes,
                address,
                tick,
            } => encoder.allocation(&mut out, stack, size_bytes, address, tick),
            Event::Free { address, tick } => encoder.free(&mut out, address, tick),
            Event::ReallocationBegins { address, tick } => {
                encoder.reallocation_begins(&mut out, address, tick)
            }
            Event::ReallocationEnds {
                stack,
                size_bytes,
                address,
                tick,
            } => encoder.reallocation_ends(&mut out, stack, size_bytes, address, tick),
            Event::Node { parent, address } => encoder.node(&mut out, parent, address),
            _ => encoder.thread_ends(&mut out, self.tick),
        };
        stream.extend_from_slice(&out[..length]);
    }
}

/// Steady work, bursts and pauses; now and then at an address that is no multiple of eight.
fn plan() -> impl Strategy<Value = Vec<Planned>> {
    let gap = prop_oneof![5 => 0_u64..300, 1 => 0_u64..100_000, 1 => 0_u64..100_000_000];
    // Threads work in bursts.
    let thread = prop_oneof![4 => Just(None), 1 => (0..THREADS).prop_map(Some)];
    let step = (thread, 0..8_u8, gap, 0..40_u64, any::<u64>(), 0..70_u32);
    prop::collection::vec(step, 1..300).prop_map(|steps| {
        let (mut tick, mut thread) = (5_000_000, 0);
        let planned = |(number, (other, kind, gap, page, random, zeros)): (
            usize,
            (Option<usize>, _, _, u64, u64, u32),
        )| {
            tick += gap;
            thread = other.unwrap_or(thread);
            // Half of the pages are of one thread each.
            let is_own = page % 2 == 0;
            let page = page
                + if is_own {
                    1000 * (thread as u64 + 1)
                } else {
                    0
                };
            let odd = u64::from(random % 19 == 0);
            Planned {
                number,
                thread,
                tick,
                kind,
                address: page * PAGE_BYTES + random % 1000 * 16 + odd,
                size_bytes: random.checked_shr(zeros).unwrap_or(0),
            }
        };
        steps.into_iter().enumerate().map(planned).collect()
    })
}

/// Events that are gathered together: those of a few steps, and up to which tick.
struct Gathering<'a> {
    events: &'a [Planned],
    tick: u64,
}

fn gatherings<'a>(plan: &'a [Planned], steps: &[(usize, u64)]) -> Vec<Gathering<'a>> {
    let mut rest = plan;
    let mut gatherings: Vec<Gathering<'_>> = Vec::new();
    for &(count, back) in steps.iter().cycle() {
        let (events, left) = rest.split_at(count.min(rest.len()));
        rest = left;
        let last = events.last().map_or(0, |event| event.tick);
        let before = gatherings.last().map_or(0, |gathering| gathering.tick);
        let tick = last.saturating_sub(back).max(before);
        gatherings.push(Gathering { events, tick });
        if rest.is_empty() {
            break;
        }
    }
    gatherings
}

fn write(gatherings: &[Gathering<'_>], modules_at: &[usize], is_exact: bool) -> Vec<u8> {
    let process = ProcessInfo {
        ticks_per_second: 1_000_000_000,
        arguments: [""; 0],
        ..ProcessInfo::default()
    };
    let mut writer = Writer::new(Vec::new(), &process).unwrap();
    if is_exact {
        writer = writer.with_exact_times();
    }
    let mut owners = Owners::default();
    for (index, gathering) in gatherings.iter().enumerate() {
        let sharing = owners.sharing_threads(gathering.events);
        if modules_at.contains(&index) {
            let tick = gathering.events.first().map_or(0, |event| event.tick);
            writer.modules(tick, &[ModuleInfo::default()]).unwrap();
        }
        let streams: Vec<_> = (0..THREADS)
            .map(|thread| stream(gathering.events, thread))
            .collect();
        let segments = streams.iter().enumerate().map(|(thread, stream)| Segment {
            thread: thread as u64,
            base_tick: Some(0),
            bytes: stream,
            is_exclusive: !sharing.contains(&thread),
        });
        let segments = segments.filter(|segment| !segment.bytes.is_empty());
        writer.events(gathering.tick, 0, 0, segments).unwrap();
    }
    writer.end(&Default::default()).unwrap()
}

/// Who has touched which page so far, as recorders know it.
#[derive(Default)]
struct Owners(BTreeMap<u64, BTreeSet<usize>>);

impl Owners {
    /// The threads of events about memory that other threads had touched.
    fn sharing_threads(&mut self, events: &[Planned]) -> BTreeSet<usize> {
        let mut sharing = BTreeSet::new();
        for event in events.iter().filter(|event| event.is_on_page()) {
            let owners = self.0.entry(event.page()).or_default();
            owners.insert(event.thread);
            if owners.len() > 1 {
                sharing.insert(event.thread);
            }
        }
        sharing
    }
}

fn stream(events: &[Planned], thread: usize) -> Vec<u8> {
    let (mut encoder, mut stream) = (Encoder::new(), Vec::new());
    let of_thread = events.iter().filter(|event| event.thread == thread);
    of_thread.for_each(|event| event.write(&mut encoder, &mut stream));
    stream
}

/// Each thread's events; a few are read at a time.
fn read(file: &[u8]) -> BTreeMap<usize, Vec<Event<'static>>> {
    let mut threads: BTreeMap<usize, Vec<Event<'static>>> = BTreeMap::new();
    let mut unpackers = Unpackers::new();
    for block in walk(file).unwrap().blocks {
        if block.kind != BlockKind::Columns {
            continue;
        }
        for mut run in runs(unpackers.unpack(&block).unwrap()).unwrap().1 {
            let events = threads.entry(run.thread as usize).or_default();
            while run.read(7, |event| events.push(owned(event))).unwrap() {}
        }
    }
    threads
}

fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Mark { tick, .. } => Event::Mark { tick, text: b"" },
        Event::Allocation {
            stack,
            size_bytes,
            address,
            tick,
        } => Event::Allocation {
            stack,
            size_bytes,
            address,
            tick,
        },
        Event::ReallocationEnds {
            stack,
            size_bytes,
            address,
            tick,
        } => Event::ReallocationEnds {
            stack,
            size_bytes,
            address,
            tick,
        },
        Event::Free { address, tick } => Event::Free { address, tick },
        Event::ReallocationBegins { address, tick } => Event::ReallocationBegins { address, tick },
        Event::Node { parent, address } => Event::Node { parent, address },
        Event::ThreadEnds { tick } => Event::ThreadEnds { tick },
        other => panic!("nobody wrote {other:?}"),
    }
}

/// Whether one thread did all of its events before another one did any; `late` are threads of which some are told in
/// the order of this gathering.
fn is_in_turn(events: &[Planned], late: &BTreeSet<usize>) -> bool {
    let timed: Vec<_> = events.iter().filter(|event| event.kind < 7).collect();
    let first = timed.first().map(|event| event.thread);
    let turns: Vec<_> = timed.chunk_by(|a, b| a.thread == b.thread).collect();
    let threads: BTreeSet<_> = turns.iter().map(|turn| turn[0].thread).collect();
    let mut pairs = turns.windows(2);
    late.iter().all(|&thread| Some(thread) == first)
        && threads.len() == turns.len()
        && pairs.all(|pair| pair[0].last().map(|last| last.tick) < Some(pair[1][0].tick))
}

/// Whether events that the program ordered are told in that order, and all of a gathering in which threads worked in turn:
/// `ticks` are as they were read. What was gathered by an earlier tick is before the rest anyway.
fn check_order(gatherings: &[Gathering<'_>], ticks: &BTreeMap<usize, u64>) -> TestCaseResult {
    let mut pages: BTreeMap<u64, Vec<(&Planned, bool)>> = BTreeMap::new();
    let mut late = BTreeSet::new();
    for gathering in gatherings {
        for page in pages.values_mut() {
            page.iter_mut().for_each(|(_, is_told)| *is_told = true);
        }
        if is_in_turn(gathering.events, &late) {
            let timed = gathering.events.iter().filter(|event| event.kind < 7);
            let told: Vec<_> = timed.map(|event| ticks[&event.number]).collect();
            prop_assert!(told.is_sorted(), "{told:?}");
        }
        for event in gathering.events.iter().filter(|event| event.is_on_page()) {
            let page = pages.entry(event.page()).or_default();
            for &(before, is_told) in &*page {
                let (first, then) = (ticks[&before.number], ticks[&event.number]);
                let may_be_equal = before.tick == event.tick || is_told;
                let is_after = first < then || first == then && may_be_equal;
                prop_assert!(
                    before.thread == event.thread || is_after,
                    "{before:?} is told as {first}, {event:?} as {then}"
                );
            }
            page.push((event, false));
        }
        let is_late = |event: &&Planned| event.tick > gathering.tick;
        let after = gathering.events.iter().filter(is_late);
        late = after.map(|event| event.thread).collect();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn events_as_they_were_and_times_as_promised(
        plan in plan(),
        steps in prop::collection::vec((1_usize..120, prop_oneof![Just(0), 0_u64..50_000]), 1..6),
        modules_at in prop::collection::vec(0_usize..4, 0..3),
        is_exact: bool,
    ) {
        let gatherings = gatherings(&plan, &steps);
        let file = write(&gatherings, &modules_at, is_exact);
        let threads = read(&file);
        let mut ticks = BTreeMap::new();
        for thread in 0..THREADS {
            let expected: Vec<_> = plan.iter().filter(|event| event.thread == thread).collect();
            let found = threads.get(&thread).map_or(&[][..], Vec::as_slice);
            prop_assert_eq!(expected.len(), found.len());
            let mut last = 0;
            for (planned, found) in expected.into_iter().zip(found) {
                let tick = found.tick().unwrap_or(planned.tick);
                prop_assert_eq!(Planned { tick, ..*planned }.event(), *found);
                prop_assert!(tick <= planned.tick, "{} is told as {tick}", planned.tick);
                prop_assert!(planned.tick - tick <= TOLERANCE, "{} is told as {tick}", planned.tick);
                if is_exact {
                    prop_assert_eq!(tick, planned.tick);
                }
                ticks.insert(planned.number, tick);
                if found.tick().is_some() {
                    prop_assert!(tick >= last, "{tick} after {last}");
                    last = tick;
                }
            }
        }
        check_order(&gatherings, &ticks)?;
    }
}
