//! The books: events in order of time are applied to what is live, and every sum is kept.
//!
//! The peak costs the same at every event, however many stacks there are; see `balance`.
//!
//! A sampled block stands for several (`samples`), from its allocation to its free.

use std::ops::Range;

use heapatlas_model::{Amount, TimelinePoint};
use rustc_hash::FxHashSet;

use super::balance::{Balance, NOT_COUNTED, add, subtract};
use super::clock::Clock;
use super::live_blocks::{LiveBlock, LiveBlocks, RegionHint};
use super::mappings::MappingBooks;
use super::samples::Samples;
use super::timeline::Timeline;

/// The address of a reallocated block that was not sampled.
const NOT_SAMPLED: u64 = 0;

/// One row for each number of bits, from none to 64.
pub(super) type Histogram = [Amount; 65];

pub(super) struct Ledger {
    clock: Clock,
    /// The ticks that are asked for.
    range: Range<u64>,
    pub stacks: Vec<StackRow>,
    pub threads: Vec<ThreadRow>,
    /// The sums of threads that ended and whose rows were given to others.
    pub retired: Option<RetiredThreads>,
    blocks: LiveBlocks,
    samples: Samples,
    pub timeline: Timeline,
    epoch: u64,
    pub live: Amount,
    pub peak: Amount,
    pub peak_tick: u64,
    pub total: Amount,
    pub frees: u64,
    pub temporary: Amount,
    pub sizes: Histogram,
    pub lifetimes: Histogram,
    /// Frees and reallocations of addresses where no block was.
    pub unknown_frees: u64,
    /// Blocks that were live when another one was allocated at their address.
    pub missed_frees: u64,
    pub mappings: MappingBooks,
}

