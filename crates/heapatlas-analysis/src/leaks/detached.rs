//! DOM nodes that are in no document any more but still held by the program.

use heapatlas_model::{Count, NodeId, NodeKind};
use rustc_hash::FxHashMap;

use super::detector::{Detector, Finding};
use super::series::Series;
use super::suspect::{GrowthPoint, Suspect};
use crate::Heap;
use crate::PathStep;
use crate::paths::shapes::Shapes;
use crate::paths::{PathTree, node_word};

/// The detector.
pub struct DetachedDom;

impl Detector for DetachedDom {
    fn name(&self) -> &'static str {
        "detached-dom"
    }

    fn find(&self, series: &Series<'_>, _: &[Finding]) -> Vec<Finding> {
        let last = series.heaps.len() - 1;
        let clusters = clusters(series.last(), &series.paths);
        if clusters.is_empty() {
            return Vec::new();
        }
        let earlier: Vec<Clusters> = series.heaps[..last].iter().map(find_clusters).collect();
        let point = |index: usize, nodes: &[NodeId]| GrowthPoint {
            count: nodes.len() as u64,
            bytes: series.retained_by_all(index, nodes),
        };
        clusters
            .into_iter()
            .map(|(path, items)| {
                let before = earlier.iter().enumerate();
                let before =
                    before.map(|(index, clusters)| point(index, &held_alike(clusters, &path)));
                let growth: Vec<GrowthPoint> = before.chain([point(last, &items)]).collect();
                (path, items, growth)
            })
            .filter(|(_, _, growth)| has_more(growth))
            .map(|(path, items, growth)| Finding {
                suspect: self.suspect(series, &path, &items, growth),
                items,
            })
            .collect()
    }
}

/// What was held by the same path in another snapshot. Where a page was left for another in the
/// meantime, its window may have another name or place; then how the path ends decides.
fn held_alike(clusters: &Clusters, path: &[PathStep]) -> Vec<NodeId> {
    if let Some(nodes) = clusters.get(path) {
        return nodes.clone();
    }
    let end = &path[path.len().saturating_sub(STEPS_THAT_TELL)..];
    let alike = clusters.iter().filter(|(path, _)| path.ends_with(end));
    alike.flat_map(|(_, nodes)| nodes.iter().copied()).collect()
}

/// Whether there are more than at first. What was detached all the time is a page that the
/// browser keeps for the way back, or was found when it came.
fn has_more(growth: &[GrowthPoint]) -> bool {
    match growth {
        [first, .., last] => last.count > first.count,
        _ => true,
    }
}

/// Steps at the end of a path that tell who holds an element.
const STEPS_THAT_TELL: usize = 2;

/// Detached trees by the path on which the program holds them, each by the node it holds.
type Clusters = FxHashMap<Vec<PathStep>, Vec<NodeId>>;

/// The clusters of a heap whose paths are not known yet.
fn find_clusters(heap: &Heap) -> Clusters {
    let has_any = heap.graph().nodes().any(|node| is_detached(heap, node));
    if has_any {
        clusters(heap, &PathTree::new(heap))
    } else {
        Clusters::default()
    }
}

fn clusters(heap: &Heap, paths: &PathTree) -> Clusters {
    let mut shapes = Shapes::new(heap, paths);
    let mut by_shape: FxHashMap<_, Vec<NodeId>> = FxHashMap::default();
    for node in heap
        .graph()
        .nodes()
        .filter(|&node| is_held_tree(heap, paths, node))
    {
        by_shape.entry(shapes.of(node)).or_default().push(node);
    }
    let mut clusters = Clusters::default();
    for (shape, nodes) in by_shape {
        clusters
            .entry(shapes.steps(shape))
            .or_default()
            .extend(nodes);
    }
    clusters
}

/// Whether a node belongs to a document's tree and is in none. (Node marks some natives of its
/// own as detached; they are handles, not elements.)
fn is_detached(heap: &Heap, node: NodeId) -> bool {
    heap.detachedness(node) == 2
        && heap.graph().kind(node) == NodeKind::Native
        && !heap.graph().name_text(node).starts_with("Node / ")
}

/// Whether the program holds a detached tree by this node: what leads there is an object of the
/// program and not itself a part of the tree.
fn is_held_tree(heap: &Heap, paths: &PathTree, node: NodeId) -> bool {
    is_detached(heap, node)
        && heap.distance(node).is_some()
        && paths.parent(node).is_some_and(|(parent, _)| {
            !is_detached(heap, parent) && heap.graph().kind(parent) != NodeKind::Synthetic
        })
}

impl DetachedDom {
    fn suspect(
        &self,
        series: &Series<'_>,
        path: &[PathStep],
        nodes: &[NodeId],
        growth: Vec<GrowthPoint>,
    ) -> Suspect {
        let heap = series.last();
        let name = node_word(heap, nodes[0]);
        let holder = series
            .paths
            .parent(nodes[0])
            .map_or(nodes[0], |parent| parent.0);
        let last = growth[growth.len() - 1];
        Suspect {
            id: String::new(),
            kind: "detached",
            detector: self.name(),
            why: format!(
                "{} `{name}` are in no document any more, but the program still holds them, with all that hangs on them",
                Count(last.count)
            ),
            name,
            growth,
            retained_bytes: last.bytes,
            path: path.to_vec(),
            holder_id: heap.graph().object_id(holder),
            example_id: heap.graph().object_id(nodes[0]),
        }
    }
}
