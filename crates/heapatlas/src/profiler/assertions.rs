//! Assertions that save the profile before they panic.

use super::state;

/// Whether an assertion fails; then the profile has been saved. What `holds` allocates is not recorded.
///
/// # Panics
///
/// When there is no profiler in testing mode, or an assertion of it failed before.
#[doc(hidden)]
#[track_caller]
pub fn has_failed(holds: impl FnOnce() -> bool) -> bool {
    let mut holds = Some(holds);
    let mut ask = || holds.take().is_some_and(|holds| holds());
    match state::has_failed(&mut ask) {
        Ok(failed) => failed,
        Err(error) => panic!("heapatlas: asserting: {error}"),
    }
}

/// Asserts that something is true of the running [`Profiler`](crate::Profiler), which is in testing mode; saves the
/// profile and panics if not. Takes a message as [`std::assert!`] does.
///
/// ```
/// #[global_allocator]
/// static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();
///
/// let _profiler = heapatlas::Profiler::builder().testing().build();
/// let _numbers = vec![1, 2, 3, 4];
/// let stats = heapatlas::HeapStats::get();
/// heapatlas::assert!(stats.total_blocks < 10);
/// heapatlas::assert_eq!(stats.curr_bytes, 16, "{stats:?}");
/// heapatlas::assert_ne!(stats.max_bytes, 0);
/// ```
///
/// # Panics
///
/// When it is not true, and, without saving, when there is no profiler in testing mode or one of its assertions has
/// failed before.
#[macro_export]
macro_rules! assert {
    ($condition:expr $(,)?) => {
        if $crate::profiler_has_failed(|| $condition) {
            ::std::panic!("heapatlas: assertion failed: {}", ::std::stringify!($condition));
        }
    };
    ($condition:expr, $($message:tt)+) => {
        if $crate::profiler_has_failed(|| $condition) {
            ::std::panic!(
                "heapatlas: assertion failed: {}: {}",
                ::std::stringify!($condition),
                ::std::format_args!($($message)+)
            );
        }
    };
}

/// Asserts that two values are equal, as [`heapatlas::assert!`](crate::assert) does.
///
/// # Panics
///
/// As [`heapatlas::assert!`](crate::assert).
#[macro_export]
macro_rules! assert_eq {
    ($left:expr, $right:expr $(,)?) => {
        if $crate::profiler_has_failed(|| $left == $right) {
            ::std::panic!(
                "heapatlas: assertion failed: `(left == right)`\n  left: `{:?}`,\n right: `{:?}`",
                $left, $right
            );
        }
    };
    ($left:expr, $right:expr, $($message:tt)+) => {
        if $crate::profiler_has_failed(|| $left == $right) {
            ::std::panic!(
                "heapatlas: assertion failed: `(left == right)`\n  left: `{:?}`,\n right: `{:?}`: {}",
                $left, $right, ::std::format_args!($($message)+)
            );
        }
    };
}

/// Asserts that two values differ, as [`heapatlas::assert!`](crate::assert) does.
///
/// # Panics
///
/// As [`heapatlas::assert!`](crate::assert).
#[macro_export]
macro_rules! assert_ne {
    ($left:expr, $right:expr $(,)?) => {
        if $crate::profiler_has_failed(|| $left != $right) {
            ::std::panic!(
                "heapatlas: assertion failed: `(left != right)`\n  left: `{:?}`,\n right: `{:?}`",
                $left, $right
            );
        }
    };
    ($left:expr, $right:expr, $($message:tt)+) => {
        if $crate::profiler_has_failed(|| $left != $right) {
            ::std::panic!(
                "heapatlas: assertion failed: `(left != right)`\n  left: `{:?}`,\n right: `{:?}`: {}",
                $left, $right, ::std::format_args!($($message)+)
            );
        }
    };
}
