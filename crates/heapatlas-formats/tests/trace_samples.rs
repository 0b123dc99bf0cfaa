//! Samples stand for all: sums over sampled blocks are right on average, and what is sampled is drawn here, from
//! blocks that are known.

mod recording;

use heapatlas_formats::trace::{Mode, ProcessInfo, Writer};
use heapatlas_model::{Amount, RecordingMode};
use recording::{Path, Recording, amount, figures_by_path, path, process, read_whole};

/// A program's blocks, of which some are recorded.
struct Program {
    recording: Recording,
    random: u64,
    interval: u64,
    time: u64,
    next_address: u64,
    /// What there is, and the variance of its estimate.
    total: Sum,
    freed: Sum,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    blocks: f64,
    bytes: f64,
    variance_of_blocks: f64,
    variance_of_bytes: f64,
}

impl Sum {
    fn add(&mut self, size: u64, interval: u64) {
        let share = probability(size, interval);
        let size = size as f64;
        self.blocks += 1.0;
        self.bytes += size;
        self.variance_of_blocks += (1.0 - share) / share;
        self.variance_of_bytes += size * size * (1.0 - share) / share;
    }

    #[track_caller]
    fn assert_near(&self, found: Amount, what: &str) {
        let off = (found.blocks as f64 - self.blocks).abs();
        // Each stack may lack a part of a block, and of a byte.
        assert!(
            off <= 4.0 * self.variance_of_blocks.sqrt() + 4.0,
            "{what}: {found:?}, not {} blocks",
            self.blocks
        );
        let off = (found.bytes as f64 - self.bytes).abs();
        assert!(
            off <= 4.0 * self.variance_of_bytes.sqrt() + 4.0,
            "{what}: {found:?}, not {} bytes",
            self.bytes
        );
    }
}

fn probability(size: u64, interval: u64) -> f64 {
    if interval == 0 {
        return 1.0;
    }
    -(-(size as f64) / interval as f64).exp_m1()
}

impl Program {
    fn new(interval: u64) -> Self {
        let mut recording = Recording::new(1);
        recording.writer = writer(0);
        let mut program = Self {
            recording,
            random: 12345,
            interval: 0,
            time: 0,
            next_address: 0x10000,
            total: Sum::default(),
            freed: Sum::default(),
        };
        program.set_interval(interval);
        program
    }

    fn set_interval(&mut self, interval: u64) {
        self.interval = interval;
        self.recording.event(0, self.time, |e, out, tick| {
            e.sample_interval(out, interval, tick)
        });
    }

    /// Knuth's generator: a number from 0 to 1.
    fn chance(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn block(&mut self, stack: &Path, size: u64, is_freed: bool) {
        self.time += 10;
        self.total.add(size, self.interval);
        if is_freed {
            self.freed.add(size, self.interval);
        }
        if self.chance() < probability(size, self.interval) {
            self.next_address += 16;
            let address = self.next_address;
            self.recording.allocate(0, stack, size, address, self.time);
            if is_freed {
                self.recording.free(0, address, self.time + 5);
            }
        }
    }
}

/// A writer of a recording that says that it is sampled.
fn writer(interval: u64) -> Writer<Vec<u8>> {
    let process = ProcessInfo {
        mode: Mode::Sampled,
        sample_interval_bytes: interval,
        ..process()
    };
    Writer::new(Vec::new(), &process)
        .expect("memory takes everything")
        .with_exact_times()
}

#[test]
fn sums_are_right_on_average() {
    for interval in [64, 1000, 8192] {
        let mut program = Program::new(interval);
        let stacks = [path(&[1]), path(&[2, 1]), path(&[3, 1])];
        for index in 0..100_000_u64 {
            let size = match index % 5 {
                0 => 16,
                1 => 1 + index % 3000,
                2 => 100,
                3 => 24,
                _ => 10_000,
            };
            program.block(&stacks[(index % 3) as usize], size, index % 4 != 0);
        }
        let (total, freed, end) = (program.total, program.freed, program.time + 10);
        let profile = read_whole(&program.recording.finish(end));
        assert_eq!(profile.mode, RecordingMode::Sampled);
        assert_eq!(profile.sample_interval_bytes, interval);
        total.assert_near(profile.total, "total");
        let freed_amount = Amount {
            blocks: profile.frees,
            bytes: profile.total.bytes - profile.live_at_end.bytes,
        };
        freed.assert_near(freed_amount, "freed");
        assert_eq!(
            profile.live_at_end.blocks,
            profile.total.blocks - profile.frees
        );
        assert_eq!(profile.temporary, Amount::default());
        // The parts are parts of the same sum.
        let figures = figures_by_path(&profile);
        let blocks: u64 = figures.values().map(|figures| figures.total.blocks).sum();
        assert_eq!(blocks, profile.total.blocks);
        let rows = |rows: &[Amount]| rows.iter().map(|row| row.blocks).sum::<u64>();
        assert_eq!(rows(&profile.sizes), profile.total.blocks);
        assert_eq!(rows(&profile.lifetimes), profile.frees);
    }
}

/// The interval changes while the program runs, also to none at all; each block counts by the one that held for it.
#[test]
fn intervals_that_change() {
    let mut program = Program::new(500);
    for (part, interval) in [500, 20_000, 0, 64].into_iter().enumerate() {
        program.set_interval(interval);
        for index in 0..20_000_u64 {
            program.block(
                &path(&[7]),
                50 + index % 500,
                (index + part as u64).is_multiple_of(2),
            );
        }
    }
    let (total, freed, end) = (program.total, program.freed, program.time + 10);
    let profile = read_whole(&program.recording.finish(end));
    total.assert_near(profile.total, "total");
    let live = Amount {
        blocks: profile.total.blocks - profile.frees,
        bytes: profile.live_at_end.bytes,
    };
    assert_eq!(live, profile.live_at_end);
    let found = Amount {
        blocks: profile.frees,
        bytes: profile.total.bytes - live.bytes,
    };
    freed.assert_near(found, "freed");
    assert_eq!(profile.sample_interval_bytes, 20_000);
}

/// A thread that says no interval has that of the process block.
#[test]
fn the_interval_of_the_process() {
    let mut recording = Recording::new(1);
    recording.writer = writer(1000);
    // 1 / (1 - exp(-1)) = 1.58 blocks, twice.
    recording.allocate(0, &path(&[1]), 1000, 0x10, 10);
    recording.allocate(0, &path(&[1]), 1000, 0x20, 20);
    let profile = read_whole(&recording.finish(30));
    assert_eq!(profile.total, amount(3163, 3));
    assert_eq!(profile.live_at_end, profile.total);
    assert_eq!(profile.peak, profile.total);
}

/// The new block of a reallocation may not be sampled where the old one was.
#[test]
fn a_reallocation_to_a_block_that_is_not_sampled() {
    let mut recording = Recording::new(1);
    recording.writer = writer(1);
    recording.allocate(0, &path(&[1]), 1000, 0x10, 10);
    recording.begin(0, 0x10, 20);
    recording.end(0, &path(&[]), 0, 0, 30);
    recording.allocate(0, &path(&[1]), 500, 0x10, 40);
    recording.begin(0, 0x10, 50);
    recording.fail(0, 60);
    let profile = read_whole(&recording.finish(100));
    assert_eq!(profile.total, amount(1500, 2));
    assert_eq!(profile.frees, 1);
    assert_eq!(profile.live_at_end, amount(500, 1));
}
