//! Sums for each stack, while the program runs.
//!
//! ```text
//! stack --SITE_OF_STACK--> number of its site --> Site: total, now, highest, at the peak of all
//! block --KNOWN----------> number of its site
//! ```
//!
//! The stack, the block and its site are found without a lock that all threads share; only the additions are made under
//! one, some ten instructions long, so that what is highest is exact: there is one order of all events.
//!
//! What each site held at the peak costs nothing when a new peak is reached: the peaks are numbered, and a site whose
//! number is old has not changed since, so its value then is its value now. It is kept when the site next changes.
//!
//! Lifetimes need no table of births either: each site sums the times of its frees less those of its allocations.

use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use heapatlas_record::live_table::LiveTable;
use heapatlas_record::segments::{Segments, Zeroed};
use heapatlas_record::shard_lock::{ShardGuard, ShardLock};

use super::clock::{Scale, Start, Tick};
use crate::fork;
use crate::guard::Guard;
use crate::os::KeepErrno;
use crate::stack::{self, StackId};

/// Bytes and blocks; of ad hoc events, units and events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Amounts {
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

/// The sums of all sites.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) total: Amounts,
    pub(crate) current: Amounts,
    /// When `current.bytes` was highest; the latest such moment.
    pub(crate) max: Amounts,
    /// Blocks that are in no sum, since there was no memory for what is kept of them.
    pub(crate) dropped_blocks: u64,
}

/// The sums of one site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteSums {
    pub(crate) stack: StackId,
    pub(crate) total: Amounts,
    pub(crate) current: Amounts,
    /// When this site's bytes were highest.
    pub(crate) max: Amounts,
    /// When the bytes of all were highest.
    pub(crate) at_peak: Amounts,
    /// Of all blocks together, those that are live until now.
    pub(crate) lifetime_microseconds: u128,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) totals: Totals,
    pub(crate) sites: Vec<SiteSums>,
    pub(crate) peak_microseconds: u128,
    pub(crate) end_microseconds: u128,
}

/// What is known of a live block.
#[derive(Clone, Copy)]
pub(super) struct Known {
    site: u32,
    /// What an earlier session knew is void.
    session: u32,
}

/// Begins a session: everything is zero, and no block is known. Stacks are cut to `frames`, after the outer ones that
/// are those of `start`, too. The thread is inside.
pub(crate) fn begin(frames: usize, start: Option<StackId>) {
    fork::include(fork::Rank::Sums, &TABLES);
    KNOWN.clear();
    FRAMES.store(frames, Relaxed);
    START.store(start.unwrap_or_default().index(), Relaxed);
    let Some(mut books) = BOOKS.lock() else {
        return;
    };
    let books = books.get();
    books.last_session = books.last_session.wrapping_add(1).max(1);
    *books = Books {
        session: books.last_session,
        last_session: books.last_session,
        start: Some(Start::now()),
        ..Books::new()
    };
    SESSION.store(books.session, Release);
}

/// Ends the session. What threads are in the middle of does not count. The thread is inside.
pub(crate) fn end() {
    SESSION.store(0, Relaxed);
    if let Some(mut books) = BOOKS.lock() {
        books.get().session = 0;
    }
    KNOWN.clear();
}

/// The sums of all sites now; `None` without a session.
pub(crate) fn totals() -> Option<Totals> {
    let mut books = BOOKS.lock()?;
    let books = books.get();
    (books.session != 0).then_some(books.totals)
}

/// Everything now; `None` without a session. The thread is inside.
pub(crate) fn report() -> Option<Report> {
    let mut sites = Vec::new();
    loop {
        // Memory before the lock: nobody is to wait for an allocation.
        let wanted = BOOKS.lock()?.get().sites as usize;
        sites.reserve(wanted + wanted / 8 + 16);
        let mut locked = BOOKS.lock()?;
        if locked.get().sites as usize <= sites.capacity() {
            return locked.get().report(sites);
        }
    }
}

