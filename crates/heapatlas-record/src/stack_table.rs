//! The trie of one thread's stacks: (parent, address) -> node number.

use core::mem;
use core::ptr::NonNull;

use crate::os;

/// The first node's number: 0 and 1 are the empty stacks.
const FIRST_NODE: u32 = 2;

const FIRST_CAPACITY: usize = 512;

/// Told of every new node, in order, before the capture that found it returns.
pub trait NodeSink {
    /// A node under `parent`. Its number is one more than that of the last one; the first is 2.
    fn node(&mut self, parent: u32, address: u64);
}

/// The nodes seen so far, as an open hash table in memory of its own.
///
/// A program with many stacks has a table that no cache holds, and a walk down a path would miss it at
/// every node. But it mostly goes where the last one went: so each node remembers the child that was found
/// last, by the node's number. Numbers are given in order, so what a path once added lies side by side.
pub struct StackTable {
    slots: NonNull<Slot>,
    last_children: NonNull<Child>,
    capacity_log2: u32,
    nodes: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Slot {
    address: u64,
    parent: u32,
    /// 0: the slot is free.
    node: u32,
}

/// The child that was found last; free when `node` is 0.
#[derive(Clone, Copy)]
#[repr(C)]
struct Child {
    address: u64,
    node: u32,
}

impl StackTable {
    /// An empty table. None when there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        Self::map(FIRST_CAPACITY, 0)
    }

    /// The number of the node for `address` under `parent`; a new one is told to `sink`.
    /// None when there is no memory for a new one.
    #[inline]
    pub fn intern(&mut self, parent: u32, address: u64, sink: &mut impl NodeSink) -> Option<u32> {
        let last = *self.last_child(parent);
        if last.address == address && last.node != 0 {
            return Some(last.node);
        }
        self.find_or_insert(parent, address, sink)
    }

    #[inline]
    fn find_or_insert(
        &mut self,
        parent: u32,
        address: u64,
        sink: &mut impl NodeSink,
    ) -> Option<u32> {
        let mut index = self.home(parent, address);
        loop {
            let slot = *self.slot(index);
            if slot.address == address && slot.parent == parent && slot.node != 0 {
                let node = slot.node;
                *self.last_child_mut(parent) = Child { address, node };
                return Some(node);
            }
            if slot.node == 0 {
                return self.insert(index, parent, address, sink);
            }
            index = (index + 1) & self.mask();
        }
    }

    #[cold]
    fn insert(
        &mut self,
        index: usize,
        parent: u32,
        address: u64,
        sink: &mut impl NodeSink,
    ) -> Option<u32> {
        let mut index = index;
        if self.is_crowded() {
            if !self.grow() && self.is_full() {
                return None;
            }
            index = self.free_index(parent, address);
        }
        let node = self.nodes.checked_add(FIRST_NODE)?;
        self.nodes += 1;
        *self.slot_mut(index) = Slot {
            address,
            parent,
            node,
        };
        *self.last_child_mut(parent) = Child { address, node };
        sink.node(parent, address);
        Some(node)
    }

    fn is_crowded(&self) -> bool {
        self.nodes as usize >= self.capacity() / 4 * 3
    }

    /// One slot must stay free: a search ends there.
    fn is_full(&self) -> bool {
        self.nodes as usize + 1 >= self.capacity()
    }

    /// Whether there was memory for a table twice as large.
    fn grow(&mut self) -> bool {
        let Some(larger) = Self::map(self.capacity() * 2, self.nodes) else {
            return false;
        };
        let old = mem::replace(self, larger);
        for index in 0..old.capacity() {
            let slot = *old.slot(index);
            if slot.node != 0 {
                let index = self.free_index(slot.parent, slot.address);
                *self.slot_mut(index) = slot;
            }
        }
        for node in 0..=old.last_number() {
            *self.last_child_mut(node) = *old.last_child(node);
        }
        true
    }

