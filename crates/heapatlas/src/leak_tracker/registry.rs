//! What is known of each block: written by the allocators of [`crate::ffi`], read by reports.
//!
//! ```text
//!               allocated                      freed
//!   (nothing) ------------> LIVE | FORGOTTEN ---------> FREED (held back, see `held_back`) ---> (nothing)
//!                              |        ^        the same address freed again: a double free
//!                              +--------+ reset
//! ```
//!
//! A block that a filter ignores, or that was there at a reset, is FORGOTTEN: not reported, but known when it is freed.
//! The record goes before the C library gets the block, so that whoever is given its address next finds none.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use heapatlas_record::live_table::LiveTable;

use super::allocation::{Allocation, StackFrame};
use super::filter::{Facts, Filter};
use super::locked::Locked;
use super::misuse::{self, MisuseKind};
use super::scope::{self, Current, NO_SCOPE};
use super::{held_back, stacks, threads};
use crate::fork;
use crate::guard;
use crate::os::moment::{self, Moment};
use crate::os::{KeepErrno, memory};
use crate::stack::{self, StackId};

/// What is known of a block.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub size: usize,
    pub origin: Origin,
    pub moment: Moment,
    pub stack: StackId,
    pub thread: u32,
    pub scope: u32,
    pub state: State,
    /// The line that freed it, if it is freed and a line is known.
    pub freed_at: Option<&'static Location<'static>>,
}

/// What the call says that allocates.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub type_name: &'static str,
    /// `None` where the caller is a collection: its stack tells more.
    pub location: Option<&'static Location<'static>>,
    pub family: Family,
}

/// Whose `free` a block is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    Adaptive,
    Diagnostic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Live,
    Forgotten,
    Freed,
}

static BLOCKS: LiveTable<Record> = LiveTable::new();

/// Tracking of what is in no scope.
static IS_ENABLED: AtomicBool = AtomicBool::new(false);
/// Something was recorded once: frees have to look.
static HAS_RECORDS: AtomicBool = AtomicBool::new(false);

static GLOBAL_FILTER: Locked<Option<Arc<Filter>>> = Locked::new(None);
static HAS_GLOBAL_FILTER: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_enabled(is_enabled: bool) {
    prepare();
    IS_ENABLED.store(is_enabled, Ordering::Relaxed);
}

/// Whether what this thread allocates now is tracked.
#[inline]
pub(crate) fn is_enabled() -> bool {
    IS_ENABLED.load(Ordering::Relaxed) || Current::get().number() != NO_SCOPE
}

/// Before anything is shared by threads.
pub(crate) fn prepare() {
    fork::include(fork::Rank::LeakTracker, &super::TABLES);
}

pub(crate) fn global_filter() -> Filter {
    let _guard = guard::enter();
    shared_global_filter().map_or_else(Filter::ignore_none, |filter| (*filter).clone())
}

/// `None`: nothing is ignored.
#[inline]
fn shared_global_filter() -> Option<Arc<Filter>> {
    if !HAS_GLOBAL_FILTER.load(Ordering::Acquire) {
        return None;
    }
    GLOBAL_FILTER.with(|filter| filter.clone())?
}

/// Replaces the global filter by what `change` makes of it.
pub(crate) fn change_global_filter(change: impl FnOnce(Filter) -> Filter) {
    let _guard = guard::enter();
    prepare();
    let old = GLOBAL_FILTER.with(|filter| {
        let new = change(filter.as_deref().cloned().unwrap_or_default());
        HAS_GLOBAL_FILTER.store(!new.is_none(), Ordering::Release);
        filter.replace(Arc::new(new))
    });
    drop(old);
}

/// The filter for what this thread allocates; a scope without one uses the global one.
#[inline]
fn filter_in_force(current: Current) -> Option<Arc<Filter>> {
    current.filter().or_else(shared_global_filter)
}

/// A block was allocated.
#[inline(never)]
pub(crate) fn allocated(block: *mut u8, size: usize, origin: Origin) {
    if !is_enabled() {
        return;
    }
    // Within heapatlas nothing is recorded.
    let Some(guard) = guard::enter() else {
        return;
    };
    let current = Current::get();
    let mut record = Record {
        size,
        origin,
        moment: moment::now(),
        stack: stack::capture(&guard),
        thread: threads::number(&guard),
        scope: current.number(),
        state: State::Live,
        freed_at: None,
    };
    if let Some(filter) = filter_in_force(current)
        && record.is_ignored(address_of(block), &filter, None) == Some(true)
    {
        record.state = State::Forgotten;
    }
    if let Some(previous) = insert(block, record)
        && previous.state == State::Live
    {
        // Its memory was given to this block, so somebody freed it.
        let kind = MisuseKind::FreedElsewhere;
        misuse::note(kind, address_of(block), None, Some(previous), &guard);
    }
}

