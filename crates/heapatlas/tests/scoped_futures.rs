//! Futures keep their scopes, on whatever thread they run.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use heapatlas::{LeakScope, LeakTracker, NativeBox, ScopedFuture, diagnostic_malloc_bytes};

type Value = NativeBox<[u8; 24], heapatlas::DiagnosticMalloc>;

fn scope_name() -> Option<String> {
    LeakScope::current().and_then(|scope| Some(scope.name()?.to_owned()))
}

/// Gives the thread to others once.
fn yield_once() -> impl Future<Output = ()> {
    let mut has_yielded = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Is polled on three threads in turn, by hand.
#[test]
fn a_future_that_moves_between_threads() {
    let scope = LeakScope::named("moves");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let future = async move {
        let mut kept = Vec::new();
        for _ in 0..5 {
            kept.push(Value::new([1; 24]));
            notes
                .lock()
                .unwrap()
                .push((thread::current().id(), scope_name()));
            yield_once().await;
        }
        kept.truncate(2);
        kept
    };
    let mut future: Pin<Box<dyn Future<Output = Vec<Value>> + Send>> =
        Box::pin(scope.run_future(future));
    let mut kept = None;
    for polls in 0.. {
        let (moved, outcome) = thread::spawn(move || {
            let mut context = Context::from_waker(Waker::noop());
            let outcome = future.as_mut().poll(&mut context);
            assert_eq!(scope_name(), None, "left when it waits");
            (future, outcome)
        })
        .join()
        .unwrap();
        future = moved;
        if let Poll::Ready(values) = outcome {
            kept = Some(values);
            break;
        }
        assert!(scope.snapshot().len() == polls + 1);
    }
    let seen = seen.lock().unwrap();
    let mut threads: Vec<ThreadId> = seen.iter().map(|(thread, _)| *thread).collect();
    threads.dedup();
    assert_eq!(threads.len(), 5, "each poll on another thread");
    assert!(
        seen.iter()
            .all(|(_, name)| name.as_deref() == Some("moves"))
    );
    assert_eq!(scope.snapshot().len(), 2);
    drop(kept);
    assert!(
        scope.verify_no_leaks().is_ok(),
        "freed outside of its scope"
    );
}

#[test]
fn a_future_is_dropped_in_its_scope() {
    struct Note(mpsc::Sender<Option<String>>);
    impl Drop for Note {
        fn drop(&mut self) {
            // What it allocates and keeps while it is dropped is the scope's.
            let _ = diagnostic_malloc_bytes(7, 1);
            let _ = self.0.send(scope_name());
        }
    }
    let (sender, receiver) = mpsc::channel();
    let note = Note(sender);
    let scope = LeakScope::named("dropped");
    let mut future = Box::pin(scope.run_future(async move {
        let _note = note;
        std::future::pending::<()>().await;
    }));
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    thread::spawn(move || drop(future)).join().unwrap();
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("dropped"));
    let sizes: Vec<u64> = scope
        .snapshot()
        .iter()
        .map(|leak| leak.size_bytes)
        .collect();
    assert_eq!(sizes, [7]);
}

#[test]
fn a_future_that_panics_leaves_its_scope() {
    let mut future = Box::pin(LeakTracker::run_scoped_future(async {
        panic!("on purpose")
    }));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut context = Context::from_waker(Waker::noop());
        let _: Poll<()> = future.as_mut().poll(&mut context);
    }));
    assert!(panic.is_err() && LeakScope::current().is_none());
}

#[test]
fn an_asynchronous_test_is_verified_when_it_is_ready() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let output = runtime.block_on(LeakTracker::run_test_future(async {
        let scope = LeakScope::current().unwrap();
        let name = "an_asynchronous_test_is_verified_when_it_is_ready";
        assert_eq!(scope.name(), Some(name));
        let value = Value::new([2; 24]);
        let task = tokio::spawn(scope.run_future(async move {
            yield_once().await;
            value
        }));
        task.await.unwrap()[23]
    }));
    assert_eq!(output, 2);

    let leaks = LeakTracker::run_test_future(async {
        yield_once().await;
        let _ = diagnostic_malloc_bytes(77, 1);
    });
    let outcome = runtime.block_on(async { tokio::spawn(leaks).await });
    let panic = outcome.unwrap_err().into_panic();
    let report = panic.downcast_ref::<String>().unwrap();
    assert!(report.contains("Leak #1 - untyped (77 B)"), "{report}");
}

/// A task of its own number: leaks that many blocks, and frees others' and its own in between.
async fn task(number: usize, migrations: Arc<AtomicUsize>, others: Arc<Mutex<Vec<Value>>>) {
    let mut last = thread::current().id();
    for _ in 0..20 {
        let own = Value::new([0; 24]);
        let handed_on = Value::new([1; 24]);
        let taken = {
            let mut others = others.lock().unwrap();
            others.push(handed_on);
            let index = number % others.len();
            others.swap_remove(index)
        };
        yield_once().await;
        let now = thread::current().id();
        migrations.fetch_add(usize::from(now != last), Ordering::Relaxed);
        last = now;
        drop((own, taken));
    }
    for _ in 0..number {
        let _ = diagnostic_malloc_bytes(number + 1, 1);
        yield_once().await;
    }
}

/// On tokio's multi-thread runtime: a hundred tasks, every tenth with leaks.
#[test]
fn tasks_on_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let migrations = Arc::new(AtomicUsize::new(0));
    // Whether a task moves is the runtime's choice: so often that it does.
    for _ in 0..100 {
        run_tasks(&runtime, &migrations);
        if migrations.load(Ordering::Relaxed) > 20 {
            return;
        }
    }
    panic!("no task was moved");
}

fn run_tasks(runtime: &tokio::runtime::Runtime, migrations: &Arc<AtomicUsize>) {
    let others = Arc::new(Mutex::new(Vec::new()));
    let scopes: Vec<LeakScope> = (0..100)
        .map(|number| LeakScope::named(format!("task {number}")))
        .collect();
    let leaks = |number: usize| if number % 10 == 9 { number } else { 0 };
    let tasks: Vec<_> = scopes
        .iter()
        .enumerate()
        .map(|(number, scope)| {
            let task = task(leaks(number), Arc::clone(migrations), Arc::clone(&others));
            let scoped: ScopedFuture<_> = scope.run_future(task);
            runtime.spawn(scoped)
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    others.lock().unwrap().clear();
    for (number, scope) in scopes.iter().enumerate() {
        let found = scope.snapshot();
        assert_eq!(found.len(), leaks(number), "{number}");
        for leak in found {
            assert_eq!(leak.size_bytes, leaks(number) as u64 + 1);
            assert_eq!(leak.scope, Some(format!("task {number}")));
        }
        assert!(scope.misuses().is_empty());
    }
}
