//! Every figure of real heaps that Chrome DevTools' own worker computed, through `--json`.

mod harness;

use std::collections::HashMap;

use harness::{fixture, fixture_json, fixture_names, rows, run};
use serde_json::{Map, Value, json};

fn expected_files() -> Vec<(String, Value)> {
    let names = fixture_names("expected", ".json");
    names
        .into_iter()
        .map(|name| (name.clone(), fixture_json(&format!("expected/{name}"))))
        .collect()
}

fn input_of(expected: &Value) -> String {
    fixture(&format!("{}.gz", expected["file"].as_str().unwrap()))
}

/// A class row as DevTools' fixture has it, made from ours.
fn class_row(row: &Value) -> Value {
    json!({
        "key": row["key"],
        "name": row["name"],
        "distance": row["distance"],
        "count": row["count"],
        "shallow": row["shallow_bytes"],
        "retained": row["retained_bytes"],
    })
}

/// DevTools counts from 100,000,000 what only the collector reaches, and from -5 what nobody does;
/// its panels show a dash for both, and so do we.
fn shown_distance(distance: &Value) -> Value {
    match distance.as_i64() {
        Some(distance @ 0..100_000_000) => json!(distance),
        _ => Value::Null,
    }
}

/// Whether the first rows are these. Rows of one value may stand in any order.
#[track_caller]
fn check_top(expected: &Value, ours: &[Value], by: &str, what: &str) {
    let ours: Vec<Value> = ours.iter().map(class_row).collect();
    for (rank, row) in rows(expected).iter().enumerate() {
        let mut row = row.clone();
        row["distance"] = shown_distance(&row["distance"]);
        assert_eq!(ours[rank][by], row[by], "{what}: rank {rank} by {by}");
        assert!(ours.contains(&row), "{what}: no row {row}");
    }
}

fn sum(rows: &[Value], column: &str) -> u64 {
    rows.iter().map(|row| row[column].as_u64().unwrap()).sum()
}

#[test]
fn totals_statistics_and_classes() {
    for (name, expected) in expected_files() {
        let summary = run(["summary", "--json", &input_of(&expected)]).json();
        assert_eq!(summary["version"], 1);
        assert_eq!(summary["format"], "v8");
        for (ours, theirs) in [
            ("nodes", "nodes"),
            ("edges", "edges"),
            ("total_bytes", "total"),
        ] {
            assert_eq!(summary[ours], expected[theirs], "{name}: {ours}");
        }
        assert_eq!(
            summary["statistics"],
            statistics(&expected["statistics"]),
            "{name}"
        );
        let classes = rows(&summary["classes"]);
        assert_eq!(json!(classes.len()), expected["classes"], "{name}: classes");
        assert_eq!(
            json!(sum(classes, "count")),
            expected["objectsSum"],
            "{name}"
        );
        assert_eq!(
            json!(sum(classes, "shallow_bytes")),
            expected["shallowSum"],
            "{name}"
        );
        check_top(&expected["top10"], classes, "retained", &name);
    }
}

fn statistics(expected: &Value) -> Value {
    let heap = &expected["v8heap"];
    json!({
        "total": expected["total"],
        "code": heap["code"],
        "strings": heap["strings"],
        "js_arrays": heap["jsArrays"],
        "typed_arrays": expected["native"]["typedArrays"],
        "native": expected["native"]["total"],
        "system": heap["system"],
    })
}

#[test]
fn classes_by_shallow_size_also_without_the_rest() {
    for (name, expected) in expected_files() {
        let input = input_of(&expected);
        let all = run(["summary", "--json", "--sort", "shallow", &input]).json();
        check_top(
            &expected["top10byShallow"],
            rows(&all["classes"]),
            "shallow",
            &name,
        );
        let quick = run(["summary", "--json", "--quick", &input]).json();
        let mut without_retained = all.clone();
        for row in without_retained["classes"].as_array_mut().unwrap() {
            row["distance"] = Value::Null;
            row["retained_bytes"] = Value::Null;
        }
        let sorted = |summary: &Value| {
            let mut rows = rows(&summary["classes"]).to_vec();
            rows.sort_by_key(|row| row["key"].to_string());
            rows
        };
        assert_eq!(sorted(&quick), sorted(&without_retained), "{name}");
        assert_eq!(quick["statistics"], all["statistics"], "{name}");
    }
}

