//! The FFI allocators: what they give, and what the tracker knows of it. Each test has a scope of its own.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is freed once by its own function, or wrongly on purpose"
)]

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use heapatlas::{
    AdaptiveCalloc, DiagnosticMalloc, LeakScope, LeakTracker, MisuseKind, NativeBox,
    adaptive_calloc, adaptive_calloc_bytes, adaptive_free, adaptive_malloc, adaptive_malloc_bytes,
    adaptive_realloc, adaptive_realloc_bytes, diagnostic_calloc, diagnostic_calloc_bytes,
    diagnostic_free, diagnostic_malloc, diagnostic_malloc_bytes, diagnostic_realloc,
    diagnostic_realloc_bytes, native_free,
};

/// Size and type of what is not freed in the scope of this thread.
fn live() -> Vec<(u64, String)> {
    LeakTracker::snapshot()
        .into_iter()
        .map(|leak| (leak.size_bytes, leak.type_name.into_owned()))
        .collect()
}

fn kinds() -> Vec<MisuseKind> {
    LeakTracker::misuses()
        .iter()
        .map(|misuse| misuse.kind)
        .collect()
}

#[test]
fn typed_and_untyped_of_all_four() {
    LeakTracker::run_test(|| unsafe {
        let typed = [
            adaptive_calloc::<u32>(3).unwrap(),
            adaptive_malloc::<u32>(3).unwrap(),
            diagnostic_calloc::<u32>(3).unwrap(),
            diagnostic_malloc::<u32>(3).unwrap(),
        ];
        assert_eq!(live(), vec![(12, "u32".to_owned()); 4]);
        assert!((0..3).all(|i| typed[0].add(i).read() == 0 && typed[2].add(i).read() == 0));
        let untyped = [
            adaptive_calloc_bytes(7, 1).unwrap(),
            adaptive_malloc_bytes(7, 1).unwrap(),
            diagnostic_calloc_bytes(7, 1).unwrap(),
            diagnostic_malloc_bytes(7, 1).unwrap(),
        ];
        assert_eq!(live()[4..], vec![(7, "untyped".to_owned()); 4]);
        for pair in [&typed.map(|block| block.cast())[..], &untyped[..]] {
            adaptive_free(pair[0].as_ptr());
            adaptive_free(pair[1].as_ptr());
            diagnostic_free(pair[2].as_ptr());
            diagnostic_free(pair[3].as_ptr());
        }
        assert_eq!((live(), kinds()), (vec![], vec![]));
    });
}

#[test]
fn alignment_is_honored() {
    #[repr(align(64))]
    struct Line([u8; 64]);
    LeakTracker::run_test(|| unsafe {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096, 1 << 20] {
            for allocate in [adaptive_calloc_bytes, adaptive_malloc_bytes] {
                let block = allocate(100, align).unwrap();
                assert!(block.addr().get().is_multiple_of(align), "{align}");
                block.write_bytes(1, 100);
                adaptive_free(block.as_ptr());
            }
            let block = adaptive_calloc_bytes(3000, align).unwrap();
            assert!((0..3000).all(|i| block.add(i).read() == 0));
            adaptive_free(block.as_ptr());
        }
        let lines = adaptive_malloc::<Line>(2).unwrap();
        assert!(lines.addr().get().is_multiple_of(64));
        lines.write(Line([7; 64]));
        let more = adaptive_realloc(lines.as_ptr(), 50).unwrap();
        assert!(more.addr().get().is_multiple_of(64));
        assert_eq!(more.as_ref().0, [7; 64]);
        let fewer = adaptive_realloc(more.as_ptr(), 1).unwrap();
        assert_eq!((fewer.as_ref().0, live().len()), ([7; 64], 1));
        adaptive_free(fewer.as_ptr());
        for align in [0, 3, 24, usize::MAX] {
            assert_eq!(adaptive_calloc_bytes(8, align), None);
            assert_eq!(diagnostic_malloc_bytes(8, align), None);
        }
    });
}

