//! What a region costs: `cargo bench -p heapatlas --bench regions --features tracing`.
//!
//! Medians over rounds in which all take turns, in nanoseconds of processor time each (other programs do not count).

#![allow(clippy::print_stdout)]

use std::alloc::System;
use std::hint::black_box;
use std::time::Instant;

use heapatlas::{Alloc, Region, measure};
use stats_alloc::StatsAlloc;

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

static STATS_ALLOC: StatsAlloc<System> = StatsAlloc::system();

const ROUNDS: usize = 21;
const TIMES: u32 = 20_000;

struct Case {
    name: &'static str,
    /// Does it so many times.
    run: Box<dyn Fn(u32)>,
    /// Fewer for what takes long.
    times: u32,
    nanoseconds: Vec<f64>,
}

fn case(name: &'static str, times: u32, run: impl Fn() + 'static) -> Case {
    Case {
        name,
        run: Box::new(move |times| (0..times).for_each(|_| run())),
        times,
        nanoseconds: Vec::new(),
    }
}

fn main() {
    let mut cases = vec![
        case("nothing", TIMES, || {
            black_box(());
        }),
        case("two Instant::now()", TIMES, || {
            let start = Instant::now();
            black_box(start.elapsed());
        }),
        case("stats_alloc Region (no time)", TIMES, || {
            let region = stats_alloc::Region::new(&STATS_ALLOC);
            black_box(region.change());
        }),
        case("stats_alloc Region and two Instant::now()", TIMES, || {
            let region = stats_alloc::Region::new(&STATS_ALLOC);
            let start = Instant::now();
            black_box(start.elapsed());
            black_box(region.change());
        }),
        case("measure!, empty", TIMES, || {
            measure!("empty", black_box(()))
        }),
        case("Region, its figures taken", TIMES, || {
            black_box(Region::start("finished").finish());
        }),
        case("measure! in measure!, both", TIMES, || {
            measure!("outer", measure!("inner", black_box(())));
        }),
        case("work of 25 µs", 400, || work(0)),
        case("work of 25 µs in measure!", 400, || {
            measure!("work", work(0))
        }),
    ];
    add_spans(&mut cases);
    for _ in 0..ROUNDS {
        cases.iter_mut().for_each(Case::round);
    }
    for case in &mut cases {
        case.nanoseconds.sort_by(f64::total_cmp);
        let [low, median, high] = [2, ROUNDS / 2, ROUNDS - 3].map(|at| case.nanoseconds[at]);
        println!("{:45} {median:10.1}   ({low:.1} to {high:.1})", case.name);
    }
}

impl Case {
    fn round(&mut self) {
        let start = processor_time();
        (self.run)(self.times);
        let nanoseconds = (processor_time() - start) as f64;
        self.nanoseconds.push(nanoseconds / f64::from(self.times));
    }
}

/// Of this thread, in nanoseconds.
fn processor_time() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Some 25 µs without a clock.
#[inline(never)]
fn work(seed: u64) {
    let mut state = seed;
    for _ in 0..20_000 {
        state = black_box(
            state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1),
        );
    }
}

#[cfg(not(feature = "tracing"))]
fn add_spans(_: &mut Vec<Case>) {}

#[cfg(feature = "tracing")]
fn add_spans(cases: &mut Vec<Case>) {
    use heapatlas::tracing_layer::MemoryLayer;
    use tracing::{Dispatch, Span, dispatcher::with_default};
    use tracing_subscriber::layer::SubscriberExt;

    let registry = Dispatch::new(tracing_subscriber::registry());
    let layered = Dispatch::new(tracing_subscriber::registry().with(MemoryLayer::new()));
    for (dispatch, [entered, whole]) in [
        (
            registry,
            [
                "span entered and left, registry alone",
                "span made, entered, closed, registry alone",
            ],
        ),
        (
            layered,
            [
                "span entered and left, MemoryLayer",
                "span made, entered, closed, MemoryLayer",
            ],
        ),
    ] {
        let span = with_default(&dispatch, || tracing::info_span!("entered"));
        let enter = move |span: &Span| span.in_scope(|| black_box(()));
        cases.push(case(entered, TIMES, move || enter(&span)));
        cases.push(Case {
            run: Box::new(move |times| {
                with_default(&dispatch, || {
                    (0..times).for_each(|_| enter(&tracing::info_span!("whole")));
                });
            }),
            ..case(whole, TIMES, || ())
        });
    }
}