#[test]
fn named_filters() {
    const FILTERS: [(&str, &str); 5] = [
        ("duplicated-strings", "duplicatedStrings"),
        ("detached-dom", "objectsRetainedByDetachedDomNodes"),
        ("console", "objectsRetainedByConsole"),
        ("contexts", "objectsRetainedByContexts"),
        ("event-handlers", "objectsRetainedByEventHandlers"),
    ];
    for (name, expected) in expected_files() {
        let input = input_of(&expected);
        let cut = CutStrings::of(&input);
        for (ours, theirs) in FILTERS {
            let summary = run(["summary", "--json", "--select", ours, &input]).json();
            let classes = rows(&summary["classes"]);
            let (objects, bytes) = (sum(classes, "count"), sum(classes, "shallow_bytes"));
            let (cut_objects, cut_bytes) = match ours {
                "duplicated-strings" => (cut.count(), cut.bytes()),
                _ => (0, 0),
            };
            let figures = json!({
                "classes": classes.len(),
                "objects": objects + cut_objects,
                "shallow": bytes + cut_bytes,
            });
            assert_eq!(figures, expected["filters"][theirs], "{name}: {ours}");
        }
    }
}

/// Strings that DevTools calls duplicates and we do not: an intended difference.
///
/// V8 cuts names at 1024 characters, and DevTools takes strings with one cut name as equal,
/// whatever follows (16 source texts of Node 24, say).
struct CutStrings {
    sizes_by_name: HashMap<String, Vec<u64>>,
}

impl CutStrings {
    fn of(input: &str) -> Self {
        let mut sizes_by_name: HashMap<String, Vec<u64>> = HashMap::new();
        for class in ["(string)", "(concatenated string)"] {
            let answer = run(["show", "--json", input, class]);
            if answer.stderr.contains("error: no class") {
                continue;
            }
            let shown = answer.json();
            for object in rows(&shown["objects"]) {
                let name = object["name"].as_str().unwrap();
                if name.chars().count() == 1024 && !is_flattened(input, object) {
                    let sizes = sizes_by_name.entry(name.to_owned()).or_default();
                    sizes.push(object["shallow_bytes"].as_u64().unwrap());
                }
            }
        }
        sizes_by_name.retain(|_, sizes| sizes.len() > 1);
        Self { sizes_by_name }
    }

    fn count(&self) -> u64 {
        self.sizes_by_name
            .values()
            .map(|sizes| sizes.len() as u64)
            .sum()
    }

    fn bytes(&self) -> u64 {
        self.sizes_by_name.values().flatten().sum()
    }

    /// As DevTools would list them: text, count, bytes.
    fn rows(&self) -> impl Iterator<Item = (String, u64, u64)> {
        let row = |(name, sizes): (&String, &Vec<u64>)| {
            (first_60(name), sizes.len() as u64, sizes.iter().sum())
        };
        self.sizes_by_name.iter().map(row)
    }
}

/// A joined string that was made one: one of its halves is empty. It duplicates nothing.
fn is_flattened(input: &str, string: &Value) -> bool {
    if string["type"] != "concatenated string" {
        return false;
    }
    let shown = run(["show", "--json", input, &format!("@{}", string["id"])]).json();
    rows(&shown["fields"]).iter().any(|field| {
        (field["edge"] == "first" || field["edge"] == "second") && field["node"]["name"] == ""
    })
}

/// Texts of the fixtures are cut here.
fn first_60(text: &str) -> String {
    text.chars().take(60).collect()
}

#[test]
fn details() {
    for (name, expected) in expected_files() {
        let input = input_of(&expected);
        let summary = run(["summary", "--json", "--details", "--top", "1", &input]).json();
        check_distances(&summary, &expected["distanceHistogram"], &name);
        let contexts = native_contexts(&summary["native_contexts"]);
        assert_eq!(
            contexts,
            without_index(&expected["nativeContexts"]),
            "{name}"
        );
        check_duplicates(&summary, &expected["duplicateStrings"], &input, &name);
        check_timeline(&summary, &expected, &name);
    }
}

