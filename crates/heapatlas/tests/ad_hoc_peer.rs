//! The same events for heapatlas' ad hoc profiler and for dhat's, at the same time.

use std::hint::black_box;

use heapatlas::AdHocStats;
use serde_json::Value;

#[inline(never)]
fn both(weight: usize) {
    heapatlas::ad_hoc_event(weight);
    dhat::ad_hoc_event(weight);
}

#[inline(never)]
fn deep(depth: usize, weight: usize) {
    match depth {
        0 => both(weight),
        _ => deep(depth - 1, weight),
    }
    black_box(depth);
}

/// Weight and count of each point, in order.
fn points(profile: &str) -> Vec<(u64, u64)> {
    let profile: Value = serde_json::from_str(profile).unwrap();
    for (key, expected) in [
        ("mode", "rust-ad-hoc"),
        ("bu", "unit"),
        ("bsu", "units"),
        ("bksu", "events"),
        ("tu", "µs"),
        ("Mtu", "s"),
    ] {
        assert_eq!(profile[key], expected);
    }
    assert!(profile.get("tuth").is_none() && profile.get("tg").is_none());
    let points = profile["pps"].as_array().unwrap().iter();
    let figures =
        |point: &Value| [&point["tb"], &point["tbk"]].map(|figure| figure.as_u64().unwrap());
    let mut points: Vec<_> = points.map(figures).map(|[tb, tbk]| (tb, tbk)).collect();
    points.sort_unstable();
    points
}

#[test]
fn as_dhat_says() {
    // Without a profiler nothing happens.
    both(7);
    let builder = dhat::Profiler::builder().ad_hoc();
    let mut dhat = builder.trim_backtraces(None).build();
    // Only a failing test drops it as it is, which writes the file.
    let builder = heapatlas::Profiler::builder().ad_hoc();
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/ad-hoc-peer.json");
    let builder = builder.file_name(file).trim_backtraces(None);
    let mut heapatlas = builder.build();
    for weight in black_box(0..50) {
        deep(weight % 7, weight);
        both(1000 + weight);
        let (ours, theirs) = (AdHocStats::get(), dhat::AdHocStats::get());
        assert_eq!(ours.total_events, theirs.total_events);
        assert_eq!(ours.total_units, theirs.total_units);
    }
    std::thread::spawn(|| deep(3, usize::MAX >> 8))
        .join()
        .unwrap();
    let theirs = points(&dhat.drop_and_get_memory_output());
    // Its destructor does not expect that.
    std::mem::forget(dhat);
    let ours = points(&heapatlas.drop_and_get_memory_output());
    if cfg!(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    )) {
        assert_eq!(ours, theirs);
        assert!(ours.len() >= 9, "{ours:?}");
    }
}
