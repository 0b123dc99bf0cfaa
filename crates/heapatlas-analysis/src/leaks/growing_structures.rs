//! What grows and is neither one container's nor a list's: trees, tries, records scattered over
//! many small containers, reactions piled up on a promise that never settles.
//!
//! No single reference tells; but there are more objects of a class in every snapshot, and all of
//! them hang on one old object. What the detectors before have explained is left out.

use heapatlas_model::{Count, NodeId, NodeKind};
use rustc_hash::{FxHashMap, FxHashSet};

use super::detector::{Detector, Finding};
use super::series::{Boundary, Series, find_objects};
use super::suspect::{GrowthPoint, Suspect, counts_in_words, is_worth_reporting};
use crate::PathStep;
use crate::paths::node_word;
use crate::paths::shapes::Shapes;
use crate::{ClassId, Heap, NodeSet};

/// The detector.
pub struct GrowingStructures;

/// Classes that are looked at closely.
const CLOSE_LOOKS: usize = 100;
/// Objects between two parts of a structure, at most.
const LONGEST_STEP: usize = 4;
/// One in so many objects of a class may live elsewhere.
const STRAYS: usize = 20;

impl Detector for GrowingStructures {
    fn name(&self) -> &'static str {
        "growing-structures"
    }

    fn find(&self, series: &Series<'_>, found: &[Finding]) -> Vec<Finding> {
        let mut explained = NodeSet::new(series.last().graph().node_count());
        let items = found.iter().flat_map(|finding| &finding.items);
        for &item in items {
            explained.insert(item);
        }
        let mut structures = Vec::new();
        for boundary in &series.boundaries {
            let groups = groups(series, boundary, &explained);
            let grown = measured(series, groups)
                .into_iter()
                .filter(|structure| Series::grows(&structure.growth));
            for structure in grown {
                if is_part_of_known(series, &structure, &structures, &explained) {
                    continue;
                }
                for &item in &structure.items {
                    explained.insert(item);
                }
                structures.push(structure);
            }
        }
        let mut shapes = Shapes::new(series.last(), &series.paths);
        structures
            .into_iter()
            .map(|structure| Finding {
                suspect: suspect(series, &mut shapes, self.name(), &structure),
                items: structure.items,
            })
            .collect()
    }
}

/// Whether a structure hangs where another does, or most of it on the parts of others.
fn is_part_of_known(
    series: &Series<'_>,
    structure: &Structure,
    known: &[Structure],
    explained: &NodeSet,
) -> bool {
    let group = &structure.group;
    let last = series.heaps.len() - 1;
    let hangs_there = |other: &Structure| series.is_below(last, group.anchor, other.group.anchor);
    if known.is_empty() || known.iter().any(hangs_there) {
        return !known.is_empty();
    }
    let mut below = Below::new(explained);
    let parts = group.new.iter();
    let parts = parts.filter(|&&node| below.contains(series, node)).count();
    parts * 2 > group.new.len()
}

/// New objects of one class, and what they all hang on.
struct Group {
    class: ClassId,
    anchor: NodeId,
    new: Vec<NodeId>,
    bytes: u64,
}

/// A group with all of its class that hang there.
struct Structure {
    group: Group,
    growth: Vec<GrowthPoint>,
    items: Vec<NodeId>,
}

/// New objects by class, what retains most first. (Only objects: functions and the engine's own
/// also come as code is compiled, elements as a page is built.)
fn groups(series: &Series<'_>, boundary: &Boundary, explained: &NodeSet) -> Vec<Group> {
    let heap = series.last();
    let graph = heap.graph();
    let last = series.heaps.len() - 1;
    let mut by_class: FxHashMap<ClassId, Vec<NodeId>> = FxHashMap::default();
    let mut below = Below::new(explained);
    for node in boundary.new.iter() {
        if graph.kind(node) == NodeKind::Object
            && heap.distance(node).is_some()
            && !graph.name_text(node).starts_with("system / ")
            && !below.contains(series, node)
        {
            by_class.entry(heap.class_of(node)).or_default().push(node);
        }
    }
    let mut groups: Vec<Group> = by_class
        .into_iter()
        .filter_map(|(class, new)| {
            let bytes = series.retained_by_all(last, &new);
            let anchor = is_worth_reporting(new.len() as u64, bytes)
                .then(|| anchor(series, boundary, &new))??;
            Some(Group {
                class,
                anchor,
                new,
                bytes,
            })
        })
        .collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(telling_bytes(heap, group)), group.new[0]));
    groups.truncate(CLOSE_LOOKS);
    groups
}

/// What a group retains, for ranking. The parts of a structure retain much the same; a class of
/// the program says more about it than one of the language.
fn telling_bytes(heap: &Heap, group: &Group) -> u64 {
    group.bytes >> u32::from(is_plain(heap, group.class))
}

/// Whether a class is one of the language, of which a program has many that have nothing in common.
fn is_plain(heap: &Heap, class: ClassId) -> bool {
    let name = heap.class(class).name.as_str();
    matches!(name, "Object" | "Array" | "Map" | "Set" | "Promise")
}

/// The nearest old object that nearly all of these hang on.
fn anchor(series: &Series<'_>, boundary: &Boundary, nodes: &[NodeId]) -> Option<NodeId> {
    let heap = series.last();
    let last = series.heaps.len() - 1;
    let mut places: Vec<u32> = nodes
        .iter()
        .map(|&node| series.position(last, node))
        .collect();
    places.sort_unstable();
    let strays = places.len() / STRAYS / 2;
    let order = heap.dominator_order();
    let first = order.order[places[strays] as usize];
    let other = order.order[places[places.len() - 1 - strays] as usize];
    let mut at = first;
    loop {
        let is_holder = boundary.holders.contains(at) && can_anchor(heap, at);
        if is_holder && series.is_below(last, other, at) {
            return Some(top_of_kind(series, boundary, at, heap.class_of(nodes[0])));
        }
        let above = heap.dominator(at);
        if above == at {
            return None;
        }
        at = above;
    }
}

