//! Odd and damaged files: what is said about them, and what is kept of them.

mod common;

use std::fmt::Write;

use common::{check_readers_agree, read, salvage};
use heapatlas_formats::v8::{ReadError, Snapshot};
use heapatlas_model::{EdgeKind, HeapGraph, NodeId, NodeKind};

/// A snapshot of three nodes, of which the tests replace a part.
const WHOLE: &str = r#"{"snapshot":{"meta":{"node_fields":["type","name","id","self_size","edge_count"],"node_types":[["synthetic","object","string"],"string","number","number","number"],"edge_fields":["type","name_or_index","to_node"],"edge_types":[["element","property"],"string_or_number","node"],"trace_function_info_fields":["function_id","name","script_name","script_id","line","column"],"trace_node_fields":["id","function_info_index","count","size","children"],"sample_fields":["timestamp_us","last_assigned_id"],"location_fields":["object_index","script_id","line","column"]},"node_count":3,"edge_count":3,"trace_function_count":1},
"nodes":[0,1,1,0,2,1,2,3,32,1,2,3,5,16,0],
"edges":[0,7,5,1,4,10,1,5,10],
"trace_function_infos":[1,2,3,4,5,6],
"trace_tree":[1,0,0,0,[2,0,3,48,[]]],
"samples":[100,3,200,5],
"locations":[5,1,2,3],
"strings":["<dummy>","","Map","key","text","items"]}"#;

/// What reading comes to, in lines.
fn outcome(result: Result<Snapshot, ReadError>) -> String {
    let snapshot = match result {
        Ok(snapshot) => snapshot,
        Err(error) => return format!("error: {error}"),
    };
    let graph = &snapshot.graph;
    let mut text = format!(
        "{} nodes, {} edges, {} strings",
        graph.node_count(),
        graph.edge_count(),
        graph.strings().len()
    );
    for warning in &snapshot.warnings {
        let word = if warning.is_loss { "loss" } else { "note" };
        write!(text, "\n{word}: {}", warning.message).unwrap();
    }
    text
}

/// Reads strictly and salvaging, which comes to the same.
#[track_caller]
fn check(text: impl AsRef<[u8]>, expected: &str) {
    check_salvage(text, expected, expected);
}

/// Reads strictly (by both readers), then salvaging.
#[track_caller]
fn check_salvage(text: impl AsRef<[u8]>, strict: &str, salvaged: &str) {
    check_readers_agree(text.as_ref());
    assert_eq!(outcome(read(text.as_ref())), strict);
    assert_eq!(outcome(salvage(text.as_ref())), salvaged);
}

/// The whole file with one text in place of another.
#[track_caller]
fn with(old: &str, new: &str) -> String {
    assert_eq!(WHOLE.matches(old).count(), 1, "{old}");
    WHOLE.replace(old, new)
}

/// The whole file up to a text and including it.
#[track_caller]
fn up_to(end: &str) -> &'static str {
    let at = WHOLE.find(end).expect("the text is there");
    &WHOLE[..at + end.len()]
}

/// The whole file without one of its members.
#[track_caller]
fn without(member: &str) -> String {
    let lines: Vec<&str> = WHOLE.trim_end_matches('}').split(",\n").collect();
    let is_kept = |line: &&&str| !line.starts_with(&format!("\"{member}\""));
    let kept: Vec<&str> = lines.iter().filter(is_kept).copied().collect();
    assert_eq!(kept.len(), lines.len() - 1, "{member}");
    kept.join(",\n") + "}"
}

fn graph_of(text: impl AsRef<[u8]>) -> HeapGraph {
    check_readers_agree(text.as_ref());
    read(text.as_ref()).unwrap().graph
}

const ALL: &str = "3 nodes, 3 edges, 6 strings";

#[test]
fn a_whole_file_has_no_warnings() {
    check(WHOLE, ALL);
}

