//! Immediate dominators: the semi-NCA algorithm (Georgiadis, Tarjan, Werneck, *Finding
//! Dominators in Practice*, 2006) over essential edges.
//!
//! All arrays are indexed by the number that the depth-first search gave a node, in which a
//! node stands near its neighbors and the dominator is always the smaller number.

use heapatlas_model::{EdgeKind, NodeId, StringId};
use prefetch_index::prefetch_index;

use crate::NodeSet;
use crate::graph_facts::GraphFacts;
use crate::plain_edges::PlainEdges;

/// The dominator tree, by search numbers. 0 is the root.
pub(crate) struct DominatorTree {
    /// The node of each number.
    pub node: Vec<NodeId>,
    /// The immediate dominator of each number; the root's is itself.
    pub dominator: Vec<u32>,
}

/// Finds the immediate dominator of every node. What the root does not reach hangs below it as
/// DevTools has it: what nothing refers to with all that it reaches, and every other such node alone.
pub(crate) fn find(
    facts: &GraphFacts<'_>,
    plain: &PlainEdges,
    page_objects: &NodeSet,
) -> DominatorTree {
    let edges = EssentialEdges {
        facts,
        plain,
        page_objects,
        has_pages: !page_objects.is_empty(),
    };
    let DepthFirst {
        node,
        parent,
        reached,
    } = DepthFirst::run(&edges);
    drop(reached);
    let referrers = Referrers::collect(&edges, &node, &parent);
    let semi = semidominators(&parent, referrers);
    let dominator = nearest_common_ancestors(parent, &semi);
    DominatorTree { node, dominator }
}

/// How many looks ahead memory is asked for what no cache holds.
const AHEAD: usize = 16;

/// Which edges keep their target alive for the sake of dominance (B4).
struct EssentialEdges<'a, 'g> {
    facts: &'a GraphFacts<'g>,
    plain: &'a PlainEdges,
    page_objects: &'a NodeSet,
    has_pages: bool,
}

impl EssentialEdges<'_, '_> {
    /// Calls `visit` with target and row of each essential edge of some rows, until it
    /// says stop; gives the row after the last one visited.
    #[inline(always)]
    fn visit(
        &self,
        node: NodeId,
        rows: std::ops::Range<usize>,
        mut visit: impl FnMut(NodeId, usize) -> bool,
    ) -> usize {
        let columns = self.facts.graph.columns();
        let is_root = node == self.facts.graph.root();
        let hides_pages = self.has_pages && !is_root && !self.page_objects.contains(node);
        for row in rows.clone() {
            let target = columns.edge_target[row];
            let is_essential = self.plain.contains(row) || self.is_essential(node, row);
            if is_essential
                && target != node
                && !(hides_pages && self.page_objects.contains(target))
                && visit(target, row)
            {
                return row + 1;
            }
        }
        rows.end
    }

    /// Whether an edge that is not plain keeps its target alive.
    #[cold]
    fn is_essential(&self, node: NodeId, row: usize) -> bool {
        let columns = self.facts.graph.columns();
        match self.facts.edge_kinds[columns.edge_type[row] as usize] {
            EdgeKind::Weak => false,
            EdgeKind::Shortcut => node == self.facts.graph.root(),
            EdgeKind::Internal => !self.is_weak_table(node, columns.edge_label[row]),
            _ => true,
        }
    }

    /// Whether this internal edge goes from a WeakMap's table to one of its values.
    fn is_weak_table(&self, node: NodeId, label: u32) -> bool {
        let edge = self.facts.weak_maps.get(StringId(label));
        edge.is_some_and(|edge| edge.table == self.facts.graph.object_id(node))
    }
}

/// Numbers by depth-first search.
struct DepthFirst {
    /// What has a number. A bit each, since most edges lead to what was seen before.
    reached: NodeSet,
    /// The node of each number.
    node: Vec<NodeId>,
    /// The number each number was reached from.
    parent: Vec<u32>,
}

/// What the passes over all edges ask of an edge's target. Together, since the targets lie all
/// over the heap and each is a look into memory that no cache holds.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The node's number.
    number: u32,
    /// The smallest number that refers to it.
    least: u32,
    /// How many larger numbers refer to it; later, where in the list of those the next one goes.
    referrers: u32,
}

impl DepthFirst {
    fn run(edges: &EssentialEdges<'_, '_>) -> Self {
        let graph = edges.facts.graph;
        let nodes = graph.node_count();
        let mut search = Self {
            reached: NodeSet::new(nodes),
            node: Vec::with_capacity(nodes),
            parent: Vec::with_capacity(nodes),
        };
        let mut rows = Vec::new();
        search.explore(edges, graph.root(), &mut rows);
        if search.node.len() < nodes {
            search.attach_unreachable(edges, &mut rows);
        }
        search
    }

    /// Gives the next number to a node that has none; `None` if it has.
    #[inline]
    fn reach(&mut self, node: NodeId, parent: u32) -> Option<u32> {
        if !self.reached.insert(node) {
            return None;
        }
        let number = self.node.len() as u32;
        self.node.push(node);
        self.parent.push(parent);
        Some(number)
    }