/// Where a structure has grown at one of its ends, the nearest old object is a part of it: goes up
/// to the first part.
fn top_of_kind(series: &Series<'_>, boundary: &Boundary, anchor: NodeId, class: ClassId) -> NodeId {
    let heap = series.last();
    let (mut top, mut at, mut others) = (anchor, anchor, 0);
    // Plain objects in plain objects need not be parts of one thing.
    if is_plain(heap, class) && heap.class_of(anchor) != class {
        return anchor;
    }
    while others < LONGEST_STEP && heap.dominator(at) != at {
        at = heap.dominator(at);
        others += 1;
        if heap.class_of(at) == class && boundary.holders.contains(at) {
            top = at;
            others = 0;
        }
    }
    top
}

/// Whether a programmer would know the object by name: no root, no store.
fn can_anchor(heap: &Heap, node: NodeId) -> bool {
    let kind = heap.graph().kind(node);
    let is_object = matches!(kind, NodeKind::Object | NodeKind::Closure);
    let is_context = heap.graph().name_text(node).starts_with("system / Context");
    (is_object || is_context) && heap.distance(node).is_some_and(|distance| distance > 1)
}

/// The groups' figures in all snapshots.
fn measured(series: &Series<'_>, groups: Vec<Group>) -> Vec<Structure> {
    let last = series.last();
    let ids: FxHashSet<u64> = groups
        .iter()
        .map(|group| last.graph().object_id(group.anchor))
        .collect();
    let mut structures: Vec<Structure> = groups
        .into_iter()
        .map(|group| Structure {
            group,
            growth: Vec::new(),
            items: Vec::new(),
        })
        .collect();
    if structures.is_empty() {
        return structures;
    }
    for (index, heap) in series.heaps.iter().enumerate() {
        let anchors = find_objects(heap.graph(), &ids);
        let by_class = classes_in(heap, last, &structures);
        structures.iter_mut().for_each(|one| one.items.clear());
        for node in heap.graph().nodes() {
            let Some(&row) = by_class.get(&heap.class_of(node)) else {
                continue;
            };
            let structure = &mut structures[row];
            let anchor = anchors.get(&last.graph().object_id(structure.group.anchor));
            if anchor.is_some_and(|&anchor| series.is_below(index, node, anchor)) {
                structure.items.push(node);
            }
        }
        for structure in &mut structures {
            structure.growth.push(GrowthPoint {
                count: structure.items.len() as u64,
                bytes: series.retained_by_all(index, &structure.items),
            });
        }
    }
    structures
}

/// The rows of the structures by their classes in another snapshot.
fn classes_in(heap: &Heap, last: &Heap, structures: &[Structure]) -> FxHashMap<ClassId, usize> {
    let rows: FxHashMap<&str, usize> = structures
        .iter()
        .enumerate()
        .map(|(row, one)| (last.class(one.group.class).key.as_str(), row))
        .collect();
    let classes = heap.classes().iter().enumerate();
    classes
        .filter_map(|(id, class)| Some((ClassId(id as u32), *rows.get(class.key.as_str())?)))
        .collect()
}

fn suspect(
    series: &Series<'_>,
    shapes: &mut Shapes<'_>,
    detector: &'static str,
    structure: &Structure,
) -> Suspect {
    let heap = series.last();
    let Structure { group, growth, .. } = structure;
    let shape = shapes.of(group.anchor);
    let mut path = shapes.steps(shape);
    let name = node_word(heap, group.new[0]);
    let holder = node_word(heap, group.anchor);
    path.push(PathStep {
        edge: Some("…".to_owned()),
        node: name.clone(),
    });
    Suspect {
        id: String::new(),
        kind: "growing",
        detector,
        why: format!(
            "below one `{holder}` hang {} `{name}`, still growing in the last snapshot, in no single container; {} of the added ones are still there in the last",
            counts_in_words(growth),
            Count(group.new.len() as u64),
        ),
        name,
        retained_bytes: growth.last().map_or(0, |point| point.bytes),
        growth: growth.clone(),
        path,
        holder_id: heap.graph().object_id(group.anchor),
        example_id: heap.graph().object_id(group.new[0]),
    }
}

/// Which nodes have one of a set on the path that leads to them, or are in it; or the engine's
/// notes on the program, in which the literals of its functions are kept.
struct Below<'a> {
    set: &'a NodeSet,
    known_below: NodeSet,
    known_free: NodeSet,
}

impl<'a> Below<'a> {
    fn new(set: &'a NodeSet) -> Self {
        Self {
            set,
            known_below: NodeSet::new(set.universe()),
            known_free: NodeSet::new(set.universe()),
        }
    }

    /// Each node is looked at once, however long the paths are.
    fn contains(&mut self, series: &Series<'_>, node: NodeId) -> bool {
        let mut way = Vec::new();
        let mut at = node;
        let is_below = loop {
            let kind = series.last().graph().kind(at);
            let is_engine_note = matches!(kind, NodeKind::Code | NodeKind::ObjectShape);
            if self.set.contains(at) || self.known_below.contains(at) || is_engine_note {
                break true;
            }
            if self.known_free.contains(at) {
                break false;
            }
            way.push(at);
            match series.paths.parent(at) {
                Some((parent, _)) => at = parent,
                None => break false,
            }
        };
        let known = if is_below {
            &mut self.known_below
        } else {
            &mut self.known_free
        };
        for node in way {
            known.insert(node);
        }
        is_below
    }
}