/// A block was made.
#[inline(always)]
pub(super) fn allocated(guard: &Guard, block: *mut u8, size: usize) {
    let session = SESSION.load(Acquire);
    if session == 0 {
        return;
    }
    let stack = stack::capture(guard);
    add_block(session, stack, block, size);
}

#[inline]
fn add_block(session: u32, stack: StackId, block: *mut u8, size: usize) {
    let known = site_of(stack, session).map(|site| Known { site, session });
    let is_noted = known.is_some_and(|known| KNOWN.insert(block.addr() as u64, known).is_ok());
    let now = Tick::now();
    let Some(mut locked) = BOOKS.lock() else {
        return;
    };
    let books = locked.get();
    if books.session != session {
        return;
    }
    match known.filter(|_| is_noted) {
        Some(known) => books.add(known.site, size as u64, now),
        None => books.totals.dropped_blocks += 1,
    }
}

/// A block is about to be freed, or to be moved. What was known of it, for [`freed`], [`resized`] or [`remember`].
#[inline]
pub(super) fn forget(_: &Guard, block: *mut u8) -> Option<Known> {
    let session = SESSION.load(Acquire);
    if session == 0 {
        return None;
    }
    KNOWN
        .remove(block.addr() as u64)
        .filter(|known| known.session == session)
}

/// A block that was to be moved stays where it is.
pub(super) fn remember(guard: &Guard, block: *mut u8, known: Known, size: usize) {
    if KNOWN.insert(block.addr() as u64, known).is_err() {
        freed(guard, known, size);
    }
}

/// A block is about to be freed.
#[inline]
pub(super) fn freed(_: &Guard, known: Known, size: usize) {
    let now = Tick::now();
    if let Some(mut locked) = BOOKS.lock() {
        let books = locked.get();
        if books.session == known.session {
            books.subtract(known.site, size as u64, now);
        }
    }
}

/// A known block was resized. It stays with the site that made it.
#[inline]
pub(super) fn resized(guard: &Guard, block: *mut u8, known: Known, [old, new]: [usize; 2]) {
    let now = Tick::now();
    if KNOWN.insert(block.addr() as u64, known).is_err() {
        return freed(guard, known, old);
    }
    if let Some(mut locked) = BOOKS.lock() {
        let books = locked.get();
        if books.session == known.session {
            books.resize(known.site, [old as u64, new as u64], now);
        }
    }
}

/// Counts an event of a program's own.
pub(crate) fn add_ad_hoc_event(stack: StackId, weight: usize) {
    let session = SESSION.load(Acquire);
    if session == 0 {
        return;
    }
    let site = site_of(stack, session);
    let Some(mut locked) = BOOKS.lock() else {
        return;
    };
    let books = locked.get();
    if books.session != session {
        return;
    }
    match site {
        Some(site) => books.add_event(site, weight as u64),
        None => books.totals.dropped_blocks += 1,
    }
}

static TABLES: fork::Tables = fork::Tables {
    hold: hold_for_fork,
    open: open_after_fork,
};

/// Nobody changes the tables until [`open_after_fork`].
fn hold_for_fork() {
    KNOWN.hold_for_fork();
    if let Some(guard) = BOOKS.lock.lock() {
        ShardLock::hold(guard);
    }
}

/// In the parent and in the child.
fn open_after_fork() {
    BOOKS.lock.open();
    KNOWN.open_after_fork();
}

/// The running session, or 0.
static SESSION: AtomicU32 = AtomicU32::new(0);

/// Stacks are cut to so many frames.
static FRAMES: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Frames that a stack shares with this one are cut off; none without a stack.
static START: AtomicU32 = AtomicU32::new(0);

static KNOWN: LiveTable<Known> = LiveTable::new();

static BOOKS: LockedBooks = LockedBooks {
    lock: ShardLock::new(),
    books: UnsafeCell::new(Books::new()),
};

static SITES: Segments<Site> = Segments::new();

/// Session in the upper half, number of the site in the lower one.
static SITE_OF_STACK: Segments<SiteOfStack> = Segments::new();

