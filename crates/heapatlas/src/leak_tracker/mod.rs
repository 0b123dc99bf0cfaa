//! Finds native memory that is never freed, and names the line that allocated it.
//!
//! In reading order: [`LeakTracker`]; `allocation` (what is told of a block), `filter` with `pattern`, `scope`, `test_scope`;
//! `registry` (what is known of each block), `held_back`, `misuse` (wrong frees); `stacks` (names), `report`, `emitters`,
//! `leak_file` (JSON).

mod allocation;
mod emitters;
mod error;
mod filter;
mod held_back;
pub(crate) mod json_reader;
mod leak_file;
mod locked;
mod misuse;
mod pattern;
pub(crate) mod registry;
mod report;
mod scope;
mod sorted;
mod stacks;
mod test_scope;
mod threads;
mod time_text;

use std::future::Future;
use std::io;

pub use allocation::{Allocation, SourceLocation, StackFrame, ThreadLabel};
pub use emitters::{ConsoleEmitter, JsonEmitter, LeaksEmitter};
pub use error::LeakError;
pub use filter::Filter;
pub use leak_file::{LeakFileError, read_leaks};
pub use misuse::{Misuse, MisuseError, MisuseKind};
pub use pattern::{Pattern, PatternError};
pub use scope::{EnteredScope, LeakScope, ScopedFuture};
pub use test_scope::TestScope;

use registry::Which;

/// Whether the adaptive allocators are tracked in this build: with `debug_assertions`, and with the feature `profiling`.
///
/// What counts is how `heapatlas` itself is compiled. That is how the program is, unless the profile says otherwise for this
/// package: with `[profile.release.package.heapatlas] debug-assertions = true` they are tracked in a release build as well, and with
/// `[profile.dev.package."*"] debug-assertions = false` they are not in a debug build.
pub const TRACKS_ADAPTIVE: bool = cfg!(any(debug_assertions, feature = "profiling"));

/// Keeps the books of memory that crosses the border to C: what the allocators of this crate gave, and who asked
/// for it.
///
/// ```
/// use heapatlas::{LeakTracker, adaptive_calloc, adaptive_free};
///
/// LeakTracker::enable_in_debug();
/// let numbers = adaptive_calloc::<i32>(4).expect("memory for 16 bytes");
/// // ... handed to C, used, and in the end:
/// unsafe { adaptive_free(numbers.as_ptr()) };
/// LeakTracker::verify_no_leaks_in_debug();
/// ```
///
/// All functions are about the [scope](LeakScope) in which the calling thread is; without one, about everything that was allocated
/// outside of scopes.
#[derive(Debug)]
pub enum LeakTracker {}

impl LeakTracker {
    /// Tracks from here on what is allocated outside of scopes.
    pub fn enable() {
        registry::set_enabled(true);
    }

    /// As [`Self::enable`], where the adaptive allocators are tracked ([`TRACKS_ADAPTIVE`]); nothing in a plain release build.
    #[inline(always)]
    pub fn enable_in_debug() {
        if TRACKS_ADAPTIVE {
            Self::enable();
        }
    }

    /// Tracks no more what is allocated outside of scopes. What is known stays known, and is found when it is freed.
    pub fn disable() {
        registry::set_enabled(false);
    }

    /// Whether what this thread allocates now is tracked: it is enabled, or the thread is in a scope.
    pub fn enabled() -> bool {
        registry::is_enabled()
    }

    /// What is ignored outside of scopes and in scopes that have no filter of their own.
    pub fn global_filter() -> Filter {
        registry::global_filter()
    }

    /// Replaces the global filter.
    ///
    /// A filter works twice: what it ignores when a block is allocated is never reported; and what is reported has passed
    /// the filter of that moment. (Ages are looked at in reports only.)
    pub fn set_global_filter(filter: Filter) {
        registry::change_global_filter(|_| filter);
    }

    /// Ignores this, too.
    pub fn add_global_filter(filter: Filter) {
        registry::change_global_filter(|old| old.or(filter));
    }

