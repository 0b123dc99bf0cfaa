//! What a process knows of each live block: address -> value, shared by all threads.
//!
//! ```text
//! address --hash--> shard (of 64) : lock, slots
//!                            slots: open addressing, at most 3/4 full; a removal moves followers up, so that no
//!                                   slot is ever a tombstone and a table lives as long as its process
//! ```
//!
//! A shard is locked for one look into its slots. Two threads meet in one of 64 only now and then.

#[cfg(not(loom))]
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

#[cfg(loom)]
use loom::cell::UnsafeCell;

use crate::pages;
use crate::shard_lock::{ShardGuard, ShardLock};

/// The table: it takes no memory until something is in it.
pub struct LiveTable<V: Copy> {
    shards: [Shard<V>; SHARDS],
}

/// There is no memory for one more, or the table's lock was left locked in a forked child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;

/// A line of the cache each: neighbors do not disturb each other.
#[repr(align(64))]
struct Shard<V: Copy> {
    lock: ShardLock,
    slots: UnsafeCell<Slots<V>>,
}

// SAFETY: the slots are reached under the lock only; values are copied in and out, so they are sent.
unsafe impl<V: Copy + Send> Sync for Shard<V> {}
// SAFETY: the memory belongs to the shard, not to a thread.
unsafe impl<V: Copy + Send> Send for Shard<V> {}

struct Slots<V: Copy> {
    first: NonNull<Slot<V>>,
    /// 0 before the first insertion, else a power of two.
    capacity: usize,
    used: usize,
}

#[repr(C)]
struct Slot<V: Copy> {
    /// 0: the slot is free.
    address: u64,
    value: MaybeUninit<V>,
}

impl<V: Copy> LiveTable<V> {
    /// An empty table.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            shards: [const { Shard::new() }; SHARDS],
        }
    }

    /// An empty table.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self {
            shards: core::array::from_fn(|_| Shard::new()),
        }
    }

    /// Remembers `value` for `address` and gives what was remembered before. No block has the address 0; it is
    /// not remembered.
    ///
    /// # Errors
    /// [`NoRoom`]; the table is as it was.
    #[inline]
    pub fn insert(&self, address: u64, value: V) -> Result<Option<V>, NoRoom> {
        if address == 0 {
            return Err(NoRoom);
        }
        let hash = hash(address);
        self.with_shard(hash, |slots| slots.insert(hash, address, value))
            .unwrap_or(Err(NoRoom))
    }

    /// Forgets `address` and gives what was remembered.
    #[inline]
    pub fn remove(&self, address: u64) -> Option<V> {
        let hash = hash(address);
        self.with_shard(hash, |slots| slots.remove(hash, address))?
    }

    /// What is remembered for `address`.
    #[inline]
    pub fn get(&self, address: u64) -> Option<V> {
        let hash = hash(address);
        self.with_shard(hash, |slots| {
            let index = slots.find(hash, address)?;
            Some(*slots.value(index))
        })?
    }

    /// Changes what is remembered for `address`; whether there was something. `change` may not use the table.
    pub fn update(&self, address: u64, change: impl FnOnce(&mut V)) -> bool {
        let hash = hash(address);
        let updated = self.with_shard(hash, |slots| {
            let index = slots.find(hash, address)?;
            change(slots.value(index));
            Some(())
        });
        updated.flatten().is_some()
    }

    /// Shows everything that is remembered, shard by shard: what other threads do meanwhile is seen or not. `show`
    /// may not use the table.
    pub fn for_each(&self, mut show: impl FnMut(u64, &V)) {
        self.retain(|address, value| {
            show(address, value);
            true
        });
    }

    /// Forgets what `keep` does not want to keep, as [`Self::for_each`].
    pub fn retain(&self, mut keep: impl FnMut(u64, &V) -> bool) {
        for shard in &self.shards {
            shard.with(|slots| slots.retain(&mut keep));
        }
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        let lengths = self
            .shards
            .iter()
            .filter_map(|shard| shard.with(|slots| slots.used));
        lengths.sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all, and gives the memory back.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.with(|slots| *slots = Slots::new());
        }
    }

    /// Locks all of it until [`Self::open_after_fork`]: the child gets a table that nobody is changing.
    pub fn hold_for_fork(&self) {
        for shard in &self.shards {
            if let Some(guard) = shard.lock.lock() {
                ShardLock::hold(guard);
            }
        }
    }

    /// In the parent and in the child.
    pub fn open_after_fork(&self) {
        for shard in &self.shards {
            shard.lock.open();
        }
    }

    #[inline]
    fn with_shard<R>(&self, hash: u64, work: impl FnOnce(&mut Slots<V>) -> R) -> Option<R> {
        self.shards[(hash >> (64 - SHARD_BITS)) as usize].with(work)
    }
}

