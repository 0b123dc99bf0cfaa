//! Linked lists that get longer: entries chained by properties, closures chained by their
//! contexts, timers, promises.
//!
//! A list has one reference from old to new, however long it is, so counting references does
//! not find it. Here the chain itself is followed: from an object, over at most three steps,
//! to another of its kind, and so on by the same steps, in every snapshot.

use heapatlas_model::{HeapGraph, NodeId, NodeKind};
use rustc_hash::{FxHashMap, FxHashSet};

use super::links::{Link, Role, follow_all, holds, role};
use super::series::{Boundary, Series, find_objects};
use super::shapes::{EdgeShape, Shapes};
use super::{Detector, GrowthPoint, PathStep, Suspect, counts_in_words, rises_steadily};
use crate::paths::{function_word, node_word};
use crate::{ClassId, NodeSet};

/// The detector.
pub struct GrowingLists;

/// Steps between two entries of a list (closure, context, closure: two).
const LONGEST_LINK: usize = 3;
/// Objects looked at when searching for the next entry.
const WIDEST_SEARCH: usize = 48;
/// A node with more references than this is a place where everything meets, not a list's entry.
const WIDEST_ENTRY: usize = 32;
/// Shorter growth than this, per step, is noise.
const FEWEST: u64 = 10;
/// After so many tries in vain, a kind of object is not tried again.
const TRIES: u32 = 64;

impl Detector for GrowingLists {
    fn name(&self) -> &'static str {
        "growing-lists"
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

/// What makes two objects entries of one list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Kind {
    class: ClassId,
    /// Functions are told apart by where they stand in the source, others by their class.
    place: Option<(u32, u32, u32)>,
}

/// A list: who holds its first entry, and how to get from one to the next.
struct List {
    holder: NodeId,
    /// From the holder to the first entry.
    first: Vec<Link>,
    head: NodeId,
    edge: EdgeShape,
    next: Vec<Link>,
}

struct Search<'s, 'h> {
    series: &'s Series<'h>,
    boundary: &'s Boundary,
    shapes: Shapes<'s>,
    places: FxHashMap<NodeId, (u32, u32, u32)>,
    failures: FxHashMap<Kind, u32>,
    /// Entries of lists already found.
    known: NodeSet,
    lists: Vec<List>,
}

impl<'s, 'h> Search<'s, 'h> {
    fn new(series: &'s Series<'h>, boundary: &'s Boundary) -> Self {
        let graph = series.last().graph();
        let places = graph
            .locations()
            .iter()
            .map(|place| (place.node, (place.script_id, place.line, place.column)))
            .collect();
        Self {
            shapes: Shapes::new(series.last(), &series.paths),
            series,
            boundary,
            places,
            failures: FxHashMap::default(),
            known: NodeSet::new(graph.node_count()),
            lists: Vec::new(),
        }
    }

    fn kind(&self, node: NodeId) -> Kind {
        let heap = self.series.last();
        let is_function = heap.graph().kind(node) == NodeKind::Closure;
        let place = self.places.get(&node).copied().filter(|_| is_function);
        Kind {
            class: heap.class_of(node),
            place,
        }
    }

    /// Tries every reference from an old object to a new one as the head of a list.
    fn run(&mut self) {
        let graph = self.series.last().graph();
        for holder in self.boundary.holders.iter() {
            let new: Vec<_> = graph
                .edges(holder)
                .filter(|&edge| !self.boundary.old.contains(graph.target(edge)))
                .take(WIDEST_ENTRY)
                .collect();
            // Many new ones side by side are a container's growth.
            if new.is_empty() || new.len() == WIDEST_ENTRY || role(graph, holder) == Role::Engine {
                continue;
            }
            for edge in new {
                let head = graph.target(edge);
                let is_entry = matches!(
                    graph.kind(head),
                    NodeKind::Object | NodeKind::Closure | NodeKind::Native
                );
                if is_entry
                    && role(graph, head) == Role::Object
                    && holds(graph, &self.series.weak_maps, holder, edge)
                    && !self.known.contains(head)
                {
                    let shape = self.shapes.edge_shape(edge, head);
                    self.try_head(holder, shape, head);
                }
            }
        }
    }

    fn try_head(&mut self, holder: NodeId, edge: EdgeShape, head: NodeId) {
        let kind = self.kind(head);
        if self
            .failures
            .get(&kind)
            .is_some_and(|&failures| failures >= TRIES)
        {
            return;
        }
        let heap = self.series.last();
        let list = self.find_next(head, kind).map(|next| {
            let next: Vec<Link> = next
                .into_iter()
                .map(|(edge, node)| Link::new(heap, edge, node))
                .collect();
            let entries = entries(heap.graph(), head, &next);
            (next, entries)
        });
        match list {
            Some((next, entries)) if entries.len() as u64 >= FEWEST => {
                for &entry in &entries {
                    self.known.insert(entry);
                }
                let (holder, first) = self.head_of(holder, edge, head, &next);
                self.lists.push(List {
                    holder,
                    first,
                    head,
                    edge,
                    next,
                });
            }
            _ => *self.failures.entry(kind).or_default() += 1,
        }
    }

