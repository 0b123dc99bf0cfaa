//! Linked lists that get longer: entries chained by properties, closures chained by their
//! contexts, timers, promises.
//!
//! A list has one reference from old to new, however long it is, so counting references does
//! not find it. Here the chain itself is followed: from an object, over at most three steps,
//! to another of its kind, and so on by the same steps, in every snapshot.

use heapatlas_model::{HeapGraph, NodeId, NodeKind};
use rustc_hash::{FxHashMap, FxHashSet};

use super::detector::{Detector, Finding};
use super::links::{Link, Role, follow_all, holds, role};
use super::series::{Boundary, Series, find_objects};
use super::suspect::{GrowthPoint, Measured, Suspect, counts_in_words, is_worth_reporting};
use crate::PathStep;
use crate::paths::node_word;
use crate::paths::shapes::{EdgeShape, Shapes};
use crate::{ClassId, NodeSet};

/// The detector.
pub struct GrowingLists;

/// Steps between two entries of a list (closure, context, closure: two).
const LONGEST_LINK: usize = 3;
/// Objects looked at when searching for the next entry.
const WIDEST_SEARCH: usize = 48;
/// A node with more references than this is a place where everything meets, not a list's entry.
const WIDEST_ENTRY: usize = 32;
/// After so many tries in vain, a kind of object is not tried again.
const TRIES: u32 = 64;
/// Lists that are looked at closely.
const CLOSE_LOOKS: usize = 200;

impl Detector for GrowingLists {
    fn name(&self) -> &'static str {
        "growing-lists"
    }

    fn find(&self, series: &Series<'_>, _: &[Finding]) -> Vec<Finding> {
        let mut known = NodeSet::new(series.last().graph().node_count());
        let mut findings = Vec::new();
        for boundary in &series.boundaries {
            let mut search = Search::new(series, boundary, known);
            search.run();
            findings.extend(search.findings(self.name()));
            known = search.known;
        }
        findings
    }
}

/// What makes two objects entries of one list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Kind {
    class: ClassId,
    /// Functions are told apart by where they stand in the source, others by their class.
    place: Option<(u32, u32, u32)>,
}

/// An edge by its shape and the node it leads to.
type Steps = Vec<(EdgeShape, NodeId)>;

/// A list: who holds its first entry, and how to get from one to the next.
struct List {
    holder: NodeId,
    edge: EdgeShape,
    head: NodeId,
    /// From the first entry to the second, as found.
    steps: Steps,
    /// The same for any entry.
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
    /// A search that leaves the entries of known lists alone.
    fn new(series: &'s Series<'h>, boundary: &'s Boundary, known: NodeSet) -> Self {
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
            known,
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
                if self.lists.len() == CLOSE_LOOKS {
                    return;
                }
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
        let graph = self.series.last().graph();
        let Some(steps) = self.find_next(head, kind) else {
            *self.failures.entry(kind).or_default() += 1;
            return;
        };
        let links = steps.iter();
        let next: Vec<Link> = links
            .map(|&(edge, node)| Link::new(graph, edge, node))
            .collect();
        let entries = entries(graph, head, &next, &self.known);
        let last = self.series.heaps.len() - 1;
        let bytes = self.series.retained_by_all(last, &entries);
        if !is_worth_reporting(entries.len() as u64, bytes) || entries.len() == 1 {
            *self.failures.entry(kind).or_default() += 1;
            return;
        }
        let list = self.list_of(List {
            holder,
            edge,
            head,
            steps,
            next,
        });
        // From its first entry on, so that no other way into it is followed to its end again.
        for entry in self.entries_of(&list) {
            self.known.insert(entry);
        }
        for entry in entries {
            self.known.insert(entry);
        }
        self.lists.push(list);
    }

    fn entries_of(&self, list: &List) -> Vec<NodeId> {
        let graph = self.series.last().graph();
        entries(
            graph,
            list.head,
            &list.next,
            &NodeSet::new(graph.node_count()),
        )
    }

