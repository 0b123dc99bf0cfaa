//! Graphs made to be slow: the tests end in seconds, or never.

use heapatlas_analysis::{Heap, OpenOptions};
use heapatlas_model::{EdgeKind, GraphBuilder, NodeId, NodeKind, SnapshotFormat};

use super::generated::leaks;

const MANY: u64 = 100_000;

fn heap(fill: impl FnOnce(&mut GraphBuilder, NodeId)) -> Heap {
    let mut builder = GraphBuilder::new(SnapshotFormat::V8);
    let root = builder.node(NodeKind::Synthetic, "", 1, 0);
    let global = builder.node(NodeKind::Object, "global", 3, 8);
    builder.named_edge(root, EdgeKind::Shortcut, "1", global);
    fill(&mut builder, global);
    Heap::open(builder.finish().unwrap(), OpenOptions::default())
}

fn three(fill: impl Fn(&mut GraphBuilder, NodeId, u64)) -> Vec<Heap> {
    [MANY / 2, MANY * 3 / 4, MANY]
        .into_iter()
        .map(|size| heap(|builder, global| fill(builder, global, size)))
        .collect()
}

#[track_caller]
fn check_counts(heaps: &[Heap], expected: [u64; 3]) {
    let suspects = leaks(heaps);
    let counts = suspects[0].growth.iter().map(|point| point.count);
    assert!(counts.eq(expected), "{suspects:#?}");
}

#[test]
fn hub_with_many_classes() {
    let heaps = three(|builder, global, size| {
        let hub = builder.node(NodeKind::Object, "Array", 5, 8);
        builder.named_edge(global, EdgeKind::Property, "hub", hub);
        for number in 0..size {
            let class = format!("C{}", number % 250);
            let item = builder.node(NodeKind::Object, &class, 7 + 2 * number, 8);
            builder.indexed_edge(hub, EdgeKind::Element, number as u32, item);
        }
    });
    check_counts(&heaps, [MANY / 2 / 250, MANY * 3 / 4 / 250, MANY / 250]);
}

#[test]
fn list_that_old_objects_refer_to_everywhere() {
    // The entries are linked from the last to the first, and each has a holder of its own.
    let heaps = three(|builder, global, size| {
        let hub = builder.node(NodeKind::Object, "Array", 5, 8);
        builder.named_edge(global, EdgeKind::Property, "hub", hub);
        let mut entries: Vec<NodeId> = Vec::new();
        for number in 0..MANY {
            let holder = builder.node(NodeKind::Object, "Holder", 1_000_007 + 2 * number, 8);
            builder.indexed_edge(hub, EdgeKind::Element, number as u32, holder);
            if number < size {
                let entry = builder.node(NodeKind::Object, "Entry", 7 + 2 * number, 8);
                builder.named_edge(holder, EdgeKind::Property, "entry", entry);
                if let Some(&before) = entries.last() {
                    builder.named_edge(entry, EdgeKind::Property, "next", before);
                }
                entries.push(entry);
            }
        }
    });
    leaks(&heaps);
}

#[test]
fn long_list() {
    let heaps = three(|builder, global, size| {
        let mut before = global;
        for number in 0..size {
            let entry = builder.node(NodeKind::Object, "Entry", 7 + 2 * number, 8);
            builder.named_edge(before, EdgeKind::Property, "next", entry);
            before = entry;
        }
    });
    check_counts(&heaps, [MANY / 2, MANY * 3 / 4, MANY]);
}

#[test]
fn many_holders_after_a_large_one() {
    let heaps = three(|builder, global, size| {
        let large = builder.node(NodeKind::Object, "Array", 5, 8);
        let all = builder.node(NodeKind::Object, "Array", 7, 8);
        builder.named_edge(global, EdgeKind::Property, "large", large);
        builder.named_edge(global, EdgeKind::Property, "all", all);
        for number in 0..MANY {
            let small = builder.node(NodeKind::Object, "Array", 9 + 4 * number, 8);
            builder.indexed_edge(all, EdgeKind::Element, number as u32, small);
            if number < size {
                let item = builder.node(NodeKind::Object, "Item", 11 + 4 * number, 8);
                builder.indexed_edge(small, EdgeKind::Element, 0, item);
                builder.indexed_edge(large, EdgeKind::Element, number as u32, item);
            }
        }
    });
    check_counts(&heaps, [MANY / 2, MANY * 3 / 4, MANY]);
}

#[test]
fn deep_tree_with_two_branches_each() {
    let heaps = three(|builder, global, size| {
        let root = builder.node(NodeKind::Object, "Tree", 5, 8);
        builder.named_edge(global, EdgeKind::Property, "tree", root);
        let mut at = root;
        for number in 0..size {
            let below = builder.node(NodeKind::Object, "Tree", 7 + 2 * number, 8);
            let side = if number % 3 == 0 { "left" } else { "right" };
            builder.named_edge(at, EdgeKind::Property, side, below);
            at = below;
        }
    });
    check_counts(&heaps, [MANY / 2 + 1, MANY * 3 / 4 + 1, MANY + 1]);
}
