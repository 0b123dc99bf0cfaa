//! Containers that take in more from snapshot to snapshot: arrays, maps, sets, listener lists,
//! objects used as maps, trees.
//!
//! A leak is looked for where old meets new: an object that was there in the first snapshot
//! refers, directly or by way of its backing stores, to objects that came later and stayed.
//! All such references of one shape (the same path, whatever the index) are one suspect, be it
//! one map with a thousand new entries or a thousand lists with one each.
//!
//! A backing store is replaced when it is full, so what counts as old is its owner.

use heapatlas_model::{Count, HeapGraph, NodeId, NodeKind, StringId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::detector::{Detector, Finding};
use super::links::{
    Link, Role, class_part, follow_all, holds, is_map_entry, is_shown_by_owner, main_kind, role,
};
use super::series::{Boundary, Series, find_objects};
use super::suspect::{GrowthPoint, Measured, Suspect, counts_in_words, is_worth_reporting};
use crate::paths::node_word;
use crate::paths::shapes::{EdgeShape, ShapeId, Shapes};
use crate::{ClassId, NodeSet};

/// The detector.
pub struct GrowingContainers;

/// Backing stores and replaced containers between an old holder and what it holds.
const DEEPEST: usize = 4;
/// An old object with more new properties than this is used as a map.
const MAP_PROPERTIES: usize = 12;
/// Clusters that are looked at closely.
const CLOSE_LOOKS: usize = 200;
/// Clusters that are looked at closely whatever it costs.
const ALWAYS_LOOKED_AT: usize = 20;

impl Detector for GrowingContainers {
    fn name(&self) -> &'static str {
        "growing-containers"
    }

    fn find(&self, series: &Series<'_>, _: &[Finding]) -> Vec<Finding> {
        let boundaries = series.boundaries.iter();
        boundaries
            .flat_map(|boundary| {
                let mut search = Search::new(series, boundary);
                search.run();
                search.findings(self.name())
            })
            .collect()
    }
}

/// References of one shape from old objects to new ones.
struct Cluster {
    /// The last steps, from the holder on.
    links: Vec<Link>,
    holders: FxHashSet<NodeId>,
    items: Vec<NodeId>,
    shape: ShapeId,
}

/// What items have in common: the shape of the path to what holds them, the edge, and what they are.
type ClusterKey = (ShapeId, EdgeShape, NodeKind, ItemClass);

/// What tells items apart that one container holds. (Not the class: that of a plain object
/// depends on which others there are.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ItemClass {
    /// Strings and expressions, whatever their text.
    Any,
    Named(StringId),
    /// Elements, which have their attributes in their names.
    Element(ClassId),
}

struct Search<'s, 'h> {
    series: &'s Series<'h>,
    graph: &'h HeapGraph,
    boundary: &'s Boundary,
    shapes: Shapes<'s>,
    clusters: FxHashMap<ClusterKey, Cluster>,
    seen: Seen,
}

impl<'s, 'h> Search<'s, 'h> {
    fn new(series: &'s Series<'h>, boundary: &'s Boundary) -> Self {
        let graph = series.last().graph();
        Self {
            shapes: Shapes::new(series.last(), &series.paths),
            series,
            graph,
            boundary,
            clusters: FxHashMap::default(),
            seen: Seen::new(graph.node_count()),
        }
    }

    /// Asks every old object for what is new below it.
    fn run(&mut self) {
        let mut owners = NodeSet::new(self.graph.node_count());
        for holder in self.boundary.holders.iter() {
            let targets = self.graph.targets(holder);
            let has_new = targets
                .iter()
                .any(|&target| !self.boundary.old.contains(target));
            if has_new && role(self.graph, holder) != Role::Engine {
                owners.insert(self.owner(holder));
            }
        }
        for owner in owners.iter() {
            if self.boundary.holders.contains(owner) {
                self.ask(owner);
            }
        }
    }

