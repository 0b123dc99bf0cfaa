//! How many steps every object is from the nearest user root (DevTools' *Distance*).

use heapatlas_model::{EdgeKind, NodeId, NodeKind, StringId};
use prefetch_index::prefetch_index;

use crate::NodeSet;
use crate::graph_facts::GraphFacts;
use crate::name_test::NameTest;
use crate::plain_edges::PlainEdges;

/// The distance of what no strong reference leads to.
pub(crate) const NO_DISTANCE: i32 = -5;
/// The root's distance where there are user roots; what only the system holds counts on from here.
pub(crate) const SYSTEM_DISTANCE: i32 = 100_000_000;

/// How many looks ahead memory is asked for what no cache holds.
const AHEAD: usize = 8;

/// The outcome of the search.
pub(crate) struct Distances {
    /// For each node DevTools' number.
    pub of_node: Vec<i32>,
    /// Page objects: what is reachable from a page.
    pub page_objects: NodeSet,
}

/// Searches breadth first from the user roots, then from the root over what is left.
pub(crate) fn find(facts: &GraphFacts<'_>, plain: &PlainEdges) -> Distances {
    let nodes = facts.graph.node_count();
    let mut search = Search {
        filter: Filter::new(facts),
        facts,
        plain,
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
    plain: &'a PlainEdges,
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
            self.prefetch(next);
            next += 1;
            let distance = self.distance[node.index()] + 1;
            match self.filter.special(self.facts, node) {
                None => self.follow_plain(node, distance),
                Some(special) => self.follow_filtered(node, distance, special),
            }
        }
    }

    /// Asks memory for what the search will want to know of nodes that are some places behind
    /// `next` in the queue: they lie all over the heap.
    #[inline(always)]
    fn prefetch(&self, next: usize) {
        let columns = self.facts.graph.columns();
        if let Some(node) = self.queue.get(next + 3 * AHEAD) {
            prefetch_index(&columns.first_edge, node.index());
        }
        if let Some(node) = self.queue.get(next + 2 * AHEAD) {
            let first = columns.first_edge[node.index()] as usize;
            prefetch_index(&columns.edge_target, first);
        }
        if let Some(&node) = self.queue.get(next + AHEAD) {
            prefetch_index(&self.distance, node.index());
            for &target in &columns.edge_target[self.facts.edge_rows(node)] {
                if !self.reached.contains(target) {
                    prefetch_index(&self.distance, target.index());
                }
            }
        }
    }

    /// Follows a node's edges; only names that speak of a WeakMap can hold one back.
    fn follow_plain(&mut self, node: NodeId, distance: i32) {
        let columns = self.facts.graph.columns();
        for row in self.facts.edge_rows(node) {
            let target = columns.edge_target[row];
            if self.reached.contains(target) {
                continue;
            }
            if self.plain.contains(row) || self.passes(row, target) {
                self.reach(target, distance);
            }
        }
    }

    /// Whether the search follows an edge that is not plain; remembers the target if its name
    /// holds it back.
    #[cold]
    fn passes(&mut self, row: usize, target: NodeId) -> bool {
        let columns = self.facts.graph.columns();
        match self.facts.edge_kinds[columns.edge_type[row] as usize] {
            EdgeKind::Weak => false,
            EdgeKind::Internal => {
                let label = StringId(columns.edge_label[row]);
                let passes = self.filter.lets_weak_map_pass(self.facts, label);
                if !passes {
                    self.withheld.push(target);
                }
                passes
            }
            _ => true,
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
                    kind.has_index_label()
                        || !graph.strings().is(StringId(label), "sloppy_function_map")
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
    /// Nodes with a filter of their own. Few; a bit each, since every node is asked.
    special: NodeSet,
    /// Entries of WeakMaps met once: the value is as far as the farther of key and table.
    met: Vec<bool>,
}

impl Filter {
    fn new(facts: &GraphFacts<'_>) -> Self {
        let strings = facts.graph.strings();
        let mut is_context = NameTest::new(strings, |name| name == "system / NativeContext");
        let mut is_descriptors = NameTest::new(strings, |name| name == "(map descriptors)");
        let mut special = NodeSet::new(facts.graph.node_count());
        let names = &facts.graph.columns().node_name;
        for (node, &name) in facts.graph.nodes().zip(names) {
            let is_special = match facts.kind(node) {
                NodeKind::Hidden => is_context.passes(name),
                NodeKind::Array => is_descriptors.passes(name),
                _ => false,
            };
            if is_special {
                special.insert(node);
            }
        }
        Self {
            special,
            met: vec![false; facts.weak_maps.entries],
        }
    }

    #[inline]
    fn special(&self, facts: &GraphFacts<'_>, node: NodeId) -> Option<Special> {
        self.special.contains(node).then(|| match facts.kind(node) {
            NodeKind::Hidden => Special::NativeContext,
            _ => Special::MapDescriptors,
        })
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
