//! Heaps of real programs: totals, statistics, classes, distances, filters, comparisons.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use heapatlas_analysis::{
    ClassRow, CompareOptions, Heap, NamedFilter, NodeSet, allocating_functions,
    allocation_timeline, compare, duplicate_strings, max_js_object_id, native_contexts, select,
    summarize,
};
use heapatlas_model::{NodeId, NodeKind};
use serde_json::Value;

use crate::fixtures::{Check, expected, list, number, open, shown_distance, text};

macro_rules! snapshots {
    ($($name:ident: $file:literal of $expected:literal,)*) => {
        $(#[test]
        fn $name() {
            let heap = open(concat!($file, ".gz"));
            let expected = expected(concat!("expected/", $expected, ".json"));
            assert_eq!(text(&expected["file"]), $file);
            check_snapshot($file, &heap, &expected);
        })*
    };
}

snapshots! {
    chromium156_page: "chromium156-page-1.heapsnapshot" of "chromium156-page-1-vs-2",
    node20_internals: "node20-features-internals.heapsnapshot" of "node20-features-internals.heapsnapshot",
    node20_features: "node20-features.heapsnapshot" of "node20-features.heapsnapshot",
    node20_timeline: "node20-features.heaptimeline" of "node20-features.heaptimeline",
    node20_leak_1: "node20-leak-1.heapsnapshot" of "node20-leak-1-vs-2",
    node20_leak_2: "node20-leak-2.heapsnapshot" of "node20-leak-2-vs-3",
    node20_leak_3: "node20-leak-3.heapsnapshot" of "node20-leak-3",
    node22_features: "node22-features.heapsnapshot" of "node22-features.heapsnapshot",
    node24_features: "node24-features.heapsnapshot" of "node24-features.heapsnapshot",
    node24_features_num: "node24-features-num.heapsnapshot" of "node24-features-num.heapsnapshot",
    node24_timeline: "node24-features.heaptimeline" of "node24-features.heaptimeline",
    node24_leak_1: "node24-leak-1.heapsnapshot" of "node24-leak-1-vs-2",
    node24_leak_2: "node24-leak-2.heapsnapshot" of "node24-leak-2-vs-3",
    node24_leak_3: "node24-leak-3.heapsnapshot" of "node24-leak-3",
}

macro_rules! comparisons {
    ($($name:ident: $expected:literal,)*) => {
        $(#[test]
        fn $name() {
            let expected = expected(concat!("expected/", $expected, ".json"));
            check_comparison($expected, &expected["compare"]);
        })*
    };
}

comparisons! {
    chromium156_page_1_vs_2: "chromium156-page-1-vs-2",
    node20_leak_1_vs_2: "node20-leak-1-vs-2",
    node20_leak_2_vs_3: "node20-leak-2-vs-3",
    node24_leak_1_vs_2: "node24-leak-1-vs-2",
    node24_leak_2_vs_3: "node24-leak-2-vs-3",
}

fn check_snapshot(case: &str, heap: &Heap, expected: &Value) {
    let mut check = Check::new(case);
    let summary = summarize(heap, None);
    check.equal("nodes", summary.nodes, number(&expected["nodes"]));
    check.equal("edges", summary.edges, number(&expected["edges"]));
    check.equal("total", summary.total_bytes, number(&expected["total"]));
    let max_id = number(&expected["maxJSObjectId"]);
    check.equal("largest id", max_js_object_id(heap), max_id);
    check_statistics(&mut check, heap, &expected["statistics"]);
    let classes = summary.classes.len() as u64;
    check.equal("classes", classes, number(&expected["classes"]));
    check_top(&mut check, &summary.classes, &expected["top10"]);
    check_top_by_shallow(&mut check, &summary.classes, &expected["top10byShallow"]);
    check_sums(&mut check, &summary.classes, expected);
    check_distances(&mut check, heap, &expected["distanceHistogram"]);
    check_filters(&mut check, heap, &expected["filters"]);
    check_native_contexts(&mut check, heap, &expected["nativeContexts"]);
    duplicated_strings(&mut check, heap, expected);
    if let Some(samples) = expected.get("samples") {
        check_samples(&mut check, heap, samples);
    }
    if let Some(tops) = expected.get("allocationTops") {
        check_allocations(&mut check, heap, list(tops));
    }
    check.finish();
}