#[derive(Clone, Copy, Default)]
pub(super) struct StackRow {
    pub balance: Balance,
    pub total: Amount,
    pub temporary: Amount,
    pub lifetime_ticks: u64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct ThreadRow {
    pub balance: Balance,
    pub total: Amount,
    pub temporary: Amount,
    pub frees: u64,
    /// Whether its allocations are asked for.
    is_counted: bool,
    /// Where it allocated its last block.
    last_address: Option<u64>,
    reallocating: Option<Reallocation>,
    /// The mean number of bytes between its samples; 0 where every allocation is recorded.
    sample_interval: u64,
}

/// Threads that ended, as one row.
#[derive(Clone, Copy, Default)]
pub(super) struct RetiredThreads {
    pub count: u64,
    pub row: ThreadRow,
}

/// A block that is in the hands of `realloc`.
#[derive(Clone, Copy)]
struct Reallocation {
    address: u64,
    block: LiveBlock,
    tick: u64,
}

impl Ledger {
    /// Books of a range of ticks. Threads are taken to sample with the interval given until they say another one.
    pub fn new(range: Range<u64>, clock: Clock, sample_interval: u64) -> Self {
        Self {
            timeline: Timeline::new(range.start.max(clock.start_tick())),
            clock,
            range,
            stacks: Vec::new(),
            threads: Vec::new(),
            retired: None,
            blocks: LiveBlocks::new(),
            samples: Samples::new(sample_interval),
            epoch: 0,
            live: Amount::default(),
            peak: Amount::default(),
            peak_tick: 0,
            total: Amount::default(),
            frees: 0,
            temporary: Amount::default(),
            sizes: [Amount::default(); 65],
            lifetimes: [Amount::default(); 65],
            unknown_frees: 0,
            missed_frees: 0,
            mappings: MappingBooks::default(),
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Adds a thread; its row is the number of threads before it.
    pub fn add_thread(&mut self, is_counted: bool) {
        self.threads.push(ThreadRow {
            is_counted,
            sample_interval: self.samples.first_interval(),
            ..ThreadRow::default()
        });
    }

    /// Adds the sums of those of some threads of which nothing is live to the retired ones, and returns these:
    /// their rows are free for others. They must have ended.
    pub fn retire_threads(&mut self, ended: &[u32]) -> Vec<u32> {
        // A block in the hands of another thread's `realloc` may become live again.
        let reallocating = self.threads.iter().filter_map(|row| row.reallocating);
        let pinned: FxHashSet<u32> = reallocating.map(|old| old.block.thread).collect();
        let mut free = Vec::new();
        for &thread in ended {
            let row = self.threads[thread as usize];
            let is_live = row.balance.live.blocks > 0 || row.reallocating.is_some();
            if !is_live && !pinned.contains(&thread) {
                self.retire(&row);
                self.threads[thread as usize] = ThreadRow {
                    is_counted: row.is_counted,
                    ..ThreadRow::default()
                };
                free.push(thread);
            }
        }
        free
    }

    fn retire(&mut self, row: &ThreadRow) {
        let (peak, _) = self.peak_and_live(&row.balance);
        let retired = self.retired.get_or_insert_default();
        retired.count += 1;
        let sums = &mut retired.row;
        sums.balance.touch(self.epoch, |_| ());
        sums.balance.peak += peak;
        sums.total += row.total;
        sums.temporary += row.temporary;
        sums.frees += row.frees;
    }

    /// Adds rows for new stacks.
    pub fn add_stacks(&mut self, count: usize) {
        if self.stacks.len() < count {
            self.stacks.resize(count, StackRow::default());
        }
    }

    /// From here on a thread's allocations are sampled with this mean number of bytes between samples; 0:
    /// every one is recorded.
    pub fn set_sample_interval(&mut self, thread: u32, interval_bytes: u64) {
        self.samples.note_interval(interval_bytes);
        self.threads[thread as usize].sample_interval = interval_bytes;
    }

    /// The largest interval between samples; 0 if every allocation was recorded.
    pub fn most_sample_interval(&self) -> u64 {
        self.samples.most_interval()
    }

    /// Tells of addresses that will soon be asked for, in this order; `is_freed` that a block should be there.
    pub fn prefetch(&self, addresses: impl Iterator<Item = (u64, bool)> + Clone) {
        // All slots are on their way before the first one is looked at.
        let mut hint = RegionHint::default();
        for (address, _) in addresses.clone() {
            self.blocks.prefetch_slot(address, &mut hint);
        }
        for (address, _) in addresses.filter(|(_, is_freed)| *is_freed) {
            self.blocks.prefetch_row(address, &mut hint);
        }
    }

    #[inline]
    pub fn allocate(&mut self, thread: u32, stack: u32, size_bytes: u64, address: u64, tick: u64) {
        if tick >= self.range.end {
            return;
        }
        let row = &mut self.threads[thread as usize];
        let is_counted = row.is_counted && tick >= self.range.start;
        let stack = if is_counted { stack } else { NOT_COUNTED };
        let mut amount = Amount {
            bytes: size_bytes,
            blocks: 1,
        };
        if row.sample_interval != 0 && is_counted {
            amount = self.samples.weigh(row.sample_interval, stack, size_bytes);
        }
        let block = LiveBlock {
            bytes: amount.bytes,
            blocks: amount.blocks as u32,
            tick,
            stack,
            thread,
        };
        if is_counted {
            add(&mut row.total, amount);
            add(&mut self.stacks[stack as usize].total, amount);
            add(&mut self.total, amount);
            add(&mut self.sizes[bits(size_bytes)], amount);
        }
        self.hold(address, block, tick);
        self.threads[thread as usize].last_address = Some(address);
    }

    #[inline]
    pub fn free(&mut self, thread: u32, address: u64, tick: u64) {
        if tick >= self.range.end {
            return;
        }
        let Some(block) = self.let_go(address, tick) else {
            return;
        };
        self.count_free(thread, block, tick);
        let row = &mut self.threads[thread as usize];
        // No later block can be meant: had the thread allocated one, its last address were that one's.
        let is_temporary = block.thread == thread && row.last_address == Some(address);
        // What a thread allocated since a sample is not known.
        let is_known = self.samples.most_interval() == 0;
        if is_temporary && is_known && block.stack != NOT_COUNTED {
            let amount = block.amount();
            add(&mut row.temporary, amount);
            add(&mut self.stacks[block.stack as usize].temporary, amount);
            add(&mut self.temporary, amount);
        }
    }

    /// The block is gone for now; whether it counts as freed shows when the reallocation ends.
    pub fn begin_reallocation(&mut self, thread: u32, address: u64, tick: u64) {
        if tick >= self.range.end {
            return;
        }
        self.fail_reallocation(thread, tick);
        let block = self.let_go(address, tick);
        self.threads[thread as usize].reallocating = block.map(|block| Reallocation {
            address,
            block,
            tick,
        });
    }

    /// The old block was freed, and another one allocated, unless its address says that it was not sampled. The old one does not count as temporary: its
    /// contents live on.
    pub fn end_reallocation(
        &mut self,
        thread: u32,
        stack: u32,
        size_bytes: u64,
        address: u64,
        tick: u64,
    ) {
        if tick >= self.range.end {
            return;
        }
        if let Some(old) = self.threads[thread as usize].reallocating.take() {
            self.count_free(thread, old.block, old.tick);
        }
        if address != NOT_SAMPLED {
            self.allocate(thread, stack, size_bytes, address, tick);
        }
    }

    /// The old block is live as before.
    pub fn fail_reallocation(&mut self, thread: u32, tick: u64) {
        if tick >= self.range.end {
            return;
        }
        if let Some(old) = self.threads[thread as usize].reallocating.take() {
            self.hold(old.address, old.block, tick);
        }
    }

    pub fn map(&mut self, thread: u32, stack: u32, address: u64, bytes: u64, tick: u64) {
        if tick < self.range.end {
            let is_counted = self.threads[thread as usize].is_counted && tick >= self.range.start;
            let stack = if is_counted { stack } else { NOT_COUNTED };
            self.mappings.map(stack, address, bytes, tick);
        }
    }

    pub fn unmap(&mut self, address: u64, bytes: u64, tick: u64) {
        if tick < self.range.end {
            self.mappings.unmap(address, bytes);
        }
    }

    /// Ends the books at a tick, or where the range ends, and returns that tick. A reallocation that has
    /// not ended has not freed anything.
    pub fn finish(&mut self, tick: u64) -> u64 {
        let end_tick = tick.min(self.range.end);
        let last_tick = tick.min(self.range.end.saturating_sub(1));
        for thread in 0..self.threads.len() {
            self.fail_reallocation(thread as u32, last_tick);
        }
        end_tick
    }

    /// The timeline up to the tick at which the books ended.
    pub fn timeline(&self, end_tick: u64) -> Vec<TimelinePoint> {
        self.timeline
            .clone()
            .points(&self.clock, end_tick, self.live)
    }

    /// What a stack or thread held at the peak, and what it holds.
    pub fn peak_and_live(&self, balance: &Balance) -> (Amount, Amount) {
        balance.peak_and_live(self.epoch)
    }

    /// Enters a block as live.
    #[inline]
    fn hold(&mut self, address: u64, block: LiveBlock, tick: u64) {
        if let Some(missed) = self.blocks.insert(address, block) {
            self.missed_frees += 1;
            self.subtract(missed, tick);
            // What is freed here next is not what that thread allocated last.
            let last_address = &mut self.threads[missed.thread as usize].last_address;
            last_address.take_if(|last| *last == address);
        }
        if block.stack == NOT_COUNTED {
            return;
        }
        let amount = block.amount();
        self.timeline.advance(tick, self.live);
        self.stacks[block.stack as usize]
            .balance
            .touch(self.epoch, |live| add(live, amount));
        self.threads[block.thread as usize]
            .balance
            .touch(self.epoch, |live| add(live, amount));
        add(&mut self.live, amount);
        self.timeline.note(self.live);
        // On equal peaks the last one.
        if self.live.bytes >= self.peak.bytes {
            self.peak = self.live;
            self.peak_tick = tick;
            self.epoch += 1;
        }
    }

    /// Takes a block out of what is live.
    #[inline]
    fn let_go(&mut self, address: u64, tick: u64) -> Option<LiveBlock> {
        let Some(block) = self.blocks.remove(address) else {
            self.unknown_frees += 1;
            return None;
        };
        self.subtract(block, tick);
        Some(block)
    }

    #[inline]
    fn subtract(&mut self, block: LiveBlock, tick: u64) {
        if block.stack == NOT_COUNTED {
            return;
        }
        let amount = block.amount();
        self.timeline.advance(tick, self.live);
        self.stacks[block.stack as usize]
            .balance
            .touch(self.epoch, |live| subtract(live, amount));
        self.threads[block.thread as usize]
            .balance
            .touch(self.epoch, |live| subtract(live, amount));
        subtract(&mut self.live, amount);
    }

    #[inline]
    fn count_free(&mut self, thread: u32, block: LiveBlock, tick: u64) {
        if block.stack == NOT_COUNTED {
            return;
        }
        let amount = block.amount();
        self.frees += amount.blocks;
        self.threads[thread as usize].frees += amount.blocks;
        let ticks = tick.saturating_sub(block.tick);
        let row = &mut self.stacks[block.stack as usize];
        let all_ticks = ticks.saturating_mul(amount.blocks);
        row.lifetime_ticks = row.lifetime_ticks.saturating_add(all_ticks);
        add(&mut self.lifetimes[bits(self.clock.ns(ticks))], amount);
    }
}

impl LiveBlock {
    #[inline]
    fn amount(&self) -> Amount {
        Amount {
            bytes: self.bytes,
            blocks: u64::from(self.blocks),
        }
    }
}

#[inline]
fn bits(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}