    /// Ignores nothing any more.
    pub fn clear_global_filter() {
        registry::change_global_filter(|_| Filter::ignore_none());
    }

    /// Runs `body` in a new scope: tracked, and apart from everything else. See [`LeakScope`] for scopes with a name, a filter, or
    /// several threads.
    ///
    /// ```
    /// use heapatlas::{LeakTracker, diagnostic_free, diagnostic_malloc};
    /// let leaks = LeakTracker::run_scoped(|| {
    ///     let block = diagnostic_malloc::<u64>(1);
    ///     let leaks = LeakTracker::snapshot();
    ///     unsafe { diagnostic_free(block.map_or(std::ptr::null_mut(), |block| block.as_ptr())) };
    ///     LeakTracker::verify_no_leaks().map(|()| leaks)
    /// })?;
    /// assert_eq!((leaks.len(), leaks[0].size_bytes, &*leaks[0].type_name), (1, 8, "u64"));
    /// # Ok::<(), heapatlas::LeakError>(())
    /// ```
    pub fn run_scoped<R>(body: impl FnOnce() -> R) -> R {
        LeakScope::new().run(body)
    }

    /// A future in a new scope, which it keeps when it moves between threads.
    pub fn run_scoped_future<F: Future>(future: F) -> ScopedFuture<F> {
        LeakScope::new().run_future(future)
    }

    /// A scope for the rest of a test. When it is dropped, leaks and wrong frees make the test fail.
    ///
    /// The scope has the test's name: that of the thread, which the test harness gives it.
    ///
    /// ```
    /// # use heapatlas::LeakTracker;
    /// // #[test]
    /// fn frees_what_it_allocates() {
    ///     let _scope = LeakTracker::test_scope();
    ///     let block = heapatlas::adaptive_calloc::<u8>(100).unwrap();
    ///     unsafe { heapatlas::adaptive_free(block.as_ptr()) };
    /// }
    /// # frees_what_it_allocates();
    /// ```
    #[must_use = "the scope ends when this is dropped"]
    #[track_caller]
    pub fn test_scope() -> TestScope {
        TestScope::new()
    }

    /// Runs a test in a scope of its own, and verifies at the end.
    ///
    /// # Panics
    /// There are leaks or wrong frees; and if `test` does.
    #[track_caller]
    pub fn run_test<R>(test: impl FnOnce() -> R) -> R {
        let _scope = Self::test_scope();
        test()
    }

    /// The same for an asynchronous test, on whatever runtime. What it spawns belongs to the scope if it is
    /// [run in it](LeakScope::run_future): [`LeakScope::current`] gives it to the test.
    ///
    /// # Panics
    /// When it is awaited: there are leaks or wrong frees; and if `test` does.
    #[track_caller]
    pub fn run_test_future<F: Future>(test: F) -> impl Future<Output = F::Output> {
        test_scope::run_future(test)
    }

    /// What was allocated and is not freed, in the order of allocation.
    pub fn snapshot() -> Vec<Allocation> {
        scope::current_view().snapshot()
    }

    /// The same of all scopes together, also of those that ended; with the global filter.
    pub fn snapshot_of_all_scopes() -> Vec<Allocation> {
        registry::leaks(Which::All, &registry::global_filter())
    }

    /// The same, without what `filter` ignores, and without what is ignored anyway.
    pub fn snapshot_without(filter: Filter) -> Vec<Allocation> {
        scope::current_view().without(filter).snapshot()
    }

    /// Whether anything is allocated and not freed.
    pub fn has_leaks() -> bool {
        scope::current_view().has_leaks()
    }

    /// Forgets what was allocated so far, and what was wrongly freed. It frees nothing.
    pub fn reset() {
        scope::current_view().reset();
    }

    /// Hands the leaks to an emitter.
    ///
    /// # Errors
    /// The emitter's.
    pub fn emit(emitter: &mut dyn LeaksEmitter) -> io::Result<()> {
        emitter.emit(&Self::snapshot())
    }

