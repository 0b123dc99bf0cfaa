//! Random programs of some threads, read and held against an oracle that recomputes everything from the
//! list of what is live, at every event.

mod recording;

use std::collections::HashMap;

use heapatlas_formats::trace::{ReadOptions, read};
use heapatlas_model::{AllocationProfile, Amount, StackFigures, ThreadFigures};
use proptest::prelude::*;
use recording::{Path, Recording, assert_same, cut_off, figures_by_path, path, read_all};

const THREADS: usize = 3;
const ADDRESSES: u64 = 12;

#[derive(Clone, Debug)]
enum Action {
    Allocate {
        stack: Path,
        size: u64,
        address: u64,
    },
    Free {
        address: u64,
    },
    Begin {
        address: u64,
    },
    End {
        stack: Path,
        size: u64,
        address: u64,
    },
    Fail,
}

#[derive(Clone, Debug)]
struct Event {
    thread: usize,
    time: u64,
    action: Action,
}

#[derive(Clone, Debug)]
struct Block {
    address: u64,
    stack: Path,
    size: u64,
    time: u64,
    thread: usize,
    is_counted: bool,
    /// Whether its thread has allocated another one since.
    is_followed: bool,
}

fn stack() -> impl Strategy<Value = Path> {
    let addresses = prop::collection::vec(1_u64..4, 0..4);
    (addresses, any::<bool>()).prop_map(|(addresses, is_cut_off)| match is_cut_off {
        true => cut_off(&addresses),
        false => path(&addresses),
    })
}

/// A reallocation that has begun.
#[derive(Clone, Copy)]
struct Pending {
    address: u64,
    /// Somebody else got the old block's address: it cannot fail any more.
    is_moved: bool,
}

/// Random numbers made into what programs can do: a thread in a reallocation does nothing else, and a
/// block that lives on was never given to anybody else.
fn program() -> impl Strategy<Value = Vec<Event>> {
    let step = (
        0..THREADS,
        0..8_u32,
        1..=ADDRESSES,
        stack(),
        0..5_u64,
        1_u64..200,
    );
    prop::collection::vec(step, 0..150).prop_map(|steps| {
        let mut pending: [Option<Pending>; THREADS] = [None; THREADS];
        let mut time = 0;
        let mut program: Vec<_> = steps
            .into_iter()
            .map(|(thread, kind, address, stack, size, later)| {
                time += later;
                // Some are not aligned.
                let (address, size) = (address * 4, size * size * 10);
                let was_pending = pending[thread].take();
                let action = match kind {
                    0 if was_pending.is_some_and(|pending| !pending.is_moved) => Action::Fail,
                    _ if was_pending.is_some() => Action::End {
                        stack,
                        size,
                        address,
                    },
                    0..=3 => Action::Allocate {
                        stack,
                        size,
                        address,
                    },
                    4..=6 => Action::Free { address },
                    _ => {
                        pending[thread] = Some(Pending {
                            address,
                            is_moved: false,
                        });
                        Action::Begin { address }
                    }
                };
                if let Action::Allocate { .. } | Action::End { .. } = action {
                    let taken = pending.iter_mut().flatten();
                    taken
                        .filter(|pending| pending.address == address)
                        .for_each(|pending| pending.is_moved = true);
                }
                Event {
                    thread,
                    time,
                    action,
                }
            })
            .collect();
        let moved = |pending: Option<Pending>| pending.is_some_and(|pending| pending.is_moved);
        let threads = (0..THREADS).filter(|&thread| moved(pending[thread]));
        program.extend(threads.map(|thread| Event {
            thread,
            time: time + 1 + thread as u64,
            action: Action::End {
                stack: path(&[]),
                size: 10,
                address: 1000 + 16 * thread as u64,
            },
        }));
        program
    })
}

