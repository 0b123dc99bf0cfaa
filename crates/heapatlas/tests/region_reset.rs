//! Figures that begin anew. In a process of its own, since they do so for all threads.

use std::hint::black_box;

use heapatlas::{Alloc, Region, measure, regions, reset_regions};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

#[test]
fn after_a_reset_figures_begin_at_zero() {
    assert_eq!(regions().to_string(), "no regions\n");
    measure!("once", drop(block(100)));
    assert_eq!(regions().rows.len(), 1);
    reset_regions();
    assert!(regions().rows.is_empty());

    measure!("once", drop(block(1)));
    let table = regions();
    let row = table.row(&["once"]).unwrap();
    assert_eq!(
        (row.count, row.total.memory.unwrap().allocated_bytes),
        (1, 1)
    );
    assert_eq!(row.total.memory.unwrap().peak_bytes, 1);
    reset_regions();

    // What was begun before is not counted; its figures of its own are whole.
    let open = Region::start("open");
    let kept = block(10);
    reset_regions();
    drop(block(20));
    measure!("inner", drop(block(300)));
    drop(block(4000));
    let memory = open.finish().memory.unwrap();
    assert_eq!((memory.allocated_bytes, memory.freed_bytes), (4330, 4320));
    let table = regions();
    let open = table.row(&["open"]).unwrap();
    assert_eq!(
        (open.count, open.own.memory.unwrap().allocated_bytes),
        (0, 4000)
    );
    let inner = table.row(&["open", "inner"]).unwrap();
    assert_eq!(
        (inner.count, inner.own.memory.unwrap().allocated_bytes),
        (1, 300)
    );
    drop(kept);
}
