//! Where the bytes are, in the groups of DevTools' Statistics view.

use heapatlas_model::{EdgeKind, HeapGraph, NodeId, NodeKind, UintColumn};

use crate::name_test::NameTest;
use crate::{NodeSet, Statistics};

/// Which group a node's own bytes go to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    System,
    Native,
    Code,
    Strings,
    /// To the arrays if it is named like one, else to none.
    ByName,
}

/// The statistics of a heap, with sizes after the transfer to owners.
pub(crate) fn statistics(graph: &HeapGraph, shallow: &UintColumn, total_bytes: u64) -> Statistics {
    let columns = graph.columns();
    let groups: Vec<Group> = columns.node_types.iter().map(|t| group(t.kind)).collect();
    let mut is_buffer = NameTest::new(graph.strings(), |name| name == "system / JSArrayBufferData");
    let mut is_array = NameTest::new(graph.strings(), |name| name == "Array");
    let mut statistics = Statistics {
        total: total_bytes,
        native: graph
            .v8()
            .and_then(|v8| v8.extra_native_bytes)
            .unwrap_or_default(),
        ..Statistics::default()
    };
    let mut arrays = Vec::new();
    for (row, &type_row) in columns.node_type.iter().enumerate() {
        let sum = match groups[type_row as usize] {
            Group::System => &mut statistics.system,
            Group::Code => &mut statistics.code,
            Group::Strings => &mut statistics.strings,
            Group::Native => {
                if is_buffer.passes(columns.node_name[row]) {
                    add(&mut statistics.typed_arrays, shallow.get(row));
                }
                &mut statistics.native
            }
            Group::ByName => {
                if is_array.passes(columns.node_name[row]) {
                    arrays.push(NodeId::from_index(row));
                }
                continue;
            }
        };
        add(sum, shallow.get(row));
    }
    statistics.js_arrays = array_bytes(graph, shallow, &arrays);
    statistics
}

fn group(kind: NodeKind) -> Group {
    match kind {
        NodeKind::Hidden => Group::System,
        NodeKind::Native => Group::Native,
        NodeKind::Code => Group::Code,
        NodeKind::String | NodeKind::ConcatenatedString | NodeKind::SlicedString => Group::Strings,
        _ => Group::ByName,
    }
}

/// The arrays' own bytes and those of their elements, unless somebody else refers to them, too.
fn array_bytes(graph: &HeapGraph, shallow: &UintColumn, arrays: &[NodeId]) -> u64 {
    let mut sum = 0;
    let mut elements = Vec::new();
    let mut is_elements = NameTest::new(graph.strings(), |name| name == "elements");
    for &array in arrays {
        add(&mut sum, shallow.get(array.index()));
        elements.extend(elements_of(graph, array, &mut is_elements));
    }
    let single = with_one_retainer(graph, &elements);
    for node in elements {
        if single.contains(node) {
            add(&mut sum, shallow.get(node.index()));
        }
    }
    sum
}

fn elements_of(graph: &HeapGraph, array: NodeId, is_elements: &mut NameTest) -> Option<NodeId> {
    use heapatlas_model::EdgeLabel::Name;
    let edge = graph.edges(array).find(|&edge| {
        graph.edge_kind(edge) == EdgeKind::Internal
            && matches!(graph.label(edge), Name(name) if is_elements.passes(name))
    })?;
    Some(graph.target(edge))
}

/// Which of the nodes have exactly one incoming edge.
///
/// One bit a node in place of all retainers: the first table does not need those.
fn with_one_retainer(graph: &HeapGraph, nodes: &[NodeId]) -> NodeSet {
    let mut asked = NodeSet::new(graph.node_count());
    let mut once = NodeSet::new(graph.node_count());
    let mut more = Vec::new();
    for &node in nodes {
        asked.insert(node);
    }
    for &target in &graph.columns().edge_target {
        if asked.contains(target) && !once.insert(target) {
            asked.remove(target);
            more.push(target);
        }
    }
    for node in more {
        once.remove(node);
    }
    once
}

fn add(sum: &mut u64, bytes: u64) {
    *sum = sum.saturating_add(bytes);
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, SnapshotFormat};

    use super::*;

    fn check(builder: GraphBuilder, expected: Statistics) {
        let graph = builder.finish().unwrap();
        let shallow = graph.columns().self_size.clone();
        assert_eq!(statistics(&graph, &shallow, expected.total), expected);
    }

    #[test]
    fn groups_by_type_and_name() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        builder.node(NodeKind::Synthetic, "", 1, 0);
        builder.v8_mut().extra_native_bytes = Some(1_000);
        builder.node(NodeKind::Hidden, "Array", 3, 1);
        builder.node(NodeKind::Code, "Array", 5, 2);
        builder.node(NodeKind::String, "Array", 7, 4);
        builder.node(NodeKind::ConcatenatedString, "", 9, 8);
        builder.node(NodeKind::SlicedString, "", 11, 16);
        builder.node(NodeKind::Native, "Array", 12, 32);
        builder.node(NodeKind::Native, "system / JSArrayBufferData", 14, 64);
        builder.node(NodeKind::Closure, "Array", 15, 128);
        builder.node(NodeKind::Object, "Map", 17, 256);
        let expected = Statistics {
            total: 5_000,
            system: 1,
            code: 2,
            strings: 28,
            native: 1_096,
            typed_arrays: 64,
            js_arrays: 128,
        };
        check(builder, expected);
    }

    #[test]
    fn elements_count_when_nobody_else_refers_to_them() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        let mut array = |id, kind, edges: &[(EdgeKind, &str)]| {
            let array = builder.node(NodeKind::Object, "Array", id, 1);
            let store = builder.node(kind, "", id + 2, 10 * id);
            for &(kind, name) in edges {
                builder.named_edge(array, kind, name, store);
            }
            store
        };
        array(3, NodeKind::Array, &[(EdgeKind::Internal, "elements")]);
        array(7, NodeKind::Array, &[(EdgeKind::Property, "elements")]);
        array(11, NodeKind::Array, &[(EdgeKind::Internal, "other")]);
        let twice = [(EdgeKind::Internal, "elements"), (EdgeKind::Weak, "w")];
        array(15, NodeKind::Array, &twice);
        let shared = array(19, NodeKind::Array, &[(EdgeKind::Internal, "elements")]);
        builder.named_edge(root, EdgeKind::Weak, "w", shared);
        let expected = Statistics {
            js_arrays: 5 + 30,
            ..Statistics::default()
        };
        check(builder, expected);
    }
}