/// Writes the program; `gathers` are the events before which was gathered, where threads may be `ahead`
/// by some of their own events. As a file of events and one of sums.
fn write(
    mut recording: Recording,
    program: &[Event],
    gathers: &[usize],
    ahead: &[usize],
    end_time: u64,
) -> (Vec<u8>, Vec<u8>) {
    let mut written = [0; THREADS];
    let of_thread = |thread| {
        program
            .iter()
            .enumerate()
            .filter(move |(_, e)| e.thread == thread)
    };
    let mut gathers = gathers.to_vec();
    gathers.sort_unstable();
    for (gather, &before) in gathers.iter().enumerate() {
        for thread in 0..THREADS {
            let due = of_thread(thread)
                .filter(|(index, _)| *index < before)
                .count();
            let until = due + ahead[(gather + thread) % ahead.len()];
            for (_, event) in of_thread(thread).take(until).skip(written[thread]) {
                write_event(&mut recording, event);
            }
            written[thread] = written[thread].max(until);
        }
        recording.gather(program.get(before).map_or(end_time, |event| event.time - 1));
    }
    for (thread, written) in written.into_iter().enumerate() {
        let left = of_thread(thread).skip(written);
        left.for_each(|(_, event)| write_event(&mut recording, event));
    }
    recording.finish_both(end_time)
}

fn write_event(recording: &mut Recording, event: &Event) {
    let Event {
        thread,
        time,
        action,
    } = event;
    match action {
        Action::Allocate {
            stack,
            size,
            address,
        } => {
            recording.allocate(*thread, stack, *size, *address, *time);
        }
        Action::Free { address } => recording.free(*thread, *address, *time),
        Action::Begin { address } => recording.begin(*thread, *address, *time),
        Action::End {
            stack,
            size,
            address,
        } => recording.end(*thread, stack, *size, *address, *time),
        Action::Fail => recording.fail(*thread, *time),
    }
}

/// What the profile should say.
#[derive(Default)]
struct Oracle {
    live: Vec<Block>,
    reallocating: [Option<(Block, u64)>; THREADS],
    allocated: Vec<Block>,
    /// Freed blocks, who freed them, when, and whether they were temporary.
    freed: Vec<(Block, usize, u64, bool)>,
    at_peak: Vec<Block>,
    peak_time: u64,
    /// What was live from a time on.
    history: Vec<(u64, Amount)>,
}

impl Oracle {
    fn run(program: &[Event], end_time: u64, options: &ReadOptions) -> Self {
        let mut oracle = Self::default();
        let (from, to) = (
            options.from_ns.unwrap_or(0),
            options.to_ns.unwrap_or(u64::MAX),
        );
        let is_thread = |thread| options.thread.is_none_or(|id| id == 100 + thread as u64);
        for event in program.iter().filter(|event| event.time < to) {
            let is_counted = event.time >= from && is_thread(event.thread);
            oracle.apply(event, is_counted);
            oracle.history.push((event.time, sum(oracle.counted())));
        }
        for thread in 0..THREADS {
            oracle.restore(thread, end_time.min(to - 1));
        }
        oracle
            .history
            .push((end_time.min(to - 1), sum(oracle.counted())));
        oracle
    }

    fn apply(&mut self, event: &Event, is_counted: bool) {
        let (thread, time) = (event.thread, event.time);
        match event.action.clone() {
            Action::Allocate {
                stack,
                size,
                address,
            } => {
                self.allocate(Block {
                    address,
                    stack,
                    size,
                    time,
                    thread,
                    is_counted,
                    is_followed: false,
                });
            }
            Action::Free { address } => {
                if let Some(block) = self.take(address) {
                    let is_temporary = block.thread == thread && !block.is_followed;
                    self.freed.push((block, thread, time, is_temporary));
                }
            }
            Action::Begin { address } => {
                self.reallocating[thread] = self.take(address).map(|block| (block, time));
            }
            Action::End {
                stack,
                size,
                address,
            } => {
                if let Some((block, time)) = self.reallocating[thread].take() {
                    self.freed.push((block, thread, time, false));
                }
                self.allocate(Block {
                    address,
                    stack,
                    size,
                    time,
                    thread,
                    is_counted,
                    is_followed: false,
                });
            }
            Action::Fail => self.restore(thread, time),
        }
    }