/// Gives what was recorded for the address. Without memory for the table the block is not tracked.
fn insert(block: *mut u8, record: Record) -> Option<Record> {
    if !HAS_RECORDS.load(Ordering::Relaxed) {
        HAS_RECORDS.store(true, Ordering::Relaxed);
    }
    BLOCKS.insert(address_of(block), record).ok().flatten()
}

/// Frees a block, and its record. `family`: whose `free` was called, if it was not the one for all.
///
/// # Safety
/// As `free` of C. What is freed twice is found while the block is held back.
#[inline]
pub(crate) unsafe fn free(
    block: *mut u8,
    family: Option<Family>,
    location: Option<&'static Location<'static>>,
) {
    let is_tracked = !block.is_null() && (HAS_RECORDS.load(Ordering::Relaxed) || is_enabled());
    // SAFETY: the caller's promise.
    unsafe {
        if is_tracked {
            free_tracked(block, family, location);
        } else {
            memory::free(block);
        }
    }
}

/// # Safety
/// As [`free`].
#[inline(never)]
unsafe fn free_tracked(
    block: *mut u8,
    family: Option<Family>,
    location: Option<&'static Location<'static>>,
) {
    // A `free` that changes it surprises those who clean up before they look at it.
    let _errno = KeepErrno::new();
    let address = address_of(block);
    let before = mark_freed(address, location);
    // Within heapatlas (and in a signal handler that came there) nothing is noted or held back.
    let Some(guard) = guard::enter() else {
        if before.is_none_or(|before| before.state != State::Freed) {
            // SAFETY: the caller's promise.
            unsafe { release(block) };
        }
        return;
    };
    if let Some(kind) = misuse_of_free(before, family) {
        misuse::note(kind, address, location, before, &guard);
    }
    // SAFETY: the caller's promise. A block that is freed already is held back, and left where it is.
    unsafe {
        match before {
            None => memory::free(block),
            Some(before) if before.state == State::Freed => {}
            Some(before) => {
                let thread = threads::number(&guard);
                held_back::hold_back(block, before.size, thread, release);
            }
        }
    }
}

fn misuse_of_free(before: Option<Record>, family: Option<Family>) -> Option<MisuseKind> {
    match before {
        None => is_enabled().then_some(MisuseKind::ForeignPointer),
        Some(before) if before.state == State::Freed => Some(MisuseKind::DoubleFree),
        Some(before) => family
            .is_some_and(|family| family != before.origin.family)
            .then_some(MisuseKind::WrongAllocator),
    }
}

/// Gives what was known before.
fn mark_freed(address: u64, location: Option<&'static Location<'static>>) -> Option<Record> {
    let mut before = None;
    BLOCKS.update(address, |record| {
        before = Some(*record);
        if record.state != State::Freed {
            record.state = State::Freed;
            record.freed_at = location;
        }
    });
    before
}

/// Gives a block that was held back to the C library.
///
/// # Safety
/// The block is freed, and handed over here once.
unsafe fn release(block: *mut u8) {
    BLOCKS.remove(address_of(block));
    // SAFETY: the caller's promise.
    unsafe { memory::free(block) };
}

/// Changes the size of a block; its record goes along and keeps its origin. Null: all is as it was.
///
/// # Safety
/// As `realloc` of C.
#[inline(never)]
pub(crate) unsafe fn realloc(block: *mut u8, size: usize, align: usize, origin: Origin) -> *mut u8 {
    let guard = guard::enter();
    let address = address_of(block);
    let before = mark_freed(address, origin.location);
    if let Some(guard) = &guard
        && let Some(kind) = misuse_of_free(before, Some(origin.family))
    {
        let kind = match kind {
            MisuseKind::DoubleFree => MisuseKind::UseAfterFree,
            other => other,
        };
        misuse::note(kind, address, origin.location, before, guard);
    }
    match before {
        Some(before) if before.state == State::Freed => std::ptr::null_mut(),
        // SAFETY: the caller's promise.
        Some(before) => unsafe { realloc_known(block, size, align, before) },
        None => {
            // SAFETY: not one of ours, so the C library's, as the caller says.
            let new =
                unsafe { memory::realloc(block, size, align, || memory::usable_bytes(block)) };
            drop(guard);
            if !new.is_null() {
                allocated(new, size, origin);
            }
            new
        }
    }
}