pub fn check_statistics(check: &mut Check, heap: &Heap, expected: &Value) {
    let ours = heap.statistics().expect("V8 has statistics");
    let v8 = &expected["v8heap"];
    let pairs = [
        ("statistics: total", ours.total, &expected["total"]),
        (
            "statistics: native",
            ours.native,
            &expected["native"]["total"],
        ),
        (
            "typed arrays",
            ours.typed_arrays,
            &expected["native"]["typedArrays"],
        ),
        ("V8 heap", ours.total - ours.native, &v8["total"]),
        ("code", ours.code, &v8["code"]),
        ("JS arrays", ours.js_arrays, &v8["jsArrays"]),
        ("strings", ours.strings, &v8["strings"]),
        ("system", ours.system, &v8["system"]),
    ];
    for (what, ours, expected) in pairs {
        check.equal(what, ours, number(expected));
    }
}

pub fn check_row(check: &mut Check, row: &ClassRow, expected: &Value) {
    let at = format!("class {}", row.key);
    check.equal(&at, row.name.as_str(), text(&expected["name"]));
    check.equal(&at, row.count, number(&expected["count"]));
    check.equal(&at, row.distance, shown_distance(&expected["distance"]));
    check.equal(&at, row.shallow_bytes, number(&expected["shallow"]));
    check.equal(&at, row.retained_bytes, Some(number(&expected["retained"])));
}

/// The first rows in order of retained size; equals may stand in any order.
fn check_top(check: &mut Check, rows: &[ClassRow], expected: &Value) {
    let by_key: HashMap<&str, &ClassRow> = rows.iter().map(|row| (&*row.key, row)).collect();
    for (row, expected) in rows.iter().zip(list(expected)) {
        let retained = Some(number(&expected["retained"]));
        check.equal("order of rows", row.retained_bytes, retained);
        match by_key.get(text(&expected["key"])) {
            Some(row) => check_row(check, row, expected),
            None => check.equal("class", "none", text(&expected["key"])),
        }
    }
}

fn check_top_by_shallow(check: &mut Check, rows: &[ClassRow], expected: &Value) {
    let mut largest: Vec<u64> = rows.iter().map(|row| row.shallow_bytes).collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    for (bytes, expected) in largest.iter().zip(list(expected)) {
        check.equal("order by shallow", *bytes, number(&expected["shallow"]));
        match rows.iter().find(|row| row.key == text(&expected["key"])) {
            Some(row) => check_row(check, row, expected),
            None => check.equal("class", "none", text(&expected["key"])),
        }
    }
}

fn check_sums(check: &mut Check, rows: &[ClassRow], expected: &Value) {
    let objects = rows.iter().map(|row| row.count).sum();
    check.equal("objects", objects, number(&expected["objectsSum"]));
    let shallow = rows.iter().map(|row| row.shallow_bytes).sum();
    check.equal("shallow sum", shallow, number(&expected["shallowSum"]));
}

fn check_distances(check: &mut Check, heap: &Heap, expected: &Value) {
    let mut ours: BTreeMap<String, u64> = BTreeMap::new();
    for node in heap.graph().nodes() {
        *ours.entry(heap.raw_distance(node).to_string()).or_default() += 1;
    }
    let histogram = expected.as_object().expect("counts by distance");
    let expected = histogram
        .iter()
        .map(|(key, count)| (key.clone(), number(count)));
    check.equal("distances", ours, expected.collect());
}

