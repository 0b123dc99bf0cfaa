//! Stacks of leaks and of wrong frees begin in the program's own line, and end at `main`, the test or the thread's closure.
#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(heapatlas_fallback)
))]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is freed once by its own function, or wrongly on purpose"
)]

use std::ffi::c_void;

use heapatlas::{
    AdaptiveMalloc, LeakTracker, NativeBox, StackFrame, adaptive_calloc, adaptive_free,
    adaptive_realloc, native_free,
};

/// The functions of a stack; of generic ones the name alone.
fn functions(stack: &[StackFrame]) -> Vec<&str> {
    let names = stack.iter().filter_map(|frame| frame.function.as_deref());
    names
        .map(|name| name.split('<').next().unwrap_or(name))
        .collect()
}

#[track_caller]
fn check_lines(stack: &[StackFrame], lines: &[u32]) {
    let places = stack.iter().filter_map(|frame| frame.location.as_ref());
    let found: Vec<u32> = places.take(lines.len()).map(|place| place.line).collect();
    assert_eq!(found, lines, "{stack:#?}");
}

/// The only leak of this thread's scope; it is freed.
#[track_caller]
fn only_leak() -> heapatlas::Allocation {
    let mut leaks = LeakTracker::snapshot();
    assert_eq!(leaks.len(), 1, "{leaks:#?}");
    let leak = leaks.remove(0);
    unsafe { adaptive_free(leak.address as *mut u8) };
    leak
}

#[inline(never)]
fn inner() -> *mut u32 {
    adaptive_calloc::<u32>(1).unwrap().as_ptr()
}
const INNER: u32 = line!() - 2;

#[inline(never)]
fn outer() -> *mut u32 {
    std::hint::black_box(inner())
}
const OUTER: u32 = line!() - 2;

#[test]
fn from_the_line_to_the_test() {
    let _scope = LeakTracker::test_scope();
    outer();
    let called = line!() - 1;
    let leak = only_leak();
    check_lines(&leak.stack, &[INNER, OUTER, called]);
    let expected = [
        "leak_stacks::inner",
        "leak_stacks::outer",
        "leak_stacks::from_the_line_to_the_test",
    ];
    let found = functions(&leak.stack);
    assert_eq!(found[..3], expected, "{found:#?}");
    // The harness calls a test by way of a closure in it.
    let rest = &found[3..];
    assert!(
        rest.iter().all(|name| name.starts_with(expected[2])),
        "{found:#?}"
    );
}

#[test]
fn to_the_closure_of_a_thread() {
    let scope = LeakTracker::test_scope();
    let scope = scope.scope().clone();
    let leak = std::thread::spawn(move || {
        let _entered = scope.enter();
        outer();
        only_leak()
    });
    let leak = leak.join().unwrap();
    let found = functions(&leak.stack);
    let last = found.last().copied();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_eq!(
        last,
        Some("leak_stacks::to_the_closure_of_a_thread::{{closure}}")
    );
}

/// A wrapper that passes its caller's line on is not to blame.
#[track_caller]
fn wrapper() -> NativeBox<u64> {
    NativeBox::new(7)
}

#[test]
fn the_caller_of_a_wrapper_is_named() {
    let _scope = LeakTracker::test_scope();
    let _ = wrapper().into_raw();
    let called = line!() - 1;
    let leak = only_leak();
    assert_eq!(leak.location.unwrap().line, called);
    check_lines(&leak.stack, &[called]);
}

#[test]
fn a_resized_block_has_the_stack_of_its_allocation() {
    let _scope = LeakTracker::test_scope();
    let block = outer();
    unsafe { adaptive_realloc(block, 100_000) };
    check_lines(&only_leak().stack, &[INNER, OUTER]);
}

#[test]
fn a_collection_is_not_to_blame() {
    #[inline(never)]
    fn fills() -> *mut u8 {
        let mut bytes = allocator_api2::vec::Vec::new_in(AdaptiveMalloc);
        bytes.extend_from_slice(&[1_u8; 1000]);
        bytes.into_raw_parts().0
    }
    let filled = line!() - 3;
    let _scope = LeakTracker::test_scope();
    fills();
    let leak = only_leak();
    check_lines(&leak.stack, &[filled]);
    let name = "leak_stacks::a_collection_is_not_to_blame::fills";
    assert_eq!(functions(&leak.stack)[0], name);
}

#[test]
fn both_stacks_of_a_double_free() {
    unsafe extern "C" {
        fn qsort(
            base: *mut c_void,
            count: usize,
            size: usize,
            compare: unsafe extern "C" fn(*const c_void, *const c_void) -> i32,
        );
    }
    unsafe extern "C" fn frees(block: *const c_void, _: *const c_void) -> i32 {
        unsafe { native_free(block.cast::<*mut c_void>().read()) };
        0
    }
    let frees_at = line!() - 3;
    let scope = LeakTracker::test_scope().without_verification();
    let block = outer();
    unsafe { adaptive_free(block) };
    let mut blocks = [block, block];
    unsafe { qsort(blocks.as_mut_ptr().cast(), 2, size_of::<*mut u32>(), frees) };

    let misuses = scope.scope().misuses();
    assert_eq!(misuses.len(), 1, "{misuses:#?}");
    let misuse = &misuses[0];
    check_lines(&misuse.stack, &[frees_at]);
    let found = functions(&misuse.stack);
    assert_eq!(found[0], "leak_stacks::both_stacks_of_a_double_free::frees");
    let sorts = found
        .iter()
        .any(|name| name.contains("qsort") || name.contains("msort"));
    assert!(sorts, "through C: {found:#?}");
    check_lines(&misuse.block.as_ref().unwrap().stack, &[INNER, OUTER]);
    let text = misuse.to_string();
    assert!(text.contains("leak_stacks::inner"), "{text}");
}
