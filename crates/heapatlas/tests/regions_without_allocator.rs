//! Without an allocator of ours there are times only.

use std::time::Duration;

use heapatlas::{Region, measure, regions, reset_regions};

#[test]
fn times_only_and_it_says_so() {
    let region = Region::start("outer");
    measure!("inner", drop(Vec::<u8>::with_capacity(1000)));
    let stats = region.finish();
    assert!(stats.memory.is_none() && stats.wall > Duration::ZERO);

    let table = regions();
    assert!(!table.counts_memory);
    assert!(table.rows.iter().all(|row| row.total.memory.is_none()));
    let text = table.to_string();
    assert!(
        text.contains("times only") && !text.contains("allocated"),
        "{text}"
    );
    assert!(table.to_json().contains(r#""memory":null"#));
    reset_regions();
    assert!(regions().rows.is_empty());
}