    /// What a backing store belongs to; any other object is its own.
    fn owner(&self, holder: NodeId) -> NodeId {
        let mut owner = holder;
        for _ in 0..DEEPEST {
            match self.series.paths.parent(owner) {
                Some((parent, _))
                    if self.graph.kind(owner) == NodeKind::Array
                        && role(self.graph, parent) != Role::Engine =>
                {
                    owner = parent;
                }
                _ => break,
            }
        }
        owner
    }

    fn ask(&mut self, holder: NodeId) {
        self.seen.clear();
        let is_map = self.new_properties(holder) > MAP_PROPERTIES;
        self.descend(holder, holder, is_map, &mut Vec::new());
    }

    fn new_properties(&self, holder: NodeId) -> usize {
        let edges = self.graph.edges(holder);
        edges
            .filter(|&edge| {
                is_map_entry(self.graph, edge)
                    && !self.boundary.old.contains(self.graph.target(edge))
            })
            .count()
    }

    /// Looks at what `node` refers to, then through the stores there. What can be reached directly
    /// and by way of a store counts as reached directly.
    fn descend(
        &mut self,
        holder: NodeId,
        node: NodeId,
        is_map: bool,
        way: &mut Vec<(EdgeShape, NodeId)>,
    ) {
        let below = self.look_at(holder, node, is_map, way);
        if way.len() + 1 == DEEPEST {
            return;
        }
        for (shape, target) in below {
            if self.seen.insert_below(target) {
                way.push((shape, target));
                self.descend(holder, target, false, way);
                way.pop();
            }
        }
    }

    /// Records the new objects that `node` refers to and that stayed; returns the stores, and the
    /// new containers that may have replaced older ones.
    fn look_at(
        &mut self,
        holder: NodeId,
        node: NodeId,
        is_map: bool,
        way: &[(EdgeShape, NodeId)],
    ) -> Vec<(EdgeShape, NodeId)> {
        let mut below = Vec::new();
        for edge in self.graph.edges(node) {
            let target = self.graph.target(edge);
            if !holds(self.graph, &self.series.weak_maps, node, edge)
                || is_shown_by_owner(self.graph, edge)
                || !self.is_of_interest(node, target)
            {
                continue;
            }
            let target_role = role(self.graph, target);
            let has_stayed = self.boundary.new.contains(target);
            let is_item = target_role == Role::Object && has_stayed;
            let shape = match target_role {
                Role::Engine => continue,
                _ if is_map && is_map_entry(self.graph, edge) => EdgeShape::Property,
                _ => self.shapes.edge_shape(edge, target),
            };
            if target_role == Role::Store || !has_stayed || is_item && self.may_be_replaced(shape) {
                below.push((shape, target));
            }
            if is_item && self.seen.insert(target) {
                self.record(holder, way, shape, target);
            }
        }
        below
    }

    /// New objects, and the old stores of `node` itself.
    fn is_of_interest(&self, node: NodeId, target: NodeId) -> bool {
        !self.boundary.old.contains(target)
            || self.graph.kind(target) == NodeKind::Array
                && self
                    .series
                    .paths
                    .parent(target)
                    .is_some_and(|parent| parent.0 == node)
    }

    /// With two snapshots everything new has stayed, also a container that replaced another.
    fn may_be_replaced(&self, edge: EdgeShape) -> bool {
        self.series.heaps.len() == 2 && matches!(edge, EdgeShape::Named(_))
    }

