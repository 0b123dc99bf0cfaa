//! The stacks of a whole process: (parent, address) -> one number, the same in every thread.
//!
//! Threads have tries of their own ([`crate::stack_table`]) and come here for new nodes only, so a lock of a shard
//! is no burden. Nodes never move: they are read without it.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::pages;
use crate::segments::{Segments, Zeroed};
use crate::shard_lock::ShardLock;

/// The empty stack.
pub const EMPTY: u32 = 0;
/// The empty stack under which stacks hang whose end was not reached.
pub const CUT_OFF: u32 = 1;

const FIRST_NODE: u32 = 2;
const SHARDS: usize = 16;
const FIRST_CAPACITY: usize = 1024;

/// The stacks.
pub struct SharedStacks {
    nodes: Segments<Node>,
    /// Nodes that were given numbers.
    count: AtomicU32,
    shards: [Shard; SHARDS],
}

#[repr(C)]
struct Node {
    /// 0 until the node is there.
    address: AtomicU64,
    parent: AtomicU32,
}

// SAFETY: atomics of zero.
unsafe impl Zeroed for Node {}

#[repr(align(64))]
struct Shard {
    lock: ShardLock,
    index: UnsafeCell<Index>,
}

// SAFETY: the index is reached under the lock only.
unsafe impl Sync for Shard {}
// SAFETY: its memory belongs to no thread.
unsafe impl Send for Shard {}

/// An open hash table of node numbers; 0 is a free place.
struct Index {
    first: NonNull<u32>,
    capacity: usize,
    used: usize,
}

impl SharedStacks {
    /// Without any.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nodes: Segments::new(),
            count: AtomicU32::new(0),
            shards: [const {
                Shard {
                    lock: ShardLock::new(),
                    index: UnsafeCell::new(Index::new()),
                }
            }; SHARDS],
        }
    }

    /// The number of the stack that calls from `address` under `parent`. None when there is no memory for it, or
    /// the address is 0.
    pub fn intern(&self, parent: u32, address: u64) -> Option<u32> {
        if address == 0 {
            return None;
        }
        let hash = hash(parent, address);
        let shard = &self.shards[hash as usize % SHARDS];
        let _guard = shard.lock.lock()?;
        // SAFETY: under the lock.
        let index = unsafe { &mut *shard.index.get() };
        if index.used >= index.capacity / 2 && !index.grow(|node| self.hash_of(node)) {
            return None;
        }
        let mut place = index.home(hash);
        loop {
            match index.get(place) {
                0 => break,
                node if self.node(node) == Some((parent, address)) => return Some(node),
                _ => place = index.next(place),
            }
        }
        let node = self.add(parent, address)?;
        index.set(place, node);
        Some(node)
    }

    /// Parent and address of a node; None for the empty stacks and for numbers that were not given.
    pub fn node(&self, node: u32) -> Option<(u32, u64)> {
        let found = self.nodes.get(node)?;
        let address = found.address.load(Acquire);
        (address != 0).then(|| (found.parent.load(Relaxed), address))
    }

    /// All numbers are below this one.
    pub fn end(&self) -> u32 {
        self.count.load(Acquire).saturating_add(FIRST_NODE)
    }

    /// Locks all of it until [`Self::open_after_fork`].
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

    fn add(&self, parent: u32, address: u64) -> Option<u32> {
        let number = self.count.load(Relaxed).checked_add(FIRST_NODE)?;
        // Mapped before a number is given: a number without a node would be lost for ever.
        self.nodes.get_or_map(number)?;
        let number = self.count.fetch_add(1, Relaxed).checked_add(FIRST_NODE)?;
        let node = self.nodes.get_or_map(number)?;
        node.parent.store(parent, Relaxed);
        node.address.store(address, Release);
        Some(number)
    }

    fn hash_of(&self, node: u32) -> u64 {
        self.node(node)
            .map_or(0, |(parent, address)| hash(parent, address))
    }
}

#[cfg(not(loom))]
impl Default for SharedStacks {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    const fn new() -> Self {
        Self {
            first: NonNull::dangling(),
            capacity: 0,
            used: 0,
        }
    }

    #[cold]
    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) -> bool {
        let capacity = (self.capacity * 2).max(FIRST_CAPACITY);
        let Some(memory) = pages::map(capacity * size_of::<u32>()) else {
            return false;
        };
        let larger = Self {
            first: memory.cast(),
            capacity,
            used: 0,
        };
        let old = core::mem::replace(self, larger);
        for node in (0..old.capacity).map(|place| old.get(place)) {
            if node != 0 {
                let mut place = self.home(hash_of(node));
                while self.get(place) != 0 {
                    place = self.next(place);
                }
                self.set(place, node);
            }
        }
        true
    }

    fn home(&self, hash: u64) -> usize {
        (hash >> (64 - self.capacity.ilog2())) as usize
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.capacity - 1)
    }

    fn get(&self, place: usize) -> u32 {
        debug_assert!(place < self.capacity);
        // SAFETY: so many places were mapped.
        unsafe { *self.first.add(place).as_ptr() }
    }

    /// Of a free place.
    fn set(&mut self, place: usize, node: u32) {
        debug_assert!(place < self.capacity);
        // SAFETY: as in `get`.
        unsafe { *self.first.add(place).as_ptr() = node };
        self.used += 1;
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if self.capacity != 0 {
            let bytes = self.capacity * size_of::<u32>();
            // SAFETY: mapped by `grow` with this size; it goes with `self`.
            unsafe { pages::unmap(self.first.cast(), bytes) };
        }
    }
}

/// As in [`crate::stack_table`]: the upper bits are well mixed; the low ones choose the shard.
fn hash(parent: u32, address: u64) -> u64 {
    let sum = address
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(u64::from(parent).wrapping_mul(0xd1b5_4a32_d192_ed03));
    sum ^ sum >> 29
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::Arc;
    use std::thread;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn equal_stacks_have_equal_numbers() {
        let stacks = SharedStacks::new();
        let mut expected: HashMap<(u32, u64), u32> = HashMap::new();
        let mut state = 3_u64;
        let mut parent = EMPTY;
        for _ in 0..if cfg!(miri) { 3_000 } else { 200_000 } {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let address = (state >> 50) % 7 + 1;
            let number = stacks.intern(parent, address).unwrap();
            assert_eq!(*expected.entry((parent, address)).or_insert(number), number);
            assert_eq!(stacks.node(number), Some((parent, address)));
            parent = if state >> 60 == 0 { EMPTY } else { number };
        }
        let numbers: HashSet<u32> = expected.values().copied().collect();
        assert_eq!(numbers.len(), expected.len());
        assert_eq!(stacks.end() as usize, expected.len() + 2);
    }

    #[test]
    fn threads_agree() {
        const DEPTH: u64 = if cfg!(miri) { 100 } else { 5_000 };
        let stacks = Arc::new(SharedStacks::new());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let stacks = Arc::clone(&stacks);
                let chain = move || {
                    (1..=DEPTH).fold(EMPTY, |parent, address| {
                        stacks.intern(parent, address).unwrap()
                    })
                };
                thread::spawn(chain)
            })
            .collect();
        let ends: HashSet<u32> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!((ends.len(), u64::from(stacks.end())), (1, DEPTH + 2));
    }

    #[test]
    fn what_was_not_given_is_nothing() {
        let stacks = SharedStacks::new();
        assert_eq!(
            stacks
                .node(EMPTY)
                .or(stacks.node(CUT_OFF))
                .or(stacks.node(99)),
            None
        );
        assert_eq!(stacks.intern(EMPTY, 0), None);
    }
}
