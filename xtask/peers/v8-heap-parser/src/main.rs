//! v8-heap-parser as a rival in the benchmark: opens a snapshot and groups its objects into classes
//! with retained sizes. Prints enough to see that it did the same work.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: v8-heap-parser-driver FILE")?;
    let graph = v8_heap_parser::decode_slice(&std::fs::read(path)?)?;
    let groups = graph.get_class_groups(false);
    let total: u64 = groups.iter().map(|group| group.self_size).sum();
    let nodes = graph.nodes().len();
    println!(r#"{{"nodes":{nodes},"total":{total},"classes":{}}}"#, groups.len());
    Ok(())
}
