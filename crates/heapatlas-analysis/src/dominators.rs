//! Immediate dominators: the semi-NCA algorithm (Georgiadis, Tarjan, Werneck, *Finding
//! Dominators in Practice*, 2006) over essential edges.
//!
//! All arrays are indexed by the number that the depth-first search gave a node, in which a
//! node stands near its neighbors and the dominator is always the smaller number.

use heapatlas_model::{EdgeKind, NodeId, StringId};

use crate::NodeSet;
use crate::graph_facts::GraphFacts;

/// The dominator tree, by search numbers. 0 is the root.
pub(crate) struct DominatorTree {
    /// The node of each number.
    pub node: Vec<NodeId>,
    /// The immediate dominator of each number; the root's is itself.
    pub dominator: Vec<u32>,
}

/// Finds the immediate dominator of every node. What the root does not reach hangs below it as
/// DevTools has it: what nothing refers to with all that it reaches, and every other such node alone.
pub(crate) fn find(facts: &GraphFacts<'_>, page_objects: &NodeSet) -> DominatorTree {
    let edges = EssentialEdges {
        facts,
        page_objects,
        has_pages: !page_objects.is_empty(),
    };
    let DepthFirst {
        node,
        parent,
        mut slots,
        ..
    } = DepthFirst::run(&edges);
    let referrers = collect_referrers(&edges, &mut slots);
    let semi = semidominators(&node, &parent, &slots, &referrers);
    drop((slots, referrers));
    let dominator = nearest_common_ancestors(parent, &semi);
    DominatorTree { node, dominator }
}

/// Which edges keep their target alive for the sake of dominance (B4).
struct EssentialEdges<'a, 'g> {
    facts: &'a GraphFacts<'g>,
    page_objects: &'a NodeSet,
    has_pages: bool,
}

impl EssentialEdges<'_, '_> {
    /// Calls `visit` with the target of each essential edge of the rows from `row` on, until it
    /// says stop; gives the row after the last one visited.
    #[inline(always)]
    fn visit(
        &self,
        node: NodeId,
        rows: std::ops::Range<usize>,
        mut visit: impl FnMut(NodeId) -> bool,
    ) -> usize {
        let columns = self.facts.graph.columns();
        let is_root = node == self.facts.graph.root();
        let hides_pages = self.has_pages && !is_root && !self.page_objects.contains(node);
        for row in rows.clone() {
            let target = columns.edge_target[row];
            let kind = self.facts.edge_kinds[columns.edge_type[row] as usize];
            let is_essential = match kind {
                EdgeKind::Weak => false,
                EdgeKind::Shortcut => is_root,
                EdgeKind::Internal => !self.is_weak_table(node, columns.edge_label[row]),
                _ => true,
            };
            if is_essential
                && target != node
                && !(hides_pages && self.page_objects.contains(target))
                && visit(target)
            {
                return row + 1;
            }
        }
        rows.end
    }

    /// Whether this internal edge goes from a WeakMap's table to one of its values.
    #[inline]
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
    /// By node.
    slots: Vec<Slot>,
}

