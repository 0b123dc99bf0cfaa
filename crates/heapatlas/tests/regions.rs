//! Regions on programs whose allocations are known: exact to the byte.
//!
//! Figures are of threads and names are of tests, so that tests run in parallel.

mod known_blocks;

use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

use heapatlas::{Alloc, Region, measure, regions, regions_by_thread};
use known_blocks::{block, check, row};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

#[test]
fn nested_regions_are_exact() {
    let before = block(50);
    let outer = Region::start("nested: outer");
    let kept = block(1000);
    let inner = Region::start("inner");
    drop(block(300));
    let kept_inside = block(200);
    check(inner.finish().memory, (500, 2), (300, 1), 300);
    drop(before);
    drop(block(77));
    check(outer.finish().memory, (1577, 4), (427, 3), 1300);
    drop((kept, kept_inside));

    let outer = row(&["nested: outer"]);
    check(outer.total.memory, (1577, 4), (427, 3), 1300);
    check(outer.own.memory, (1077, 2), (127, 2), 1300);
    let inner = row(&["nested: outer", "inner"]);
    check(inner.total.memory, (500, 2), (300, 1), 300);
    assert_eq!(inner.own, inner.total);
    assert_eq!((outer.count, inner.count), (1, 1));
    assert_eq!((outer.level, inner.level), (0, 1));
}

#[test]
fn executions_add_up() {
    for round in 1..=10 {
        measure!("rounds", {
            let outer = block(100 * round);
            for _ in 0..3 {
                drop(measure!("step", block(10)));
            }
            drop(outer);
        });
    }
    let rounds = row(&["rounds"]);
    assert_eq!(rounds.count, 10);
    // Each step's block is freed outside of `step`, before the next is made.
    check(rounds.total.memory, (5500 + 300, 40), (5800, 40), 1010);
    check(rounds.own.memory, (5500, 10), (5800, 40), 1010);
    let step = row(&["rounds", "step"]);
    assert_eq!(step.count, 30);
    check(step.total.memory, (300, 30), (0, 0), 10);
    assert!(rounds.wall_max >= rounds.wall_mean && rounds.wall_mean >= step.wall_mean);
    assert_eq!(rounds.total.wall, rounds.own.wall + step.total.wall);
}

#[test]
fn a_reallocation_frees_the_old_block_and_makes_a_new_one() {
    let mut text = block(100);
    let region = Region::start("realloc");
    text.reserve_exact(5000);
    check(region.finish().memory, (5000, 1), (100, 1), 4900);
}

fn leaves_early(how: u32) -> Result<u32, String> {
    for _ in 0..2 {
        let value = measure!("leaves early", {
            let _block = block(64);
            match how {
                0 => Err("0".to_owned())?,
                1 => return Ok(1),
                2 => break,
                3 => continue,
                _ => how,
            }
        });
        return Ok(value);
    }
    Ok(0)
}

#[test]
fn question_mark_return_break_and_continue_end_the_region() {
    let all: Vec<_> = (0..5).map(leaves_early).collect();
    assert_eq!(all, [Err("0".to_owned()), Ok(1), Ok(0), Ok(0), Ok(4)]);
    let row = row(&["leaves early"]);
    assert_eq!(row.count, 6);
    // The message is a byte more, freed outside.
    check(row.total.memory, (6 * 64 + 1, 7), (6 * 64, 6), 65);
}

/// The lints of whoever uses the macro stay silent, and its names are its own.
#[deny(warnings)]
#[test]
fn the_macro_disturbs_nobody() {
    #[allow(unused_variables)]
    fn drop(region: u8) {}
    fn only_returns() -> u8 {
        measure!("only returns", return 5)
    }
    let (region, value) = (1, 2);
    measure!("disturbs", drop(region + value));
    measure!("disturbs", ());
    assert_eq!(only_returns(), 5);
    assert_eq!(row(&["disturbs"]).count, 2);
    assert_eq!(row(&["only returns"]).count, 1);
}

#[test]
fn temporaries_end_in_the_region() {
    let length = measure!("temporaries", black_box(block(500)).capacity());
    assert_eq!(length, 500);
    let memory = row(&["temporaries"]).total.memory;
    check(memory, (500, 1), (500, 1), 500);
}

#[test]
fn a_panic_ends_the_regions_it_goes_through() {
    let outer = Region::start("panic: outer");
    // Not `panic!`: the hook's message would allocate here.
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        measure!("panic: inner", {
            let _freed = block(4000);
            panic::resume_unwind(Box::new(()));
        })
    }));
    assert!(result.is_err());
    drop(block(10));
    drop(outer);
    let [outer, inner] = [
        row(&["panic: outer"]),
        row(&["panic: outer", "panic: inner"]),
    ];
    assert_eq!((outer.count, inner.count), (1, 1));
    let [outer, inner] = [outer, inner].map(|row| row.own.memory.unwrap());
    // The exception itself is a block of the runtime's.
    assert!(inner.allocated_bytes >= 4000 && inner.freed_bytes >= 4000);
    assert!(outer.allocated_bytes >= 10 && outer.freed_bytes >= 10);
    assert!(outer.allocated_bytes < 4000);
}

