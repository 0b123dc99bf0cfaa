//! Snapshots of one process in order, and which objects of the last one were there before.

use std::sync::OnceLock;

use heapatlas_model::{HeapGraph, NodeId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::suspect::{FEWEST, GrowthPoint, LARGE_BYTES};
use crate::paths::PathTree;
use crate::weak_maps::WeakMapEdges;
use crate::{Heap, NodeSet};

/// Snapshots of one process, oldest first.
pub struct Series<'h> {
    /// The snapshots.
    pub heaps: &'h [Heap],
    /// Where old meets new; none when there is just one snapshot.
    pub boundaries: Vec<Boundary>,
    /// Shortest paths in the last snapshot.
    pub paths: PathTree,
    /// Edges of WeakMaps in the last snapshot.
    pub weak_maps: WeakMapEdges,
    positions: Vec<OnceLock<Vec<u32>>>,
}

/// Which objects of the last snapshot may hold leaked ones, and which may be leaked.
pub struct Boundary {
    /// The holders.
    pub holders: NodeSet,
    /// All objects that count as old.
    pub old: NodeSet,
    /// New objects that stayed.
    pub new: NodeSet,
}

impl<'h> Series<'h> {
    /// Matches objects by id.
    ///
    /// # Panics
    /// When there is no snapshot.
    pub fn new(heaps: &'h [Heap]) -> Self {
        let last = heaps.last().expect("at least one snapshot");
        Self {
            heaps,
            boundaries: boundaries(heaps, last.graph()),
            paths: PathTree::new(last),
            weak_maps: WeakMapEdges::find(last.graph().strings()),
            positions: heaps.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    /// The last snapshot.
    pub fn last(&self) -> &'h Heap {
        self.heaps.last().expect("checked when it was made")
    }

    /// Whether there are more in each of the last two steps and never fewer, and enough more to matter.
    pub fn grows(growth: &[GrowthPoint]) -> bool {
        let [first, .., last] = growth else {
            return false;
        };
        let rises: Vec<bool> = growth
            .windows(2)
            .map(|pair| pair[0].count < pair[1].count)
            .collect();
        let steps = rises.iter().filter(|&&rises| rises).count() as u64;
        // Before the work began a series may stand still.
        growth.is_sorted_by_key(|point| point.count)
            && rises.iter().rev().take(2).all(|&rises| rises)
            && (last.count - first.count >= FEWEST * steps
                || last.bytes.saturating_sub(first.bytes) >= LARGE_BYTES)
    }

    /// Where a node stands in the dominator order of the snapshot with this number.
    pub fn position(&self, index: usize, node: NodeId) -> u32 {
        self.positions(index)[node.index()]
    }

    /// Whether a node is another or hangs on it alone, in the snapshot with this number.
    pub fn is_below(&self, index: usize, node: NodeId, other: NodeId) -> bool {
        let place = self.position(index, node);
        let first = self.position(index, other);
        let end = self.heaps[index].dominator_order().subtree_end[first as usize];
        (first..end).contains(&place)
    }

    fn positions(&self, index: usize) -> &[u32] {
        self.positions[index].get_or_init(|| positions(&self.heaps[index]))
    }

    /// The bytes of the snapshot with this number that would go if all of these went: what each
    /// retains, unless another of them dominates it.
    pub fn retained_by_all(&self, index: usize, nodes: &[NodeId]) -> u64 {
        let heap = &self.heaps[index];
        let position = self.positions(index);
        let order = heap.dominator_order();
        let mut places: Vec<u32> = nodes.iter().map(|node| position[node.index()]).collect();
        places.sort_unstable();
        let (mut sum, mut covered) = (0_u64, 0);
        for place in places {
            if place >= covered {
                covered = order.subtree_end[place as usize];
                sum = sum.saturating_add(heap.retained_bytes(order.order[place as usize]));
            }
        }
        sum
    }
}

/// The first boundary is the first snapshot: what was there then may hold what came later, was
/// there in the last but one and stayed to the last. With three or more there is another: a
/// container that was made after the first snapshot may hold what came after the last but one.
fn boundaries(heaps: &[Heap], graph: &HeapGraph) -> Vec<Boundary> {
    let [first, .., before_last, _] = heaps else {
        return two(heaps, graph);
    };
    let old = members(graph, &IdSet::new(first.graph()));
    let before_last = members(graph, &IdSet::new(before_last.graph()));
    let survived = difference(graph, |node| before_last.contains(node), &old);
    let mut known = before_last;
    old.iter().for_each(|node| {
        known.insert(node);
    });
    let new = difference(graph, |_| true, &known);
    vec![
        Boundary {
            holders: old.clone(),
            old,
            new: survived.clone(),
        },
        Boundary {
            holders: survived,
            old: known,
            new,
        },
    ]
}

/// Two snapshots have one boundary, and no way to tell what stays; one has none.
fn two(heaps: &[Heap], graph: &HeapGraph) -> Vec<Boundary> {
    let [first, _] = heaps else {
        return Vec::new();
    };
    let old = members(graph, &IdSet::new(first.graph()));
    let new = difference(graph, |_| true, &old);
    vec![Boundary {
        holders: old.clone(),
        old,
        new,
    }]
}

/// The nodes that pass and are not in the set.
fn difference(graph: &HeapGraph, passes: impl Fn(NodeId) -> bool, without: &NodeSet) -> NodeSet {
    let mut set = NodeSet::new(graph.node_count());
    for node in graph.nodes() {
        if passes(node) && !without.contains(node) {
            set.insert(node);
        }
    }
    set
}

fn members(graph: &HeapGraph, ids: &IdSet) -> NodeSet {
    let mut set = NodeSet::new(graph.node_count());
    for node in graph.nodes() {
        if ids.contains(graph.object_id(node)) {
            set.insert(node);
        }
    }
    set
}

/// The object ids of a snapshot. Runtimes number objects densely, so most fit a bit set.
struct IdSet {
    dense: Vec<u64>,
    sparse: FxHashSet<u64>,
}

impl IdSet {
    fn new(graph: &HeapGraph) -> Self {
        let limit = graph.node_count() as u64 * 64;
        let mut set = Self {
            dense: vec![0; (limit / 64) as usize],
            sparse: FxHashSet::default(),
        };
        for node in graph.nodes() {
            let id = graph.object_id(node);
            match set.dense.get_mut((id / 64) as usize) {
                Some(word) => *word |= 1 << (id % 64),
                None => {
                    set.sparse.insert(id);
                }
            }
        }
        set
    }

    fn contains(&self, id: u64) -> bool {
        match self.dense.get((id / 64) as usize) {
            Some(word) => word >> (id % 64) & 1 != 0,
            None => self.sparse.contains(&id),
        }
    }
}

/// The nodes that have these ids.
pub fn find_objects(graph: &HeapGraph, ids: &FxHashSet<u64>) -> FxHashMap<u64, NodeId> {
    let mut found = FxHashMap::default();
    for node in graph.nodes() {
        let id = graph.object_id(node);
        if ids.contains(&id) {
            found.entry(id).or_insert(node);
        }
    }
    found
}

/// Each node's place in the dominator order.
fn positions(heap: &Heap) -> Vec<u32> {
    let order = &heap.dominator_order().order;
    let mut position = vec![0; order.len()];
    for (place, node) in order.iter().enumerate() {
        position[node.index()] = place as u32;
    }
    position
}
