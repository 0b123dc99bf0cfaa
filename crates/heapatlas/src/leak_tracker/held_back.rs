//! Freed blocks that the C library does not get back at once.
//!
//! While a block is here nobody else can be given its address, so a second free of it is one for certain, and can be
//! left out. Memory that a C library allocated and that happens to lie where a block of ours was is never taken for it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::locked::Locked;

/// So many blocks are held back by a ring at most, and so many bytes. Larger blocks are not held back.
const RING_BLOCKS: usize = 256;
const RING_BYTES: usize = 1 << 20;

/// Threads use them by their numbers: two threads seldom meet.
const RINGS: usize = 16;

static IS_ON: AtomicBool = AtomicBool::new(true);
static ALL: [Ring; RINGS] = [const { Ring(Locked::new(Queue::new())) }; RINGS];

#[repr(align(64))]
struct Ring(Locked<Queue>);

struct Queue {
    blocks: [Held; RING_BLOCKS],
    first: usize,
    length: usize,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Held {
    block: *mut u8,
    size: usize,
}

// SAFETY: a freed block belongs to no thread.
unsafe impl Send for Queue {}

impl Queue {
    const fn new() -> Self {
        let none = Held {
            block: std::ptr::null_mut(),
            size: 0,
        };
        Self {
            blocks: [none; RING_BLOCKS],
            first: 0,
            length: 0,
            bytes: 0,
        }
    }

    fn push(&mut self, held: Held) {
        self.blocks[(self.first + self.length) % RING_BLOCKS] = held;
        self.length += 1;
        self.bytes += held.size;
    }

    fn pop(&mut self) -> Option<Held> {
        if self.length == 0 {
            return None;
        }
        let held = self.blocks[self.first];
        self.first = (self.first + 1) % RING_BLOCKS;
        self.length -= 1;
        self.bytes -= held.size;
        Some(held)
    }

    fn has_room(&self, size: usize) -> bool {
        self.length < RING_BLOCKS && self.bytes + size <= RING_BYTES
    }

    /// Takes the block in, in place of the oldest one if need be. `Err`: the oldest one has to go, and the block
    /// still has no room.
    fn exchange(&mut self, held: Held) -> Result<Option<Held>, Option<Held>> {
        if self.has_room(held.size) {
            self.push(held);
            return Ok(None);
        }
        let oldest = self.pop();
        if !self.has_room(held.size) {
            return Err(oldest);
        }
        self.push(held);
        Ok(oldest)
    }
}

/// Keeps a freed block for a while; what has been here longest is given to `release`.
///
/// # Safety
/// The block is freed, and handed over once. `release` may be called for every such block.
pub(crate) unsafe fn hold_back(
    block: *mut u8,
    size: usize,
    thread: u32,
    release: unsafe fn(*mut u8),
) {
    let ring = &ALL[thread as usize % RINGS].0;
    let held = Held { block, size };
    let is_wanted = size <= RING_BYTES / 4 && IS_ON.load(Ordering::Relaxed);
    let mut is_done = false;
    while is_wanted && !is_done {
        let oldest = match ring.with(|queue| queue.exchange(held)) {
            Some(Ok(oldest)) => {
                is_done = true;
                oldest
            }
            Some(Err(oldest)) => oldest,
            // The lock is not to be had: see `Locked`.
            None => break,
        };
        if let Some(oldest) = oldest {
            // SAFETY: it was handed over once, and left the ring here.
            unsafe { release(oldest.block) };
        }
    }
    if !is_done {
        // SAFETY: the caller's promise.
        unsafe { release(block) };
    }
}

/// Whether freed blocks are held back from now on; if not, those that are go.
pub(crate) fn set_on(is_on: bool, release: unsafe fn(*mut u8)) {
    IS_ON.store(is_on, Ordering::Relaxed);
    if is_on {
        return;
    }
    for ring in &ALL {
        while let Some(Some(held)) = ring.0.with(Queue::pop) {
            // SAFETY: it was handed over once, and left the ring here.
            unsafe { release(held.block) };
        }
    }
}

pub(crate) fn hold_for_fork() {
    for ring in &ALL {
        ring.0.hold_for_fork();
    }
}

pub(crate) fn open_after_fork() {
    for ring in &ALL {
        ring.0.open_after_fork();
    }
}
