//! Memory and time of spans: exact to the byte, across threads and polls.
//!
//! The registry of `tracing-subscriber` allocates for a new span, and a thread's first entered span. So spans are made
//! before what is measured, and each thread enters one before that.

mod known_blocks;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Once;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use heapatlas::tracing_layer::MemoryLayer;
use heapatlas::{Alloc, Region, measure, regions, task};
use known_blocks::{block, check, row};
use tracing::{Instrument, Level, Span, info_span, trace_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

/// Installs the layer, once for all tests, and has this thread enter a span.
fn begin() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(MemoryLayer::new());
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    info_span!(parent: None, "warm up").in_scope(|| ());
}

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

#[test]
fn nested_spans_and_regions_are_exact() {
    begin();
    let outer = info_span!(parent: None, "spans: outer");
    let inner = info_span!(parent: &outer, "inner");
    for _ in 0..3 {
        let entered = outer.enter();
        let kept = block(100);
        inner.in_scope(|| {
            drop(block(2000));
            measure!("region", drop(block(30)));
        });
        drop(kept);
        drop(entered);
    }
    assert_eq!(row(&["spans: outer"]).count, 0, "it has not closed");
    drop((outer, inner));
    let path = ["spans: outer", "inner", "region"];
    let row = |depth: usize| row(&path[..depth]);
    assert_eq!((row(1).count, row(2).count, row(3).count), (1, 1, 3));
    check(row(1).total.memory, (6390, 9), (6390, 9), 2100);
    check(row(1).own.memory, (300, 3), (300, 3), 2100);
    check(row(2).total.memory, (6090, 6), (6090, 6), 2000);
    check(row(2).own.memory, (6000, 3), (6000, 3), 2000);
    check(row(3).total.memory, (90, 3), (90, 3), 30);
    // Busy time: one execution had all of it.
    assert_eq!(row(1).wall_max, row(1).wall_mean);
    assert_eq!(row(1).total.wall, row(1).own.wall + row(2).total.wall);
    assert_eq!(row(1).total.wall, row(1).wall_max);
}

#[test]
fn a_contextual_span_is_below_what_it_was_made_in() {
    begin();
    let outer = info_span!(parent: None, "contextual: outer");
    outer.in_scope(|| {
        measure!("region", {
            let inner = info_span!("inner");
            inner.in_scope(|| drop(block(77)));
            // Explicitly not below.
            info_span!(parent: None, "contextual: root").in_scope(|| drop(block(5)));
        });
    });
    drop(outer);
    let inner = row(&["contextual: outer", "region", "inner"]);
    check(inner.total.memory, (77, 1), (77, 1), 77);
    check(row(&["contextual: root"]).total.memory, (5, 1), (5, 1), 5);
}

#[test]
fn a_span_on_two_threads_is_one_execution() {
    begin();
    let span = info_span!(parent: None, "two threads");
    let in_span = |work: &mut (dyn FnMut() + Send)| {
        thread::scope(|scope| {
            let entered = || {
                begin();
                span.in_scope(work);
            };
            scope.spawn(entered).join().unwrap();
        });
    };
    let mut kept = Vec::new();
    in_span(&mut || kept = block(1000));
    in_span(&mut || drop(block(300)));
    in_span(&mut || {
        drop(std::mem::take(&mut kept));
        drop(block(600));
    });
    drop(span);
    assert_eq!(row(&["two threads"]).count, 1);
    check(
        row(&["two threads"]).total.memory,
        (1900, 3),
        (1900, 3),
        1300,
    );
}

