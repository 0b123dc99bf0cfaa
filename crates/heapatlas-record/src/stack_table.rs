//! The trie of one thread's stacks: (parent, address) -> node number.

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
pub struct StackTable {
    slots: NonNull<Slot>,
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

impl StackTable {
    /// An empty table. None when there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self {
            slots: map_slots(FIRST_CAPACITY)?,
            capacity_log2: FIRST_CAPACITY.ilog2(),
            nodes: 0,
        })
    }

    /// The number of the node for `address` under `parent`; a new one is told to `sink`.
    /// None when there is no memory for a new one.
    #[inline]
    pub fn intern(&mut self, parent: u32, address: u64, sink: &mut impl NodeSink) -> Option<u32> {
        let mut index = self.home(parent, address);
        loop {
            let slot = self.slot(index);
            if slot.address == address && slot.parent == parent {
                return Some(slot.node);
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
        let Some(slots) = map_slots(self.capacity() * 2) else {
            return false;
        };
        let old = Self {
            slots: self.slots,
            capacity_log2: self.capacity_log2,
            nodes: self.nodes,
        };
        self.slots = slots;
        self.capacity_log2 += 1;
        for index in 0..old.capacity() {
            let slot = *old.slot(index);
            if slot.node != 0 {
                let index = self.free_index(slot.parent, slot.address);
                *self.slot_mut(index) = slot;
            }
        }
        drop(old);
        true
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
}

impl Drop for StackTable {
    fn drop(&mut self) {
        let bytes = self.capacity() * size_of::<Slot>();
        // SAFETY: the memory is of `map_slots`, and goes with `self`.
        unsafe { os::unmap_pages(self.slots.cast(), bytes) };
    }
}

fn map_slots(count: usize) -> Option<NonNull<Slot>> {
    os::map_pages(count * size_of::<Slot>()).map(NonNull::cast)
}