#[test]
fn zero_bytes_are_a_block_and_too_many_are_none() {
    LeakTracker::run_test(|| unsafe {
        let blocks = [
            adaptive_calloc::<u64>(0).unwrap().cast(),
            adaptive_malloc::<()>(5).unwrap().cast::<u64>(),
            adaptive_malloc_bytes(0, 16).unwrap().cast(),
        ];
        assert_eq!(live().len(), 3);
        assert!(blocks[0] != blocks[1] && blocks[1] != blocks[2]);
        for block in blocks {
            adaptive_free(block.as_ptr());
        }

        const HUGE: usize = usize::MAX / 8;
        assert_eq!(adaptive_calloc::<u64>(HUGE + 2), None);
        assert_eq!(adaptive_malloc::<u64>(HUGE + 2), None);
        assert_eq!(diagnostic_calloc::<[u8; 32]>(usize::MAX / 32 + 1), None);
        assert_eq!(adaptive_malloc::<u64>(HUGE), None, "larger than memory");
        assert_eq!(adaptive_calloc_bytes(usize::MAX, 8), None);
        assert_eq!(adaptive_malloc_bytes(usize::MAX, 64), None);
        let block = adaptive_malloc::<u64>(1).unwrap();
        assert_eq!(adaptive_realloc(block.as_ptr(), usize::MAX), None);
        adaptive_free(block.as_ptr());
    });
}

#[test]
fn a_resized_block_keeps_its_origin() {
    LeakTracker::run_test(|| unsafe {
        let block = adaptive_calloc::<u16>(4).unwrap();
        block.write(0x1234);
        let before = LeakTracker::snapshot().remove(0);
        // Far larger, so that it has to move on most systems; then smaller.
        let large = adaptive_realloc_bytes(block.cast().as_ptr(), 1 << 22, 2).unwrap();
        let after = LeakTracker::snapshot().remove(0);
        assert_eq!(after.address, large.addr().get() as u64);
        assert_eq!(after.size_bytes, 1 << 22);
        assert_eq!(
            (&after.type_name, &after.location, after.timestamp),
            (&before.type_name, &before.location, before.timestamp)
        );
        assert_eq!((after.stack, after.thread), (before.stack, before.thread));
        let small = adaptive_realloc(large.cast::<u16>().as_ptr(), 1).unwrap();
        assert_eq!((small.read(), live()), (0x1234, vec![(2, "u16".into())]));

        // A failure changes nothing.
        assert_eq!(
            adaptive_realloc_bytes(small.as_ptr().cast(), isize::MAX as usize, 1),
            None
        );
        assert_eq!((small.read(), live()), (0x1234, vec![(2, "u16".into())]));

        // Null allocates; 0 bytes are still a block.
        let new = adaptive_realloc::<u32>(ptr::null_mut(), 2).unwrap();
        let new = adaptive_realloc(new.as_ptr(), 0).unwrap();
        assert_eq!(live()[1], (0, "u32".into()));
        adaptive_free(new.as_ptr());
        adaptive_free(small.as_ptr());

        let block = diagnostic_realloc::<u8>(ptr::null_mut(), 10).unwrap();
        let block = diagnostic_realloc_bytes(block.as_ptr(), 20, 1).unwrap();
        assert_eq!(live(), [(20, "u8".into())]);
        diagnostic_free(block.as_ptr());
        assert_eq!(kinds(), []);
    });
}

#[test]
fn freeing_null_does_nothing() {
    LeakTracker::run_test(|| unsafe {
        adaptive_free::<u8>(ptr::null_mut());
        diagnostic_free::<u8>(ptr::null_mut());
        native_free(ptr::null_mut());
        assert_eq!(kinds(), []);
    });
}

#[test]
fn a_double_free_is_found_and_left_out() {
    let scope = LeakTracker::test_scope().without_verification();
    unsafe {
        let block = adaptive_calloc::<u64>(2).unwrap();
        adaptive_free(block.as_ptr());
        let first_free = line!() - 1;
        // Others come and go meanwhile; the address is not given out again.
        for _ in 0..100 {
            let other = adaptive_calloc::<u64>(2).unwrap();
            assert_ne!(other, block);
            adaptive_free(other.as_ptr());
        }
        adaptive_free(block.as_ptr());
        let second_free = line!() - 1;
        native_free(block.as_ptr().cast());
        assert_eq!(adaptive_realloc(block.as_ptr(), 5), None);

        let misuses = LeakTracker::misuses();
        assert_eq!(
            kinds(),
            [
                MisuseKind::DoubleFree,
                MisuseKind::DoubleFree,
                MisuseKind::UseAfterFree
            ]
        );
        let first = &misuses[0];
        assert_eq!(first.location.as_ref().unwrap().line, second_free);
        assert_eq!(first.freed_at.as_ref().unwrap().line, first_free);
        let origin = first.block.as_ref().unwrap();
        assert_eq!(origin.location.as_ref().unwrap().line, first_free - 1);
        assert_eq!((origin.size_bytes, &*origin.type_name), (16, "u64"));
        assert_eq!(misuses[1].location, None, "C code has no line");
    }
    let error = scope.scope().verify_no_misuses().unwrap_err();
    assert_eq!(error.misuses().len(), 3);
    assert!(
        error
            .to_string()
            .contains("double free, which was left out"),
        "{error}"
    );
    assert!(scope.scope().verify_no_leaks().is_ok());
    LeakTracker::reset();
    assert_eq!(kinds(), []);
}