fn check_filters(check: &mut Check, heap: &Heap, expected: &Value) {
    let filters = [
        (
            "objectsRetainedByDetachedDomNodes",
            NamedFilter::RetainedByDetachedDom,
        ),
        ("objectsRetainedByConsole", NamedFilter::RetainedByConsole),
        ("objectsRetainedByContexts", NamedFilter::RetainedByContexts),
        (
            "objectsRetainedByEventHandlers",
            NamedFilter::RetainedByEventHandlers,
        ),
    ];
    for (name, filter) in filters {
        let ours = sums(heap, &select(heap, filter));
        check.equal(name, ours, expected_sums(&expected[name]));
    }
}

/// Classes, objects and bytes of a selection.
fn sums(heap: &Heap, only: &NodeSet) -> (u64, u64, u64) {
    let rows = summarize(heap, Some(only)).classes;
    let objects = rows.iter().map(|row| row.count).sum();
    (
        rows.len() as u64,
        objects,
        rows.iter().map(|row| row.shallow_bytes).sum(),
    )
}

fn expected_sums(expected: &Value) -> (u64, u64, u64) {
    let [classes, objects, shallow] =
        ["classes", "objects", "shallow"].map(|name| number(&expected[name]));
    (classes, objects, shallow)
}

fn check_native_contexts(check: &mut Check, heap: &Heap, expected: &Value) {
    let ours = native_contexts(heap);
    let rows: Vec<_> = ours
        .contexts
        .iter()
        .map(|row| {
            let node = row.node;
            (
                heap.graph().object_id(node),
                heap.display_name(node),
                row.attributed_bytes,
                heap.retained_bytes(node),
                heap.shallow_bytes(node),
            )
        })
        .collect();
    let expected_rows = list(&expected["nativeContexts"]).iter().map(|row| {
        (
            number(&row["nodeId"]),
            text(&row["nodeName"]).to_owned(),
            number(&row["attributedSize"]),
            number(&row["retainedSize"]),
            number(&row["selfSize"]),
        )
    });
    check.equal("native contexts", rows, expected_rows.collect());
    check.equal("shared", ours.shared_bytes, number(&expected["sharedSize"]));
    let unattributed = number(&expected["noAttributionSize"]);
    check.equal("unattributed", ours.unattributed_bytes, unattributed);
}

/// DevTools takes strings for equal whose first 1024 characters are; we list those apart.
///
/// What DevTools selects is found again here the way it does it. It must give its figures, and
/// ours must be the same less strings that were cut.
fn duplicated_strings(check: &mut Check, heap: &Heap, expected: &Value) {
    let by_text = strings_by_text(heap);
    let groups = by_text.values().filter(|nodes| nodes.len() > 1);
    let theirs: BTreeSet<NodeId> = groups.clone().flatten().copied().collect();
    let figures = &expected["filters"]["duplicatedStrings"];
    let their_sums = sums(heap, &node_set(heap, &theirs));
    check.equal("duplicated strings", their_sums, expected_sums(figures));
    let groups = groups.count() as u64;
    let duplicate = &expected["duplicateStrings"];
    check.equal("groups of strings", groups, number(&duplicate["groups"]));

    let found = duplicate_strings(heap);
    let ours: BTreeSet<NodeId> = select(heap, NamedFilter::DuplicatedStrings)
        .iter()
        .collect();
    let listed = found
        .groups
        .iter()
        .flat_map(|group| group.nodes.iter().copied());
    check.equal("selected strings", &ours, &listed.collect());
    check.equal(
        "not selected by DevTools",
        ours.difference(&theirs).count(),
        0,
    );
    for &node in theirs.difference(&ours) {
        let units = heap.display_name(node).encode_utf16().count();
        check.equal(
            "units of a string that DevTools alone takes for equal",
            units,
            1024,
        );
    }
    let perhaps = found.perhaps.iter().flat_map(|group| &group.nodes);
    for node in perhaps {
        check.equal(
            "perhaps equal",
            theirs.contains(node) && !ours.contains(node),
            true,
        );
    }
    for expected in list(&duplicate["top5"]) {
        let row = (
            text(&expected["value"]),
            number(&expected["count"]),
            number(&expected["totalSelfSize"]),
        );
        let cut = |text: &str| text.chars().take(60).collect::<String>();
        let mut known = by_text.iter().map(|(text, nodes)| {
            let bytes = nodes.iter().map(|&node| heap.shallow_bytes(node)).sum();
            (cut(text), nodes.len() as u64, bytes)
        });
        let is_known = known.any(|(text, count, bytes)| (&*text, count, bytes) == row);
        check.equal(&format!("duplicates of {}", row.0), is_known, true);
    }
}

