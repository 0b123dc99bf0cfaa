//! In a single snapshot nothing can be seen to grow; but a container with a great many objects
//! of one kind that makes up much of the heap is where to look first.

use heapatlas_model::{EdgeKind, NodeId};
use rustc_hash::FxHashMap;

use super::detector::{Detector, Finding};
use super::links::{self, Role, holds, is_map_entry, role};
use super::series::Series;
use super::suspect::{GrowthPoint, Suspect};
use crate::ClassId;
use crate::paths::node_word;
use crate::paths::shapes::{EdgeShape, Shapes};

/// The detector.
pub struct LargeContainers;

/// Fewer entries of one kind are no reason for suspicion.
const FEWEST: usize = 500;
/// A container is suspected if its entries make up at least one in so many bytes of the heap.
const SHARE: u64 = 20;
/// Looked at closely, most entries first.
const CLOSE_LOOKS: usize = 50;

impl Detector for LargeContainers {
    fn name(&self) -> &'static str {
        "large-containers"
    }

    fn find(&self, series: &Series<'_>, _: &[Finding]) -> Vec<Finding> {
        if series.heaps.len() != 1 {
            return Vec::new();
        }
        let heap = series.last();
        let mut shapes = Shapes::new(heap, &series.paths);
        let threshold = heap.total_bytes() / SHARE;
        let mut groups = groups(series);
        groups.sort_by_key(|group| (std::cmp::Reverse(group.items.len()), group.holder));
        groups.truncate(CLOSE_LOOKS);
        let mut suspects = Vec::new();
        for group in groups {
            let bytes = series.retained_by_all(0, &group.items);
            let shape = shapes.of(group.holder);
            let shape = shapes.extend(Some(shape), Some(EdgeShape::Index), group.items[0]);
            if bytes < threshold || shapes.is_internal(shape) {
                continue;
            }
            let count = group.items.len() as u64;
            let name = node_word(heap, group.items[0]);
            let share = bytes * 100 / heap.total_bytes().max(1);
            let suspect = Suspect {
                id: String::new(),
                kind: "large",
                detector: self.name(),
                why: format!(
                    "one container holds {count} `{name}`, {share} % of the heap; whether it grows, only a second snapshot can tell"
                ),
                name,
                growth: vec![GrowthPoint { count, bytes }],
                retained_bytes: bytes,
                path: shapes.steps(shape),
                holder_id: heap.graph().object_id(group.holder),
                example_id: heap.graph().object_id(group.items[0]),
            };
            suspects.push(Finding {
                suspect,
                items: group.items,
            });
        }
        suspects
    }
}

/// Objects of one class that one node refers to.
struct Group {
    holder: NodeId,
    items: Vec<NodeId>,
}

fn groups(series: &Series<'_>) -> Vec<Group> {
    let heap = series.last();
    let graph = heap.graph();
    let mut groups = Vec::new();
    for holder in graph.nodes() {
        // The global object and the engine's tables are large in every heap.
        if graph.edges(holder).len() < FEWEST
            || role(graph, holder) == Role::Engine
            || is_shown_by_owner(series, holder)
            || heap.distance(holder).is_none_or(|distance| distance < 2)
        {
            continue;
        }
        let by_class = items_by_class(series, holder).into_values();
        groups.extend(by_class.map(|mut items| {
            items.sort_unstable();
            items.dedup();
            Group { holder, items }
        }));
    }
    groups.retain(|group| group.items.len() >= FEWEST);
    groups
}

/// The objects that a container holds side by side.
fn items_by_class(series: &Series<'_>, holder: NodeId) -> FxHashMap<ClassId, Vec<NodeId>> {
    let heap = series.last();
    let graph = heap.graph();
    let mut by_class: FxHashMap<ClassId, Vec<NodeId>> = FxHashMap::default();
    for edge in graph.edges(holder) {
        let item = graph.target(edge);
        let is_one_of_many = match graph.edge_kind(edge) {
            EdgeKind::Context => false,
            EdgeKind::Property => is_map_entry(graph, edge),
            _ => true,
        };
        if is_one_of_many
            && holds(graph, &series.weak_maps, holder, edge)
            && role(graph, item) == Role::Object
        {
            by_class.entry(heap.class_of(item)).or_default().push(item);
        }
    }
    by_class
}

/// Whether a node is a store whose owner has the same references.
fn is_shown_by_owner(series: &Series<'_>, node: NodeId) -> bool {
    let arrival = series.paths.parent(node);
    arrival.is_some_and(|(_, edge)| links::is_shown_by_owner(series.last().graph(), edge))
}
