//! How many steps every object is from the nearest user root (DevTools' *Distance*).

use heapatlas_model::{EdgeKind, NodeId, NodeKind, StringId};
use rustc_hash::FxHashMap;

use crate::NodeSet;
use crate::graph_facts::{GraphFacts, string_numbers};

/// The distance of what no strong reference leads to.
pub(crate) const NO_DISTANCE: i32 = -5;
/// The root's distance where there are user roots; what only the system holds counts on from here.
pub(crate) const SYSTEM_DISTANCE: i32 = 100_000_000;

/// The outcome of the search.
pub(crate) struct Distances {
    /// For each node DevTools' number.
    pub of_node: Vec<i32>,
    /// Page objects: what is reachable from a page.
    pub page_objects: NodeSet,
}

/// Searches breadth first from the user roots, then from the root over what is left.
pub(crate) fn find(facts: &GraphFacts<'_>) -> Distances {
    let nodes = facts.graph.node_count();
    let mut search = Search {
        filter: Filter::new(facts),
        facts,
        distance: vec![NO_DISTANCE; nodes],
        reached: NodeSet::new(nodes),
        withheld: Vec::new(),
        queue: Vec::new(),
    };
    for &node in &facts.user_roots {
        search.reach(node, 1);
    }
    search.run();
    let page_objects = page_objects(&search);
    let root = facts.graph.root();
    let root_distance = if facts.user_roots.is_empty() {
        0
    } else {
        SYSTEM_DISTANCE
    };
    // The root may be a target, too; DevTools starts from it all the same.
    search.reached.insert(root);
    search.distance[root.index()] = root_distance;
    search.queue.clear();
    search.queue.push(root);
    search.run();
    Distances {
        of_node: search.distance,
        page_objects,
    }
}

struct Search<'a, 'g> {
    facts: &'a GraphFacts<'g>,
    filter: Filter,
    distance: Vec<i32>,
    reached: NodeSet,
    /// Targets of edges that the filter held back.
    withheld: Vec<NodeId>,
    queue: Vec<NodeId>,
}

impl Search<'_, '_> {
    #[inline]
    fn reach(&mut self, node: NodeId, distance: i32) {
        if self.reached.insert(node) {
            self.distance[node.index()] = distance;
            self.queue.push(node);
        }
    }

    /// Works off the queue, which stays as the list of what was reached.
    fn run(&mut self) {
        let mut next = 0;
        while let Some(&node) = self.queue.get(next) {
            next += 1;
            let distance = self.distance[node.index()] + 1;
            match self.filter.special(self.facts, node) {
                None => self.follow_plain(node, distance),
                Some(special) => self.follow_filtered(node, distance, special),
            }
        }
    }

    /// Follows a node's edges; only names that speak of a WeakMap can hold one back.
    fn follow_plain(&mut self, node: NodeId, distance: i32) {
        let columns = self.facts.graph.columns();
        let rows = self.facts.edge_rows(node);
        let kinds = &columns.edge_type[rows.clone()];
        let labels = &columns.edge_label[rows.clone()];
        let targets = &columns.edge_target[rows];
        for ((&kind, &target), &label) in kinds.iter().zip(targets).zip(labels) {
            if self.facts.is_weak[kind as usize] || self.reached.contains(target) {
                continue;
            }
            if self.facts.edge_kinds[kind as usize] == EdgeKind::Internal
                && !self.filter.lets_weak_map_pass(self.facts, StringId(label))
            {
                self.withheld.push(target);
                continue;
            }
            self.reach(target, distance);
        }
    }