#[test]
fn regions_that_end_out_of_order_keep_their_figures() {
    let first = Region::start("order: first");
    let one = block(100);
    let second = Region::start("second");
    let two = block(20);
    let third = Region::start("third");
    let three = block(3);
    drop(block(5000));
    // The outermost ends first, then the innermost.
    check(first.finish().memory, (5123, 4), (5000, 1), 5123);
    let four = block(400);
    check(third.finish().memory, (5403, 3), (5000, 1), 5003);
    let five = block(7);
    check(second.finish().memory, (5430, 5), (5000, 1), 5023);
    drop((one, two, three, four, five));

    let path = ["order: first", "second", "third"];
    let own = |depth: usize| row(&path[..depth]).own.memory;
    check(own(1), (100, 1), (0, 0), 5123);
    check(own(2), (27, 2), (0, 0), 5023);
    check(own(3), (5403, 3), (5000, 1), 5003);
    let outside = Region::start("order: afterwards");
    check(outside.finish().memory, (0, 0), (0, 0), 0);
    assert_eq!(row(&["order: afterwards"]).level, 0);
}

#[test]
fn a_region_in_the_middle_may_end_first() {
    let first = Region::start("middle: first");
    let second = Region::start("second");
    drop(block(900));
    let third = Region::start("third");
    let kept = block(10);
    check(second.finish().memory, (910, 2), (900, 1), 900);
    check(third.finish().memory, (10, 1), (0, 0), 10);
    let fourth = Region::start("fourth");
    drop(fourth);
    check(first.finish().memory, (910, 2), (900, 1), 900);
    drop(kept);
    assert_eq!(row(&["middle: first", "fourth"]).level, 1);
}

#[test]
fn threads_add_up_and_are_kept_apart_by_name() {
    let work = |bytes: usize| {
        for _ in 0..100 {
            measure!("threads", drop(block(bytes)));
        }
    };
    thread::scope(|scope| {
        for (name, bytes) in [("worker", 10), ("worker", 20), ("other", 300)] {
            let builder = thread::Builder::new().name(name.to_owned());
            builder.spawn_scoped(scope, move || work(bytes)).unwrap();
        }
        scope.spawn(|| work(4000));
    });
    let all = row(&["threads"]);
    assert_eq!(all.count, 400);
    check(all.total.memory, (433_000, 400), (433_000, 400), 4000);

    let tables = regions_by_thread();
    let of_thread = |name: &str| {
        let (_, table) = tables.iter().find(|(thread, _)| thread == name).unwrap();
        table.row(&["threads"]).unwrap().total.memory
    };
    check(of_thread("worker"), (3000, 200), (3000, 200), 20);
    check(of_thread("other"), (30_000, 100), (30_000, 100), 300);
    check(of_thread("(unnamed)"), (400_000, 100), (400_000, 100), 4000);
}

#[test]
fn what_another_thread_does_is_not_of_this_region() {
    let mine = block(100);
    let region = Region::start("another thread");
    thread::scope(|scope| {
        // The thread itself costs this one some blocks.
        scope.spawn(|| {
            measure!("another thread: inside", {
                drop(mine);
                drop(block(1 << 20));
            });
        });
    });
    let memory = region.finish().memory.unwrap();
    assert!(memory.allocated_bytes < 1 << 16, "{memory:?}");
    let inside = row(&["another thread: inside"]).total.memory;
    check(
        inside,
        ((1 << 20), 1),
        ((1 << 20) + 100, 2),
        (1 << 20) - 100,
    );
}

fn recurse(depth: u32) {
    measure!("recursion", {
        let kept = block(10);
        if depth > 1 {
            recurse(depth - 1);
        }
        drop(kept);
    });
}

#[test]
fn recursion_is_exact_and_ends_at_64_rows() {
    recurse(200);
    let table = regions();
    let outermost = row(&["recursion"]);
    check(outermost.total.memory, (2000, 200), (2000, 200), 2000);
    check(outermost.own.memory, (10, 1), (10, 1), 2000);
    let deepest = table.row(&["recursion"; 64]).unwrap();
    check(deepest.own.memory, (1370, 137), (1370, 137), 1370);
    assert_eq!((outermost.count, deepest.count), (1, 1));
    assert!(table.row(&["recursion"; 65]).is_none());
    assert!(table.without_row >= 136);
    assert!(table.to_string().contains("nested too deep"));
}

#[test]
fn a_forgotten_region_stays_open() {
    let thread = || {
        std::mem::forget(Region::start("forgotten"));
        measure!("after", drop(block(30)));
        // Many of them end in regions that measure nothing.
        for _ in 0..2000 {
            std::mem::forget(Region::start("again"));
        }
        assert_eq!(Region::start("none").finish(), Default::default());
    };
    thread::spawn(thread).join().unwrap();
    assert_eq!(row(&["forgotten"]).count, 0);
    check(
        row(&["forgotten", "after"]).total.memory,
        (30, 1),
        (30, 1),
        30,
    );
}

struct MeasuresAtThreadEnd;

impl Drop for MeasuresAtThreadEnd {
    fn drop(&mut self) {
        measure!("thread end", drop(block(123)));
    }
}

#[test]
fn regions_work_while_a_thread_ends() {
    thread_local! {
        static EARLY: MeasuresAtThreadEnd = const { MeasuresAtThreadEnd };
    }
    for is_used_before in [false, true] {
        let thread = move || {
            EARLY.with(|_| ());
            if is_used_before {
                measure!("thread end", ());
            }
        };
        thread::spawn(thread).join().unwrap();
    }
    let row = row(&["thread end"]);
    assert_eq!(row.count, 3);
    check(row.total.memory, (246, 2), (246, 2), 123);
}

#[test]
fn names_may_hold_anything() {
    for name in ["", "\0\n\t\"", &"long ".repeat(1000)] {
        measure!(name, drop(block(8)));
    }
    check(row(&[""]).total.memory, (8, 1), (8, 1), 8);
    check(row(&["\0\n\t\""]).total.memory, (8, 1), (8, 1), 8);
    check(row(&[&"long ".repeat(40)]).total.memory, (8, 1), (8, 1), 8);
}