#[track_caller]
fn check_distances(summary: &Value, expected: &Value, name: &str) {
    let ours: Map<String, Value> = rows(&summary["distances"])
        .iter()
        .map(|row| {
            let raw = match (row["distance"].as_i64(), row["collector_distance"].as_i64()) {
                (Some(distance), _) => distance,
                (None, Some(distance)) => distance + 100_000_000,
                (None, None) => -5,
            };
            (raw.to_string(), row["nodes"].clone())
        })
        .collect();
    assert_eq!(&Value::Object(ours), expected, "{name}");
}

fn native_contexts(ours: &Value) -> Value {
    let context = |context: &Value| {
        json!({
            "nodeId": context["id"],
            "nodeName": context["name"],
            "attributedSize": context["attributed_bytes"],
            "retainedSize": context["retained_bytes"],
            "selfSize": context["shallow_bytes"],
        })
    };
    json!({
        "nativeContexts": rows(&ours["contexts"]).iter().map(context).collect::<Vec<_>>(),
        "sharedSize": ours["shared_bytes"],
        "noAttributionSize": ours["unattributed_bytes"],
    })
}

/// Where a node stands in the file's array is nothing that a user can use.
fn without_index(expected: &Value) -> Value {
    let mut expected = expected.clone();
    for context in expected["nativeContexts"].as_array_mut().unwrap() {
        context.as_object_mut().unwrap().remove("nodeIndex");
    }
    expected
}

#[track_caller]
fn check_duplicates(summary: &Value, expected: &Value, input: &str, name: &str) {
    let groups = rows(&summary["duplicate_strings"]["groups"]);
    let cut = CutStrings::of(input);
    let count = groups.len() + cut.sizes_by_name.len();
    assert_eq!(json!(count), expected["groups"], "{name}: groups");
    let ours = groups.iter().map(|group| {
        let text = first_60(group["text"].as_str().unwrap());
        (
            text,
            group["count"].as_u64().unwrap(),
            group["shallow_bytes"].as_u64().unwrap(),
        )
    });
    let known: Vec<_> = ours.chain(cut.rows()).collect();
    for row in rows(&expected["top5"]) {
        let text = row["value"].as_str().unwrap().to_owned();
        let (count, bytes) = (row["count"].as_u64(), row["totalSelfSize"].as_u64());
        assert!(
            known.contains(&(text, count.unwrap(), bytes.unwrap())),
            "{name}: {row}"
        );
    }
}

#[track_caller]
fn check_timeline(summary: &Value, expected: &Value, name: &str) {
    let samples = rows(&summary["samples"]);
    let sites = rows(&summary["allocation_sites"]);
    if expected.get("samples").is_none() {
        assert!(samples.is_empty() && sites.is_empty(), "{name}");
        return;
    }
    let sizes: Vec<&Value> = samples.iter().map(|sample| &sample["live_bytes"]).collect();
    assert_eq!(json!(sizes.len()), expected["samples"]["count"], "{name}");
    // The fixtures have the first few, and the sum of all.
    let first = rows(&expected["samples"]["sizes"]);
    assert!(
        sizes
            .iter()
            .copied()
            .zip(first)
            .all(|(ours, theirs)| ours == theirs),
        "{name}"
    );
    assert_eq!(
        json!(sum(samples, "live_bytes")),
        expected["samples"]["sumSizes"],
        "{name}"
    );
    for (site, row) in sites.iter().zip(rows(&expected["allocationTops"])) {
        let ours = json!({
            "name": site["function"],
            "script": script_file(&site["script"]),
            // DevTools' own data count from 0.
            "line": site["line"].as_u64().map_or(0, |line| line - 1),
            "column": site["column"].as_u64().map_or(0, |column| column - 1),
            "count": site["blocks"],
            "size": site["bytes"],
            "liveCount": site["live_blocks"],
            "liveSize": site["live_bytes"],
        });
        let mut theirs = row.clone();
        theirs["script"] = script_file(&row["script"]);
        assert_eq!(ours, theirs, "{name}");
    }
}

/// The fixtures have script names without their folder.
fn script_file(script: &Value) -> Value {
    json!(script.as_str().unwrap().rsplit('/').next())
}