impl<V: Copy> Default for LiveTable<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Copy> Shard<V> {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Self {
            lock: ShardLock::new(),
            slots: UnsafeCell::new(Slots::new()),
        }
    }

    #[cfg(loom)]
    fn new() -> Self {
        Self {
            lock: ShardLock::new(),
            slots: UnsafeCell::new(Slots::new()),
        }
    }

    /// `None` when the lock cannot be had.
    #[inline]
    fn with<R>(&self, work: impl FnOnce(&mut Slots<V>) -> R) -> Option<R> {
        let guard: ShardGuard<'_> = self.lock.lock()?;
        // SAFETY: whoever holds the lock is alone with the slots, and keeps them no longer than that.
        #[cfg(not(loom))]
        let result = work(unsafe { &mut *self.slots.get() });
        // SAFETY: the same; here it is checked.
        #[cfg(loom)]
        let result = self.slots.with_mut(|slots| work(unsafe { &mut *slots }));
        drop(guard);
        Some(result)
    }
}

impl<V: Copy> Slots<V> {
    const fn new() -> Self {
        Self {
            first: NonNull::dangling(),
            capacity: 0,
            used: 0,
        }
    }

    /// As many as fill a page.
    const FIRST_CAPACITY: usize = {
        let fit = 4096 / size_of::<Slot<V>>();
        if fit < 8 { 8 } else { 1 << fit.ilog2() }
    };

    #[inline]
    fn insert(&mut self, hash: u64, address: u64, value: V) -> Result<Option<V>, NoRoom> {
        if let Some(index) = self.find(hash, address) {
            return Ok(Some(core::mem::replace(self.value(index), value)));
        }
        if self.used >= self.capacity / 4 * 3 && !self.grow() {
            return Err(NoRoom);
        }
        self.put(hash, address, value);
        Ok(None)
    }

    #[inline]
    fn remove(&mut self, hash: u64, address: u64) -> Option<V> {
        let index = self.find(hash, address)?;
        let value = *self.value(index);
        self.free(index);
        Some(value)
    }

    /// Goes from the end of a run to its start, so that the slots that move up were looked at already.
    fn retain(&mut self, keep: &mut impl FnMut(u64, &V) -> bool) {
        let Some(mut free) = (0..self.capacity).find(|&index| self.slot(index).address == 0) else {
            return;
        };
        for _ in 0..self.capacity {
            free = free.wrapping_sub(1) & (self.capacity - 1);
            let address = self.slot(free).address;
            if address != 0 && !keep(address, self.value(free)) {
                self.free(free);
            }
        }
    }

    #[inline]
    fn find(&self, hash: u64, address: u64) -> Option<usize> {
        if self.capacity == 0 || address == 0 {
            return None;
        }
        let mut index = self.home(hash);
        loop {
            match self.slot(index).address {
                0 => return None,
                found if found == address => return Some(index),
                _ => index = self.next(index),
            }
        }
    }

    /// There is a free slot, and the address is not there.
    fn put(&mut self, hash: u64, address: u64, value: V) {
        let mut index = self.home(hash);
        while self.slot(index).address != 0 {
            index = self.next(index);
        }
        *self.slot_mut(index) = Slot {
            address,
            value: MaybeUninit::new(value),
        };
        self.used += 1;
    }

    /// Frees a slot, and moves up whoever could not have a better place because of it.
    fn free(&mut self, index: usize) {
        let mut free = index;
        let mut index = self.next(index);
        while self.slot(index).address != 0 {
            let home = self.home(hash(self.slot(index).address));
            let mask = self.capacity - 1;
            let is_from_home = index.wrapping_sub(home) & mask;
            let is_from_free = index.wrapping_sub(free) & mask;
            if is_from_home >= is_from_free {
                let Slot { address, value } = *self.slot(index);
                *self.slot_mut(free) = Slot { address, value };
                free = index;
            }
            index = self.next(index);
        }
        self.slot_mut(free).address = 0;
        self.used -= 1;
    }

    #[cold]
    fn grow(&mut self) -> bool {
        let capacity = (self.capacity * 2).max(Self::FIRST_CAPACITY);
        let Some(memory) = pages::map(capacity * size_of::<Slot<V>>()) else {
            return self.used + 1 < self.capacity;
        };
        let larger = Self {
            first: memory.cast(),
            capacity,
            used: 0,
        };
        let old = core::mem::replace(self, larger);
        for index in 0..old.capacity {
            let Slot { address, value } = *old.slot(index);
            if address != 0 {
                // SAFETY: a slot with an address has its value.
                self.put(hash(address), address, unsafe { value.assume_init() });
            }
        }
        true
    }