#[test]
fn files_that_are_no_snapshot() {
    check("", "error: file at byte 0: the file is empty");
    check(" \r\n", "error: file at byte 3: the file is empty");
    check("\u{feff}", "error: file at byte 3: the file is empty");
    check(
        "hello, world",
        "error: file at byte 0: this is not a V8 heap snapshot: it begins with `hello, world` and not with `{`",
    );
    check(
        "\0\0\0",
        r#"error: file at byte 0: this is not a V8 heap snapshot: it begins with `\0\0\0` and not with `{`"#,
    );
    check(
        "[1,2,3]",
        "error: file at byte 0: this is not a V8 heap snapshot: it begins with `[1,2,3]` and not with `{`",
    );
    check(
        "{}",
        "error: file at byte 0: this is not a V8 heap snapshot: it is an empty object",
    );
    check(
        "{",
        r#"error: file at byte 1: the file ends here, `"` was expected"#,
    );
    check(
        r#"{"head":{"callFrame":{}},"samples":[]}"#,
        "error: file at byte 0: this is not a V8 heap snapshot: it has no `snapshot` but `head`",
    );
    check(
        r#"{"snapshot":{}}"#,
        "error: snapshot at byte 12: this is not a V8 heap snapshot: `snapshot.meta` is missing",
    );
    check(
        r#"{"snapshot":{"meta":7}}"#,
        "error: snapshot at byte 12: this is not a V8 heap snapshot: `snapshot.meta` cannot be read: invalid type: integer `7`, expected a map at line 1 column 1",
    );
    check(
        r#"{"snapshot":[]}"#,
        "error: snapshot at byte 12: this is not a V8 heap snapshot: `snapshot` cannot be read: invalid type: sequence, expected a map at line 1 column 0",
    );
    check(
        with("\"to_node\"", "\"target\""),
        "error: snapshot at byte 12: this is not a V8 heap snapshot: `snapshot.meta.edge_fields` lacks `to_node`",
    );
}

#[test]
fn files_cut_in_the_header() {
    check(
        up_to("\"node_fields\":[\"ty"),
        "error: snapshot at byte 39: the file ends here, JSON was expected",
    );
    check(
        up_to("\"node_count\":"),
        "error: snapshot at byte 575: the file ends here, JSON was expected",
    );
    check(
        up_to("\"trace_function_count\":1}"),
        "error: file at byte 617: the file ends here, `,` or `}` was expected",
    );
    check(
        up_to("1},\n\"nod"),
        "error: file at byte 623: the file ends here, the end of a string was expected",
    );
}