    fn record(
        &mut self,
        holder: NodeId,
        way: &[(EdgeShape, NodeId)],
        edge: EdgeShape,
        item: NodeId,
    ) {
        let mut shape = self.shapes.of(holder);
        for &(edge, node) in way {
            shape = self.shapes.extend(Some(shape), Some(edge), node);
        }
        let kind = main_kind(self.graph.kind(item));
        let key = (shape, edge, kind, self.item_class(item));
        if let Some(cluster) = self.clusters.get_mut(&key) {
            cluster.holders.insert(holder);
            cluster.items.push(item);
            return;
        }
        let shape = self.shapes.extend(Some(shape), Some(edge), item);
        let steps = way.iter().copied().chain([(edge, item)]);
        let links: Vec<Link> = steps
            .map(|(edge, node)| Link::new(self.graph, edge, node))
            .collect();
        // By names alone each holder has one of them at most, or it is a tree.
        if self.shapes.is_internal(shape) || !links.iter().any(Link::is_repeated) {
            return;
        }
        let cluster = Cluster {
            links,
            holders: [holder].into_iter().collect(),
            items: vec![item],
            shape,
        };
        self.clusters.insert(key, cluster);
    }

    fn item_class(&self, item: NodeId) -> ItemClass {
        let name = self.graph.name_text(item);
        let part = class_part(self.graph.kind(item), &name);
        if part == name {
            ItemClass::Named(self.graph.name(item))
        } else if part.is_empty() {
            ItemClass::Any
        } else {
            ItemClass::Element(self.series.last().class_of(item))
        }
    }

    /// Clusters that grow in every step, measured in every snapshot.
    fn findings(&mut self, detector: &'static str) -> Vec<Finding> {
        let last = self.series.heaps.len() - 1;
        let mut clusters: Vec<(Cluster, u64)> = std::mem::take(&mut self.clusters)
            .into_values()
            .map(|cluster| {
                let bytes = self.series.retained_by_all(last, &cluster.items);
                (cluster, bytes)
            })
            .filter(|(cluster, bytes)| is_worth_reporting(cluster.items.len() as u64, *bytes))
            .collect();
        clusters.sort_by_key(|(cluster, bytes)| {
            (
                std::cmp::Reverse((*bytes, cluster.items.len())),
                cluster.shape,
            )
        });
        clusters.truncate(self.affordable(&clusters));
        let measured = self.measure(&clusters);
        let mut growing: Vec<(Cluster, Measured)> = clusters
            .into_iter()
            .map(|(cluster, _)| cluster)
            .zip(measured)
            .filter(|(_, measured)| Series::grows(&measured.growth))
            .collect();
        self.drop_keys(&mut growing);
        growing.retain(|(cluster, _)| !self.is_in_page(cluster.items[0]));
        growing
            .into_iter()
            .map(|(cluster, measured)| Finding {
                suspect: self.suspect(detector, &cluster, measured.growth),
                items: measured.items,
            })
            .collect()
    }

    /// Elements of a document are on the page for all to see; those of none have a detector of
    /// their own.
    fn is_in_page(&self, node: NodeId) -> bool {
        let is_element = || self.graph.name_text(node).starts_with('<');
        self.graph.kind(node) == NodeKind::Native
            && match self.series.last().detachedness(node) {
                0 => false,
                1 => is_element(),
                _ => true,
            }
    }

    /// The keys of a map come and go with its values: texts that are as many as something that
    /// the same containers hold, and that retains more, are no finding of their own.
    fn drop_keys(&self, growing: &mut Vec<(Cluster, Measured)>) {
        let is_key = |row: usize| {
            let (keys, of_keys) = &growing[row];
            let kind = main_kind(self.graph.kind(keys.items[0]));
            matches!(kind, NodeKind::String | NodeKind::Symbol)
                && growing[..row].iter().any(|(values, of_values)| {
                    let counts = of_values.growth.iter().map(|point| point.count);
                    counts.eq(of_keys.growth.iter().map(|point| point.count))
                        && values.holders == keys.holders
                })
        };
        let mut dropped: Vec<bool> = (0..growing.len()).map(is_key).collect();
        dropped.reverse();
        growing.retain(|_| !dropped.pop().unwrap_or(false));
    }

