//! Frees by two threads at once, panics in scopes, memory of threads that end, forks, `exit` within a scope.
#![cfg(unix)]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is freed once, or twice on purpose"
)]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use heapatlas::{
    ConsoleEmitter, DiagnosticMalloc, LeakScope, LeakTracker, MisuseKind, NativeBox,
    diagnostic_free, diagnostic_malloc, diagnostic_malloc_bytes, diagnostic_realloc_bytes,
    native_free,
};

/// Addresses can be sent to other threads.
fn allocate(bytes: usize) -> usize {
    diagnostic_malloc_bytes(bytes, 8).unwrap().as_ptr() as usize
}

fn free(block: usize) {
    unsafe { diagnostic_free(block as *mut u8) };
}

#[test]
fn two_threads_free_one_block() {
    let scope = LeakTracker::test_scope().without_verification();
    let barrier = Arc::new(Barrier::new(2));
    let (sender, receiver) = mpsc::channel::<usize>();
    let (other_barrier, other_scope) = (Arc::clone(&barrier), scope.scope().clone());
    let other = thread::spawn(move || {
        let _entered = other_scope.enter();
        for block in receiver {
            other_barrier.wait();
            free(block);
        }
    });
    const BLOCKS: u64 = 2_000;
    for _ in 0..BLOCKS {
        let block = allocate(40);
        sender.send(block).unwrap();
        barrier.wait();
        free(block);
    }
    drop(sender);
    other.join().unwrap();
    let misuses = scope.scope().misuses();
    assert!(misuses.iter().all(|m| m.kind == MisuseKind::DoubleFree));
    let count: u64 = misuses.iter().map(|misuse| misuse.count).sum();
    assert_eq!(count, BLOCKS, "one of two frees, each time");
    assert!(!scope.scope().has_leaks());
}

/// Blocks wander between threads that allocate, resize and free, in scopes of which some panic, while others look on.
#[test]
fn everything_at_once() {
    const THREADS: usize = 6;
    let is_over = Arc::new(AtomicBool::new(false));
    let shared = LeakScope::named("shared");
    let observer = {
        let (is_over, shared) = (Arc::clone(&is_over), shared.clone());
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let leaks = shared.snapshot();
                assert!(
                    leaks
                        .iter()
                        .all(|leak| leak.scope.as_deref() == Some("shared"))
                );
                LeakTracker::snapshot_of_all_scopes();
                LeakScope::named("passing").reset();
                shared
                    .run(|| LeakTracker::emit(&mut ConsoleEmitter::new(std::io::sink())))
                    .unwrap();
            }
        })
    };
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::channel::<usize>()).unzip();
    let workers: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(number, receiver)| {
            let next = senders[(number + 1) % THREADS].clone();
            let shared = shared.clone();
            thread::spawn(move || work(number, &shared, next, receiver))
        })
        .collect();
    drop(senders);
    for worker in workers {
        worker.join().unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    observer.join().unwrap();
    assert!(shared.verify_no_leaks().is_ok());
    assert!(shared.misuses().is_empty(), "{:#?}", shared.misuses());
}

fn work(
    number: usize,
    shared: &LeakScope,
    next: mpsc::Sender<usize>,
    receiver: mpsc::Receiver<usize>,
) {
    for round in 0..3_000_usize {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            shared.run(|| {
                let mut block = allocate(8 + round % 500);
                if round % 3 == 0 {
                    let resized =
                        unsafe { diagnostic_realloc_bytes(block as *mut u8, round + 1, 8) };
                    block = resized.unwrap().as_ptr() as usize;
                }
                // Whoever listens no more has ended: then it stays here.
                if let Err(returned) = next.send(block) {
                    free(returned.0);
                }
                // Not by way of a message: the hook would print it.
                if round % 50 == number {
                    std::panic::resume_unwind(Box::new(()));
                }
            });
        }));
        assert_eq!(outcome.is_err(), round % 50 == number);
        assert!(LeakScope::current().is_none());
        for block in receiver.try_iter() {
            free(block);
        }
        if round % 300 == 0 {
            // In a thread that ends at once.
            let block = shared.run(|| allocate(5));
            thread::spawn(move || free(block)).join().unwrap();
        }
    }
    // Each ends its sending first, so that none waits for itself.
    drop(next);
    receiver.into_iter().for_each(free);
}