    fn allocate(&mut self, block: Block) {
        let of_thread = self
            .live
            .iter_mut()
            .filter(|other| other.thread == block.thread);
        of_thread.for_each(|other| other.is_followed = true);
        let held = self.reallocating.iter_mut().flatten().map(|(held, _)| held);
        held.filter(|held| held.thread == block.thread)
            .for_each(|held| held.is_followed = true);
        if block.is_counted {
            self.allocated.push(block.clone());
        }
        self.hold(block.clone(), block.time);
    }

    fn hold(&mut self, block: Block, time: u64) {
        self.take(block.address);
        let is_counted = block.is_counted;
        self.live.push(block);
        let (now, peak) = (sum(self.counted()), sum(self.at_peak.iter()));
        if is_counted && now.bytes >= peak.bytes {
            self.at_peak = self.counted().cloned().collect();
            self.peak_time = time;
        }
    }

    fn restore(&mut self, thread: usize, time: u64) {
        if let Some((block, _)) = self.reallocating[thread].take() {
            self.hold(block, time);
        }
    }

    fn take(&mut self, address: u64) -> Option<Block> {
        let at = self
            .live
            .iter()
            .position(|block| block.address == address)?;
        Some(self.live.remove(at))
    }

    fn counted(&self) -> impl Iterator<Item = &Block> {
        self.live.iter().filter(|block| block.is_counted)
    }

    fn freed(&self) -> impl Iterator<Item = &(Block, usize, u64, bool)> {
        self.freed.iter().filter(|(block, ..)| block.is_counted)
    }

    fn temporary(&self) -> impl Iterator<Item = &Block> {
        self.freed()
            .filter(|(.., is_temporary)| *is_temporary)
            .map(|(block, ..)| block)
    }

    fn stack(&self, stack: &Path) -> StackFigures {
        let of_stack = |block: &&Block| block.stack == *stack;
        let lifetimes = self.freed().filter(|(block, ..)| block.stack == *stack);
        StackFigures {
            total: sum(self.allocated.iter().filter(of_stack)),
            peak: sum(self.at_peak.iter().filter(of_stack)),
            live_at_end: sum(self.counted().filter(of_stack)),
            temporary: sum(self.temporary().filter(of_stack)),
            lifetime_ns: lifetimes.map(|(block, _, time, _)| time - block.time).sum(),
        }
    }

    fn thread(&self, thread: usize) -> ThreadFigures {
        let of_thread = |block: &&Block| block.thread == thread;
        ThreadFigures {
            os_thread_id: 100 + thread as u64,
            name: format!("worker {thread}"),
            total: sum(self.allocated.iter().filter(of_thread)),
            peak: sum(self.at_peak.iter().filter(of_thread)),
            live_at_end: sum(self.counted().filter(of_thread)),
            frees: self.freed().filter(|(_, by, ..)| *by == thread).count() as u64,
            temporary: sum(self.temporary().filter(of_thread)),
        }
    }

    /// The most that was live at some time from `from` on and before `to`.
    fn most(&self, from: u64, to: u64) -> u64 {
        let before = self.history.iter().rev().find(|(time, _)| *time < from);
        let within = self
            .history
            .iter()
            .filter(|(time, _)| (from..to).contains(time));
        before
            .into_iter()
            .chain(within)
            .map(|(_, live)| live.bytes)
            .max()
            .unwrap_or(0)
    }
}

fn sum<'a>(blocks: impl Iterator<Item = &'a Block>) -> Amount {
    blocks.fold(Amount::default(), |sum, block| Amount {
        bytes: sum.bytes + block.size,
        blocks: sum.blocks + 1,
    })
}

/// Row 0 for 0, row n for 2^(n-1) and more.
fn histogram(values: impl Iterator<Item = (u64, u64)>) -> Vec<Amount> {
    let mut rows = Vec::new();
    for (value, bytes) in values {
        let row = (0..).find(|&row| value < 1 << row).unwrap();
        rows.resize(rows.len().max(row + 1), Amount::default());
        rows[row].bytes += bytes;
        rows[row].blocks += 1;
    }
    rows
}