    /// # Errors
    /// Something is allocated and not freed: its text is the report.
    pub fn verify_no_leaks() -> Result<(), LeakError> {
        scope::current_view().verify_no_leaks()
    }

    /// As [`Self::verify_no_leaks`], without what `filter` ignores.
    ///
    /// # Errors
    /// Something else is allocated and not freed.
    pub fn verify_no_leaks_without(filter: Filter) -> Result<(), LeakError> {
        scope::current_view().without(filter).verify_no_leaks()
    }

    /// # Panics
    /// Something is allocated and not freed: the message is the report.
    #[track_caller]
    pub fn assert_no_leaks() {
        if let Err(error) = Self::verify_no_leaks() {
            panic!("{error}");
        }
    }

    /// As [`Self::assert_no_leaks`], where the adaptive allocators are tracked ([`TRACKS_ADAPTIVE`]); nothing in a plain release
    /// build.
    ///
    /// # Panics
    /// Something is allocated and not freed: the message is the report.
    #[inline(always)]
    #[track_caller]
    pub fn verify_no_leaks_in_debug() {
        if TRACKS_ADAPTIVE {
            Self::assert_no_leaks();
        }
    }

    /// Wrong frees, in the order in which they happened; equal ones together. (A thousand different ones of the process are kept.)
    pub fn misuses() -> Vec<Misuse> {
        scope::current_view().misuses()
    }

    /// How many frees of a kind there were in the whole process so far.
    pub fn misuse_count(kind: MisuseKind) -> u64 {
        misuse::count(kind)
    }

    /// # Errors
    /// A block was freed twice, resized after it was freed, or freed by the wrong allocator.
    pub fn verify_no_misuses() -> Result<(), MisuseError> {
        scope::current_view().verify_no_misuses()
    }

    /// Whether freed blocks are held back for a while, as they are at first: the last 256 of a thread, or a mebibyte of them; blocks of
    /// more than a quarter of that are not held back. Double frees are found, and left out, as long as the block is held back.
    pub fn hold_freed_blocks(is_on: bool) {
        registry::hold_freed_blocks(is_on);
    }
}

/// What is looked at: a scope, and what is ignored there.
pub(crate) struct View {
    scope: u32,
    name: Option<String>,
    filter: Filter,
}

impl View {
    fn which(&self) -> Which {
        Which::One(self.scope)
    }

    fn without(mut self, filter: Filter) -> Self {
        self.filter = self.filter.or(filter);
        self
    }

    fn snapshot(&self) -> Vec<Allocation> {
        registry::leaks(self.which(), &self.filter)
    }

    fn has_leaks(&self) -> bool {
        registry::has_leaks(self.which(), &self.filter)
    }

    fn reset(&self) {
        registry::reset(self.which());
    }

    fn verify_no_leaks(self) -> Result<(), LeakError> {
        LeakError::check(self.snapshot(), self.filter, self.name)
    }

    fn misuses(&self) -> Vec<Misuse> {
        misuse::all(self.which())
    }

    fn verify_no_misuses(&self) -> Result<(), MisuseError> {
        MisuseError::check(self.misuses())
    }
}

static TABLES: crate::fork::Tables = crate::fork::Tables {
    hold: hold_for_fork,
    open: open_after_fork,
};

/// While a process forks, nobody changes what threads share.
fn hold_for_fork() {
    // The first: whoever has it uses the others.
    stacks::hold_for_fork();
    scope::hold_for_fork();
    threads::hold_for_fork();
    held_back::hold_for_fork();
    registry::hold_for_fork();
    misuse::hold_for_fork();
}

/// In the parent and in the child.
fn open_after_fork() {
    misuse::open_after_fork();
    registry::open_after_fork();
    held_back::open_after_fork();
    threads::open_after_fork();
    scope::open_after_fork();
    stacks::open_after_fork();
}
