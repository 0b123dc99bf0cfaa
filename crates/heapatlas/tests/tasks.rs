//! Futures that are measured wherever they are polled: exact to the byte, on tokio's multi-thread runtime and by hand.

mod known_blocks;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use heapatlas::{Alloc, Region, measure, task};
use known_blocks::{block, check, row};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

/// Lets others run once. (Tokio's own may allocate.)
async fn pause() {
    let mut is_over = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn polls_on_three_threads_are_one_execution() {
    let mut future = Box::pin(task("three threads", async {
        let first = block(1000);
        pause().await;
        drop(first);
        let second = block(30);
        drop(block(5000));
        pause().await;
        measure!("inside", drop(block(2)));
        drop(second);
        7
    }));
    for is_last in [false, false, true] {
        let poll = || measure!("three threads: elsewhere", poll(future.as_mut()));
        let found = thread::scope(|scope| scope.spawn(poll).join().unwrap());
        assert_eq!(found.is_ready(), is_last);
    }
    drop(future);
    // Where it was polled first is where it stays.
    let path = ["three threads: elsewhere", "three threads", "inside"];
    let row = |depth: usize| row(&path[..depth]);
    assert_eq!(row(2).count, 1);
    check(row(2).total.memory, (6032, 4), (6032, 4), 5030);
    check(row(2).own.memory, (6030, 3), (6030, 3), 5030);
    check(row(3).total.memory, (2, 1), (2, 1), 2);
    // The second poll freed 1000 bytes, then had 30 and 5000.
    check(row(1).own.memory, (0, 0), (0, 0), 4030);
    assert_eq!(row(1).count, 3);
}

#[test]
fn what_a_dropped_future_held_is_freed_in_its_region() {
    let mut unfinished = Box::pin(task("unfinished", async {
        let _held = block(400);
        std::future::pending::<()>().await;
    }));
    assert!(poll(unfinished.as_mut()).is_pending());
    check(row(&["unfinished"]).total.memory, (400, 1), (0, 0), 0);
    assert_eq!(row(&["unfinished"]).count, 0);
    let outside = Region::start("unfinished: outside");
    drop(unfinished);
    drop(outside);
    check(row(&["unfinished"]).total.memory, (400, 1), (400, 1), 400);
    assert_eq!(row(&["unfinished"]).count, 1);
}

#[test]
fn a_task_that_was_never_polled_is_no_execution() {
    drop(task("never polled", async {}));
    assert!(heapatlas::regions().row(&["never polled"]).is_none());
}

#[test]
fn tasks_nest_where_they_are_awaited() {
    let outer = task("nest: outer", async {
        let kept = block(100);
        for _ in 0..3 {
            let inner = async {
                let kept = block(10);
                pause().await;
                drop(kept);
            };
            task("inner", inner).await;
        }
        kept
    });
    let mut outer = Box::pin(outer);
    let kept = loop {
        if let Poll::Ready(kept) = poll(outer.as_mut()) {
            break kept;
        }
    };
    drop(outer);
    drop(kept);
    check(row(&["nest: outer"]).total.memory, (130, 4), (30, 3), 110);
    check(row(&["nest: outer"]).own.memory, (100, 1), (0, 0), 110);
    let inner = row(&["nest: outer", "inner"]);
    assert_eq!(inner.count, 3);
    check(inner.total.memory, (30, 3), (30, 3), 10);
}

#[test]
fn a_panic_in_a_poll_ends_it() {
    let mut future = Box::pin(task("panics", async {
        let _held = block(3000);
        pause().await;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(poll(future.as_mut()).is_pending());
    let poll = std::panic::AssertUnwindSafe(|| poll(future.as_mut()));
    assert!(std::panic::catch_unwind(poll).is_err());
    drop(future);
    let afterwards = Region::start("panics: afterwards");
    drop(afterwards);
    assert_eq!(row(&["panics: afterwards"]).level, 0);
    let memory = row(&["panics"]).total.memory.unwrap();
    assert!(memory.freed_bytes >= 3000 && memory.allocated_bytes >= 3000);
    assert_eq!(row(&["panics"]).count, 1);
}

/// Has this task go on in another thread of a runtime with one worker: whoever waits in `block_in_place` has given
/// the worker to another thread, and here it waits until that one runs something.
async fn migrate() {
    let before = thread::current().id();
    tokio::task::block_in_place(|| {
        let (sender, receiver) = mpsc::channel();
        tokio::spawn(async move { sender.send(()) });
        receiver.recv().unwrap();
    });
    pause().await;
    assert_ne!(thread::current().id(), before);
}

#[test]
fn a_task_that_migrates_between_workers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let outer = async {
        let mut measured = pin!(task("migrates", async {
            let mut threads = Vec::with_capacity(10);
            for round in 1..=10 {
                threads.push(thread::current().id());
                let held = block(100 * round);
                measure!("step", drop(block(round)));
                pause().await;
                drop(held);
            }
            threads
        }));
        loop {
            let once = poll_fn(|context| Poll::Ready(measured.as_mut().poll(context)));
            if let Poll::Ready(threads) = once.await {
                return threads;
            }
            migrate().await;
        }
    };
    let threads = runtime.block_on(runtime.spawn(outer)).unwrap();
    assert!(threads.windows(2).all(|pair| pair[0] != pair[1]));
    let ids = (threads.capacity() * size_of_val(&threads[0])) as u64;
    let [outer, step] = [row(&["migrates"]), row(&["migrates", "step"])];
    assert_eq!((outer.count, step.count), (1, 10));
    check(step.total.memory, (55, 10), (55, 10), 10);
    check(outer.own.memory, (ids + 5500, 11), (5500, 10), ids + 1010);
    check(outer.total.memory, (ids + 5555, 21), (5555, 20), ids + 1010);
}

#[test]
fn a_thousand_tasks_on_four_workers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let work = |size: usize| async move {
        let held = block(size);
        for _ in 0..5 {
            pause().await;
            measure!("round", drop(block(7)));
        }
        drop(held);
    };
    let spawn = |number: usize| {
        let name = ["even", "odd"][number % 2];
        runtime.spawn(task(name, work(100 + number % 2)))
    };
    let tasks: Vec<_> = (0..1000).map(spawn).collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    for (name, size) in [("even", 100), ("odd", 101)] {
        assert_eq!(row(&[name]).count, 500);
        let own = (500 * size, 500);
        check(row(&[name]).own.memory, own, own, size + 7);
        let round = row(&[name, "round"]);
        assert_eq!(round.count, 2500);
        check(round.total.memory, (17_500, 2500), (17_500, 2500), 7);
    }
}
