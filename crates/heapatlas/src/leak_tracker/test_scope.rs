//! A scope that makes its test fail.

use std::future::Future;
use std::panic::Location;
use std::thread;

use super::scope::{EnteredScope, LeakScope};

/// A scope that is verified when it is dropped: see [`LeakTracker::test_scope`](super::LeakTracker::test_scope).
pub struct TestScope {
    scope: LeakScope,
    is_verified: bool,
    // Left after `drop` of the whole has looked.
    _entered: EnteredScope,
}

impl TestScope {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::in_scope(LeakScope::named(name_of_test(Location::caller())))
    }

    /// The same with a scope of one's own: with another name, or with a filter.
    #[must_use = "the scope ends when this is dropped"]
    pub fn in_scope(scope: LeakScope) -> Self {
        Self {
            _entered: scope.enter(),
            is_verified: true,
            scope,
        }
    }

    /// The scope, for threads and futures of the test.
    pub fn scope(&self) -> &LeakScope {
        &self.scope
    }

    /// Does not look at the end. What leaks can be asked for by [`Self::scope`].
    #[must_use]
    pub fn without_verification(mut self) -> Self {
        self.is_verified = false;
        self
    }

    /// Looks now and not at the end.
    ///
    /// # Panics
    /// There are leaks or wrong frees.
    #[track_caller]
    pub fn verify(mut self) {
        self.is_verified = false;
        verify(&self.scope);
    }
}

/// A future that is verified when it is ready.
#[track_caller]
pub(crate) fn run_future<F: Future>(test: F) -> impl Future<Output = F::Output> {
    let scope = LeakScope::named(name_of_test(Location::caller()));
    async move {
        let output = scope.run_future(test).await;
        verify(&scope);
        output
    }
}

#[track_caller]
fn verify(scope: &LeakScope) {
    if let Err(error) = scope.verify_no_misuses() {
        panic!("{error}");
    }
    if let Err(error) = scope.verify_no_leaks() {
        panic!("{error}");
    }
}

impl Drop for TestScope {
    fn drop(&mut self) {
        // A test that fails anyway has a reason of its own; a second panic would end the process.
        if self.is_verified && !thread::panicking() {
            verify(&self.scope);
        }
    }
}

/// The harness names the thread after the test, unless it runs tests one after the other in its main thread.
fn name_of_test(location: &Location<'_>) -> String {
    match thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("{}:{}", location.file(), location.line()),
    }
}
