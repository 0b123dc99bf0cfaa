//! Charges an object with the backing stores that it alone owns (B5 of DevTools' rules):
//! an array's elements, a string's external text, hidden tables.

use heapatlas_model::{NodeId, NodeKind, UintColumn};

use crate::NodeSet;
use crate::graph_facts::GraphFacts;
use crate::name_test::NameTest;

/// Nobody has claimed it.
const UNOWNED: u32 = u32::MAX;
/// At least two have.
const SHARED: u32 = u32::MAX - 1;

/// Every node's own bytes after the transfer. The sum stays the same.
pub(crate) fn transfer(facts: &GraphFacts<'_>) -> UintColumn {
    let mut sizes = facts.graph.columns().self_size.clone();
    if facts.user_roots.is_empty() {
        return sizes;
    }
    let candidates = candidates(facts);
    let owners = find_owners(facts, &candidates);
    for node in candidates.iter() {
        let owner = owners[node.index()];
        if owner == UNOWNED || owner == SHARED {
            continue;
        }
        let owner = NodeId(owner);
        let size = sizes.get(node.index());
        let may_own = owner != facts.graph.root() && facts.kind(owner) != NodeKind::Synthetic;
        if may_own && size > 0 {
            sizes.set(node.index(), 0);
            sizes.add(owner.index(), size);
        }
    }
    sizes
}

/// Nodes that may belong to another.
fn candidates(facts: &GraphFacts<'_>) -> NodeSet {
    let mut is_external_data = NameTest::new(facts.graph.strings(), |name| {
        name == "system / ExternalStringData"
    });
    let columns = facts.graph.columns();
    let mut candidates = NodeSet::new(facts.graph.node_count());
    for node in facts.graph.nodes() {
        let is_candidate = match facts.kind(node) {
            NodeKind::Hidden | NodeKind::Array => true,
            NodeKind::Native => is_external_data.passes(columns.node_name[node.index()]),
            _ => false,
        };
        if is_candidate {
            candidates.insert(node);
        }
    }
    candidates
}

/// Spreads ownership from every node that owns itself. A candidate's state changes at most
/// twice (claimed, then shared), so this ends.
fn find_owners(facts: &GraphFacts<'_>, candidates: &NodeSet) -> Vec<u32> {
    let mut claims = Claims {
        owners: vec![UNOWNED; facts.graph.node_count()],
        changed: Vec::new(),
    };
    for node in facts.graph.nodes() {
        if !candidates.contains(node) {
            claims.spread(facts, candidates, node, node.0);
        }
    }
    while let Some(node) = claims.changed.pop() {
        let owner = claims.owners[node.index()];
        claims.spread(facts, candidates, node, owner);
    }
    claims.owners
}

struct Claims {
    owners: Vec<u32>,
    changed: Vec<NodeId>,
}

impl Claims {
    /// Claims the candidates that a node refers to.
    #[inline]
    fn spread(&mut self, facts: &GraphFacts<'_>, candidates: &NodeSet, node: NodeId, owner: u32) {
        let columns = facts.graph.columns();
        let rows = facts.edge_rows(node);
        let kinds = &columns.edge_type[rows.clone()];
        for (&kind, &target) in kinds.iter().zip(&columns.edge_target[rows]) {
            if !candidates.contains(target) || facts.is_weak[kind as usize] {
                continue;
            }
            let state = &mut self.owners[target.index()];
            if *state == owner || *state == SHARED {
                continue;
            }
            *state = if *state == UNOWNED { owner } else { SHARED };
            self.changed.push(target);
        }
    }
}
