//! More names than there are rows. In a process of its own, since rows are for ever.

use std::thread;

use heapatlas::{Alloc, Region, measure, regions};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

const ROWS: usize = 4096;

#[test]
fn very_many_names_end_in_one_row_and_lose_nothing() {
    // Two threads make the same names at the same time.
    let names = || {
        for number in 0..10_000 {
            measure!(&number.to_string(), drop(Vec::<u8>::with_capacity(3)));
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(names);
        }
    });
    let region = Region::start("0");
    measure!("inside", drop(Vec::<u8>::with_capacity(5)));
    let inside = region.finish().memory.unwrap();
    assert_eq!((inside.allocated_bytes, inside.allocated_blocks), (5, 1));

    let table = regions();
    assert!(table.rows.len() <= ROWS, "{}", table.rows.len());
    // A race for a name may cost a row.
    assert!(table.rows.len() >= ROWS - 200, "{}", table.rows.len());
    let blocks = table
        .rows
        .iter()
        .map(|row| row.own.memory.unwrap().allocated_blocks);
    assert_eq!(blocks.sum::<u64>(), 20_001);
    let other = table.row(&["(other regions)"]).unwrap();
    assert_eq!(table.without_row, other.count + 1);
    assert_eq!(table.row(&["0"]).unwrap().count, 3);
    assert!(table.to_string().contains("too many names"));
}