#[test]
fn what_c_allocated_is_handed_on_and_noted() {
    LeakTracker::run_test(|| unsafe {
        let of_c = libc::malloc(10).cast::<u8>();
        adaptive_free(of_c);
        let of_c = libc::malloc(10).cast::<u8>();
        let resized = adaptive_realloc(of_c, 100).unwrap();
        assert_eq!(live(), [(100, "u8".into())], "from here on it is known");
        adaptive_free(resized.as_ptr());
        assert_eq!(kinds(), [MisuseKind::ForeignPointer; 2]);
        // It may be what C asks for: no reason to fail.
        assert!(LeakTracker::verify_no_misuses().is_ok());
    });
}

#[test]
fn an_address_that_c_was_given_again_is_no_double_free() {
    LeakTracker::run_test(|| unsafe {
        for _ in 0..10_000 {
            let block = adaptive_malloc_bytes(40, 8).unwrap();
            adaptive_free(block.as_ptr());
            let of_c = libc::malloc(40).cast::<u8>();
            of_c.write_bytes(1, 40);
            adaptive_free(of_c);
        }
        assert!(
            kinds()
                .iter()
                .all(|kind| *kind == MisuseKind::ForeignPointer)
        );
    });
}

#[test]
fn adaptive_and_diagnostic_are_told_apart() {
    let scope = LeakTracker::test_scope().without_verification();
    unsafe {
        adaptive_free(diagnostic_calloc::<u8>(1).unwrap().as_ptr());
        diagnostic_free(adaptive_malloc::<u8>(1).unwrap().as_ptr());
        let block = diagnostic_malloc::<u8>(1).unwrap();
        let block = adaptive_realloc(block.as_ptr(), 2).unwrap();
        diagnostic_free(block.as_ptr());
        // All of these are right.
        native_free(diagnostic_calloc::<u8>(1).unwrap().as_ptr().cast());
        native_free(adaptive_calloc::<u8>(1).unwrap().as_ptr().cast());
    }
    assert_eq!(kinds(), [MisuseKind::WrongAllocator; 3]);
    assert!(
        scope.scope().verify_no_leaks().is_ok(),
        "freed all the same"
    );
    assert!(scope.scope().verify_no_misuses().is_err());
}

#[test]
fn what_c_frees_by_its_own_function_is_found_when_its_memory_is_used_again() {
    LeakTracker::run_test(|| unsafe {
        let block = adaptive_malloc_bytes(1000, 8).unwrap();
        libc::free(block.as_ptr().cast());
        assert!(LeakTracker::has_leaks(), "nobody told the tracker");
        let mut others = vec![];
        while LeakTracker::misuses().is_empty() && others.len() < 1000 {
            others.push(adaptive_malloc_bytes(1000, 8).unwrap());
        }
        // Whether it is given out again is the C library's choice; under valgrind it is not.
        if others.contains(&block) {
            assert_eq!(kinds(), [MisuseKind::FreedElsewhere]);
        } else {
            assert_eq!(kinds(), []);
            LeakTracker::reset();
        }
        for other in others {
            adaptive_free(other.as_ptr());
        }
    });
}

#[test]
fn c_frees_by_the_function_it_was_handed() {
    unsafe extern "C" {
        /// Calls the handler with each of `count` elements: any C function that takes a callback would do.
        fn qsort(
            base: *mut c_void,
            count: usize,
            size: usize,
            compare: unsafe extern "C" fn(*const c_void, *const c_void) -> i32,
        );
    }
    unsafe extern "C" fn frees_both(left: *const c_void, right: *const c_void) -> i32 {
        unsafe {
            native_free(left.cast::<*mut c_void>().read());
            native_free(right.cast::<*mut c_void>().read());
        }
        0
    }
    LeakTracker::run_test(|| unsafe {
        let mut blocks = [diagnostic_malloc_bytes(9, 1), adaptive_malloc_bytes(9, 1)]
            .map(|block| block.unwrap().as_ptr());
        qsort(
            blocks.as_mut_ptr().cast(),
            2,
            size_of::<*mut u8>(),
            frees_both,
        );
        assert_eq!((live(), kinds()), (vec![], vec![]));
    });
}