    /// Numbers `start` as a child of the root, and everything it reaches that has no number yet.
    ///
    /// `rows` is the stack: for each number on the way to the current one the row of its next
    /// edge. Whose rows these are, the parents tell.
    fn explore(&mut self, edges: &EssentialEdges<'_, '_>, start: NodeId, rows: &mut Vec<u32>) {
        let first_edge = &edges.facts.graph.columns().first_edge;
        let Some(mut from) = self.reach(start, 0) else {
            return;
        };
        rows.push(first_edge[start.index()]);
        while let Some(row) = rows.pop() {
            let node = self.node[from as usize];
            let left = row as usize..first_edge[node.index() + 1] as usize;
            let mut child = None;
            let row = edges.visit(node, left, |target, _| {
                let Some(number) = self.reach(target, from) else {
                    return false;
                };
                let first = first_edge[target.index()];
                // Nothing hangs below a leaf: the walk stays here.
                let is_leaf = first == first_edge[target.index() + 1];
                child = (!is_leaf).then_some((number, first));
                !is_leaf
            });
            match child {
                Some((number, first)) => {
                    rows.push(row as u32);
                    rows.push(first);
                    from = number;
                    self.prefetch_targets(edges, number, first);
                }
                None => from = self.parent[from as usize],
            }
        }
    }

    /// Asks memory for what the walk will want to know of the targets of a number's edges.
    #[inline(always)]
    fn prefetch_targets(&self, edges: &EssentialEdges<'_, '_>, number: u32, first: u32) {
        let columns = edges.facts.graph.columns();
        let node = self.node[number as usize];
        let last = columns.first_edge[node.index() + 1].min(first + AHEAD as u32);
        for &target in &columns.edge_target[first as usize..last as usize] {
            if !self.reached.contains(target) {
                prefetch_index(&columns.first_edge, target.index());
            }
        }
    }

    /// Hangs what the root does not reach below it. Only other unreachable nodes refer to it.
    fn attach_unreachable(&mut self, edges: &EssentialEdges<'_, '_>, rows: &mut Vec<u32>) {
        let graph = edges.facts.graph;
        let mut has_referrer = NodeSet::new(graph.node_count());
        for node in graph.nodes().filter(|&node| !self.reached.contains(node)) {
            edges.visit(node, edges.facts.edge_rows(node), |target, _| {
                has_referrer.insert(target);
                false
            });
        }
        for node in graph.nodes().filter(|&node| !has_referrer.contains(node)) {
            self.explore(edges, node, rows);
        }
        for node in graph.nodes() {
            self.reach(node, 0);
        }
    }
}

/// Who refers to each number.
struct Referrers {
    /// For each number where its referrers begin in `larger`; then how many there are.
    first: Vec<u32>,
    /// For each number the larger ones that refer to it.
    larger: Vec<u32>,
    /// For each number the smallest one that refers to it. (An edge to a larger number goes down
    /// the search tree, so only the smallest source counts.)
    least: Vec<u32>,
}

impl Referrers {
    /// A counting sort of the edges that go to smaller numbers. Both passes go over the edges in
    /// the file's order, from front to back; the second one only over those that count.
    fn collect(edges: &EssentialEdges<'_, '_>, node: &[NodeId], parent: &[u32]) -> Self {
        let mut slots = vec![Slot::default(); node.len()];
        let mut numbers = (0..).zip(parent);
        for_each_slot(node, &mut slots, |slot| {
            let next = numbers.next().expect("as many parents as nodes");
            (slot.number, slot.least) = (next.0, *next.1);
        });
        let goes_up = count_referrers(edges, &mut slots);
        let mut first = Vec::with_capacity(node.len() + 1);
        let mut sum = 0;
        for_each_slot(node, &mut slots, |slot| {
            first.push(sum);
            sum += std::mem::replace(&mut slot.referrers, sum);
        });
        first.push(sum);
        let larger = list_referrers(edges, &goes_up, &mut slots, sum as usize);
        let mut least = Vec::with_capacity(node.len());
        for_each_slot(node, &mut slots, |slot| least.push(slot.least));
        Self {
            first,
            larger,
            least,
        }
    }
}

/// Calls `visit` for every number's slot, smallest number first.
#[inline(always)]
fn for_each_slot(node: &[NodeId], slots: &mut [Slot], mut visit: impl FnMut(&mut Slot)) {
    for (number, at) in node.iter().enumerate() {
        if let Some(later) = node.get(number + AHEAD) {
            prefetch_index(&*slots, later.index());
        }
        visit(&mut slots[at.index()]);
    }
}

/// Counts for each node the larger numbers that refer to it and finds the smallest number that
/// does. Gives a bit for each edge, set where it goes to a smaller number.
fn count_referrers(edges: &EssentialEdges<'_, '_>, slots: &mut [Slot]) -> Vec<u64> {
    let targets = &edges.facts.graph.columns().edge_target;
    let mut goes_up = vec![0_u64; targets.len().div_ceil(64)];
    for node in edges.facts.graph.nodes() {
        let from = slots[node.index()].number;
        for row in edges.facts.edge_rows(node) {
            if let Some(target) = targets.get(row + AHEAD) {
                prefetch_index(&*slots, target.index());
            }
        }
        edges.visit(node, edges.facts.edge_rows(node), |target, row| {
            let slot = &mut slots[target.index()];
            if slot.number < from {
                slot.referrers += 1;
                goes_up[row / 64] |= 1 << (row % 64);
            } else if from < slot.least {
                slot.least = from;
            }
            false
        });
    }
    goes_up
}

