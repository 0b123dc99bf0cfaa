//! Scopes: parts of a program whose leaks are looked at apart.
//!
//! ```text
//! thread:  CURRENT (number of the scope, whether it has a filter)  <- what an allocation is charged to
//!          ENTERED (entry, scope) ...                              <- so that entries may end in any order
//! process: SCOPES  number -> state, while somebody holds the scope; ENDED: names of the last ones that ended
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::filter::Filter;
use super::locked::Locked;
use super::misuse;
use super::registry;
use super::sorted::Numbered;
use super::{Allocation, LeakError, Misuse, MisuseError, View};
use crate::guard;

/// A part of a program whose leaks are looked at apart from those of the rest.
///
/// What is allocated in a scope belongs to it, whether tracking is enabled outside or not; it can be freed anywhere.
/// A scope within a scope starts afresh: the outer one does not see what is allocated there. Threads and tasks that are
/// started in a scope do not belong to it by themselves: hand them a clone of the scope.
///
/// ```
/// use heapatlas::LeakScope;
/// let scope = LeakScope::named("import");
/// let worker = scope.clone();
/// std::thread::spawn(move || worker.run(|| { /* belongs to the scope */ })).join().unwrap();
/// scope.verify_no_leaks()?;
/// # Ok::<(), heapatlas::LeakError>(())
/// ```
#[derive(Clone)]
pub struct LeakScope(Arc<State>);

struct State {
    number: u32,
    name: Option<String>,
    filter: Option<Arc<Filter>>,
}

/// The scope of what is in no scope.
pub(crate) const NO_SCOPE: u32 = 0;

static LAST: AtomicU32 = AtomicU32::new(NO_SCOPE);
static SCOPES: Locked<Scopes> = Locked::new(Scopes {
    alive: Numbered::new(),
    ended: Numbered::new(),
});

struct Scopes {
    alive: Numbered<Weak<State>>,
    /// Blocks outlive scopes; so do the names, for a while.
    ended: Numbered<String>,
}

const MOST_ENDED: usize = 1024;

impl LeakScope {
    /// A scope without a name.
    #[must_use]
    pub fn new() -> Self {
        Self::from_parts(None, None)
    }

    /// A scope whose name appears in reports.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::from_parts(Some(name.into()), None)
    }

    /// A new scope of the same name, with a filter of its own instead of the global one.
    #[must_use]
    pub fn with_filter(&self, filter: Filter) -> Self {
        Self::from_parts(self.0.name.clone(), Some(Arc::new(filter)))
    }

    fn from_parts(name: Option<String>, filter: Option<Arc<Filter>>) -> Self {
        let _guard = guard::enter();
        registry::prepare();
        let number = loop {
            let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if number != NO_SCOPE {
                break number;
            }
        };
        let state = Arc::new(State {
            number,
            name,
            filter,
        });
        let weak = Arc::downgrade(&state);
        SCOPES.with(|scopes| scopes.alive.insert(number, weak, usize::MAX));
        Self(state)
    }

    /// The scope in which this thread is.
    #[must_use]
    pub fn current() -> Option<Self> {
        let _guard = guard::enter();
        find(Current::get().number()).map(Self)
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Runs `body` in this scope, and gives what it returns. A panic leaves the scope, too.
    pub fn run<R>(&self, body: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        body()
    }

    /// The future in this scope: it is in it whenever it runs, on whatever thread, and when it is dropped.
    pub fn run_future<F: Future>(&self, future: F) -> ScopedFuture<F> {
        ScopedFuture {
            scope: self.clone(),
            future: ManuallyDrop::new(future),
        }
    }

    /// Puts this thread into the scope until the value is dropped. (In asynchronous code a task may go on on another
    /// thread: use [`Self::run_future`].)
    #[must_use = "the scope is left when this is dropped"]
    pub fn enter(&self) -> EnteredScope {
        let _guard = guard::enter();
        let entry = Entry::push(Current::of(&self.0));
        EnteredScope {
            entry,
            _scope: self.clone(),
            _stays_on_its_thread: PhantomData,
        }
    }

    /// What was allocated in this scope and is not freed, in the order of allocation.
    pub fn snapshot(&self) -> Vec<Allocation> {
        self.view().snapshot()
    }

    /// Whether there is something that was allocated in this scope and is not freed.
    pub fn has_leaks(&self) -> bool {
        self.view().has_leaks()
    }

    /// Forgets what was allocated in this scope so far; it frees nothing.
    pub fn reset(&self) {
        self.view().reset();
    }

    /// # Errors
    /// Something that was allocated in this scope is not freed.
    pub fn verify_no_leaks(&self) -> Result<(), LeakError> {
        self.view().verify_no_leaks()
    }

    /// Wrong frees in this scope, or of its blocks.
    pub fn misuses(&self) -> Vec<Misuse> {
        self.view().misuses()
    }

    /// # Errors
    /// A block of this scope was freed twice or by the wrong allocator, or a block was so freed in this scope.
    pub fn verify_no_misuses(&self) -> Result<(), MisuseError> {
        self.view().verify_no_misuses()
    }

    pub(crate) fn view(&self) -> View {
        View {
            scope: self.0.number,
            name: self.0.name.clone(),
            filter: match &self.0.filter {
                Some(filter) => (**filter).clone(),
                None => registry::global_filter(),
            },
        }
    }
}

