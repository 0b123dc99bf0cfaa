//! Which part of a program takes the time and the memory.
//!
//! `cargo run --release --example regions`

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::num::ParseIntError;
use std::thread;

use heapatlas::{Region, measure, regions, regions_by_thread};

#[global_allocator]
static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system().counting();

/// Words of a text with their lengths.
fn index(text: &str) -> BTreeMap<String, usize> {
    let words: Vec<&str> = measure!("split", text.split(' ').collect());
    // A region of a few lines, by a guard.
    let region = Region::start("collect");
    let index = words
        .iter()
        .map(|word| ((*word).to_owned(), word.len()))
        .collect();
    let stats = region.finish();
    if stats
        .memory
        .is_some_and(|memory| memory.peak_bytes > 1 << 20)
    {
        eprintln!("a large text: {stats}");
    }
    index
}

/// `?` leaves a region as it leaves a block.
fn sum(numbers: &str) -> Result<u64, ParseIntError> {
    measure!("sum", {
        let mut sum = 0;
        for number in numbers.split(' ') {
            sum += number.parse::<u64>()?;
        }
        Ok(sum)
    })
}

fn main() -> Result<(), ParseIntError> {
    let text = "the quick brown fox jumps over the lazy dog ".repeat(1000);
    for _ in 0..10 {
        measure!("index", index(&text));
    }
    thread::scope(|scope| {
        for number in 0..2 {
            let builder = thread::Builder::new().name(format!("worker {number}"));
            builder
                .spawn_scoped(scope, || measure!("index", index(&text)))
                .expect("a thread starts");
        }
    });
    assert_eq!(sum("1 2 3")?, 6);

    println!("{}", regions());
    for (thread, table) in regions_by_thread() {
        println!("{thread}\n{table}");
    }
    println!("{}", regions().to_json());
    Ok(())
}