#[test]
fn what_a_child_does_elsewhere_is_part_of_its_parent_once() {
    begin();
    let parent = info_span!(parent: None, "parent");
    let child = info_span!(parent: &parent, "child");
    let grandchild = info_span!(parent: &child, "grandchild");
    thread::scope(|scope| {
        scope.spawn(|| {
            begin();
            grandchild.in_scope(|| drop(block(40)));
            // Here both are entered.
            parent.in_scope(|| child.in_scope(|| drop(block(500))));
        });
    });
    parent.in_scope(|| drop(block(6)));
    drop(parent);
    assert_eq!(row(&["parent"]).count, 0, "its child has not closed");
    drop(grandchild);
    drop(child);
    let path = ["parent", "child", "grandchild"];
    let row = |depth: usize| row(&path[..depth]);
    assert_eq!((row(1).count, row(2).count, row(3).count), (1, 1, 1));
    check(row(1).total.memory, (546, 3), (546, 3), 500);
    check(row(1).own.memory, (6, 1), (6, 1), 500);
    check(row(2).total.memory, (540, 2), (540, 2), 500);
    check(row(3).total.memory, (40, 1), (40, 1), 40);
    for depth in 1..=3 {
        // The time of one execution, its children elsewhere included, is what the rows add up to.
        assert_eq!(row(depth).wall_max, row(depth).total.wall);
    }
}

#[test]
fn a_span_inside_itself_counts_once() {
    begin();
    let span = info_span!(parent: None, "itself");
    span.in_scope(|| {
        drop(block(10));
        span.in_scope(|| drop(block(200)));
    });
    drop(span);
    let row = row(&["itself"]);
    assert_eq!((row.count, row.wall_max), (1, row.total.wall));
    check(row.total.memory, (210, 2), (210, 2), 200);
}

#[test]
fn spans_that_are_left_out_of_order_keep_their_figures() {
    begin();
    let [first, second] = ["order: first", "order: second"].map(|name| match name {
        "order: first" => info_span!(parent: None, "order: first"),
        _ => info_span!(parent: None, "order: second"),
    });
    let entered_first = first.enter();
    let entered_second = second.enter();
    drop(block(100));
    drop(entered_first);
    drop(block(20));
    drop(entered_second);
    let outside = Region::start("order: outside");
    drop(outside);
    drop((first, second));
    check(row(&["order: first"]).own.memory, (0, 0), (0, 0), 100);
    check(row(&["order: second"]).own.memory, (120, 2), (120, 2), 100);
    assert_eq!(row(&["order: outside"]).level, 0);
}

#[test]
fn an_instrumented_future_is_exact_on_alternating_threads() {
    begin();
    let span = info_span!(parent: None, "future");
    let inner = info_span!(parent: &span, "inner future");
    let work = async {
        for size in [100, 2000, 30] {
            let held = block(size);
            pause().await;
            drop(held);
        }
    };
    let outer = async move {
        let held = block(1_000_000);
        work.instrument(inner).await;
        drop(held);
    };
    let mut future = Box::pin(outer.instrument(span));
    let mut polls = 0;
    loop {
        let poll = || {
            begin();
            let poll = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            poll.is_ready()
        };
        polls += 1;
        if thread::scope(|scope| scope.spawn(poll).join().unwrap()) {
            break;
        }
    }
    drop(future);
    assert_eq!(polls, 4);
    let [outer, inner] = [row(&["future"]), row(&["future", "inner future"])];
    assert_eq!((outer.count, inner.count), (1, 1));
    check(outer.own.memory, (1_000_000, 1), (1_000_000, 1), 1_002_000);
    check(inner.total.memory, (2130, 3), (2130, 3), 2000);
    check(
        outer.total.memory,
        (1_002_130, 4),
        (1_002_130, 4),
        1_002_000,
    );
}

/// See `tasks.rs`.
async fn migrate() {
    let before = thread::current().id();
    tokio::task::block_in_place(|| {
        let (sender, receiver) = mpsc::channel();
        tokio::spawn(async move { sender.send(()) });
        receiver.recv().unwrap();
    });
    pause().await;
    assert_ne!(thread::current().id(), before);
    begin();
}

#[test]
fn an_instrumented_task_that_migrates_between_workers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let outer = async {
        begin();
        let span = info_span!(parent: None, "migrates");
        let inner = info_span!(parent: &span, "step");
        let work = async move {
            for round in 1..=10 {
                let held = block(100 * round);
                inner.in_scope(|| drop(block(round)));
                task("task", async { drop(block(1)) }).await;
                pause().await;
                drop(held);
            }
        };
        let mut work = pin!(work.instrument(span));
        while poll_fn(|context| Poll::Ready(work.as_mut().poll(context)))
            .await
            .is_pending()
        {
            migrate().await;
        }
    };
    runtime.block_on(runtime.spawn(outer)).unwrap();
    let [outer, step, task] = [
        &["migrates"][..],
        &["migrates", "step"],
        &["migrates", "task"],
    ]
    .map(row);
    assert_eq!((outer.count, step.count, task.count), (1, 1, 10));
    check(step.total.memory, (55, 10), (55, 10), 10);
    check(task.total.memory, (10, 10), (10, 10), 1);
    check(outer.own.memory, (5500, 10), (5500, 10), 1010);
    check(outer.total.memory, (5565, 30), (5565, 30), 1010);
}