#[repr(transparent)]
struct SiteOfStack(AtomicU64);

// SAFETY: an atomic integer of zero.
unsafe impl Zeroed for SiteOfStack {}

/// The site of a stack, a new one if need be; `None` when there is no memory.
#[inline]
fn site_of(stack: StackId, session: u32) -> Option<u32> {
    if let Some(place) = SITE_OF_STACK.get(stack.index()) {
        let found = place.0.load(Acquire);
        if (found >> 32) as u32 == session {
            return Some(found as u32);
        }
    }
    new_site(stack, session)
}

#[cold]
#[inline(never)]
fn new_site(stack: StackId, session: u32) -> Option<u32> {
    let _errno = KeepErrno::new();
    // The innermost frame is of heapatlas, and does not count.
    let frames = FRAMES.load(Relaxed).saturating_add(1);
    let apart = match StackId::from_index(START.load(Relaxed)) {
        StackId::NONE => frames,
        start => stack::frames_apart(stack, start).max(2),
    };
    let cut = stack::cut(stack, frames.min(apart))?;
    let place = SITE_OF_STACK.get_or_map(cut.index())?;
    let mut locked = BOOKS.lock()?;
    if locked.get().session != session {
        return None;
    }
    let found = place.0.load(Relaxed);
    // Another stack may have been cut to the same one.
    let site = if (found >> 32) as u32 == session {
        found as u32
    } else {
        locked.get().new_site(cut)?
    };
    drop(locked);
    let number = u64::from(session) << 32 | u64::from(site);
    place.0.store(number, Release);
    SITE_OF_STACK
        .get_or_map(stack.index())?
        .0
        .store(number, Release);
    Some(site)
}

struct LockedBooks {
    lock: ShardLock,
    books: UnsafeCell<Books>,
}

// SAFETY: the books are reached under the lock only.
unsafe impl Sync for LockedBooks {}

impl LockedBooks {
    /// `None` when the lock cannot be had.
    #[inline]
    fn lock(&self) -> Option<Locked<'_>> {
        let guard = self.lock.lock()?;
        Some(Locked {
            books: &self.books,
            _guard: guard,
        })
    }
}

struct Locked<'l> {
    books: &'l UnsafeCell<Books>,
    _guard: ShardGuard<'l>,
}

impl Locked<'_> {
    #[inline]
    fn get(&mut self) -> &mut Books {
        // SAFETY: the lock is held while `self` lives, and `self` is borrowed.
        unsafe { &mut *self.books.get() }
    }
}

struct Books {
    /// 0: none.
    session: u32,
    last_session: u32,
    /// So many of [`SITES`] are of this session.
    sites: u32,
    totals: Totals,
    /// Peaks of the current bytes are numbered.
    peak: u64,
    peak_at: Tick,
    start: Option<Start>,
}

/// Reached under the lock of the books only.
#[repr(transparent)]
struct Site(UnsafeCell<SiteBooks>);

// SAFETY: see there.
unsafe impl Sync for Site {}
// SAFETY: numbers of zero.
unsafe impl Zeroed for Site {}

struct SiteBooks {
    stack: u32,
    total: Amounts,
    current: Amounts,
    max: Amounts,
    /// At the peak with the number `peak`, if that is still the last one.
    at_peak: Amounts,
    peak: u64,
    /// Times of frees less times of allocations, in ticks.
    lifetime: i128,
}

impl Books {
    const fn new() -> Self {
        const NONE: Amounts = Amounts {
            bytes: 0,
            blocks: 0,
        };
        Self {
            session: 0,
            last_session: 0,
            sites: 0,
            totals: Totals {
                total: NONE,
                current: NONE,
                max: NONE,
                dropped_blocks: 0,
            },
            peak: 0,
            peak_at: Tick(0),
            start: None,
        }
    }

