//! Ticks, and when to read them.
//!
//! Reading the time stamp counter costs as much as the rest of an event (13 ns in a virtual machine). But order
//! between threads hangs on a tick only where two threads touch one address. So a thread that allocates in
//! memory which only it has touched reads the counter at every eighth event, if events come so
//! fast that nobody could tell the difference, and stamps those between with the tick of the last reading.
//!
//! Why that keeps the order: such a tick is never later than the truth. The first thread that touches
//! another one's memory marks it before its own event and reads the counter. Events of the owner that came before
//! have smaller ticks anyway; the owner's events that come after it by what the program does (a
//! block handed over, a lock) see the mark, and read the counter, too.
//!
//! The same tells the launcher which chunks it may take as they are (`ChunkHeader::is_shared`). A mark is a word that
//! nobody owns at first, then one thread, then for good several. Whoever comes after another one's event by what the
//! program does finds the word as that one left it, or later: owned by another, or by several. So an event that finds
//! its thread to be the owner comes after no other thread's about that memory, whenever these are gathered, and telling it a
//! little earlier than it was puts it before nothing that it needs.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use heapatlas_trace::shared::TICK_SHIFT;

/// The time stamp counter, coarsened. Processors since 2008 count at one rate and agree on it.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; programs may be forbidden to use it
    // (prctl PR_SET_TSC), which no known program asks for.
    (unsafe { core::arch::x86_64::_rdtsc() }) >> TICK_SHIFT
}

/// The same, and no earlier than what came before in the program: a processor reads its counter ahead while it waits
/// for memory, such as a block's address that another processor has just stored. By then that one's event may have a
/// larger tick.
#[inline(always)]
fn ordered_ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_mm_lfence() };
    ticks()
}

/// Events that share one reading, at most.
const EVENTS_PER_READING: u64 = 8;

/// Events are fast when they come in fewer ticks than this (about a third of a microsecond) on average.
const FAST_TICKS: u64 = 32;

/// What is told of an event about an address.
pub struct Stamp {
    pub tick: u64,
    /// Whether other threads have touched that memory before. Such an event, and no other one, may come after one of
    /// another thread by what the program does.
    pub is_shared: bool,
}

/// One thread's ticks.
pub struct EventClock {
    /// The owner that stands for this thread.
    owner: u32,
    /// Events that may yet share the last reading.
    left: u64,
    tick: u64,
    /// Events since the reading before.
    events: u64,
}

impl EventClock {
    /// The clock of the thread with this number.
    pub fn new(thread: u32) -> Self {
        Self {
            owner: owner(thread),
            left: 0,
            tick: 0,
            events: 0,
        }
    }

    /// The stamp of an event about an address, which is written after this. `pauses` is told the time when events
    /// are slow.
    #[inline(always)]
    pub fn stamp(&mut self, address: u64, pauses: impl FnOnce(u64)) -> Stamp {
        self.stamp_by(address, ticks, ordered_ticks, pauses)
    }

    #[inline(always)]
    fn stamp_by(
        &mut self,
        address: u64,
        ticks: impl FnOnce() -> u64,
        ordered_ticks: impl FnOnce() -> u64,
        pauses: impl FnOnce(u64),
    ) -> Stamp {
        let place = place(address);
        let owner = place.load(Relaxed);
        // What several threads touch is not written to again: they would wait for each other's caches.
        let is_ours = owner == self.owner || owner != SEVERAL && self.claim(place);
        if !is_ours {
            self.read(ordered_ticks(), pauses);
        } else if self.left > 0 {
            self.left -= 1;
        } else {
            self.read(ticks(), pauses);
        }
        Stamp {
            tick: self.tick,
            is_shared: !is_ours,
        }
    }

    /// The tick of an event that is about no address.
    pub fn exact_tick(&mut self) -> u64 {
        self.read(ordered_ticks(), |_| {})
    }

    /// Has the next event read the counter.
    #[inline(always)]
    pub fn expire(&mut self) {
        self.left = 0;
    }

