//! What clocks and counters of this thread say at one moment, and what happened between two moments.

use super::cpu_clock;
use crate::alloc::{self, ThreadTotals};
use crate::os::clocks;

/// One moment of this thread.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    wall_ns: u64,
    cpu_ns: u64,
    totals: ThreadTotals,
}

/// What happened between two moments of a thread.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) wall_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) allocated_bytes: u64,
    pub(super) allocated_blocks: u64,
    pub(super) freed_bytes: u64,
    pub(super) freed_blocks: u64,
}

impl Reading {
    #[inline]
    pub(super) fn now() -> Self {
        let wall_ns = clocks::now();
        Self {
            wall_ns,
            cpu_ns: cpu_clock::at(wall_ns),
            totals: alloc::thread_totals(),
        }
    }

    /// Counters only grow, but modes are switched and processes fork: a difference is 0 at least.
    #[inline]
    pub(super) fn since(&self, earlier: &Self) -> Figures {
        let (now, then) = (&self.totals, &earlier.totals);
        Figures {
            wall_ns: self.wall_ns.saturating_sub(earlier.wall_ns),
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            allocated_bytes: now.allocated_bytes.saturating_sub(then.allocated_bytes),
            allocated_blocks: now.allocated_blocks.saturating_sub(then.allocated_blocks),
            freed_bytes: now.freed_bytes.saturating_sub(then.freed_bytes),
            freed_blocks: now.freed_blocks.saturating_sub(then.freed_blocks),
        }
    }
}

impl Figures {
    #[inline]
    pub(super) fn net_bytes(&self) -> i64 {
        self.allocated_bytes.wrapping_sub(self.freed_bytes) as i64
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.wall_ns += other.wall_ns;
        self.cpu_ns += other.cpu_ns;
        self.allocated_bytes += other.allocated_bytes;
        self.allocated_blocks += other.allocated_blocks;
        self.freed_bytes += other.freed_bytes;
        self.freed_blocks += other.freed_blocks;
    }
}