#[test]
fn a_box_drops_and_frees() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Value(u32);
    impl Drop for Value {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            assert_ne!(self.0, 13, "a drop that panics");
        }
    }
    LeakTracker::run_test(|| unsafe {
        let mut value = NativeBox::<_>::new(Value(5));
        value.0 += 1;
        assert_eq!((value.0, live().len()), (6, 1));
        assert_eq!(live()[0].1, std::any::type_name::<Value>());
        let raw = value.into_raw();
        assert_eq!(DROPPED.load(Ordering::Relaxed), 0);
        drop(NativeBox::<Value>::from_raw(raw));
        assert_eq!((DROPPED.load(Ordering::Relaxed), live().len()), (1, 0));

        let value = NativeBox::<_, DiagnosticMalloc>::try_new(Value(13))
            .ok()
            .unwrap();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(value)));
        assert!(panic.is_err() && live().is_empty(), "freed even so");

        let text = NativeBox::<[u8], AdaptiveCalloc>::copy_of(b"heap\0");
        assert_eq!((&*text, live()), (&b"heap\0"[..], vec![(5, "u8".into())]));
        let nothing = NativeBox::<[u64]>::copy_of(&[]);
        assert_eq!(nothing.len(), 0);
        let as_any: NativeBox<u128> = NativeBox::new(7);
        assert!(as_any.as_ptr().is_aligned());
        drop((text, nothing, as_any));
        assert_eq!(kinds(), []);
    });
}

#[test]
fn what_is_freed_while_tracking_is_off_is_known_to_be_freed() {
    // In a scope tracking is always on; this is about a block that left it.
    let scope = LeakScope::new();
    let block = scope.run(|| diagnostic_malloc::<u8>(1).unwrap());
    assert!(scope.has_leaks());
    unsafe { diagnostic_free(block.as_ptr()) };
    assert!(!scope.has_leaks());
}

#[cfg(feature = "allocator-api2")]
mod collections {
    use allocator_api2::boxed::Box;
    use allocator_api2::vec::Vec;
    use heapatlas::AdaptiveMalloc;

    use super::*;

    #[test]
    fn collections_live_in_tracked_memory() {
        LeakTracker::run_test(|| {
            let mut numbers = Vec::new_in(AdaptiveMalloc);
            for number in 0..1000_u64 {
                numbers.push(number);
            }
            assert!(numbers.iter().copied().eq(0..1000));
            assert_eq!(
                live(),
                [(numbers.capacity() as u64 * 8, "collection".to_owned())]
            );
            numbers.truncate(3);
            numbers.shrink_to_fit();
            assert_eq!(live()[0].0, 24);
            let boxed = Box::new_in([1_u8; 100], DiagnosticMalloc);
            assert_eq!(live()[1].0, 100);
            drop(boxed);
            // Out of the collection, and freed as what it is: memory of the C library.
            let (block, _, _) = numbers.into_raw_parts();
            unsafe { native_free(block.cast()) };
            assert_eq!((live(), kinds()), (vec![], vec![]));
        });
    }

    #[test]
    fn zeroes_and_alignment() {
        use allocator_api2::alloc::Allocator;
        use std::alloc::Layout;
        LeakTracker::run_test(|| unsafe {
            for allocator in [AdaptiveMalloc] {
                let mut old = Layout::from_size_align(10, 1).unwrap();
                let mut block = allocator.allocate_zeroed(old).unwrap().cast::<u8>();
                for (size, align) in [
                    (1000, 1),
                    (5000, 8),
                    (6000, 64),
                    (70_000, 32),
                    (80_000, 4096),
                ] {
                    block.write_bytes(0, old.size());
                    let new = Layout::from_size_align(size, align).unwrap();
                    let grown = allocator.grow_zeroed(block, old, new).unwrap();
                    assert_eq!(grown.len(), size);
                    block = grown.cast();
                    assert!(block.addr().get().is_multiple_of(align));
                    assert!((0..size).all(|i| block.add(i).read() == 0));
                    old = new;
                    block.write_bytes(0xff, size);
                }
                let small = Layout::from_size_align(5, 64).unwrap();
                block = allocator.shrink(block, old, small).unwrap().cast();
                assert!((0..5).all(|i| block.add(i).read() == 0xff));
                let none = Layout::from_size_align(0, 64).unwrap();
                block = allocator.shrink(block, small, none).unwrap().cast();
                allocator.deallocate(block, none);
            }
            assert_eq!((live(), kinds()), (vec![], vec![]));
        });
    }
}
