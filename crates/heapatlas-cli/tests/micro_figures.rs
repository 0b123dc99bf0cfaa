//! Hand-made graphs, one rule each, with Chrome DevTools' figures for each of their nodes.

mod harness;

use harness::{fixture, fixture_names, fixture_text, rows, run};
use serde_json::{Map, Value, json};

/// What DevTools says, with our two intended differences:
///
/// - m12: a node of 5,000,000,000 bytes. DevTools keeps 32 bits of it; we show its true size.
/// - m06: an object named `RegExp` and a regular expression are two classes of one key. DevTools
///   lets the later one hide the other; we show both as one class of 2 objects, 33 bytes.
fn expected(case: &str) -> Value {
    let text = fixture_text(&format!("micro/{case}.expected.json"));
    let mut text = String::from_utf8(text).unwrap();
    if case == "m12-over-4gib" {
        text = text
            .replace("705032704", "5000000000")
            .replace("705032714", "5000000010");
    }
    let mut expected: Value = serde_json::from_str(&text).unwrap();
    if case == "m06-class-names" {
        expected["aggregates"][",RegExp"] =
            json!({"name": "RegExp", "count": 2, "distance": 2, "shallow": 33, "retained": 33});
    }
    expected
}

fn cases() -> Vec<String> {
    let names = fixture_names("micro", ".heapsnapshot");
    assert_eq!(names.len(), 12);
    names
        .iter()
        .map(|name| name.strip_suffix(".heapsnapshot").unwrap().to_owned())
        .collect()
}

fn input(case: &str) -> String {
    fixture(&format!("micro/{case}.heapsnapshot"))
}

/// A dash in DevTools' panels: only the collector reaches it, or nobody.
fn shown_distance(distance: &Value) -> Value {
    match distance.as_i64() {
        Some(distance @ 0..100_000_000) => json!(distance),
        _ => Value::Null,
    }
}

#[test]
fn totals_statistics_and_all_classes() {
    for case in cases() {
        let expected = expected(&case);
        let summary = run(["summary", "--json", &input(&case)]).json();
        assert_eq!(summary["total_bytes"], expected["total"], "{case}");
        let heap = &expected["statistics"]["v8heap"];
        let native = &expected["statistics"]["native"];
        let statistics = json!({
            "total": expected["statistics"]["total"],
            "code": heap["code"],
            "strings": heap["strings"],
            "js_arrays": heap["jsArrays"],
            "typed_arrays": native["typedArrays"],
            "native": native["total"],
            "system": heap["system"],
        });
        assert_eq!(summary["statistics"], statistics, "{case}");
        let classes: Map<String, Value> =
            rows(&summary["classes"]).iter().map(class_by_key).collect();
        let mut theirs = expected["aggregates"].as_object().unwrap().clone();
        for row in theirs.values_mut() {
            row["distance"] = shown_distance(&row["distance"]);
        }
        assert_eq!(Value::Object(classes), Value::Object(theirs), "{case}");
    }
}

fn class_by_key(row: &Value) -> (String, Value) {
    let figures = json!({
        "name": row["name"],
        "count": row["count"],
        "distance": row["distance"],
        "shallow": row["shallow_bytes"],
        "retained": row["retained_bytes"],
    });
    (row["key"].as_str().unwrap().to_owned(), figures)
}

#[test]
fn every_node() {
    for case in cases() {
        for node in rows(&expected(&case)["nodes"]) {
            check_node(&case, node);
        }
    }
}

#[track_caller]
fn check_node(case: &str, expected: &Value) {
    let id = format!("@{}", expected["id"]);
    let shown = run(["show", "--json", &input(case), &id]).json();
    let object = &shown["object"];
    let ours = json!({
        "id": object["id"],
        "type": object["type"],
        "class": object["class"],
        "shallow": object["shallow_bytes"],
        "retained": object["retained_bytes"],
        "distance": object["distance"],
        "dominator": shown["dominator"],
        "detachedness": object["detachedness"],
        "retainers": retainers(&shown),
    });
    let theirs = json!({
        "id": expected["id"],
        "type": expected["type"],
        "class": expected["class"],
        "shallow": expected["shallow"],
        "retained": expected["retained"],
        "distance": shown_distance(&expected["distance"]),
        "dominator": expected["dominator"],
        "detachedness": detachedness(&expected["detachedness"]),
        "retainers": expected["retainers"],
    });
    assert_eq!(ours, theirs, "{case} {id}");
}

/// As the fixtures write them: `type:label<-id`, in the panel's order.
fn retainers(shown: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let edge = |row: &Value| {
        format!(
            "{}:{}<-{}",
            text(&row["edge_type"]),
            text(&row["edge"]),
            row["node"]["id"]
        )
    };
    rows(&shown["retainers"]).iter().map(edge).collect()
}

fn detachedness(state: &Value) -> Value {
    match state.as_u64() {
        Some(1) => json!("attached"),
        Some(2) => json!("detached"),
        _ => Value::Null,
    }
}

/// What was recorded while the objects were allocated.
#[test]
fn timeline() {
    let case = "m09-trace";
    let summary = run(["summary", "--json", "--details", &input(case)]).json();
    let samples = rows(&summary["samples"]);
    let column = |name: &str| {
        samples
            .iter()
            .map(|sample| sample[name].clone())
            .collect::<Vec<_>>()
    };
    let expected = expected(case);
    assert_eq!(json!(column("live_bytes")), expected["samples"]["sizes"]);
    assert_eq!(
        json!(column("last_object_id")),
        expected["samples"]["lastAssignedIds"]
    );
    let milliseconds = rows(&expected["samples"]["timestamps"]).iter();
    let microseconds: Vec<f64> = milliseconds
        .map(|time| time.as_f64().unwrap() * 1e3)
        .collect();
    let ours = column("timestamp_us");
    assert_eq!(
        ours.iter()
            .map(|time| time.as_f64().unwrap())
            .collect::<Vec<_>>(),
        microseconds
    );
    let [site] = rows(&summary["allocation_sites"]) else {
        panic!("one site")
    };
    let top = &expected["allocationTops"][0];
    let pairs = [
        ("function", "name"),
        ("script", "scriptName"),
        ("blocks", "count"),
        ("bytes", "size"),
        ("live_blocks", "liveCount"),
        ("live_bytes", "liveSize"),
    ];
    for (ours, theirs) in pairs {
        assert_eq!(site[ours], top[theirs], "{ours}");
    }
}