thread_local! {
    static KEPT: RefCell<Vec<NativeBox<u64, DiagnosticMalloc>>> = const { RefCell::new(Vec::new()) };
    static LATE: Late = const { Late };
}

/// Allocates and frees while the values of its thread are dropped.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        let scope = LeakScope::named("late");
        scope.run(|| {
            let block = diagnostic_malloc::<u32>(1).unwrap();
            assert_eq!(LeakTracker::snapshot().len(), 1);
            unsafe { diagnostic_free(block.as_ptr()) };
        });
        assert!(scope.verify_no_leaks().is_ok());
    }
}

#[test]
fn memory_of_threads_that_end() {
    unsafe extern "C" fn at_end_of_thread(block: *mut libc::c_void) {
        // After all of the standard library's own: names of threads and lists of scopes are gone.
        let scope = LeakScope::new();
        scope.run(|| free(allocate(3)));
        assert!(!scope.has_leaks());
        unsafe { native_free(block) };
    }
    let mut key = 0;
    assert_eq!(
        unsafe { libc::pthread_key_create(&mut key, Some(at_end_of_thread)) },
        0
    );
    let scope = LeakScope::named("threads");
    for _ in 0..50 {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let scope = scope.clone();
                thread::spawn(move || {
                    scope.run(|| {
                        LATE.with(|_| ());
                        for value in 0..10 {
                            KEPT.with_borrow_mut(|kept| kept.push(NativeBox::new(value)));
                        }
                        let block = allocate(number + 1);
                        unsafe { libc::pthread_setspecific(key, block as *const libc::c_void) };
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
    assert!(scope.verify_no_leaks().is_ok());
    assert!(scope.misuses().is_empty());
}

#[test]
fn forks_while_threads_allocate() {
    let is_over = Arc::new(AtomicBool::new(false));
    let scope = LeakScope::named("parent");
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (is_over, scope) = (Arc::clone(&is_over), scope.clone());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    scope.run(|| free(allocate(30)));
                    let short = LeakScope::named("short");
                    short.run(|| free(allocate(31)));
                    assert!(short.verify_no_leaks().is_ok());
                }
            })
        })
        .collect();
    let handed_down = scope.run(|| allocate(64));
    for _ in 0..100 {
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            let status = in_the_child(&scope, handed_down);
            unsafe { libc::_exit(status) };
        }
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "status {status:#x}: a signal is that of a child that hangs"
        );
    }
    is_over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(scope.snapshot().len(), 1);
    free(handed_down);
    assert!(scope.verify_no_leaks().is_ok());
}

fn in_the_child(parent: &LeakScope, handed_down: usize) -> i32 {
    unsafe { libc::alarm(60) };
    let own = LeakScope::named("child");
    for bytes in 1..200 {
        own.run(|| free(allocate(bytes)));
    }
    let left = own.run(|| allocate(5));
    let count = own.snapshot().len();
    free(left);
    free(handed_down);
    let is_known = parent.snapshot().iter().all(|leak| leak.size_bytes == 30);
    i32::from(count != 1 || own.has_leaks() || !is_known)
}

/// Runs a test of this file in a process of its own.
fn run_alone(test: &str) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env("HEAPATLAS_STRESS_CHILD", "1")
        .output()
        .unwrap()
}

fn is_child() -> bool {
    std::env::var_os("HEAPATLAS_STRESS_CHILD").is_some()
}

#[test]
fn exit_within_a_scope() {
    if !is_child() {
        let output = run_alone("exit_within_a_scope");
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        return;
    }
    extern "C" fn at_exit() {
        // Still in the scope of the thread that exits.
        let block = diagnostic_malloc::<u8>(1).unwrap();
        assert_eq!(LeakTracker::snapshot().len(), 2);
        unsafe { diagnostic_free(block.as_ptr()) };
    }
    unsafe { libc::atexit(at_exit) };
    LeakTracker::enable();
    let _outer = LeakTracker::test_scope();
    let _left = allocate(1);
    LeakTracker::run_scoped(|| {
        allocate(2);
        std::process::exit(7)
    })
}

#[test]
fn a_failing_test_keeps_its_own_reason() {
    if !is_child() {
        let output = run_alone("a_failing_test_keeps_its_own_reason");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(101), "{text}");
        assert!(text.contains("its own reason"), "{text}");
        assert!(!text.contains("leaks detected"), "{text}");
        return;
    }
    let _scope = LeakTracker::test_scope();
    let _left = allocate(1);
    panic!("its own reason");
}