impl Default for LeakScope {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LeakScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeakScope")
            .field("name", &self.0.name)
            .field("filter", &self.0.filter)
            .finish_non_exhaustive()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _guard = guard::enter();
        misuse::scope_ends(self.number);
        let name = self.name.take();
        let number = self.number;
        let dropped = SCOPES.with(|scopes| scopes.end(number, name));
        drop(dropped);
    }
}

impl Scopes {
    /// What it gives is to be dropped without the lock.
    fn end(&mut self, number: u32, name: Option<String>) -> Option<String> {
        self.alive.remove(number);
        self.ended.insert(number, name?, MOST_ENDED)
    }
}

fn find(number: u32) -> Option<Arc<State>> {
    if number == NO_SCOPE {
        return None;
    }
    SCOPES.with(|scopes| scopes.alive.get(number)?.upgrade())?
}

/// The name of a scope, if it has one and did not end long ago.
pub(crate) fn name_of(number: u32) -> Option<String> {
    if let Some(state) = find(number) {
        return state.name.clone();
    }
    SCOPES.with(|scopes| scopes.ended.get(number).cloned())?
}

/// What looks at the scope in which this thread is, or at what is in none.
pub(crate) fn current_view() -> View {
    match LeakScope::current() {
        Some(scope) => scope.view(),
        None => View {
            scope: NO_SCOPE,
            name: None,
            filter: registry::global_filter(),
        },
    }
}

/// A number of a scope, and whether that has a filter of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current(u64);

const HAS_FILTER: u64 = 1 << 32;

impl Current {
    const NONE: Self = Self(NO_SCOPE as u64);

    fn of(state: &State) -> Self {
        let has_filter = if state.filter.is_some() {
            HAS_FILTER
        } else {
            0
        };
        Self(u64::from(state.number) | has_filter)
    }

    /// That of this thread.
    #[inline]
    pub(crate) fn get() -> Self {
        CURRENT.get()
    }

    #[inline]
    pub(crate) fn number(self) -> u32 {
        self.0 as u32
    }

    /// The scope's own filter.
    #[inline]
    pub(crate) fn filter(self) -> Option<Arc<Filter>> {
        if self.0 & HAS_FILTER == 0 {
            return None;
        }
        find(self.number())?.filter.clone()
    }
}

thread_local! {
    // Constant and without a destructor: it can be read while a thread ends, and in a signal handler.
    static CURRENT: Cell<Current> = const { Cell::new(Current::NONE) };
    static ENTERED: RefCell<Vec<(u64, Current)>> = const { RefCell::new(Vec::new()) };
    static LAST_ENTRY: Cell<u64> = const { Cell::new(0) };
}

/// One entry of this thread into a scope.
struct Entry(u64);

impl Entry {
    fn push(current: Current) -> Self {
        let number = LAST_ENTRY.get().wrapping_add(1);
        LAST_ENTRY.set(number);
        // Without the list (the thread is ending) the entry counts until it is dropped, and leads to no scope then.
        let _ = ENTERED.try_with(|entered| {
            if let Ok(mut entered) = entered.try_borrow_mut() {
                entered.push((number, current));
            }
        });
        CURRENT.set(current);
        Self(number)
    }

    /// The last of the entries that are left says where the thread is.
    fn end(&self) {
        let last = ENTERED.try_with(|entered| {
            let mut entered = entered.try_borrow_mut().ok()?;
            entered.retain(|(number, _)| *number != self.0);
            entered.last().map(|(_, current)| *current)
        });
        CURRENT.set(last.ok().flatten().unwrap_or(Current::NONE));
    }
}

/// This thread is in a scope while it lives: see [`LeakScope::enter`].
pub struct EnteredScope {
    entry: Entry,
    /// The scope does not end while somebody is in it.
    _scope: LeakScope,
    _stays_on_its_thread: PhantomData<*mut ()>,
}

impl Drop for EnteredScope {
    fn drop(&mut self) {
        let _guard = guard::enter();
        self.entry.end();
    }
}

/// A future in a scope: see [`LeakScope::run_future`].
pub struct ScopedFuture<F: Future> {
    scope: LeakScope,
    future: ManuallyDrop<F>,
}

impl<F: Future> Future for ScopedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the scope may be moved; the future is not, neither here nor in `drop`.
        let this = unsafe { self.get_unchecked_mut() };
        let _entered = this.scope.enter();
        // SAFETY: it is pinned as long as `self` is.
        unsafe { Pin::new_unchecked(&mut *this.future) }.poll(context)
    }
}

impl<F: Future> Drop for ScopedFuture<F> {
    fn drop(&mut self) {
        let _entered = self.scope.enter();
        // SAFETY: dropped here, where it lies, and not used any more.
        unsafe { ManuallyDrop::drop(&mut self.future) };
    }
}

pub(crate) fn hold_for_fork() {
    SCOPES.hold_for_fork();
}

pub(crate) fn open_after_fork() {
    SCOPES.open_after_fork();
}