fn strings_by_text(heap: &Heap) -> HashMap<String, Vec<NodeId>> {
    let graph = heap.graph();
    let mut by_text: HashMap<String, Vec<NodeId>> = HashMap::new();
    for node in graph.nodes() {
        let is_string = match graph.kind(node) {
            NodeKind::String => true,
            NodeKind::ConcatenatedString => !is_flattened(heap, node),
            _ => false,
        };
        if is_string && heap.shallow_bytes(node) > 0 {
            by_text
                .entry(heap.display_name(node))
                .or_default()
                .push(node);
        }
    }
    by_text
}

fn is_flattened(heap: &Heap, node: NodeId) -> bool {
    let graph = heap.graph();
    graph.edges(node).any(|edge| {
        matches!(&*graph.label_text(edge), "first" | "second")
            && heap.display_name(graph.target(edge)).is_empty()
    })
}

fn node_set(heap: &Heap, nodes: &BTreeSet<NodeId>) -> NodeSet {
    let mut set = NodeSet::new(heap.graph().node_count());
    for &node in nodes {
        set.insert(node);
    }
    set
}

pub fn check_samples(check: &mut Check, heap: &Heap, expected: &Value) {
    let ours = allocation_timeline(heap);
    let sizes = list(&expected["sizes"]);
    for (sample, size) in ours.iter().zip(sizes) {
        check.equal("bytes of a sample", sample.live_bytes, number(size));
    }
    if let Some(times) = expected.get("timestamps") {
        let ms = |at_us: u64| at_us as f64 / 1000.0;
        let ours_ms: Vec<f64> = ours.iter().map(|sample| ms(sample.timestamp_us)).collect();
        let times = list(times).iter().map(|time| time.as_f64().expect("ms"));
        check.equal("times", ours_ms, times.collect());
        let ids = list(&expected["lastAssignedIds"]).iter().map(number);
        let ours_ids = ours.iter().map(|sample| sample.last_object_id);
        check.equal("last ids", ours_ids.collect::<Vec<_>>(), ids.collect());
    } else {
        check.equal("samples", ours.len() as u64, number(&expected["count"]));
        let sum = ours.iter().map(|sample| sample.live_bytes).sum();
        check.equal("bytes of all samples", sum, number(&expected["sumSizes"]));
    }
}

pub fn check_allocations(check: &mut Check, heap: &Heap, expected: &[Value]) {
    let ours = allocating_functions(heap);
    for (function, expected) in ours.iter().zip(expected) {
        let script = expected.get("script").or(expected.get("scriptName"));
        let at = format!("function {}", function.name);
        check.equal(&at, function.name.as_str(), text(&expected["name"]));
        // The fixtures name the file without its folder.
        let script_name = function.script_name.rsplit('/').next().unwrap_or_default();
        check.equal(&at, script_name, text(script.expect("a script")));
        let figures = [
            ("line", u64::from(function.line)),
            ("column", u64::from(function.column)),
            ("count", function.blocks),
            ("size", function.bytes),
            ("liveCount", function.live_blocks),
            ("liveSize", function.live_bytes),
        ];
        for (name, ours) in figures {
            check.equal(&format!("{at}, {name}"), ours, number(&expected[name]));
        }
    }
    check.equal("functions are there", ours.len() >= expected.len(), true);
}