    /// The shortest way from an entry to another of its kind, over new objects and old ones alike.
    fn find_next(&mut self, entry: NodeId, kind: Kind) -> Option<Steps> {
        let graph = self.series.last().graph();
        let mut seen: FxHashSet<NodeId> = [entry].into_iter().collect();
        let mut ways: Vec<Steps> = vec![Vec::new()];
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
    fn list_of(&mut self, list: List) -> List {
        let graph = self.series.last().graph();
        let mut list = list;
        // Each turn goes up one link of the list.
        while let Some(before) = self.entry_before(list.head, list.next.len())
            && graph.name(before) == graph.name(list.head)
            && self.kind(before) == self.kind(list.head)
            && follow_all(graph, &list.next, before).contains(&list.head)
            && let Some((holder, edge)) = self.series.paths.parent(before)
        {
            list.edge = self.shapes.edge_shape(edge, before);
            list.holder = holder;
            list.head = before;
        }
        list
    }

    fn entry_before(&self, entry: NodeId, steps: usize) -> Option<NodeId> {
        (0..steps).try_fold(entry, |at, _| {
            self.series.paths.parent(at).map(|parent| parent.0)
        })
    }

    /// Lists that got longer in every step.
    fn findings(&mut self, detector: &'static str) -> Vec<Finding> {
        let lists = std::mem::take(&mut self.lists);
        let measured = self.measure(&lists);
        lists
            .iter()
            .zip(measured)
            .filter(|(_, measured)| Series::grows(&measured.growth))
            .map(|(list, measured)| Finding {
                suspect: self.suspect(detector, list, measured.growth),
                items: measured.items,
            })
            .collect()
    }

    /// For each list its length and bytes in each snapshot, and its entries in the last.
    fn measure(&self, lists: &[List]) -> Vec<Measured> {
        let last = self.series.last().graph();
        let ids: FxHashSet<u64> = lists
            .iter()
            .map(|list| last.object_id(list.holder))
            .collect();
        let mut measured = vec![Measured::default(); lists.len()];
        for (index, heap) in self.series.heaps.iter().enumerate() {
            let graph = heap.graph();
            let holders = find_objects(graph, &ids);
            let none = NodeSet::new(graph.node_count());
            for (list, Measured { growth, items }) in lists.iter().zip(&mut measured) {
                let holder = holders.get(&last.object_id(list.holder));
                let first = Link::new(last, list.edge, list.head);
                let heads = holder.map_or_else(Vec::new, |&holder| {
                    follow_all(graph, std::slice::from_ref(&first), holder)
                });
                *items = heads
                    .first()
                    .map_or_else(Vec::new, |&head| entries(graph, head, &list.next, &none));
                growth.push(GrowthPoint {
                    count: items.len() as u64,
                    bytes: self.series.retained_by_all(index, items),
                });
            }
        }
        measured
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
        path.extend(
            list.steps
                .iter()
                .zip(&list.next)
                .map(|(step, link)| PathStep {
                    edge: Some(link.edge_word().to_owned()),
                    node: node_word(heap, step.1),
                }),
        );
        if let Some(last) = path.last_mut() {
            last.node.push_str(" …");
        }
        let links: Vec<&str> = list.next.iter().map(Link::edge_word).collect();
        let why = format!(
            "a linked list of `{name}`, each holding the next by `{}`, is {} entries long, still growing in the last snapshot",
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

/// The entries of a list from its head on, up to one that is known.
fn entries(graph: &HeapGraph, head: NodeId, next: &[Link], known: &NodeSet) -> Vec<NodeId> {
    let mut seen: FxHashSet<NodeId> = [head].into_iter().collect();
    let mut entries = vec![head];
    let mut at = head;
    while let Some(after) = follow_all(graph, next, at)
        .into_iter()
        .find(|node| !seen.contains(node))
        && !known.contains(after)
    {
        seen.insert(after);
        entries.push(after);
        at = after;
    }
    entries
}
