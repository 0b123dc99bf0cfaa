//! `serde-json-workload THREADS DOCUMENTS`: each thread parses and writes that many documents.

use std::fmt::Write;
use std::thread;

use serde_json::Value;

#[cfg(feature = "dhat")]
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[cfg(feature = "heapatlas")]
#[global_allocator]
static ALLOCATOR: heapatlas::Alloc = heapatlas::Alloc::system();

fn main() {
    #[cfg(feature = "dhat")]
    let _profiler = dhat::Profiler::new_heap();
    #[cfg(feature = "heapatlas")]
    let _profiler = profiler();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().and_then(|text| text.parse().ok());
    let (Some(threads), Some(documents)) = (next(), next()) else {
        eprintln!("error: usage: serde-json-workload THREADS DOCUMENTS");
        std::process::exit(2);
    };
    let workers: Vec<_> = (0..threads)
        .map(|thread: u64| thread::spawn(move || work(thread, documents)))
        .collect();
    let lengths = workers
        .into_iter()
        .map(|worker| worker.join().expect("it does not panic"));
    println!("{}", lengths.sum::<usize>());
    #[cfg(feature = "heapatlas")]
    if heapatlas::is_counting() {
        eprintln!("allocations: {}", heapatlas::process_totals().allocated_blocks);
    }
}

/// What the third argument asks for: a profile is written when it is dropped.
#[cfg(feature = "heapatlas")]
fn profiler() -> Option<heapatlas::Profiler> {
    use heapatlas::{Mode, Profiler};
    let mode = match std::env::args().nth(3).as_deref() {
        Some("counting") => {
            heapatlas::set_mode(Mode::Counting).expect("our allocator is there");
            return None;
        }
        Some("sampled") => Mode::Sampled,
        Some("aggregate") => Mode::Aggregate,
        Some("exact") => Mode::Exact,
        _ => return None,
    };
    Some(Profiler::builder().mode(mode).build())
}

fn work(thread: u64, documents: u64) -> usize {
    (0..documents)
        .map(|document| round_trip(&text_of(thread, document)))
        .sum()
}

fn round_trip(text: &str) -> usize {
    let mut value: Value = serde_json::from_str(text).expect("we wrote it");
    value["seen"] = Value::Bool(true);
    value.to_string().len()
}

fn text_of(thread: u64, document: u64) -> String {
    let mut text = format!(r#"{{"thread": {thread}, "document": {document}, "items": ["#);
    for item in 0..50 {
        let comma = if item == 0 { "" } else { "," };
        write!(
            text,
            r#"{comma}{{"id": {item}, "name": "item {item} of {document}", "price": {item}.25,
            "tags": ["a", "b{item}"], "size": {{"width": {item}, "height": 3}}}}"#
        )
        .expect("a string takes everything");
    }
    text.push_str("]}");
    text
}
