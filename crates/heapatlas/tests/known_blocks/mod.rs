//! Blocks of known size, and what is expected of regions that make and free them.

use std::hint::black_box;

use heapatlas::{RegionMemory, RegionRow, regions};

/// One block of exactly this size.
pub fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

/// Allocated and freed bytes with their blocks, and the peak.
#[track_caller]
pub fn check(
    memory: Option<RegionMemory>,
    allocated: (u64, u64),
    freed: (u64, u64),
    peak_bytes: u64,
) {
    let memory = memory.expect("memory is counted");
    let found = [
        (memory.allocated_bytes, memory.allocated_blocks),
        (memory.freed_bytes, memory.freed_blocks),
    ];
    assert_eq!(found, [allocated, freed], "allocated, freed");
    assert_eq!(memory.peak_bytes, peak_bytes, "peak");
    assert_eq!(memory.net_bytes(), allocated.0 as i64 - freed.0 as i64);
    assert_eq!(memory.net_blocks(), allocated.1 as i64 - freed.1 as i64);
}

/// The row of this path.
#[track_caller]
pub fn row(path: &[&str]) -> RegionRow {
    let table = regions();
    let found = table.row(path).cloned();
    found.unwrap_or_else(|| panic!("{path:?} is not in\n{table}"))
}
