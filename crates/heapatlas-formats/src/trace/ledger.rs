//! The books: events in order of time are applied to what is live, and every sum is kept.
//!
//! The peak costs the same at every event, however many stacks there are. The peak has an epoch, one more whenever
//! as much is live as never before. A stack remembers the epoch in which it was touched last; when it is touched
//! in a later one, what it held until then is what it held at the latest peak.

use std::ops::Range;

use heapatlas_model::{Amount, TimelinePoint};

use super::clock::Clock;
use super::live_blocks::{LiveBlock, LiveBlocks};
use super::mappings::MappingBooks;
use super::timeline::Timeline;

/// The stack of blocks that are only followed, since they are not asked for.
pub(super) const NOT_COUNTED: u32 = u32::MAX;

/// One row for each number of bits, from none to 64.
pub(super) type Histogram = [Amount; 65];

pub(super) struct Ledger {
    clock: Clock,
    /// The ticks that are asked for.
    range: Range<u64>,
    pub stacks: Vec<StackRow>,
    pub threads: Vec<ThreadRow>,
    blocks: LiveBlocks,
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

/// What is live, and what was at the peak.
#[derive(Clone, Copy, Default)]
pub(super) struct Balance {
    live: Amount,
    peak: Amount,
    epoch: u64,
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
}

/// A block that is in the hands of `realloc`.
#[derive(Clone, Copy)]
struct Reallocation {
    address: u64,
    block: LiveBlock,
    tick: u64,
}

impl Ledger {
    pub fn new(range: Range<u64>, clock: Clock) -> Self {
        Self {
            timeline: Timeline::new(range.start.max(clock.start_tick())),
            clock,
            range,
            stacks: Vec::new(),
            threads: Vec::new(),
            blocks: LiveBlocks::new(),
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
            ..ThreadRow::default()
        });
    }

    /// Adds rows for new stacks.
    pub fn add_stacks(&mut self, count: usize) {
        if self.stacks.len() < count {
            self.stacks.resize(count, StackRow::default());
        }
    }

    /// Tells that an address will soon be asked for.
    #[inline]
    pub fn prefetch(&self, address: u64) {
        self.blocks.prefetch(address);
    }

    #[inline]
    pub fn allocate(&mut self, thread: u32, stack: u32, size_bytes: u64, address: u64, tick: u64) {
        if tick >= self.range.end {
            return;
        }
        let row = &mut self.threads[thread as usize];
        let is_counted = row.is_counted && tick >= self.range.start;
        let stack = if is_counted { stack } else { NOT_COUNTED };
        let block = LiveBlock {
            size_bytes,
            tick,
            stack,
            thread,
        };
        if is_counted {
            add(&mut row.total, size_bytes);
            add(&mut self.stacks[stack as usize].total, size_bytes);
            add(&mut self.total, size_bytes);
            add(&mut self.sizes[bits(size_bytes)], size_bytes);
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
        if is_temporary && block.stack != NOT_COUNTED {
            add(&mut row.temporary, block.size_bytes);
            add(
                &mut self.stacks[block.stack as usize].temporary,
                block.size_bytes,
            );
            add(&mut self.temporary, block.size_bytes);
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

    /// The old block was freed, and another one allocated. The old one does not count as temporary: its
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
        self.allocate(thread, stack, size_bytes, address, tick);
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
    pub fn take_timeline(self, end_tick: u64) -> Vec<TimelinePoint> {
        self.timeline.points(&self.clock, end_tick, self.live)
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
        self.timeline.advance(tick, self.live);
        self.stacks[block.stack as usize]
            .balance
            .touch(self.epoch, |live| add(live, block.size_bytes));
        self.threads[block.thread as usize]
            .balance
            .touch(self.epoch, |live| add(live, block.size_bytes));
        add(&mut self.live, block.size_bytes);
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
        self.timeline.advance(tick, self.live);
        self.stacks[block.stack as usize]
            .balance
            .touch(self.epoch, |live| subtract(live, block.size_bytes));
        self.threads[block.thread as usize]
            .balance
            .touch(self.epoch, |live| subtract(live, block.size_bytes));
        subtract(&mut self.live, block.size_bytes);
    }

    #[inline]
    fn count_free(&mut self, thread: u32, block: LiveBlock, tick: u64) {
        if block.stack == NOT_COUNTED {
            return;
        }
        self.frees += 1;
        self.threads[thread as usize].frees += 1;
        let ticks = tick.saturating_sub(block.tick);
        let row = &mut self.stacks[block.stack as usize];
        row.lifetime_ticks = row.lifetime_ticks.saturating_add(ticks);
        add(
            &mut self.lifetimes[bits(self.clock.ns(ticks))],
            block.size_bytes,
        );
    }
}

impl Balance {
    /// What was there at the peak with this epoch, and what is there.
    pub fn peak_and_live(&self, epoch: u64) -> (Amount, Amount) {
        let was_touched = self.epoch == epoch;
        (if was_touched { self.peak } else { self.live }, self.live)
    }

    #[inline]
    pub fn touch(&mut self, epoch: u64, change: impl FnOnce(&mut Amount)) {
        if self.epoch != epoch {
            self.peak = self.live;
            self.epoch = epoch;
        }
        change(&mut self.live);
    }
}

/// Sums wrap: no process has 2^64 bytes, and a file that says so shall not end ours.
#[inline]
pub(super) fn add(amount: &mut Amount, bytes: u64) {
    amount.bytes = amount.bytes.wrapping_add(bytes);
    amount.blocks += 1;
}

#[inline]
fn subtract(amount: &mut Amount, bytes: u64) {
    amount.bytes = amount.bytes.wrapping_sub(bytes);
    amount.blocks -= 1;
}

#[inline]
fn bits(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}