fn check(profile: &AllocationProfile, oracle: &Oracle) {
    assert_eq!(profile.total, sum(oracle.allocated.iter()));
    assert_eq!(profile.frees, oracle.freed().count() as u64);
    assert_eq!(profile.peak, sum(oracle.at_peak.iter()));
    assert_eq!(profile.peak_time_ns, oracle.peak_time);
    assert_eq!(profile.live_at_end, sum(oracle.counted()));
    assert_eq!(profile.temporary, sum(oracle.temporary()));
    let truncated = oracle
        .allocated
        .iter()
        .filter(|block| block.stack.is_cut_off);
    assert_eq!(profile.truncated_stacks, truncated.count() as u64);
    let stacks: HashMap<Path, StackFigures> = oracle
        .allocated
        .iter()
        .map(|b| (b.stack.clone(), oracle.stack(&b.stack)))
        .collect();
    assert_eq!(figures_by_path(profile), stacks);
    for thread in &profile.threads {
        assert_eq!(*thread, oracle.thread(thread.os_thread_id as usize - 100));
    }
    assert_eq!(
        profile.sizes,
        histogram(oracle.allocated.iter().map(|b| (b.size, b.size)))
    );
    let lifetimes = oracle
        .freed()
        .map(|(block, _, time, _)| (time - block.time, block.size));
    assert_eq!(profile.lifetimes, histogram(lifetimes));
}

fn check_timeline(profile: &AllocationProfile, oracle: &Oracle, from: u64) {
    let mut begin = from;
    let last = profile.timeline.len() - 1;
    for (index, point) in profile.timeline.iter().enumerate() {
        // The last interval includes its end.
        let end = point.time_ns + u64::from(index == last);
        assert_eq!(
            point.most.bytes,
            oracle.most(begin, end),
            "from {begin} to {end}"
        );
        begin = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(debug_assertions) { 400 } else { 4000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_figure_is_the_oracle_s(
        program in program(),
        gathers in prop::collection::vec(0_usize..150, 0..5),
        ahead in prop::collection::vec(0_usize..4, 1..5),
        (from_ns, to_ns) in (prop::option::of(0_u64..9000), prop::option::of(1_u64..15000)),
        thread in prop::option::of(100_u64..103),
    ) {
        let end_time = program.last().map_or(10, |event| event.time + 10);
        let (bytes, sums) = write(Recording::new(THREADS), &program, &gathers, &ahead, end_time);
        for options in [
            ReadOptions::default(),
            ReadOptions { from_ns, ..ReadOptions::default() },
            ReadOptions { from_ns, to_ns, thread },
        ] {
            let (profile, _) = read(&bytes, &options).unwrap();
            let oracle = Oracle::run(&program, end_time, &options);
            check(&profile, &oracle);
            if to_ns.is_none() || options.to_ns.is_none() {
                check_timeline(&profile, &oracle, options.from_ns.unwrap_or(0));
            }
        }
        let (exact, warnings) = read_all(&bytes).unwrap();
        let (aggregate, sums_warnings) = read_all(&sums).unwrap();
        assert_same(&exact, &aggregate);
        prop_assert_eq!(warnings, sums_warnings);
    }

    /// Whatever order hangs on is told exactly, so that no sum is wrong.
    #[test]
    fn coarse_times_change_times_only(
        program in program(),
        gathers in prop::collection::vec(0_usize..150, 0..5),
        ahead in prop::collection::vec(0_usize..4, 1..5),
    ) {
        let end_time = program.last().map_or(10, |event| event.time + 10);
        let recording = Recording::with_coarse_times(THREADS);
        let (bytes, _) = write(recording, &program, &gathers, &ahead, end_time);
        let (mut profile, _) = read(&bytes, &ReadOptions::default()).unwrap();
        let mut oracle = Oracle::run(&program, end_time, &ReadOptions::default());
        forget_times(&mut profile, &mut oracle);
        check(&profile, &oracle);
    }
}

/// Puts the oracle's times into the profile: of events, of the peak, of lifetimes.
fn forget_times(profile: &mut AllocationProfile, oracle: &mut Oracle) {
    profile.peak_time_ns = oracle.peak_time;
    for (block, _, time, _) in &mut oracle.freed {
        *time = block.time;
    }
    for figures in &mut profile.figures {
        figures.lifetime_ns = 0;
    }
    let freed = oracle.freed().map(|(block, ..)| (0, block.size));
    profile.lifetimes = histogram(freed);
}
