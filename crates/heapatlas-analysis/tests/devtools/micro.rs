//! One hand-made graph for each rule, with figures for every node.

use heapatlas_analysis::{Heap, node_view, retainers, summarize};
use heapatlas_model::{NodeId, edge_type_name};
use serde_json::{Value, json};

use crate::fixtures::{Check, expected, list, number, open, shown_distance, text};

macro_rules! cases {
    ($($name:ident: $file:literal,)*) => {
        $(#[test]
        fn $name() {
            let heap = open(concat!("micro/", $file, ".heapsnapshot"));
            let expected = expected(concat!("micro/", $file, ".expected.json"));
            check($file, &heap, &expected);
        })*
    };
}

cases! {
    owned_sizes: "m01-owned-sizes",
    page_ownership: "m02-page-ownership",
    weak_map: "m03-weakmap",
    unreachable: "m04-unreachable",
    detached: "m05-detached",
    no_user_roots: "m07-no-user-roots",
    distance_filters: "m08-distance-filters",
    trace: "m09-trace",
    old_five_fields: "m10-old-five-fields",
    extra_native: "m11-extra-native",
}

/// DevTools loses the class of the one regular expression to that of an object called `RegExp`,
/// and sums to 16 bytes less than the heap has. We show both in one row.
#[test]
fn equal_class_keys() {
    let heap = open("micro/m06-class-names.heapsnapshot");
    let mut expected = expected("micro/m06-class-names.expected.json");
    let lost = &list(&expected["nodes"])[13];
    assert_eq!(
        (text(&lost["type"]), number(&lost["shallow"])),
        ("regexp", 16)
    );
    let row = &mut expected["aggregates"][",RegExp"];
    assert_eq!((number(&row["count"]), number(&row["shallow"])), (1, 17));
    row["count"] = json!(2);
    row["shallow"] = json!(33);
    row["retained"] = json!(33);
    check("m06-class-names", &heap, &expected);
}

/// DevTools keeps 32 bits of a size: of 5,000,000,000 it shows 705,032,704.
#[test]
fn sizes_above_32_bits() {
    let heap = open("micro/m12-over-4gib.heapsnapshot");
    let text = expected("micro/m12-over-4gib.expected.json").to_string();
    let true_sizes = text
        .replace("705032704", "5000000000")
        .replace("705032714", "5000000010");
    assert_eq!(5_000_000_000 % (1_u64 << 32), 705_032_704);
    check(
        "m12-over-4gib",
        &heap,
        &serde_json::from_str(&true_sizes).unwrap(),
    );
}

fn check(case: &str, heap: &Heap, expected: &Value) {
    let mut check = Check::new(case);
    check.equal("total", heap.total_bytes(), number(&expected["total"]));
    check_nodes(&mut check, heap, list(&expected["nodes"]));
    check_classes(&mut check, heap, &expected["aggregates"]);
    check_interfaces(&mut check, heap, list(&expected["interfaces"]));
    crate::snapshots::check_statistics(&mut check, heap, &expected["statistics"]);
    if let Some(samples) = expected.get("samples") {
        crate::snapshots::check_samples(&mut check, heap, samples);
    }
    if let Some(tops) = expected.get("allocationTops") {
        crate::snapshots::check_allocations(&mut check, heap, list(tops));
    }
    check.finish();
}

fn check_nodes(check: &mut Check, heap: &Heap, expected: &[Value]) {
    check.equal("nodes", heap.graph().node_count(), expected.len());
    let incoming = heap.graph().build_retainers();
    for (node, expected) in heap.graph().nodes().zip(expected) {
        let view = node_view(heap, node);
        let at = format!("@{} {}", view.object_id, expected["name"]);
        check.equal(&at, view.object_id, number(&expected["id"]));
        check.equal(&at, view.type_name.as_str(), text(&expected["type"]));
        check.equal(&at, view.display_name.as_str(), text(&expected["name"]));
        check.equal(&at, view.class.as_str(), text(&expected["class"]));
        check.equal(&at, view.shallow_bytes, number(&expected["shallow"]));
        check.equal(&at, view.retained_bytes, number(&expected["retained"]));
        check.equal(&at, view.distance, shown_distance(&expected["distance"]));
        let raw = i64::from(heap.raw_distance(node));
        check.equal(&at, Some(raw), expected["distance"].as_i64());
        let dominator = heap.graph().object_id(heap.dominator(node));
        check.equal(&at, dominator, number(&expected["dominator"]));
        let detachedness = u64::from(view.detachedness);
        check.equal(&at, detachedness, number(&expected["detachedness"]));
        let retainers = retainer_texts(heap, &incoming, node);
        let expected: Vec<&str> = list(&expected["retainers"]).iter().map(text).collect();
        check.equal(
            &at,
            retainers,
            expected.into_iter().map(str::to_owned).collect(),
        );
    }
}

fn retainer_texts(heap: &Heap, incoming: &heapatlas_model::Retainers, node: NodeId) -> Vec<String> {
    retainers(heap, incoming, node)
        .into_iter()
        .map(|edge| {
            let kind = edge_type_name(edge.kind);
            format!("{kind}:{}<-{}", edge.label, edge.node.object_id)
        })
        .collect()
}

fn check_classes(check: &mut Check, heap: &Heap, expected: &Value) {
    let expected = expected.as_object().expect("rows by key");
    let rows = summarize(heap, None).classes;
    check.equal("classes", rows.len(), expected.len());
    for row in rows {
        match expected.get(&row.key) {
            Some(expected) => crate::snapshots::check_row(check, &row, expected),
            None => check.equal("class", row.key.as_str(), "none"),
        }
    }
}

fn check_interfaces(check: &mut Check, heap: &Heap, expected: &[Value]) {
    let ours = heap.interfaces().definitions.iter().map(|interface| {
        json!({
            "name": interface.name,
            "properties": interface.properties,
            "count": interface.count,
        })
    });
    check.equal("interfaces", ours.collect::<Vec<_>>(), expected.to_vec());
}