    fn new_site(&mut self, stack: StackId) -> Option<u32> {
        let number = self.sites;
        let site = SITES.get_or_map(number)?;
        // SAFETY: under the lock.
        unsafe {
            *site.0.get() = SiteBooks {
                stack: stack.index(),
                total: Amounts::default(),
                current: Amounts::default(),
                max: Amounts::default(),
                at_peak: Amounts::default(),
                peak: self.peak,
                lifetime: 0,
            };
        }
        self.sites = number.checked_add(1)?;
        Some(number)
    }

    /// The site, which is about to change.
    #[inline]
    fn site(&mut self, number: u32) -> Option<&mut SiteBooks> {
        let site = SITES.get(number)?;
        // SAFETY: under the lock, and borrowed from the books.
        let site = unsafe { &mut *site.0.get() };
        if site.peak != self.peak {
            site.at_peak = site.current;
            site.peak = self.peak;
        }
        Some(site)
    }

    #[inline]
    fn add(&mut self, site: u32, bytes: u64, now: Tick) {
        let Some(site) = self.site(site) else { return };
        site.total.add(bytes);
        site.current.add(bytes);
        site.lifetime -= i128::from(now.0);
        site.note_max();
        self.totals.total.add(bytes);
        self.totals.current.add(bytes);
        self.note_peak(now);
    }

    #[inline]
    fn subtract(&mut self, site: u32, bytes: u64, now: Tick) {
        let Some(site) = self.site(site) else { return };
        site.current.subtract(bytes);
        site.lifetime += i128::from(now.0);
        self.totals.current.subtract(bytes);
    }

    /// Counts as one more block in the totals; the block lives on.
    #[inline]
    fn resize(&mut self, site: u32, [old, new]: [u64; 2], now: Tick) {
        let Some(site) = self.site(site) else { return };
        site.total.add(new);
        site.current.resize(old, new);
        site.note_max();
        self.totals.total.add(new);
        self.totals.current.resize(old, new);
        self.note_peak(now);
    }

    fn add_event(&mut self, site: u32, weight: u64) {
        if let Some(site) = self.site(site) {
            site.total.add(weight);
            self.totals.total.add(weight);
        }
    }

    #[inline]
    fn note_peak(&mut self, now: Tick) {
        // Of equal peaks the latest.
        if self.totals.current.bytes >= self.totals.max.bytes {
            self.totals.max = self.totals.current;
            self.peak += 1;
            self.peak_at = now;
        }
    }

    fn report(&mut self, mut sites: Vec<SiteSums>) -> Option<Report> {
        let scale = self.start?.scale();
        if self.session == 0 {
            return None;
        }
        let now = Tick::now();
        for number in 0..self.sites {
            if let Some(site) = self.site(number) {
                sites.push(site.sums(now, &scale));
            }
        }
        Some(Report {
            totals: self.totals,
            sites,
            peak_microseconds: scale.microseconds_at(self.peak_at),
            end_microseconds: scale.total_microseconds(),
        })
    }
}

impl SiteBooks {
    #[inline]
    fn note_max(&mut self) {
        if self.current.bytes >= self.max.bytes {
            self.max = self.current;
        }
    }

    fn sums(&self, now: Tick, scale: &Scale) -> SiteSums {
        let until_now = i128::from(self.current.blocks) * i128::from(now.0);
        SiteSums {
            stack: StackId::from_index(self.stack),
            total: self.total,
            current: self.current,
            max: self.max,
            at_peak: self.at_peak,
            lifetime_microseconds: scale.microseconds(self.lifetime + until_now),
        }
    }
}

impl Amounts {
    pub(crate) fn add_all(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.blocks += other.blocks;
    }

    #[inline]
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.blocks += 1;
    }

    #[inline]
    fn subtract(&mut self, bytes: u64) {
        self.bytes = self.bytes.wrapping_sub(bytes);
        self.blocks = self.blocks.wrapping_sub(1);
    }

    #[inline]
    fn resize(&mut self, old: u64, new: u64) {
        self.bytes = self.bytes.wrapping_sub(old).wrapping_add(new);
    }
}