/// What the passes over all edges ask of an edge's target. Together, since the targets lie all
/// over the heap and each is a look into memory that no cache holds.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The node's number.
    number: u32,
    /// The smallest number that refers to it.
    least: u32,
    /// How many larger numbers refer to it; later, where the list of those ends.
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
            slots: vec![Slot::default(); nodes],
        };
        let mut stack = Vec::new();
        search.explore(edges, graph.root(), &mut stack);
        if search.node.len() < nodes {
            search.attach_unreachable(edges, &mut stack);
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
        self.slots[node.index()] = Slot {
            number,
            least: parent,
            referrers: 0,
        };
        self.node.push(node);
        self.parent.push(parent);
        Some(number)
    }

    /// Numbers `start` as a child of the root, and everything it reaches that has no number yet.
    fn explore(
        &mut self,
        edges: &EssentialEdges<'_, '_>,
        start: NodeId,
        stack: &mut Vec<(u32, u32)>,
    ) {
        let first_edge = &edges.facts.graph.columns().first_edge;
        let Some(number) = self.reach(start, 0) else {
            return;
        };
        stack.push((number, first_edge[start.index()]));
        while let Some((from, row)) = stack.pop() {
            let node = self.node[from as usize];
            let rows = row as usize..first_edge[node.index() + 1] as usize;
            let mut child = None;
            let row = edges.visit(node, rows, |target| {
                let Some(number) = self.reach(target, from) else {
                    return false;
                };
                let first = first_edge[target.index()];
                // Nothing hangs below a leaf: the walk stays here.
                let is_leaf = first == first_edge[target.index() + 1];
                child = (!is_leaf).then_some((number, first));
                !is_leaf
            });
            if let Some(child) = child {
                stack.push((from, row as u32));
                stack.push(child);
            }
        }
    }

    /// Hangs what the root does not reach below it. Only other unreachable nodes refer to it.
    fn attach_unreachable(&mut self, edges: &EssentialEdges<'_, '_>, stack: &mut Vec<(u32, u32)>) {
        let graph = edges.facts.graph;
        let mut has_referrer = NodeSet::new(graph.node_count());
        for node in graph.nodes().filter(|&node| !self.reached.contains(node)) {
            edges.visit(node, edges.facts.edge_rows(node), |target| {
                has_referrer.insert(target);
                false
            });
        }
        for node in graph.nodes().filter(|&node| !has_referrer.contains(node)) {
            self.explore(edges, node, stack);
        }
        for node in graph.nodes() {
            self.reach(node, 0);
        }
    }
}

/// A counting sort of the edges that go to smaller numbers: for each node, in the file's order,
/// the numbers that refer to it. Beside it, in the slots, the smallest number that refers to a
/// node. (An edge to a larger number goes down the search tree, so only the smallest source counts.)
///
/// Both passes go over the edges in the file's order, from front to back.
fn collect_referrers(edges: &EssentialEdges<'_, '_>, slots: &mut [Slot]) -> Vec<u32> {
    for_each_edge(edges, slots, |from, target| {
        if target.number < from {
            target.referrers += 1;
        } else if from < target.least {
            target.least = from;
        }
    });
    let mut sum = 0;
    for slot in slots.iter_mut() {
        let count = slot.referrers;
        slot.referrers = sum;
        sum += count;
    }
    let mut referrers = vec![0_u32; sum as usize];
    for_each_edge(edges, slots, |from, target| {
        if target.number < from {
            referrers[target.referrers as usize] = from;
            target.referrers += 1;
        }
    });
    referrers
}

/// Calls `visit` for every essential edge, with the number it comes from and its target's slot.
#[inline(always)]
fn for_each_edge(
    edges: &EssentialEdges<'_, '_>,
    slots: &mut [Slot],
    mut visit: impl FnMut(u32, &mut Slot),
) {
    for node in edges.facts.graph.nodes() {
        let from = slots[node.index()].number;
        edges.visit(node, edges.facts.edge_rows(node), |target| {
            visit(from, &mut slots[target.index()]);
            false
        });
    }
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
fn semidominators(node: &[NodeId], parent: &[u32], slots: &[Slot], referrers: &[u32]) -> Vec<u32> {
    let unlinked = |&ancestor: &u32| Link {
        ancestor,
        least: u32::MAX,
    };
    let mut links: Vec<Link> = parent.iter().map(unlinked).collect();
    let mut semi = vec![0; parent.len()];
    let mut path = Vec::new();
    for number in (1..parent.len() as u32).rev() {
        let node = node[number as usize].index();
        let first = if node == 0 {
            0
        } else {
            slots[node - 1].referrers
        };
        let mut least = slots[node].least;
        for &from in &referrers[first as usize..slots[node].referrers as usize] {
            least = least.min(evaluate(&mut links, from, number, &mut path));
        }
        semi[number as usize] = least;
        links[number as usize].least = least;
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