    /// Follows the edges of a node of which some are held back by name.
    #[cold]
    fn follow_filtered(&mut self, node: NodeId, distance: i32, special: Special) {
        let graph = self.facts.graph;
        for edge in graph.edges(node) {
            let target = graph.target(edge);
            let kind = graph.edge_kind(edge);
            if kind == EdgeKind::Weak || self.reached.contains(target) {
                continue;
            }
            let label = graph.columns().edge_label[edge.index()];
            let passes = match special {
                Special::NativeContext => {
                    kind.has_index_label() || !self.filter.is_function_map(StringId(label))
                }
                Special::MapDescriptors => descriptor_passes(&graph.label_text(edge)),
            };
            let passes = passes
                && (kind != EdgeKind::Internal
                    || self.filter.lets_weak_map_pass(self.facts, StringId(label)));
            if passes {
                self.reach(target, distance);
            } else {
                self.withheld.push(target);
            }
        }
    }
}

/// Descriptor arrays hold triples: key, details, value. Their second entries lead to objects
/// that the shape does not keep for the program's sake.
fn descriptor_passes(label: &str) -> bool {
    !label
        .parse::<i64>()
        .is_ok_and(|index| index >= 2 && index % 3 == 1)
}

/// Nodes with a filter of their own.
#[derive(Clone, Copy)]
enum Special {
    NativeContext,
    MapDescriptors,
}

/// Which edges the search does not follow.
struct Filter {
    names: FxHashMap<StringId, usize>,
    native_contexts: Vec<StringId>,
    map_descriptors: Vec<StringId>,
    /// Entries of WeakMaps met once: the value is as far as the farther of key and table.
    met: Vec<bool>,
}

const NAMES: [&str; 3] = [
    "system / NativeContext",
    "(map descriptors)",
    "sloppy_function_map",
];

impl Filter {
    fn new(facts: &GraphFacts<'_>) -> Self {
        let names = string_numbers(facts.graph, &NAMES);
        let of = |index| {
            names
                .iter()
                .filter(|entry| *entry.1 == index)
                .map(|entry| *entry.0)
                .collect()
        };
        Self {
            native_contexts: of(0),
            map_descriptors: of(1),
            met: vec![false; facts.weak_maps.entries],
            names,
        }
    }

    #[inline]
    fn special(&self, facts: &GraphFacts<'_>, node: NodeId) -> Option<Special> {
        match facts.kind(node) {
            NodeKind::Hidden if self.native_contexts.contains(&facts.graph.name(node)) => {
                Some(Special::NativeContext)
            }
            NodeKind::Array if self.map_descriptors.contains(&facts.graph.name(node)) => {
                Some(Special::MapDescriptors)
            }
            _ => None,
        }
    }

    fn is_function_map(&self, name: StringId) -> bool {
        self.names.get(&name) == Some(&2)
    }

    /// The first of an entry's two edges is held back, the second followed.
    #[inline]
    fn lets_weak_map_pass(&mut self, facts: &GraphFacts<'_>, name: StringId) -> bool {
        let Some(edge) = facts.weak_maps.get(name) else {
            return true;
        };
        let met = &mut self.met[edge.entry as usize];
        *met = !*met;
        !*met
    }
}

/// What is reachable from the pages' roots over anything but weak references.
///
/// Mostly pages' roots and user roots are the same; then the search has found nearly all of it
/// already, and only what the filter held back is missing.
fn page_objects(search: &Search<'_, '_>) -> NodeSet {
    let facts = search.facts;
    let mut pages = NodeSet::new(facts.graph.node_count());
    if facts.page_roots.is_empty() {
        return pages;
    }
    let mut open: Vec<NodeId> = if facts.page_roots == facts.user_roots {
        pages = search.reached.clone();
        search
            .withheld
            .iter()
            .copied()
            .filter(|&node| pages.insert(node))
            .collect()
    } else {
        facts
            .page_roots
            .iter()
            .copied()
            .filter(|&node| pages.insert(node))
            .collect()
    };
    let columns = facts.graph.columns();
    while let Some(node) = open.pop() {
        let rows = facts.edge_rows(node);
        let kinds = &columns.edge_type[rows.clone()];
        for (&kind, &target) in kinds.iter().zip(&columns.edge_target[rows]) {
            if !facts.is_weak[kind as usize] && pages.insert(target) {
                open.push(target);
            }
        }
    }
    pages
}