fn check_comparison(case: &str, expected: &Value) {
    let mut check = Check::new(case);
    let base = open(&format!("{}.gz", text(&expected["base"])));
    let current = open(&format!("{}.gz", text(&expected["current"])));
    let ours = compare(&base, &current, CompareOptions { paths: 0 });
    let classes = ours.classes.len() as u64;
    check.equal("classes", classes, number(&expected["changedClasses"]));
    check_change(&mut check, "totals", ours.totals, &expected["totals"]);
    let mut deltas: Vec<i64> = ours
        .classes
        .iter()
        .map(|row| row.change.delta_bytes())
        .collect();
    deltas.sort_unstable_by(|a, b| b.cmp(a));
    for (expected, delta) in list(&expected["top15"]).iter().zip(deltas) {
        check.equal("order of rows", Some(delta), expected["sizeDelta"].as_i64());
        let key = text(&expected["key"]);
        match ours.classes.iter().find(|row| row.key == key) {
            Some(row) => {
                check.equal(key, row.name.as_str(), text(&expected["name"]));
                check_change(&mut check, key, row.change, expected);
            }
            None => check.equal("class", "none", key),
        }
    }
    check_allocated_between(&mut check, &base, &current, &expected["allocatedBetween"]);
    check.finish();
}

fn check_change(check: &mut Check, what: &str, ours: heapatlas_analysis::Change, expected: &Value) {
    let figures = [
        ("new", ours.new.cast_signed()),
        ("deleted", ours.deleted.cast_signed()),
        ("delta", ours.delta()),
        ("allocSize", ours.allocated_bytes.cast_signed()),
        ("freedSize", ours.freed_bytes.cast_signed()),
        ("sizeDelta", ours.delta_bytes()),
    ];
    for (name, ours) in figures {
        check.equal(
            &format!("{what}, {name}"),
            Some(ours),
            expected[name].as_i64(),
        );
    }
}

fn check_allocated_between(check: &mut Check, base: &Heap, current: &Heap, expected: &Value) {
    let (above, up_to) = (max_js_object_id(base), max_js_object_id(current));
    let filter: Vec<u64> = list(&expected["filter"]).iter().map(number).collect();
    check.equal("id range", vec![above, up_to], filter);
    let selected = select(current, NamedFilter::IdRange(above, up_to));
    let rows = summarize(current, Some(&selected)).classes;
    let objects = rows.iter().map(|row| row.count).sum();
    check.equal("objects in range", objects, number(&expected["objects"]));
    check_top(check, &rows, &expected["top10"]);
}

/// The difference in numbers. DevTools takes 16 source texts of Node itself for one string, and
/// five long strings of the program for another; all it knows of them is 1024 characters.
#[test]
fn node24_cut_strings() {
    let heap = open("node24-features.heapsnapshot.gz");
    let expected = expected("expected/node24-features.heapsnapshot.json");
    let theirs = expected_sums(&expected["filters"]["duplicatedStrings"]);
    let cut = &list(&expected["duplicateStrings"]["top5"])[..2];
    let cut_strings: u64 = cut.iter().map(|row| number(&row["count"])).sum();
    let cut_bytes: u64 = cut.iter().map(|row| number(&row["totalSelfSize"])).sum();
    assert_eq!((cut_strings, cut_bytes), (21, 489_048 + 15_120));
    let ours = sums(&heap, &select(&heap, NamedFilter::DuplicatedStrings));
    assert_eq!(
        ours,
        (theirs.0, theirs.1 - cut_strings, theirs.2 - cut_bytes)
    );
    // Of the 21, all but these two pairs differ in size, so that they cannot be equal.
    let perhaps = duplicate_strings(&heap).perhaps;
    let sizes: Vec<u64> = perhaps.iter().map(|group| group.shallow_bytes).collect();
    assert_eq!(sizes, [2 * 5_016, 2 * 32]);
}
