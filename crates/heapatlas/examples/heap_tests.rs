//! Tests that fail when code allocates more than it should: `cargo test --example heap_tests`.
//!
//! Two ways. `expect_heap` and regions have the figures of one thread: such tests run side by side. A profiler in testing
//! mode knows the lines, too: when one of its assertions fails, the profile is saved. There is one profiler at a time,
//! so such tests take turns.

#![allow(clippy::print_stderr)]

fn main() {
    eprintln!("these are tests: run `cargo test --example heap_tests`");
}

/// The code under test: one block for the result, and no more.
#[cfg(test)]
fn squares(numbers: &[u64]) -> Vec<u64> {
    let mut squares = Vec::with_capacity(numbers.len());
    squares.extend(numbers.iter().map(|number| number * number));
    squares
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use heapatlas::{Alloc, HeapLimits, HeapStats, Profiler, Region, expect_heap};

    use super::squares;

    #[global_allocator]
    static ALLOC: Alloc = Alloc::system().counting();

    static TURN: Mutex<()> = Mutex::new(());

    #[test]
    fn within_limits() {
        let limits = HeapLimits::new().allocated_blocks(1).peak_bytes(24);
        expect_heap(limits, || assert_eq!(squares(&[1, 2, 3]), [1, 4, 9]));
    }

    #[test]
    fn one_block() {
        let region = Region::start("squares");
        let squares = squares(&[1, 2, 3]);
        let memory = region.finish().memory.expect("memory is counted");
        assert_eq!(memory.allocated_blocks, 1);
        assert_eq!(memory.peak_bytes, 24);
        assert_eq!(squares, [1, 4, 9]);
    }

    #[test]
    fn nothing_is_left() {
        let region = Region::start("squares, dropped");
        drop(squares(&[1, 2, 3]));
        let memory = region.finish().memory.expect("memory is counted");
        assert_eq!((memory.net_bytes(), memory.net_blocks()), (0, 0));
    }

    #[test]
    fn little_in_the_whole_process() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let _profiler = Profiler::builder().testing().build();
        let squares = squares(&[7; 1000]);
        let stats = HeapStats::get();
        // Other tests run meanwhile: bounds, not equality.
        heapatlas::assert!(stats.max_bytes >= 8000);
        heapatlas::assert!(stats.max_bytes < 1 << 20, "{stats:?}");
        assert_eq!(squares.len(), 1000);
    }
}
