//! `demo` names the planted faults: each has its line in `demo_program.rs`.
#![cfg(has_recorder)]

mod harness;

use harness::programs::{Workshop, line_of, profile};
use harness::{rows, run};
use serde_json::Value;

const SOURCE: &str = include_str!("../src/demo_program.rs");

#[track_caller]
fn assert_site(site: &Value, function: &str, marker: &str) {
    let found = |field: &str| site[field].as_str().unwrap_or_default().to_owned();
    assert!(found("function").ends_with(function), "{site}");
    assert!(found("file").ends_with("demo_program.rs"), "{site}");
    assert_eq!(site["line"], line_of(SOURCE, marker), "{site}");
}

#[test]
fn names_the_planted_faults() {
    let workshop = Workshop::new();
    let trace = workshop.trace();
    run(["demo", "--keep", trace.to_str().expect("UTF-8")]).fine();
    let profile = profile(&trace);
    let sites_by = |figure: &str| {
        let mut sites: Vec<&Value> = rows(&profile["sites"]).iter().collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site[figure].as_u64()));
        sites
    };
    let live = sites_by("live_bytes");
    assert_site(live[0], "::log_in", "Box::new(Session");
    assert_site(live[1], "::subscribe", "Box::new(move |event");
    assert_eq!(
        (&live[0]["live_blocks"], &live[1]["live_blocks"]),
        (&5000.into(), &2000.into())
    );
    assert_site(
        sites_by("peak_bytes")[0],
        "::read_row",
        "vec![fill; REPORT_ROW_BYTES]",
    );
    let churn = sites_by("temporary")[0];
    assert_site(churn, "::log_line", "String::with_capacity(120)");
    assert_eq!(churn["temporary"], 50_000);
}