    /// A table of that many slots, a power of two, for `nodes` nodes that are yet to be put in.
    fn map(capacity: usize, nodes: u32) -> Option<Self> {
        let slots: NonNull<Slot> = os::map_pages(bytes_of(capacity))?.cast();
        Some(Self {
            slots,
            // SAFETY: `bytes_of` has room for the children behind the slots.
            last_children: unsafe { slots.add(capacity) }.cast(),
            capacity_log2: capacity.ilog2(),
            nodes,
        })
    }

    /// The number of the last node; that of the second empty stack when there is none.
    fn last_number(&self) -> u32 {
        FIRST_NODE - 1 + self.nodes
    }

    fn free_index(&self, parent: u32, address: u64) -> usize {
        let mut index = self.home(parent, address);
        while self.slot(index).node != 0 {
            index = (index + 1) & self.mask();
        }
        index
    }

    /// The factors are odd and of the golden ratio; the upper bits of the sum are well mixed. The
    /// address's half does not wait for the parent, which is the result of the step before.
    fn home(&self, parent: u32, address: u64) -> usize {
        let hash = address
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(u64::from(parent).wrapping_mul(0xd1b5_4a32_d192_ed03));
        (hash >> (64 - self.capacity_log2)) as usize
    }

    fn capacity(&self) -> usize {
        1 << self.capacity_log2
    }

    fn mask(&self) -> usize {
        self.capacity() - 1
    }

    fn slot(&self, index: usize) -> &Slot {
        // SAFETY: `home` and `mask` keep every index below the capacity, and zeroed memory is a
        // free slot.
        unsafe { self.slots.add(index).as_ref() }
    }

    fn slot_mut(&mut self, index: usize) -> &mut Slot {
        // SAFETY: as in `slot`.
        unsafe { self.slots.add(index).as_mut() }
    }

    #[inline]
    fn last_child(&self, node: u32) -> &Child {
        debug_assert!(node <= self.last_number());
        // SAFETY: there is room for one child of each number: at most as many nodes as slots, and the two
        // empty stacks. Zeroed memory is a free one.
        unsafe { self.last_children.add(node as usize).as_ref() }
    }

    #[inline]
    fn last_child_mut(&mut self, node: u32) -> &mut Child {
        debug_assert!(node <= self.last_number());
        // SAFETY: as in `last_child`.
        unsafe { self.last_children.add(node as usize).as_mut() }
    }
}

impl Drop for StackTable {
    fn drop(&mut self) {
        // SAFETY: the memory is of `map`, and goes with `self`.
        unsafe { os::unmap_pages(self.slots.cast(), bytes_of(self.capacity())) };
    }
}

/// The slots, and a child for each node that they can hold and for the two empty stacks.
const fn bytes_of(capacity: usize) -> usize {
    capacity * size_of::<Slot>() + (capacity + FIRST_NODE as usize) * size_of::<Child>()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::vec::Vec;

    use super::*;

    #[derive(Default)]
    struct Told(Vec<(u32, u64)>);

    impl NodeSink for Told {
        fn node(&mut self, parent: u32, address: u64) {
            self.0.push((parent, address));
        }
    }

    /// Against a map of the standard library, over many growths and both empty stacks.
    #[test]
    fn the_same_numbers_as_a_map_gives() {
        let mut table = StackTable::new().unwrap();
        let mut told = Told::default();
        let mut expected: HashMap<(u32, u64), u32> = HashMap::new();
        let mut state = 7_u64;
        let mut node = 0;
        for _ in 0..200_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let parent = match state >> 61 {
                0 => (state >> 40) as u32 & 1,
                1 => (state >> 33) as u32 % (expected.len() as u32 + 2),
                _ => node,
            };
            // 0 is what an unused child holds.
            let address = (state >> 50) % 5;
            let next = expected.len() as u32 + FIRST_NODE;
            let number = *expected.entry((parent, address)).or_insert(next);
            node = table.intern(parent, address, &mut told).unwrap();
            assert_eq!(node, number);
        }
        assert!(expected.len() > 10 * FIRST_CAPACITY);
        let numbers = told.0.iter().zip(FIRST_NODE..);
        assert!(
            numbers
                .into_iter()
                .all(|(node, number)| expected[node] == number)
        );
    }
}