    /// The shortest way from an entry to another of its kind, over new objects and old ones alike.
    fn find_next(&mut self, entry: NodeId, kind: Kind) -> Option<Vec<(EdgeShape, NodeId)>> {
        let graph = self.series.last().graph();
        let mut seen: FxHashSet<NodeId> = [entry].into_iter().collect();
        let mut ways: Vec<Vec<(EdgeShape, NodeId)>> = vec![Vec::new()];
        let mut next = 0;
        while let Some(way) = ways.get(next).cloned() {
            next += 1;
            let at = way.last().map_or(entry, |last| last.1);
            if way.len() == LONGEST_LINK || graph.edges(at).len() > WIDEST_ENTRY {
                continue;
            }
            for edge in graph.edges(at) {
                let target = graph.target(edge);
                if !holds(graph, &self.series.weak_maps, at, edge)
                    || role(graph, target) == Role::Engine
                    || graph.label_text(edge) == "__proto__"
                    || !seen.insert(target)
                    || ways.len() >= WIDEST_SEARCH
                {
                    continue;
                }
                let mut longer = way.clone();
                longer.push((self.shapes.edge_shape(edge, target), target));
                if self.kind(target) == kind && graph.name(target) == graph.name(entry) {
                    return Some(longer);
                }
                ways.push(longer);
            }
        }
        None
    }

    /// Where a list grows at its end, the holder is itself an entry: goes back to who holds the first.
    fn head_of(
        &mut self,
        holder: NodeId,
        edge: EdgeShape,
        head: NodeId,
        next: &[Link],
    ) -> (NodeId, Vec<Link>) {
        let heap = self.series.last();
        let graph = heap.graph();
        let mut first = (holder, vec![Link::new(heap, edge, head)]);
        let mut entry = head;
        // Each turn goes up one link of the list.
        while let Some(before) = self.entry_before(entry, next.len())
            && graph.name(before) == graph.name(entry)
            && self.kind(before) == self.kind(entry)
            && follow_all(graph, next, before).contains(&entry)
            && let Some((parent, edge)) = self.series.paths.parent(before)
        {
            entry = before;
            let edge = self.shapes.edge_shape(edge, before);
            first = (parent, vec![Link::new(heap, edge, before)]);
        }
        first
    }

    fn entry_before(&self, entry: NodeId, steps: usize) -> Option<NodeId> {
        (0..steps).try_fold(entry, |at, _| {
            self.series.paths.parent(at).map(|parent| parent.0)
        })
    }

    /// Lists that got longer in every step.
    fn suspects(&mut self, detector: &'static str) -> Vec<Suspect> {
        let lists = std::mem::take(&mut self.lists);
        if lists.is_empty() {
            return Vec::new();
        }
        let last = self.series.last().graph();
        let ids: FxHashSet<u64> = lists
            .iter()
            .map(|list| last.object_id(list.holder))
            .collect();
        let mut growth = vec![Vec::new(); lists.len()];
        for (index, heap) in self.series.heaps.iter().enumerate() {
            let holders = find_objects(heap.graph(), &ids);
            for (list, points) in lists.iter().zip(&mut growth) {
                let holder = holders.get(&last.object_id(list.holder)).copied();
                let entries = holder.map_or_else(Vec::new, |holder| {
                    let heads = follow_all(heap.graph(), &list.first, holder);
                    heads
                        .first()
                        .map_or_else(Vec::new, |&head| entries(heap.graph(), head, &list.next))
                });
                let bytes = self.series.retained_by_all(index, &entries);
                points.push(GrowthPoint {
                    count: entries.len() as u64,
                    bytes,
                });
            }
        }
        let suspects = lists.iter().zip(growth).filter(|(_, growth)| {
            let steps = growth.len() as u64 - 1;
            let (first, last) = (growth[0], growth[growth.len() - 1]);
            rises_steadily(growth) && last.count - first.count >= FEWEST * steps
        });
        let suspects: Vec<_> = suspects.collect();
        suspects
            .into_iter()
            .map(|(list, growth)| self.suspect(detector, list, growth))
            .collect()
    }

    fn suspect(
        &mut self,
        detector: &'static str,
        list: &List,
        growth: Vec<GrowthPoint>,
    ) -> Suspect {
        let heap = self.series.last();
        let name = node_word(heap, list.head);
        let shape = self.shapes.of(list.holder);
        let shape = self.shapes.extend(Some(shape), Some(list.edge), list.head);
        let mut path = self.shapes.steps(shape);
        path.extend(list.next.iter().map(|link| PathStep {
            edge: Some(link.edge.clone().unwrap_or_else(|| "[*]".to_owned())),
            node: if link.kind == NodeKind::Closure {
                function_word(&link.name)
            } else {
                link.name.clone()
            },
        }));
        if let Some(last) = path.last_mut() {
            last.node.push_str(" …");
        }
        let links: Vec<&str> = list
            .next
            .iter()
            .map(|link| link.edge.as_deref().unwrap_or("[*]"))
            .collect();
        let why = format!(
            "a linked list of `{name}`, each holding the next by `{}`, is {} entries long, longer in every snapshot",
            links.join(" -> "),
            counts_in_words(&growth),
        );
        Suspect {
            id: String::new(),
            kind: "growing",
            detector,
            name,
            retained_bytes: growth.last().map_or(0, |point| point.bytes),
            growth,
            path,
            why,
            holder_id: heap.graph().object_id(list.holder),
            example_id: heap.graph().object_id(list.head),
        }
    }
}

/// All entries of a list from its head on.
fn entries(graph: &HeapGraph, head: NodeId, next: &[Link]) -> Vec<NodeId> {
    let mut seen: FxHashSet<NodeId> = [head].into_iter().collect();
    let mut entries = vec![head];
    let mut at = head;
    while let Some(after) = follow_all(graph, next, at)
        .into_iter()
        .find(|node| !seen.contains(node))
    {
        seen.insert(after);
        entries.push(after);
        at = after;
    }
    entries
}