/// Lists for each node the larger numbers that refer to it, from where its slot says.
fn list_referrers(
    edges: &EssentialEdges<'_, '_>,
    goes_up: &[u64],
    slots: &mut [Slot],
    count: usize,
) -> Vec<u32> {
    let targets = &edges.facts.graph.columns().edge_target;
    let is_set = |row: usize| goes_up[row / 64] >> (row % 64) & 1 != 0;
    let mut larger = vec![0_u32; count];
    for node in edges.facts.graph.nodes() {
        let from = slots[node.index()].number;
        for row in edges.facts.edge_rows(node) {
            let ahead = row + AHEAD;
            if ahead < targets.len() && is_set(ahead) {
                prefetch_index(&*slots, targets[ahead].index());
            }
            if is_set(row) {
                let slot = &mut slots[targets[row].index()];
                larger[slot.referrers as usize] = from;
                slot.referrers += 1;
            }
        }
    }
    larger
}

/// A vertex of the forest that grows while semidominators are found.
#[derive(Clone, Copy)]
struct Link {
    /// An ancestor; the path to it was compressed.
    ancestor: u32,
    /// The smallest semidominator on the path to that ancestor, without it.
    least: u32,
}

/// The semidominator of each number, from the largest number down.
fn semidominators(parent: &[u32], referrers: Referrers) -> Vec<u32> {
    let Referrers {
        first,
        larger,
        least: mut semi,
    } = referrers;
    let unlinked = |&ancestor: &u32| Link {
        ancestor,
        least: u32::MAX,
    };
    let mut links: Vec<Link> = parent.iter().map(unlinked).collect();
    let mut path = Vec::new();
    for number in (1..parent.len()).rev() {
        let mut least = semi[number];
        for at in (first[number] as usize..first[number + 1] as usize).rev() {
            if let Some(ahead) = at.checked_sub(AHEAD) {
                prefetch_index(&links, larger[ahead] as usize);
            }
            least = least.min(evaluate(&mut links, larger[at], number as u32, &mut path));
        }
        semi[number] = least;
        links[number].least = least;
    }
    semi
}

/// The smallest semidominator on the tree path from `from` up to, not including, the first
/// number not above `limit`; compresses the path.
#[inline]
fn evaluate(links: &mut [Link], from: u32, limit: u32, path: &mut Vec<u32>) -> u32 {
    let link = links[from as usize];
    if link.ancestor <= limit {
        return link.least;
    }
    let above = links[link.ancestor as usize];
    if above.ancestor <= limit {
        let least = link.least.min(above.least);
        links[from as usize] = Link {
            ancestor: above.ancestor,
            least,
        };
        return least;
    }
    path.clear();
    let mut at = from;
    while links[at as usize].ancestor > limit {
        path.push(at);
        at = links[at as usize].ancestor;
    }
    let Link {
        ancestor,
        mut least,
    } = links[at as usize];
    for &below in path.iter().rev() {
        least = least.min(links[below as usize].least);
        links[below as usize] = Link { ancestor, least };
    }
    least
}

/// The immediate dominator is the nearest ancestor in the dominator tree whose number does not
/// exceed the semidominator.
///
/// Climbing one step at a time is fastest on real heaps but quadratic on hostile ones, so the
/// climb has a budget; past it, jumps of growing length (Myers' skew-binary ancestors) keep each
/// climb logarithmic.
fn nearest_common_ancestors(mut dominator: Vec<u32>, semi: &[u32]) -> Vec<u32> {
    let budget = 32 * semi.len() + 1024;
    let mut steps = 0;
    for number in 1..semi.len() {
        let mut at = dominator[number];
        while at > semi[number] {
            at = dominator[at as usize];
            steps += 1;
        }
        dominator[number] = at;
        if steps > budget {
            climb_by_jumps(&mut dominator, semi, number + 1);
            break;
        }
    }
    dominator
}

fn climb_by_jumps(dominator: &mut [u32], semi: &[u32], first: usize) {
    let mut jump = vec![0_u32; semi.len()];
    let mut depth = vec![0_u32; semi.len()];
    for number in 1..semi.len() {
        if number >= first {
            let mut at = dominator[number];
            while at > semi[number] {
                let far = jump[at as usize];
                at = if far > semi[number] {
                    far
                } else {
                    dominator[at as usize]
                };
            }
            dominator[number] = at;
        }
        let above = dominator[number] as usize;
        depth[number] = depth[above] + 1;
        let far = jump[above] as usize;
        let is_even = depth[above] - depth[far] == depth[far] - depth[jump[far] as usize];
        jump[number] = if is_even && above != 0 {
            jump[far]
        } else {
            above as u32
        };
    }
}