/// The pairs of the fixtures: base, current, what DevTools says.
fn pairs() -> Vec<(String, String, Value)> {
    let pairs: Vec<_> = expected_files()
        .into_iter()
        .filter_map(|(_, expected)| {
            let compare = expected.get("compare")?.clone();
            let path = |side: &str| fixture(&format!("{}.gz", compare[side].as_str().unwrap()));
            Some((path("base"), path("current"), compare))
        })
        .collect();
    assert_eq!(pairs.len(), 5);
    pairs
}

#[test]
fn comparisons() {
    for (base, current, expected) in pairs() {
        let options = ["compare", "--json", "--paths", "0", "--sort", "bytes"];
        let comparison = run(options.into_iter().chain([&*base, &*current])).json();
        assert_eq!(comparison["version"], 1);
        assert_eq!(change(&comparison["totals"]), expected["totals"], "{base}");
        let classes = rows(&comparison["classes"]);
        assert_eq!(json!(classes.len()), expected["changedClasses"], "{base}");
        for (rank, row) in rows(&expected["top15"]).iter().enumerate() {
            let mut found = classes.iter().filter(|class| class["key"] == row["key"]);
            let class = found
                .next()
                .unwrap_or_else(|| panic!("{base}: no row {row}"));
            let mut ours = change(class);
            ours["key"] = class["key"].clone();
            ours["name"] = class["name"].clone();
            assert_eq!(&ours, row, "{base}");
            assert_eq!(
                classes[rank]["delta_bytes"], row["sizeDelta"],
                "{base}: rank {rank}"
            );
        }
    }
}

fn change(ours: &Value) -> Value {
    json!({
        "new": ours["new"],
        "deleted": ours["deleted"],
        "delta": ours["delta"],
        "allocSize": ours["allocated_bytes"],
        "freedSize": ours["freed_bytes"],
        "sizeDelta": ours["delta_bytes"],
    })
}

#[test]
fn objects_allocated_between_two_snapshots() {
    for (base, current, expected) in pairs() {
        let expected = &expected["allocatedBetween"];
        let range = format!("ids:{}..{}", expected["filter"][0], expected["filter"][1]);
        let by_ids = run(["summary", "--json", "--select", &range, &current]).json();
        let classes = rows(&by_ids["classes"]);
        assert_eq!(
            json!(sum(classes, "count")),
            expected["objects"],
            "{current}"
        );
        check_top(&expected["top10"], classes, "retained", &current);
        let since = format!("since:{base}");
        let by_file = run(["summary", "--json", "--select", &since, &current]).json();
        assert_eq!(by_file, by_ids, "{current}");
    }
}

/// A series is its steps, and what each class had in each snapshot.
#[test]
fn series() {
    for version in ["node20", "node24"] {
        let files = [1, 2, 3].map(|n| fixture(&format!("{version}-leak-{n}.heapsnapshot.gz")));
        let [first, second, third] = &files;
        let series = run(["compare", "--json", first, second, third]).json();
        assert_eq!(series["version"], 1);
        let steps = rows(&series["steps"]);
        assert_eq!(steps.len(), 2);
        for (step, pair) in steps.iter().zip(files.windows(2)) {
            let comparison = run(["compare", "--json", &pair[0], &pair[1]]).json();
            assert_eq!(step["totals"], comparison["totals"]);
            assert_eq!(step["classes"], comparison["classes"]);
        }
        let session = rows(&series["classes"])
            .iter()
            .find(|class| class["name"] == "Session");
        assert_eq!(session.unwrap()["count"], json!([200, 1200, 2200]));
    }
}

/// fixtures/v8 were written by a program that leaks in five known ways.
#[test]
fn planted_leaks_are_named() {
    for version in ["node20", "node24"] {
        let files = [1, 2, 3].map(|n| fixture(&format!("{version}-leak-{n}.heapsnapshot.gz")));
        let [first, second, third] = &files;
        let leaks = run(["leaks", "--json", first, second, third]).json();
        let suspects = rows(&leaks["suspects"]);
        for name in ["Session", "AuditRecord"] {
            let suspect = suspects.iter().find(|suspect| suspect["name"] == name);
            let suspect = suspect.unwrap_or_else(|| panic!("{version}: {name} is no suspect"));
            let counts: Vec<&Value> = rows(&suspect["growth"])
                .iter()
                .map(|point| &point["count"])
                .collect();
            assert_eq!(counts, [200, 1200, 2200], "{version}: {name}");
        }
    }
}