#[test]
fn files_cut_in_the_nodes() {
    check(
        up_to("\"nodes\":"),
        "error: nodes at byte 627: the file ends here, `[` was expected",
    );
    check(
        up_to("\"nodes\":["),
        "error: nodes at byte 628: the file ends here, a number or `]` was expected",
    );
    check_salvage(
        up_to("\"nodes\":[0,1,1,0,2,"),
        "error: nodes at byte 638: the file ends here, `,` or `]` was expected",
        "1 nodes, 0 edges, 0 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 638: the file ends here, `,` or `]` was expected
loss: `edges` is missing: no object refers to another
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 2 edges, the file has 0
loss: 1 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("\"nodes\":[0,1,1,0,2,1,2,3,3"),
        "error: nodes at byte 645: the file ends here, `,` or `]` was expected",
        "1 nodes, 0 edges, 0 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 645: the file ends here, `,` or `]` was expected
loss: `edges` is missing: no object refers to another
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 2 edges, the file has 0
loss: 1 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("2,3,5,16,0"),
        "error: nodes at byte 659: the file ends here, `,` or `]` was expected",
        "2 nodes, 0 edges, 0 strings
note: the header counts 3 nodes, the file has 2
loss: damaged: nodes at byte 659: the file ends here, `,` or `]` was expected
loss: `edges` is missing: no object refers to another
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 3 edges, the file has 0
loss: 2 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("2,3,5,16,0]"),
        "error: file at byte 660: the file ends here, `,` or `}` was expected",
        "3 nodes, 0 edges, 0 strings
loss: damaged: file at byte 660: the file ends here, `,` or `}` was expected
loss: `edges` is missing: no object refers to another
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 3 edges, the file has 0
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
}

#[test]
fn files_cut_in_the_edges() {
    check_salvage(
        up_to("\"edges\":["),
        "error: edges at byte 671: the file ends here, a number or `]` was expected",
        "3 nodes, 0 edges, 0 strings
note: the header counts 3 edges, the file has 0
loss: damaged: edges at byte 671: the file ends here, a number or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 3 edges, the file has 0
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("\"edges\":[0,7,5,1,4,10,1"),
        "error: edges at byte 685: the file ends here, `,` or `]` was expected",
        "3 nodes, 2 edges, 0 strings
note: the header counts 3 edges, the file has 2
loss: damaged: edges at byte 685: the file ends here, `,` or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 3 edges, the file has 2
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("1,4,10,1,5,1"),
        "error: edges at byte 689: the file ends here, `,` or `]` was expected",
        "3 nodes, 2 edges, 0 strings
note: the header counts 3 edges, the file has 2
loss: damaged: edges at byte 689: the file ends here, `,` or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 3 edges, the file has 2
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("1,5,10]"),
        "error: file at byte 691: the file ends here, `,` or `}` was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: file at byte 691: the file ends here, `,` or `}` was expected
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
}

#[test]
fn files_cut_in_the_small_tables() {
    check_salvage(
        up_to("[1,2,3,4"),
        "error: trace_function_infos at byte 724: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: trace_function_infos at byte 724: the file ends here, `,` or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("[1,0,0,0,[2,0,3"),
        "error: trace_tree at byte 759: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: trace_tree at byte 759: the file ends here, `,` or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("[1,0,0,0,[2,0,3,48,[]"),
        "error: trace_tree at byte 765: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: trace_tree at byte 765: the file ends here, `,` or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("[100,3,20"),
        "error: samples at byte 788: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: samples at byte 788: the file ends here, `,` or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("\"locations\":[5,1"),
        "error: locations at byte 810: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: locations at byte 810: the file ends here, `,` or `]` was expected
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
}

#[test]
fn files_cut_in_the_strings() {
    check_salvage(
        up_to("\"strings\":["),
        "error: strings at byte 828: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: strings at byte 828: the file ends here, `,` or `]` was expected
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("[\"<dum"),
        "error: strings at byte 833: the file ends here, the end of a string was expected",
        "3 nodes, 3 edges, 0 strings
loss: damaged: strings at byte 833: the file ends here, the end of a string was expected
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("[\"<dummy>\""),
        "error: strings at byte 837: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 1 strings
loss: damaged: strings at byte 837: the file ends here, `,` or `]` was expected
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("\"<dummy>\","),
        "error: strings at byte 838: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 1 strings
loss: damaged: strings at byte 838: the file ends here, `,` or `]` was expected
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("\"Map").to_owned() + "\\",
        "error: strings at byte 846: the file ends here, the end of a string was expected",
        "3 nodes, 3 edges, 2 strings
loss: damaged: strings at byte 846: the file ends here, the end of a string was expected
loss: 2 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("\"Map").to_owned() + "\\u00",
        "error: strings at byte 849: the file ends here, the end of a string was expected",
        "3 nodes, 3 edges, 2 strings
loss: damaged: strings at byte 849: the file ends here, the end of a string was expected
loss: 2 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        up_to("\"items\""),
        "error: strings at byte 867: the file ends here, `,` or `]` was expected",
        "3 nodes, 3 edges, 6 strings
loss: damaged: strings at byte 867: the file ends here, `,` or `]` was expected",
    );
    check_salvage(
        up_to("\"items\"]"),
        "error: file at byte 868: the file ends here, `,` or `}` was expected",
        "3 nodes, 3 edges, 6 strings
loss: damaged: file at byte 868: the file ends here, `,` or `}` was expected",
    );
}

#[test]
fn counts_of_the_header_are_hints() {
    check(
        with("\"node_count\":3", "\"node_count\":10000000000"),
        "3 nodes, 3 edges, 6 strings
note: the header counts 10000000000 nodes, the file has 3",
    );
    check(
        with("\"node_count\":3", "\"node_count\":1"),
        "3 nodes, 3 edges, 6 strings
note: the header counts 1 nodes, the file has 3",
    );
    check(
        with("\"edge_count\":3,", "\"edge_count\":10000000000,"),
        "3 nodes, 3 edges, 6 strings
note: the header counts 10000000000 edges, the file has 3",
    );
    check(
        with("\"edge_count\":3,", "\"edge_count\":0,"),
        "3 nodes, 3 edges, 6 strings
note: the header counts 0 edges, the file has 3",
    );
    check(
        with("\"node_count\":3", "\"node_count\":18446744073709551616"),
        "3 nodes, 3 edges, 6 strings
note: the header counts 18446744073709551615 nodes, the file has 3",
    );
    check(with("\"node_count\":3", "\"node_count\":-3"), ALL);
    check(with("\"node_count\":3", "\"node_count\":\"3\""), ALL);
    check(with("\"node_count\":3,", ""), ALL);
    check(
        with(
            "\"trace_function_count\":1",
            "\"trace_function_count\":10000000000",
        ),
        ALL,
    );
}

#[test]
fn edges_that_do_not_fit_the_nodes() {
    check_salvage(
        with("32,1,2", "32,0,2"),
        "error: edges at byte 868: the nodes count 2 edges, the file has 3",
        "3 nodes, 2 edges, 6 strings
loss: the nodes count 2 edges, the file has 3",
    );
    check_salvage(
        with("32,1,2", "32,9,2"),
        "error: edges at byte 868: the nodes count 11 edges, the file has 3",
        "3 nodes, 3 edges, 6 strings
loss: the nodes count 11 edges, the file has 3",
    );
    check_salvage(
        with("32,1,2", "32,4294967295,2"),
        "error: edges at byte 877: the nodes count 4294967297 edges, the file has 3",
        "3 nodes, 3 edges, 6 strings
loss: the nodes count 4294967297 edges, the file has 3",
    );
    check_salvage(
        with("1,4,10,", "1,4,15,"),
        "error: edges at byte 681: an edge points to node index 15, but the 3 nodes end before 15",
        "3 nodes, 2 edges, 6 strings
loss: 1 edges point to nodes that are missing and were dropped",
    );
    check_salvage(
        with("1,4,10,", "1,4,11,"),
        "error: edges at byte 681: an edge points to node index 11, which is no multiple of the 5 node fields",
        "3 nodes, 2 edges, 6 strings
loss: 1 edges point to nodes that are missing and were dropped",
    );
    check_salvage(
        with("1,4,10,", "1,4,18446744073709551615,"),
        "error: edges at byte 681: an edge points to node index 18446744073709551615, but the 3 nodes end before 15",
        "3 nodes, 2 edges, 6 strings
loss: 1 edges point to nodes that are missing and were dropped",
    );
}

#[test]
fn rows_that_are_not_whole() {
    check_salvage(
        with("16,0]", "16]"),
        "error: nodes at byte 657: the array ends after 14 numbers, which is no multiple of the 5 fields of a row",
        r#"2 nodes, 1 edges, 6 strings
note: the header counts 3 nodes, the file has 2
loss: damaged: nodes at byte 649: expected `]`, found `2,3,5,16],\n\"`
loss: 2 edges point to nodes that are missing and were dropped"#,
    );
    check_salvage(
        with("1,5,10]", "1,5]"),
        "error: edges at byte 687: the array ends after 8 numbers, which is no multiple of the 3 fields of a row",
        r#"3 nodes, 2 edges, 6 strings
note: the header counts 3 edges, the file has 2
loss: damaged: edges at byte 684: expected `]`, found `1,5],\n\"trace`
loss: the nodes count 3 edges, the file has 2"#,
    );
    check_salvage(
        with("200,5]", "200]"),
        "error: samples at byte 789: the array ends after 3 numbers, which is no multiple of the 2 fields of a row",
        r#"3 nodes, 3 edges, 6 strings
loss: damaged: samples at byte 786: expected `]`, found `200],\n\"locat`"#,
    );
    check_salvage(with("[5,1,2,3]", "[5,1,2]"), "error: locations at byte 812: the array ends after 3 numbers, which is no multiple of the 4 fields of a row", "3 nodes, 3 edges, 6 strings
loss: damaged: locations at byte 812: the array ends after 3 numbers, which is no multiple of the 4 fields of a row");
    check_salvage(
        with("[2,0,3,48,[]]", "[2,0,3]"),
        "error: trace_tree at byte 760: a trace node ends before all of its fields",
        "3 nodes, 3 edges, 6 strings
loss: damaged: trace_tree at byte 760: a trace node ends before all of its fields",
    );
    check_salvage(
        with("[2,0,3,48,[]]", "[2,0,3,[],48]"),
        r#"error: trace_tree at byte 760: expected a number, found `[],48]],\n\"sa`"#,
        r#"3 nodes, 3 edges, 6 strings
loss: damaged: trace_tree at byte 760: expected a number, found `[],48]],\n\"sa`"#,
    );
}

#[test]
fn ids() {
    check(
        with("1,2,3,32,1", "1,2,1,32,1"),
        "3 nodes, 3 edges, 6 strings
note: 1 nodes have an object id that another node has, too",
    );
    check(
        with("[0,1,1,0,2,1,2,3,32,1,", "[0,1,0,0,2,1,2,0,32,1,"),
        ALL,
    );
}

#[test]
fn types_beyond_the_list() {
    check(with("1,2,3,32,1", "5,2,3,32,1"), ALL);
    check_salvage(
        with("1,2,3,32,1", "256,2,3,32,1"),
        "error: nodes at byte 638: 256 is too large for a node type; the limit is 255",
        "1 nodes, 0 edges, 6 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 638: 256 is too large for a node type; the limit is 255
loss: the nodes count 2 edges, the file has 3
loss: 2 edges point to nodes that are missing and were dropped
note: 1 locations belong to no node",
    );
    check(with("1,4,10,", "9,4,10,"), ALL);
    check_salvage(
        with("1,4,10,", "300,4,10,"),
        "error: edges at byte 677: 300 is too large for an edge type; the limit is 255",
        "3 nodes, 1 edges, 6 strings
note: the header counts 3 edges, the file has 1
loss: damaged: edges at byte 677: 300 is too large for an edge type; the limit is 255
loss: the nodes count 3 edges, the file has 1",
    );
}

#[test]
fn names_beyond_the_strings() {
    check_salvage(
        with("1,2,3,32,1", "1,99,3,32,1"),
        "3 nodes, 3 edges, 6 strings
note: 1 nodes have names that the strings lack; they read `#<number>`",
        "3 nodes, 3 edges, 6 strings
loss: 1 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(with("1,2,3,32,1", "1,4294967296,3,32,1"), "error: nodes at byte 640: 4294967296 is too large for a string number; the limit is 4294967295", "1 nodes, 0 edges, 6 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 640: 4294967296 is too large for a string number; the limit is 4294967295
loss: the nodes count 2 edges, the file has 3
loss: 2 edges point to nodes that are missing and were dropped
note: 1 locations belong to no node");
}

#[test]
fn numbers_of_other_kinds() {
    check(with("1,2,3,32,1", "1.0,2.9,3e0,32.5,1"), ALL);
    check(
        with("1,2,3,32,1", "1,2,-3,-32,1"),
        "3 nodes, 3 edges, 6 strings
note: 2 negative numbers in `nodes` were read as 0",
    );
    check(
        with("[2,0,3,48,[]]", "[2,0,-3,48,[]]"),
        "3 nodes, 3 edges, 6 strings
note: 1 negative numbers in `trace_tree` were read as 0",
    );
    check(with("1,2,3,32,1", "1,2,3,18446744073709551615,1"), ALL);
    check_salvage(
        with("1,2,3,32,1", "1,2,3,18446744073709551616,1"),
        "error: nodes at byte 644: expected a number below 2^64, found `18446744073709551616`",
        "1 nodes, 0 edges, 6 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 644: expected a number below 2^64, found `18446744073709551616`
loss: the nodes count 2 edges, the file has 3
loss: 2 edges point to nodes that are missing and were dropped
note: 1 locations belong to no node",
    );
    check_salvage(
        with("1,2,3,32,1", "1,2,3,null,1"),
        "error: nodes at byte 644: expected a number, found `null,1,2,3,5`",
        "1 nodes, 0 edges, 6 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 644: expected a number, found `null,1,2,3,5`
loss: the nodes count 2 edges, the file has 3
loss: 2 edges point to nodes that are missing and were dropped
note: 1 locations belong to no node",
    );
    check_salvage(
        with("1,2,3,32,1", "1,2,3,\"32\",1"),
        r#"error: nodes at byte 644: expected a number, found `\"32\",1,2,3,5`"#,
        r#"1 nodes, 0 edges, 6 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 644: expected a number, found `\"32\",1,2,3,5`
loss: the nodes count 2 edges, the file has 3
loss: 2 edges point to nodes that are missing and were dropped
note: 1 locations belong to no node"#,
    );
    check_salvage(
        with("1,2,3,32,1", "1,2,3,032,1"),
        "error: nodes at byte 644: expected a number, found `032,1,2,3,5,`",
        "1 nodes, 0 edges, 6 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 644: expected a number, found `032,1,2,3,5,`
loss: the nodes count 2 edges, the file has 3
loss: 2 edges point to nodes that are missing and were dropped
note: 1 locations belong to no node",
    );
    check_salvage(
        with("1,2,3,32,1", "1,2,[3],32,1"),
        "error: nodes at byte 644: the array ends after 8 numbers, which is no multiple of the 5 fields of a row",
        r#"1 nodes, 0 edges, 0 strings
note: the header counts 3 nodes, the file has 1
loss: damaged: nodes at byte 638: expected `]`, found `1,2,[3],32,1`
loss: damaged: file at byte 646: expected `"`, found `32,1,2,3,5,1`
loss: `edges` is missing: no object refers to another
loss: `strings` is missing: names read `#<number>`
loss: the nodes count 2 edges, the file has 0
loss: 1 nodes have names that the strings lack; they read `#<number>`"#,
    );
}

#[test]
fn arrays_that_are_not_json() {
    check_salvage(with("16,0]", "16,0,]"), "error: nodes at byte 660: the array ends after 16 numbers, which is no multiple of the 5 fields of a row", "3 nodes, 3 edges, 6 strings
loss: damaged: nodes at byte 660: the array ends after 16 numbers, which is no multiple of the 5 fields of a row");
    check_salvage(
        with("2,3,5,16,0]", "2,3,,16,0]"),
        r#"error: nodes at byte 653: expected a number, found `,16,0],\n\"edg`"#,
        r#"2 nodes, 1 edges, 6 strings
note: the header counts 3 nodes, the file has 2
loss: damaged: nodes at byte 653: expected a number, found `,16,0],\n\"edg`
loss: 2 edges point to nodes that are missing and were dropped"#,
    );
    check_salvage(
        with("2,3,5,16,0]", "2,3 5,16,0,0]"),
        r#"error: nodes at byte 653: expected `,` or `]`, found `5,16,0,0],\n\"`"#,
        r#"2 nodes, 1 edges, 6 strings
note: the header counts 3 nodes, the file has 2
loss: damaged: nodes at byte 653: expected `,` or `]`, found `5,16,0,0],\n\"`
loss: 2 edges point to nodes that are missing and were dropped"#,
    );
    check_salvage(
        with("1,5,10]", "1,5,10}"),
        r#"error: edges at byte 690: expected `,` or `]`, found `},\n\"trace_fu`"#,
        r#"3 nodes, 2 edges, 6 strings
note: the header counts 3 edges, the file has 2
loss: damaged: edges at byte 690: expected `,` or `]`, found `},\n\"trace_fu`
loss: the nodes count 3 edges, the file has 2"#,
    );
    check_salvage(
        with("\"Map\"", "7"),
        r#"error: strings at byte 841: expected a string, `,` or `]`, found `7,\"key\",\"tex`"#,
        r#"3 nodes, 3 edges, 2 strings
loss: damaged: strings at byte 841: expected a string, `,` or `]`, found `7,\"key\",\"tex`
loss: 2 nodes have names that the strings lack; they read `#<number>`"#,
    );
    check_salvage(
        with("\"Map\"", "null"),
        r#"error: strings at byte 841: expected a string, `,` or `]`, found `null,\"key\",\"`"#,
        r#"3 nodes, 3 edges, 2 strings
loss: damaged: strings at byte 841: expected a string, `,` or `]`, found `null,\"key\",\"`
loss: 2 nodes have names that the strings lack; they read `#<number>`"#,
    );
    check_salvage(
        with("\"Map\",", "\"Map\" "),
        r#"error: strings at byte 847: expected `,` or `]`, found `\"key\",\"text\"`"#,
        r#"3 nodes, 3 edges, 3 strings
loss: damaged: strings at byte 847: expected `,` or `]`, found `\"key\",\"text\"`
loss: 1 nodes have names that the strings lack; they read `#<number>`"#,
    );
    check_salvage(
        with("\"items\"]", "\"items\",]"),
        "error: strings at byte 868: expected a string, `,` or `]`, found `]}`",
        "3 nodes, 3 edges, 6 strings
loss: damaged: strings at byte 868: expected a string, `,` or `]`, found `]}`",
    );
}

#[test]
fn members_that_are_missing_or_too_many() {
    check(
        without("nodes"),
        "error: file at byte 825: this is not a V8 heap snapshot: it has no `nodes`, or an empty one",
    );
    check_salvage(
        without("edges"),
        "error: file at byte 837: this is not a V8 heap snapshot: it has no `edges`, or an empty one",
        "3 nodes, 0 edges, 6 strings
loss: `edges` is missing: no object refers to another
loss: the nodes count 3 edges, the file has 0",
    );
    check_salvage(
        without("strings"),
        "error: file at byte 815: this is not a V8 heap snapshot: it has no `strings`, or an empty one",
        "3 nodes, 3 edges, 0 strings
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check(without("locations"), ALL);
    check(without("samples"), ALL);
    check(without("trace_tree"), ALL);
    check(without("trace_function_infos"), ALL);
    check_salvage(
        with(
            "\"nodes\":[0,1,1,0,2,1,2,3,32,1,2,3,5,16,0]",
            "\"nodes\":[]",
        ),
        "error: edges at byte 644: an edge points to node index 5, but the 0 nodes end before 0",
        "error: file at byte 837: this is not a V8 heap snapshot: it has no `nodes`, or an empty one",
    );
    check(
        with(
            "\"nodes\":[0,1,1,0,2,1,2,3,32,1,2,3,5,16,0]",
            "\"nodes\":{}",
        ),
        r#"error: nodes at byte 627: expected `[`, found `{},\n\"edges\":`"#,
    );
    check_salvage(
        with("\"samples\":[100,3,200,5],", "\"edges\":[],"),
        "error: file at byte 776: a second `edges`",
        "3 nodes, 3 edges, 0 strings
loss: damaged: file at byte 776: a second `edges`
loss: `strings` is missing: names read `#<number>`
loss: 3 nodes have names that the strings lack; they read `#<number>`",
    );
    check_salvage(
        format!("{WHOLE}{WHOLE}"),
        r#"error: file at byte 869: expected the end of the file, found `{\"snapshot\":`"#,
        r#"3 nodes, 3 edges, 6 strings
loss: damaged: file at byte 869: expected the end of the file, found `{\"snapshot\":`"#,
    );
    check_salvage(
        format!("{WHOLE} x"),
        "error: file at byte 870: expected the end of the file, found `x`",
        "3 nodes, 3 edges, 6 strings
loss: damaged: file at byte 870: expected the end of the file, found `x`",
    );
    check_salvage(
        format!("{WHOLE}\0"),
        r#"error: file at byte 869: expected the end of the file, found `\0`"#,
        r#"3 nodes, 3 edges, 6 strings
loss: damaged: file at byte 869: expected the end of the file, found `\0`"#,
    );
    check(format!("{WHOLE}\r\n"), ALL);
}

#[test]
fn references_to_nodes_that_do_not_exist() {
    check(
        with("\"locations\":[5,", "\"locations\":[500,"),
        "3 nodes, 3 edges, 6 strings
note: 1 locations belong to no node",
    );
    check(
        with("\"node_count\":3", "\"root_index\":7,\"node_count\":3"),
        "error: snapshot at byte 0: `root_index` 7 is not the index of a node",
    );
    check(
        with("\"node_count\":3", "\"root_index\":15,\"node_count\":3"),
        "error: snapshot at byte 0: `root_index` 15 is not the index of a node",
    );
}

#[test]
fn odd_layouts_are_the_same_graph() {
    let whole = graph_of(WHOLE);
    let spaced = WHOLE
        .replace(',', " ,\r\n\t")
        .replace('[', "[ ")
        .replace(']', "\n]");
    let mut members: Vec<&str> = WHOLE[1..WHOLE.len() - 1].split(",\n").collect();
    members.reverse();
    let reversed = format!("{{{}}}", members.join(","));
    members.rotate_left(3);
    let mixed = format!("{{{}}}", members.join(",\n"));
    let value: serde_json::Value = serde_json::from_str(WHOLE).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    for text in [
        format!("\u{feff}{WHOLE}"),
        format!(" \r\n{WHOLE}\r\n"),
        WHOLE.replace('\n', "\r\n"),
        WHOLE.replace('\n', ""),
        reversed,
        mixed,
    ] {
        assert_eq!(graph_of(&text), whole, "{text}");
    }
    // `meta` is kept as the file has it, so here it is another text.
    for text in [spaced, pretty] {
        let mut columns = graph_of(&text).into_columns();
        columns.v8 = whole.v8().cloned();
        assert_eq!(&columns, whole.columns(), "{text}");
    }
}

#[test]
fn members_and_fields_nobody_knows() {
    let extra = with(
        "\"nodes\"",
        "\"extra\":{\"a\":[1,{\"b\":\"]}\\\"\"}],\"c\":null},\"nodes\"",
    );
    assert_eq!(graph_of(extra), graph_of(WHOLE));
    let in_header = with("\"node_count\"", "\"extra\":[[\"\\uD800\"]],\"node_count\"");
    assert_eq!(graph_of(in_header), graph_of(WHOLE));

    let fields = with(
        "\"id\",\"self_size\"",
        "\"color\",\"id\",\"taste\",\"self_size\"",
    )
    .replace(
        "[0,1,1,0,2,1,2,3,32,1,2,3,5,16,0]",
        "[0,1,9,1,8,0,2,1,2,9,3,8,32,1,2,3,9,5,8,16,0]",
    )
    .replace("[0,7,5,1,4,10,1,5,10]", "[0,7,7,1,4,14,1,5,14]")
    .replace("\"locations\":[5,", "\"locations\":[7,");
    let mut columns = graph_of(fields).into_columns();
    let whole = graph_of(WHOLE);
    columns.v8 = whole.v8().cloned();
    assert_eq!(&columns, whole.columns());
}

#[test]
fn unknown_types_are_kept_by_number() {
    let graph = graph_of(with("1,2,3,32,1", "5,2,3,32,1"));
    assert_eq!(graph.kind(NodeId(1)), NodeKind::Other);
    assert_eq!(graph.node_type(NodeId(1)).name, "unknown(5)");
    let graph = graph_of(with("1,4,10,", "9,4,10,"));
    let edge = graph.edges(NodeId(0)).nth(1).unwrap();
    assert_eq!(graph.edge_kind(edge), EdgeKind::Other);
}

#[test]
fn sizes_above_4_gib_are_whole() {
    let graph = graph_of(with("1,2,3,32,1", "1,2,3,18446744073709551615,1"));
    assert_eq!(graph.self_size_bytes(NodeId(1)), u64::MAX);
    assert_eq!(graph.self_size_bytes(NodeId(2)), 16);
    let graph = graph_of(with("1,2,3,32,1", "1,2,4294967296,4294967295,1"));
    assert_eq!(graph.object_id(NodeId(1)), 1 << 32);
    assert_eq!(graph.self_size_bytes(NodeId(1)), u64::from(u32::MAX));
}

#[test]
fn floats_are_cut_and_negatives_are_0() {
    let graph = graph_of(with("1,2,3,32,1", "1.9,2e0,30e-1,0.325e2,1"));
    assert_eq!(graph.object_id(NodeId(1)), 3);
    assert_eq!(graph.self_size_bytes(NodeId(1)), 32);
    let graph = graph_of(with("1,2,3,32,1", "1,2,-3,-0.5,1"));
    assert_eq!(graph.object_id(NodeId(1)), 0);
    assert_eq!(graph.self_size_bytes(NodeId(1)), 0);
}

/// The name of the second node, when the file spells it so.
#[track_caller]
fn check_name(spelled: &[u8], name: &str) {
    let mut text = WHOLE.as_bytes().to_vec();
    let at = WHOLE.find("Map").unwrap();
    text.splice(at..at + 3, spelled.iter().copied());
    check_readers_agree(&text);
    assert_eq!(read(&text).unwrap().graph.name_text(NodeId(1)), name);
}

#[test]
fn names_of_every_kind() {
    check_name(b"", "");
    check_name(br#"a\"b\\"#, "a\"b\\");
    check_name(br"\uD83D\uDE00", "😀");
    check_name(br"\uD83D", "\u{fffd}");
    check_name(br"\uDE00\uD83Dx", "\u{fffd}\u{fffd}x");
    check_name(br"\u0000", "\0");
    check_name("é😀".as_bytes(), "é😀");
    check_name(b"\x7f", "\u{7f}");
    let long = "x".repeat(100_000);
    check_name(long.as_bytes(), &long);
    // Not JSON, and the fast reader does not look: shown as well as can be.
    check_name(br"\q", r"\q");
    check_name(b"\xff", "\u{fffd}");
    check_name(b"a\0b", "a\0b");
}

const DEEP: usize = 100_000;

#[test]
fn trace_trees_as_deep_as_you_like() {
    let tree = format!("{}1,0,0,0,[]{}", "1,0,0,0,[".repeat(DEEP), "]".repeat(DEEP));
    let graph = graph_of(with("[1,0,0,0,[2,0,3,48,[]]]", &format!("[{tree}]")));
    assert_eq!(graph.traces().nodes.len(), DEEP + 1);
    let written = common::write(&graph);
    assert_eq!(graph_of(written), graph);
    // Never closed: an error or a loss, no crash.
    let open = up_to("\"trace_tree\":[").to_owned() + &"1,0,0,0,[".repeat(DEEP);
    check_readers_agree(open.as_bytes());
    assert_eq!(salvage(open.as_bytes()).unwrap().graph.node_count(), 3);
}

#[test]
fn unknown_members_as_deep_as_you_like() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
        for at in ["\"nodes\"", "\"node_count\"", "\"sample_fields\""] {
            let text = with(at, &format!("\"extra\":{deep},{at}"));
            check_readers_agree(text.as_bytes());
            assert_eq!(graph_of(&text).node_count(), 3);
        }
        check_readers_agree(
            with(
                "\"nodes\"",
                &format!("\"extra\":{},\"nodes\"", open.repeat(DEEP)),
            )
            .as_bytes(),
        );
    }
    for member in [
        "nodes",
        "edges",
        "samples",
        "strings",
        "locations",
        "scopes",
    ] {
        let text = without_any(member) + &format!(",\n\"{member}\":{}", "[".repeat(DEEP));
        check_readers_agree(text.as_bytes());
        let _ = salvage(text.as_bytes());
    }
}

/// The whole file without a member, open at the end.
fn without_any(member: &str) -> String {
    let text = match WHOLE.contains(&format!("\n\"{member}\"")) {
        true => without(member),
        false => WHOLE.to_owned(),
    };
    text.trim_end_matches('}').to_owned()
}

#[test]
fn salvaging_keeps_the_rows_before_bad_ones() {
    let graph = salvage(with("2,3,5,16,0]", "2,3,x,16,0]").as_bytes())
        .unwrap()
        .graph;
    assert_eq!(graph.node_count(), 2);
    assert_eq!(graph.name_text(NodeId(1)), "Map");
    let graph = salvage(with("1,4,10,1,5,10", "1,4,10,1,x,10").as_bytes())
        .unwrap()
        .graph;
    assert_eq!(graph.edge_count(), 2);
    assert_eq!(graph.targets(NodeId(0)), [NodeId(1), NodeId(2)]);
}

/// In a large file, too, where pieces are read in parallel and in windows.
#[test]
fn salvaging_a_large_file_keeps_what_is_around_the_damage() {
    let (_, mut bytes) = common::real_snapshots()
        .find(|(name, _)| name.contains("node24-features.heaps"))
        .unwrap();
    let whole = read(&bytes).unwrap().graph;
    let nodes = memchr::memmem::find(&bytes, b"\"nodes\":[").unwrap();
    let edges = memchr::memmem::find(&bytes, b"\"edges\":[").unwrap();
    let middle = nodes + (edges - nodes) / 2;
    let comma = middle + memchr::memchr(b',', &bytes[middle..]).unwrap();
    bytes[comma] = b'x';
    assert!(read(&bytes).is_err());
    let salvaged = salvage(&bytes).unwrap();
    assert!(salvaged.warnings.iter().any(|warning| warning.is_loss));
    let kept = salvaged.graph.node_count();
    assert!(kept > whole.node_count() / 3 && kept < whole.node_count());
    assert!(salvaged.graph.edge_count() > 0);
    assert_eq!(salvaged.graph.strings().len(), whole.strings().len());
    for node in salvaged.graph.nodes() {
        assert_eq!(salvaged.graph.object_id(node), whole.object_id(node));
    }
}