    #[inline(always)]
    fn read(&mut self, now: u64, pauses: impl FnOnce(u64)) -> u64 {
        let events = core::mem::replace(&mut self.events, EVENTS_PER_READING);
        let is_fast = now.wrapping_sub(self.tick) < FAST_TICKS * events;
        self.tick = now;
        if is_fast {
            self.left = EVENTS_PER_READING - 1;
        } else {
            // The next reading tells whether this was a pause between fast events.
            (self.left, self.events) = (0, 1);
            pauses(now);
        }
        now
    }

    /// Whether the memory becomes this thread's. Else from now on every thread reads the counter for it.
    #[cold]
    #[inline(never)]
    fn claim(&self, place: &AtomicU32) -> bool {
        if place
            .compare_exchange(NOBODY, self.owner, Relaxed, Relaxed)
            .is_ok()
        {
            return true;
        }
        place.store(SEVERAL, Relaxed);
        false
    }
}

const NOBODY: u32 = 0;
const SEVERAL: u32 = u32::MAX;

/// No thread is nobody; that one may stand for several costs readings only.
fn owner(thread: u32) -> u32 {
    thread.wrapping_add(1).max(1)
}

/// Memory has one owner in pieces of 64 KiB: those of one thread lie together.
const PIECE_BITS: u32 = 16;

/// Who has touched which piece. Two pieces with one place are as one.
static OWNERS: [AtomicU32; 1 << 16] = [const { AtomicU32::new(NOBODY) }; 1 << 16];

/// All memory is nobody's again: threads get other numbers with each recording, and would take each other's memory for
/// shared. To be called while nothing is recorded.
pub fn forget_owners() {
    for owner in &OWNERS {
        // Pages that nobody has written to stay as they are.
        if owner.load(Relaxed) != NOBODY {
            owner.store(NOBODY, Relaxed);
        }
    }
}

#[inline(always)]
fn place(address: u64) -> &'static AtomicU32 {
    &OWNERS[(address >> PIECE_BITS) as usize % OWNERS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Tests share the owners, as threads of a process do: each takes addresses of its own. Gives the ticks of
    /// events that come so many ticks after one another.
    fn ticks_of(thread: u32, address: u64, apart: u64, events: usize) -> Vec<u64> {
        let mut clock = EventClock::new(thread);
        let mut now = 5_000_000;
        let mut tick = || {
            now += apart;
            let ordered = || panic!("it is ours");
            clock.stamp_by(address, || now, ordered, |_| {}).tick
        };
        (0..events).map(|_| tick()).collect()
    }

    #[test]
    fn fast_events_in_own_memory_share_readings() {
        let ticks = ticks_of(1, 0x1000_0000, 10, 1000);
        assert!(ticks.is_sorted());
        let readings = ticks.chunk_by(|a, b| a == b).count();
        assert!((1000 / 8..1000 / 8 + 3).contains(&readings), "{readings}");
    }

    #[test]
    fn slow_events_have_exact_ticks() {
        let ticks = ticks_of(2, 0x2000_0000, FAST_TICKS, 100);
        assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == FAST_TICKS));
    }

    #[test]
    fn memory_of_two_threads_has_exact_ticks() {
        const ADDRESS: u64 = 0x3000_0000;
        let (mut one, mut other) = (EventClock::new(3), EventClock::new(4));
        for now in 1..100 {
            let stamp = one.stamp_by(ADDRESS, || now, || panic!("it is ours"), |_| {});
            assert!(!stamp.is_shared);
        }
        for now in 100..200 {
            let clock = if now % 2 == 0 { &mut other } else { &mut one };
            let plain = || panic!("it is shared");
            let stamp = clock.stamp_by(ADDRESS + 4096, plain, || now, |_| {});
            assert_eq!((stamp.tick, stamp.is_shared), (now, true));
        }
    }

    #[test]
    fn what_was_expired_is_read_anew() {
        let mut clock = EventClock::new(5);
        for now in 1..100 {
            clock.stamp_by(0x4000_0000, || now, || now, |_| {});
        }
        clock.expire();
        let stamp = clock.stamp_by(0x4000_0000, || 101, || 101, |_| {});
        assert_eq!(stamp.tick, 101);
    }
}
