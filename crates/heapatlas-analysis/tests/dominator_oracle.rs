//! Dominators and retained sizes against a slow oracle: take a node out and see what the root no
//! longer reaches.

use heapatlas_analysis::{Heap, OpenOptions};
use heapatlas_model::{EdgeKind, GraphBuilder, HeapGraph, NodeId, NodeKind, SnapshotFormat};
use proptest::prelude::*;

/// A graph of objects below one root that reaches all of them.
fn build(nodes: usize, edges: &[(usize, usize)]) -> HeapGraph {
    let with = |roots: &[NodeId]| {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        for node in 1..nodes {
            builder.node(NodeKind::Object, "Thing", 2 * node as u64 + 1, 1 << node);
        }
        for &target in roots {
            builder.indexed_edge(root, EdgeKind::Element, 1, target);
        }
        for &(from, to) in edges {
            let (from, to) = (NodeId((from % nodes) as u32), NodeId((to % nodes) as u32));
            builder.named_edge(from, EdgeKind::Property, "next", to);
        }
        builder.finish().unwrap()
    };
    let mut roots = Vec::new();
    loop {
        let graph = with(&roots);
        let reached = reach(&graph, None);
        match graph.nodes().find(|node| !reached[node.index()]) {
            Some(node) => roots.push(node),
            None => return graph,
        }
    }
}

fn reach(graph: &HeapGraph, without: Option<NodeId>) -> Vec<bool> {
    let mut reached = vec![false; graph.node_count()];
    let mut open = vec![graph.root()];
    while let Some(node) = open.pop() {
        if Some(node) != without && !std::mem::replace(&mut reached[node.index()], true) {
            open.extend(graph.targets(node));
        }
    }
    reached
}

proptest! {
    #[test]
    fn what_goes_with_a_node_is_what_it_retains(
        nodes in 2_usize..24,
        edges in prop::collection::vec((0_usize..24, 0_usize..24), 0..70),
    ) {
        let heap = Heap::open(build(nodes, &edges), OpenOptions::default());
        let graph = heap.graph();
        for node in graph.nodes().skip(1) {
            let left = reach(graph, Some(node));
            let gone: Vec<NodeId> = graph.nodes().filter(|other| !left[other.index()]).collect();
            let bytes: u64 = gone.iter().map(|&other| graph.self_size_bytes(other)).sum();
            prop_assert_eq!(heap.retained_bytes(node), bytes);
            for other in gone.into_iter().filter(|&other| other != node) {
                let mut above = heap.dominator(other);
                while above != node && above != graph.root() {
                    above = heap.dominator(above);
                }
                prop_assert_eq!(above, node);
            }
        }
    }
}