    /// How many clusters can be measured. Each takes a walk over all edges of its holders, so a
    /// container of a million objects of hundreds of classes would cost hundreds of millions.
    fn affordable(&self, clusters: &[(Cluster, u64)]) -> usize {
        let budget = 4 * self.graph.edge_count();
        let mut cost = 0;
        let walks = clusters.iter().take_while(|(cluster, _)| {
            let holders = cluster.holders.iter();
            cost += holders
                .map(|&holder| self.graph.edges(holder).len())
                .sum::<usize>();
            cost <= budget
        });
        walks.count().clamp(ALWAYS_LOOKED_AT, CLOSE_LOOKS)
    }

    /// For each cluster the count and bytes in each snapshot, and the items of the last.
    fn measure(&self, clusters: &[(Cluster, u64)]) -> Vec<Measured> {
        let ids: FxHashSet<u64> = clusters
            .iter()
            .flat_map(|(cluster, _)| cluster.holders.iter())
            .map(|&holder| self.graph.object_id(holder))
            .collect();
        let mut measured = vec![Measured::default(); clusters.len()];
        for (index, heap) in self.series.heaps.iter().enumerate() {
            let objects = find_objects(heap.graph(), &ids);
            for ((cluster, _), Measured { growth, items }) in clusters.iter().zip(&mut measured) {
                let holders = cluster.holders.iter();
                *items = holders
                    .filter_map(|&holder| objects.get(&self.graph.object_id(holder)))
                    .flat_map(|&holder| follow_all(heap.graph(), &cluster.links, holder))
                    .collect();
                items.sort_unstable();
                items.dedup();
                growth.push(GrowthPoint {
                    count: items.len() as u64,
                    bytes: self.series.retained_by_all(index, items),
                });
            }
        }
        measured
    }

    fn suspect(
        &self,
        detector: &'static str,
        cluster: &Cluster,
        growth: Vec<GrowthPoint>,
    ) -> Suspect {
        let heap = self.series.last();
        let example = cluster.items[0];
        let name = node_word(heap, example);
        let holders = cluster.holders.iter();
        let holder = *holders.min().expect("a cluster has a holder");
        Suspect {
            id: String::new(),
            kind: "growing",
            detector,
            retained_bytes: growth.last().map_or(0, |point| point.bytes),
            path: self.shapes.steps(cluster.shape),
            why: why(cluster, &growth, &name),
            name,
            growth,
            holder_id: self.graph.object_id(holder),
            example_id: self.graph.object_id(example),
        }
    }
}

fn why(cluster: &Cluster, growth: &[GrowthPoint], name: &str) -> String {
    let since = if growth[0].count > 0 {
        "from the first snapshot on"
    } else {
        "later"
    };
    let holders = match cluster.holders.len() {
        1 => format!("one container, there {since}, holds"),
        many => format!("{} containers, there {since}, hold", Count(many as u64)),
    };
    format!(
        "{holders} {} `{name}`, still growing in the last snapshot; {} of the added ones are still there in the last",
        counts_in_words(growth),
        Count(cluster.items.len() as u64),
    )
}

/// What the holder at hand was already asked about. Forgetting costs as much as was remembered:
/// there may be a million holders after one with a million entries.
struct Seen {
    items: NodeSet,
    below: NodeSet,
    touched: Vec<NodeId>,
}

impl Seen {
    fn new(nodes: usize) -> Self {
        Self {
            items: NodeSet::new(nodes),
            below: NodeSet::new(nodes),
            touched: Vec::new(),
        }
    }

    fn insert(&mut self, node: NodeId) -> bool {
        self.touched.push(node);
        self.items.insert(node)
    }

    /// A container that is itself an item may also be looked through.
    fn insert_below(&mut self, node: NodeId) -> bool {
        self.touched.push(node);
        self.below.insert(node)
    }

    fn clear(&mut self) {
        for node in self.touched.drain(..) {
            self.items.remove(node);
            self.below.remove(node);
        }
    }
}
