//! Containers that take in more from snapshot to snapshot: arrays, maps, sets, listener lists,
//! objects used as maps, trees.
//!
//! A leak is looked for where old meets new: an object that was there in the first snapshot
//! refers, directly or by way of its backing stores, to objects that came later and stayed.
//! All such references of one shape (the same path, whatever the index) are one suspect, be it
//! one map with a thousand new entries or a thousand lists with one each.

use heapatlas_model::{Count, EdgeId, EdgeKind, NodeId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::links::{Link, Role, follow_all, holds, role};
use super::series::{Boundary, Series, find_objects};
use super::shapes::{EdgeShape, ShapeId, Shapes};
use super::{Detector, GrowthPoint, Suspect, counts_in_words, rises_steadily};
use crate::paths::node_word;

/// The detector.
pub struct GrowingContainers;

/// Backing stores and replaced containers between an old holder and what it holds.
const DEEPEST: usize = 4;
/// Fewer new objects than this are noise, unless they are large.
const FEWEST: u64 = 10;
/// New objects that retain this much are no noise, however few.
const LARGE_BYTES: u64 = 256 << 10;
/// An old object with more new properties than this is used as a map.
const MAP_PROPERTIES: usize = 12;
/// Shapes that are looked at closely.
const CLOSE_LOOKS: usize = 200;

impl Detector for GrowingContainers {
    fn name(&self) -> &'static str {
        "growing-containers"
    }

    fn find(&self, series: &Series<'_>) -> Vec<Suspect> {
        let boundaries = series.boundaries.iter();
        boundaries
            .flat_map(|boundary| {
                let mut search = Search::new(series, boundary);
                search.run();
                search.suspects(self.name())
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
}

struct Search<'s, 'h> {
    series: &'s Series<'h>,
    boundary: &'s Boundary,
    shapes: Shapes<'s>,
    clusters: FxHashMap<ShapeId, Cluster>,
    /// What the holder at hand was already asked about.
    seen: FxHashSet<NodeId>,
}

impl<'s, 'h> Search<'s, 'h> {
    fn new(series: &'s Series<'h>, boundary: &'s Boundary) -> Self {
        Self {
            shapes: Shapes::new(series.last(), &series.paths),
            series,
            boundary,
            clusters: FxHashMap::default(),
            seen: FxHashSet::default(),
        }
    }

    /// Asks every old object for what is new below it.
    fn run(&mut self) {
        let graph = self.series.last().graph();
        for holder in self.boundary.holders.iter() {
            let has_new = graph
                .targets(holder)
                .iter()
                .any(|&target| !self.boundary.old.contains(target));
            if has_new && role(graph, holder) != Role::Engine {
                self.ask(holder);
            }
        }
    }

    fn ask(&mut self, holder: NodeId) {
        self.seen.clear();
        let is_map = self.new_properties(holder) > MAP_PROPERTIES;
        let mut way = Vec::new();
        self.descend(holder, holder, is_map, &mut way);
    }

    fn new_properties(&self, holder: NodeId) -> usize {
        let graph = self.series.last().graph();
        graph
            .edges(holder)
            .filter(|&edge| {
                graph.edge_kind(edge) == EdgeKind::Property
                    && !self.boundary.old.contains(graph.target(edge))
            })
            .count()
    }

    /// Looks at what `node` refers to: new objects that stayed are items; new stores, and new
    /// containers that replaced older ones, are looked through.
    fn descend(
        &mut self,
        holder: NodeId,
        node: NodeId,
        is_map: bool,
        way: &mut Vec<(EdgeShape, NodeId)>,
    ) {
        let graph = self.series.last().graph();
        for edge in graph.edges(node) {
            let target = graph.target(edge);
            if self.boundary.old.contains(target)
                || !holds(graph, &self.series.weak_maps, node, edge)
            {
                continue;
            }
            let target_role = role(graph, target);
            if target_role == Role::Engine {
                continue;
            }
            let shape = self.edge_shape(edge, is_map && node == holder, target);
            way.push((shape, target));
            if target_role == Role::Object && self.boundary.new.contains(target) {
                if self.seen.insert(target) {
                    self.record(holder, way);
                }
            } else if way.len() < DEEPEST && self.seen.insert(target) {
                self.descend(holder, target, false, way);
            }
            way.pop();
        }
    }

    fn edge_shape(&mut self, edge: EdgeId, is_map: bool, target: NodeId) -> EdgeShape {
        let is_property = self.series.last().graph().edge_kind(edge) == EdgeKind::Property;
        if is_map && is_property {
            return EdgeShape::Any;
        }
        self.shapes.edge_shape(edge, target)
    }

    fn record(&mut self, holder: NodeId, way: &[(EdgeShape, NodeId)]) {
        let mut shape = self.shapes.of(holder);
        for &(edge, node) in way {
            shape = self.shapes.extend(Some(shape), Some(edge), node);
        }
        if self.shapes.is_internal(shape) {
            return;
        }
        let heap = self.series.last();
        let cluster = self.clusters.entry(shape).or_insert_with(|| Cluster {
            links: way
                .iter()
                .map(|&(edge, node)| Link::new(heap, edge, node))
                .collect(),
            holders: FxHashSet::default(),
            items: Vec::new(),
        });
        cluster.holders.insert(holder);
        cluster.items.extend(way.last().map(|last| last.1));
    }

    /// Clusters that grow in every step, measured in every snapshot.
    fn suspects(&mut self, detector: &'static str) -> Vec<Suspect> {
        let last = self.series.heaps.len() - 1;
        let mut clusters: Vec<(ShapeId, Cluster, u64)> = std::mem::take(&mut self.clusters)
            .into_iter()
            .map(|(shape, cluster)| {
                let bytes = self.series.retained_by_all(last, &cluster.items);
                (shape, cluster, bytes)
            })
            .filter(|(_, cluster, bytes)| {
                cluster.items.len() as u64 >= FEWEST || *bytes >= LARGE_BYTES
            })
            .collect();
        clusters.sort_by_key(|(shape, cluster, bytes)| {
            (std::cmp::Reverse((*bytes, cluster.items.len())), *shape)
        });
        clusters.truncate(CLOSE_LOOKS);
        let growth = self.measure(&clusters);
        clusters
            .into_iter()
            .zip(growth)
            .filter(|(_, growth)| rises_steadily(growth))
            .map(|((shape, cluster, _), growth)| self.suspect(detector, shape, &cluster, growth))
            .filter(is_no_noise)
            .collect()
    }

    /// For each cluster the count and bytes in each snapshot.
    fn measure(&self, clusters: &[(ShapeId, Cluster, u64)]) -> Vec<Vec<GrowthPoint>> {
        let last_graph = self.series.last().graph();
        let ids: FxHashSet<u64> = clusters
            .iter()
            .flat_map(|(_, cluster, _)| cluster.holders.iter())
            .map(|&holder| last_graph.object_id(holder))
            .collect();
        let mut growth = vec![Vec::new(); clusters.len()];
        for (index, heap) in self.series.heaps.iter().enumerate() {
            let objects = find_objects(heap.graph(), &ids);
            for ((_, cluster, _), points) in clusters.iter().zip(&mut growth) {
                let holders = cluster.holders.iter();
                let mut items: Vec<NodeId> = holders
                    .filter_map(|&holder| objects.get(&last_graph.object_id(holder)))
                    .flat_map(|&holder| follow_all(heap.graph(), &cluster.links, holder))
                    .collect();
                items.sort_unstable();
                items.dedup();
                let bytes = self.series.retained_by_all(index, &items);
                points.push(GrowthPoint {
                    count: items.len() as u64,
                    bytes,
                });
            }
        }
        growth
    }

    fn suspect(
        &self,
        detector: &'static str,
        shape: ShapeId,
        cluster: &Cluster,
        growth: Vec<GrowthPoint>,
    ) -> Suspect {
        let heap = self.series.last();
        let example = cluster.items[0];
        let holder = *cluster
            .holders
            .iter()
            .min()
            .expect("a cluster has a holder");
        let why = why(cluster, &growth, &node_word(heap, example));
        Suspect {
            id: String::new(),
            kind: "growing",
            detector,
            name: node_word(heap, example),
            retained_bytes: growth.last().map_or(0, |point| point.bytes),
            growth,
            path: self.shapes.steps(shape),
            why,
            holder_id: heap.graph().object_id(holder),
            example_id: heap.graph().object_id(example),
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
        "{holders} {} `{name}`, more in every snapshot; {} of the added ones are still there in the last",
        counts_in_words(growth),
        Count(cluster.items.len() as u64),
    )
}

/// Growth worth a person's time: many objects, or large ones.
fn is_no_noise(suspect: &Suspect) -> bool {
    let (Some(first), Some(last)) = (suspect.growth.first(), suspect.growth.last()) else {
        return false;
    };
    let steps = suspect.growth.len() as u64 - 1;
    last.count - first.count >= FEWEST * steps
        || last.bytes.saturating_sub(first.bytes) >= LARGE_BYTES
}
