//! Tests that fail when the code that they test leaks native memory: `cargo test --example leak_tests`.
//!
//! One way is a tracker for the whole suite, whose tests run one after the other; the other a scope for each test, which run side by
//! side. Of the tests here two pass, and two fail on purpose, so that their reports can be looked at.

#![expect(clippy::print_stderr, reason = "an example prints")]

fn main() {
    eprintln!("these are tests: run `cargo test --example leak_tests`");
}

/// The code under test.
#[cfg(test)]
mod store {
    use std::ptr::NonNull;

    use heapatlas::{NativeBox, adaptive_calloc, adaptive_free};

    /// A table of a C library, filled by us.
    pub struct Store {
        rows: NonNull<[u64; 4]>,
    }

    impl Store {
        pub fn open(rows: usize) -> Self {
            let rows = adaptive_calloc(rows).expect("memory for the rows");
            Self { rows }
        }

        pub fn close(self) {
            // SAFETY: the store owns its rows, and ends here.
            unsafe { adaptive_free(self.rows.as_ptr()) };
        }
    }

    /// It should have given back a [`NativeBox`].
    pub fn title() -> NonNull<[u8]> {
        NativeBox::<[u8]>::copy_of(c"the title".to_bytes_with_nul()).into_raw()
    }
}

/// A scope for each test: verified at its end, whatever other tests do meanwhile.
#[cfg(test)]
mod with_scopes {
    use heapatlas::LeakTracker;

    use super::store::{Store, title};

    #[test]
    fn closes_what_it_opens() {
        let _scope = LeakTracker::test_scope();
        Store::open(10).close();
    }

    #[test]
    fn forgets_the_title() {
        let _scope = LeakTracker::test_scope();
        let title = title();
        assert_eq!(title.len(), 10);
    }
}

/// One tracker for all: tests take turns.
#[cfg(test)]
mod with_one_tracker {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use heapatlas::LeakTracker;

    use super::store::Store;

    static TURN: Mutex<()> = Mutex::new(());

    /// Before each test.
    fn set_up() -> MutexGuard<'static, ()> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        LeakTracker::enable_in_debug();
        LeakTracker::reset();
        turn
    }

    /// After each test.
    fn tear_down() {
        LeakTracker::verify_no_leaks_in_debug();
    }

    #[test]
    fn closes_both() {
        let _turn = set_up();
        let stores = [Store::open(1), Store::open(2)];
        stores.map(Store::close);
        tear_down();
    }

    #[test]
    fn closes_one_of_two() {
        let _turn = set_up();
        let first = Store::open(3);
        let _second = Store::open(4);
        first.close();
        tear_down();
    }
}