    /// The bits below those that choose the shard.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash << SHARD_BITS >> (64 - self.capacity.ilog2())) as usize
    }

    #[inline]
    fn next(&self, index: usize) -> usize {
        (index + 1) & (self.capacity - 1)
    }

    #[inline]
    fn slot(&self, index: usize) -> &Slot<V> {
        debug_assert!(index < self.capacity);
        // SAFETY: so many slots were mapped, and zeroed memory is a free one.
        unsafe { self.first.add(index).as_ref() }
    }

    #[inline]
    fn slot_mut(&mut self, index: usize) -> &mut Slot<V> {
        debug_assert!(index < self.capacity);
        // SAFETY: as in `slot`.
        unsafe { self.first.add(index).as_mut() }
    }

    /// Of a slot that is not free.
    #[inline]
    fn value(&mut self, index: usize) -> &mut V {
        debug_assert!(self.slot(index).address != 0);
        // SAFETY: a slot with an address has its value.
        unsafe { self.slot_mut(index).value.assume_init_mut() }
    }
}

impl<V: Copy> Drop for Slots<V> {
    fn drop(&mut self) {
        if self.capacity != 0 {
            let bytes = self.capacity * size_of::<Slot<V>>();
            // SAFETY: mapped by `grow` with this size, and it goes with `self`.
            unsafe { pages::unmap(self.first.cast(), bytes) };
        }
    }
}

/// The factor is of the golden ratio; the upper bits are well mixed. Blocks lie at multiples of 16 mostly.
#[inline]
fn hash(address: u64) -> u64 {
    (address >> 3 ^ address >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::thread;
    use std::vec::Vec;

    use super::*;

    /// Against the standard library's map: insertions, removals, overwritten values, over many growths.
    #[test]
    fn the_same_as_a_map() {
        let table = LiveTable::new();
        let mut expected = HashMap::new();
        let mut state = 1_u64;
        for round in 0..if cfg!(miri) { 2_000 } else { 400_000_u64 } {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let address = (state >> 45) * 16 + 16;
            if state >> 40 & 3 == 0 {
                assert_eq!(table.remove(address), expected.remove(&address));
            } else {
                assert_eq!(
                    table.insert(address, round),
                    Ok(expected.insert(address, round))
                );
            }
        }
        assert_eq!(table.len(), expected.len());
        for (&address, &value) in &expected {
            assert_eq!(table.get(address), Some(value));
        }
        table.retain(|_, value| value % 2 == 0);
        expected.retain(|_, value| *value % 2 == 0);
        let mut seen = HashMap::new();
        table.for_each(|address, value| assert_eq!(seen.insert(address, *value), None));
        assert_eq!(seen, expected);
        table.clear();
        assert!(table.is_empty() && table.get(16).is_none());
    }

    #[test]
    fn no_block_is_at_0() {
        let table = LiveTable::new();
        assert_eq!(table.insert(0, 1), Err(NoRoom));
        assert_eq!(
            (table.get(0), table.remove(0), table.len()),
            (None, None, 0)
        );
    }

    #[test]
    fn threads_share_it() {
        const EACH: u64 = if cfg!(miri) { 100 } else { 20_000 };
        let table = Arc::new(LiveTable::new());
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    for number in 1..=EACH {
                        let address = (number * 4 + thread) * 16;
                        table.insert(address, number).unwrap();
                        if number % 2 == 0 {
                            assert_eq!(table.remove(address), Some(number));
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(table.len() as u64, 4 * EACH / 2);
        table.for_each(|_, value| assert_eq!(value % 2, 1));
    }

    #[test]
    fn it_is_held_over_a_fork() {
        let table = LiveTable::new();
        table.insert(16, 1).unwrap();
        table.hold_for_fork();
        table.open_after_fork();
        assert_eq!(table.remove(16), Some(1));
    }
}

/// Every order in which two threads can go: `RUSTFLAGS="--cfg loom" cargo test -p heapatlas-record --lib --release loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;

    #[test]
    fn a_block_is_removed_once() {
        loom::model(|| {
            let table = Arc::new(LiveTable::new());
            table.insert(16, 1_u64).unwrap();
            let other = Arc::clone(&table);
            let thread = loom::thread::spawn(move || other.remove(16));
            let removed = [table.remove(16), thread.join().unwrap()];
            assert_eq!(removed.iter().flatten().count(), 1);
            assert!(table.is_empty());
        });
    }

    #[test]
    fn of_two_insertions_one_finds_the_other() {
        loom::model(|| {
            let table = Arc::new(LiveTable::new());
            let other = Arc::clone(&table);
            let thread = loom::thread::spawn(move || other.insert(16, 1_u64).unwrap());
            match (table.insert(16, 2).unwrap(), thread.join().unwrap()) {
                (Some(1), None) => assert_eq!(table.get(16), Some(2)),
                (None, Some(2)) => assert_eq!(table.get(16), Some(1)),
                found => panic!("{found:?}"),
            }
        });
    }
}
