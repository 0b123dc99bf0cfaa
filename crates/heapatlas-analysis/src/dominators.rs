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
    let search = DepthFirst::run(&edges);
    let incoming = Incoming::collect(&edges, &search);
    let DepthFirst {
        node,
        parent,
        forward,
        ..
    } = search;
    let semi = semidominators(&parent, forward, &incoming);
    drop(incoming);
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

/// Not yet numbered.
const UNNUMBERED: u32 = u32::MAX;

/// Numbers by depth-first search.
struct DepthFirst {
    /// The node of each number.
    node: Vec<NodeId>,
    /// The number of each node.
    number: Vec<u32>,
    /// The number each number was reached from.
    parent: Vec<u32>,
    /// The smallest number with an edge down the tree to this number, its parent included.
    forward: Vec<u32>,
    /// How many edges come from larger numbers, by number; shifted by one for the prefix sum.
    incoming: Vec<u32>,
}

impl DepthFirst {
    fn run(edges: &EssentialEdges<'_, '_>) -> Self {
        let graph = edges.facts.graph;
        let nodes = graph.node_count();
        let mut search = Self {
            node: Vec::with_capacity(nodes),
            number: vec![UNNUMBERED; nodes],
            parent: Vec::with_capacity(nodes),
            forward: Vec::with_capacity(nodes),
            incoming: vec![0; nodes + 1],
        };
        let mut stack = Vec::new();
        search.explore(edges, graph.root(), &mut stack);
        if search.node.len() < nodes {
            search.attach_unreachable(edges, &mut stack);
        }
        search
    }

    fn give_number(&mut self, node: NodeId, parent: u32) -> u32 {
        let number = self.node.len() as u32;
        self.number[node.index()] = number;
        self.node.push(node);
        self.parent.push(parent);
        self.forward.push(parent);
        number
    }

    /// Numbers `start` as a child of the root, and everything it reaches that has no number yet.
    fn explore(
        &mut self,
        edges: &EssentialEdges<'_, '_>,
        start: NodeId,
        stack: &mut Vec<(u32, u32)>,
    ) {
        let first_edge = &edges.facts.graph.columns().first_edge;
        let number = self.give_number(start, 0);
        stack.push((number, first_edge[start.index()]));
        while let Some((from, row)) = stack.pop() {
            let node = self.node[from as usize];
            let rows = row as usize..first_edge[node.index() + 1] as usize;
            let mut child = None;
            let row = edges.visit(node, rows, |target| {
                let to = self.number[target.index()];
                if to == UNNUMBERED {
                    let number = self.give_number(target, from);
                    let first = first_edge[target.index()];
                    // Nothing hangs below a leaf: the walk stays here.
                    let is_leaf = first == first_edge[target.index() + 1];
                    child = (!is_leaf).then_some((number, first));
                    return !is_leaf;
                }
                if to < from {
                    self.incoming[to as usize + 1] += 1;
                } else {
                    let forward = &mut self.forward[to as usize];
                    *forward = from.min(*forward);
                }
                false
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
        for node in graph
            .nodes()
            .filter(|node| self.number[node.index()] == UNNUMBERED)
        {
            edges.visit(node, edges.facts.edge_rows(node), |target| {
                has_referrer.insert(target);
                false
            });
        }
        for node in graph.nodes() {
            if self.number[node.index()] == UNNUMBERED && !has_referrer.contains(node) {
                self.explore(edges, node, stack);
            }
        }
        let first_alone = self.node.len();
        for node in graph.nodes() {
            if self.number[node.index()] == UNNUMBERED {
                self.give_number(node, 0);
            }
        }
        for from in first_alone..self.node.len() {
            let node = self.node[from];
            edges.visit(node, edges.facts.edge_rows(node), |target| {
                let to = self.number[target.index()];
                // The others hang below the root by themselves, whoever refers to them.
                if to < from as u32 {
                    self.incoming[to as usize + 1] += 1;
                }
                false
            });
        }
    }
}

/// For each number the larger numbers that refer to it.
struct Incoming {
    first: Vec<u32>,
    from: Vec<u32>,
}

impl Incoming {
    /// A counting sort of the edges that go to smaller numbers.
    fn collect(edges: &EssentialEdges<'_, '_>, search: &DepthFirst) -> Self {
        // `incoming[n + 1]` holds the count of n. After this loop `next[n + 1]` is where n begins, and
        // filling moves it to where n ends, which is where n + 1 begins.
        let mut next = search.incoming.clone();
        let mut sum = 0;
        for slot in &mut next {
            let count = *slot;
            *slot = sum;
            sum += count;
        }
        let mut from = vec![0_u32; sum as usize];
        // In the file's order, so that the edges are read from front to back.
        for node in edges.facts.graph.nodes() {
            let number = search.number[node.index()];
            edges.visit(node, edges.facts.edge_rows(node), |target| {
                let to = search.number[target.index()];
                if to < number {
                    let slot = &mut next[to as usize + 1];
                    from[*slot as usize] = number;
                    *slot += 1;
                }
                false
            });
        }
        Self { first: next, from }
    }

    #[inline]
    fn of(&self, number: u32) -> &[u32] {
        let first = self.first[number as usize] as usize;
        let end = self.first[number as usize + 1] as usize;
        &self.from[first..end]
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
fn semidominators(parent: &[u32], mut semi: Vec<u32>, incoming: &Incoming) -> Vec<u32> {
    let mut links: Vec<Link> = parent
        .iter()
        .map(|&parent| Link {
            ancestor: parent,
            least: UNNUMBERED,
        })
        .collect();
    let mut path = Vec::new();
    for number in (1..parent.len() as u32).rev() {
        let mut least = semi[number as usize];
        for &from in incoming.of(number) {
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