/// # Safety
/// As [`realloc`].
unsafe fn realloc_known(block: *mut u8, size: usize, align: usize, before: Record) -> *mut u8 {
    BLOCKS.remove(address_of(block));
    // SAFETY: the caller's promise.
    let new = unsafe { memory::realloc(block, size, align, || Some(before.size)) };
    if new.is_null() {
        insert(block, before);
    } else {
        insert(new, Record { size, ..before });
    }
    new
}

#[inline]
fn address_of(block: *mut u8) -> u64 {
    block.addr() as u64
}

impl Record {
    /// As [`Filter::ignores`].
    fn is_ignored(&self, address: u64, filter: &Filter, age: Option<Duration>) -> Option<bool> {
        filter.ignores(&Facts {
            address,
            size: self.size as u64,
            type_name: self.origin.type_name,
            thread_is_in: &|names| {
                let name = threads::label(self.thread).name;
                name.is_some_and(|name| names.has(&name))
            },
            age,
            stack_has: &|pattern| stacks::has(self.stack, self.origin.location, pattern),
        })
    }

    /// With names, which are looked up by `frames`.
    pub(crate) fn to_allocation(self, address: u64, frames: Arc<[StackFrame]>) -> Allocation {
        Allocation {
            address,
            size_bytes: self.size as u64,
            type_name: self.origin.type_name.into(),
            timestamp: self.moment.time(),
            thread: threads::label(self.thread),
            scope: scope::name_of(self.scope),
            location: self.origin.location.map(Into::into),
            stack: frames,
        }
    }
}

/// Which scopes are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    One(u32),
    All,
}

impl Which {
    pub(crate) fn has(self, scope: u32) -> bool {
        match self {
            Self::One(number) => number == scope,
            Self::All => true,
        }
    }
}

/// What is not freed and not ignored, in the order of allocation.
pub(crate) fn leaks(which: Which, filter: &Filter) -> Vec<Allocation> {
    let _guard = guard::enter();
    let mut records = live_records(which);
    retain_reported(&mut records, filter);
    // In this way it is the sort that reports use as well: compiled once.
    let mut order = Vec::new();
    for (index, (_, record)) in records.iter().enumerate() {
        order.push((record.moment.order, index));
    }
    order.sort_unstable();
    stacks::with_names(|names| {
        let mut leaks = Vec::new();
        for (_, index) in &order {
            let (address, record) = records[*index];
            let frames = names.frames(record.stack, record.origin.location);
            leaks.push(record.to_allocation(address, frames));
        }
        leaks
    })
}

pub(crate) fn has_leaks(which: Which, filter: &Filter) -> bool {
    let _guard = guard::enter();
    let mut records = live_records(which);
    retain_reported(&mut records, filter);
    !records.is_empty()
}

fn live_records(which: Which) -> Vec<(u64, Record)> {
    let mut records = Vec::new();
    BLOCKS.for_each(|address, record| {
        if record.state == State::Live && which.has(record.scope) {
            records.push((address, *record));
        }
    });
    records
}

fn retain_reported(records: &mut Vec<(u64, Record)>, filter: &Filter) {
    if filter.is_none() {
        return;
    }
    let now = SystemTime::now();
    records.retain(|(address, record)| {
        let age = now.duration_since(record.moment.time()).unwrap_or_default();
        record.is_ignored(*address, filter, Some(age)) != Some(true)
    });
}

/// Forgets what is there now.
pub(crate) fn reset(which: Which) {
    let _guard = guard::enter();
    for (address, _) in live_records(which) {
        BLOCKS.update(address, |record| {
            if record.state == State::Live && which.has(record.scope) {
                record.state = State::Forgotten;
            }
        });
    }
    misuse::forget(which);
}

/// See [`held_back`].
pub(crate) fn hold_freed_blocks(is_on: bool) {
    let _guard = guard::enter();
    held_back::set_on(is_on, release);
}

pub(crate) fn hold_for_fork() {
    BLOCKS.hold_for_fork();
    GLOBAL_FILTER.hold_for_fork();
}

pub(crate) fn open_after_fork() {
    BLOCKS.open_after_fork();
    GLOBAL_FILTER.open_after_fork();
}