#[test]
fn hundreds_of_instrumented_tasks_on_four_workers() {
    begin();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .on_thread_start(begin)
        .build()
        .unwrap();
    let spawn = |_| {
        let span = info_span!(parent: None, "request");
        let inner = info_span!(parent: &span, "inner");
        let work = async move {
            let held = block(50);
            for _ in 0..5 {
                pause().await;
                inner.in_scope(|| drop(block(7)));
            }
            drop(held);
        };
        runtime.spawn(work.instrument(span))
    };
    let tasks: Vec<_> = (0..500).map(spawn).collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    let [outer, inner] = [row(&["request"]), row(&["request", "inner"])];
    assert_eq!((outer.count, inner.count), (500, 500));
    check(outer.own.memory, (25_000, 500), (25_000, 500), 57);
    check(inner.total.memory, (17_500, 2500), (17_500, 2500), 7);
}

#[test]
fn a_span_that_is_filtered_out_is_part_of_the_one_around_it() {
    let layer = MemoryLayer::new().with_filter(filter_fn(|span| *span.level() != Level::TRACE));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        info_span!(parent: None, "warm up").in_scope(|| ());
        let outer = info_span!(parent: None, "filter: outer");
        let hidden = trace_span!(parent: &outer, "hidden");
        let inner = info_span!(parent: &hidden, "inner");
        outer.in_scope(|| {
            hidden.in_scope(|| {
                drop(block(10));
                inner.in_scope(|| drop(block(300)));
            });
        });
    });
    check(row(&["filter: outer"]).own.memory, (10, 1), (10, 1), 300);
    let inner = row(&["filter: outer", "inner"]);
    check(inner.own.memory, (300, 1), (300, 1), 300);
}

/// The span that tokio makes for a task, with its fields.
fn span_of_tokio(name: &str, line: u32) -> Span {
    trace_span!(
        target: "tokio::task",
        parent: None,
        "runtime.spawn",
        kind = %"task",
        task.name = %name,
        task.id = 1_u64,
        loc.file = "src/main.rs",
        loc.line = line,
        loc.col = 5_u32,
    )
}

#[test]
fn tasks_of_tokio_go_by_their_name_or_line() {
    begin();
    span_of_tokio("accept loop", 12).in_scope(|| drop(block(40)));
    span_of_tokio("", 34).in_scope(|| drop(block(2)));
    check(row(&["accept loop"]).total.memory, (40, 1), (40, 1), 40);
    check(row(&["src/main.rs:34:5"]).total.memory, (2, 1), (2, 1), 2);
    trace_span!(parent: None, "runtime.spawn").in_scope(|| drop(block(9)));
    check(row(&["runtime.spawn"]).total.memory, (9, 1), (9, 1), 9);
}

#[test]
fn two_registries_do_not_mix_their_spans() {
    for (name, size) in [("registry: one", 10), ("registry: two", 200)] {
        let subscriber = tracing_subscriber::registry().with(MemoryLayer::new());
        tracing::subscriber::with_default(subscriber, || {
            info_span!(parent: None, "warm up").in_scope(|| ());
            let span = match size {
                10 => info_span!(parent: None, "registry: one"),
                _ => info_span!(parent: None, "registry: two"),
            };
            span.in_scope(|| drop(block(size as usize)));
            // This one is never closed: the layer goes first.
            std::mem::forget(info_span!(parent: None, "registry: forgotten"));
        });
        check(row(&[name]).total.memory, (size, 1), (size, 1), size);
    }
    assert!(!regions().to_string().contains("registry: forgotten"));
}
