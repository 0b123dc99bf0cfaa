//! A set of nodes, one bit each.

use heapatlas_model::NodeId;

/// A set of nodes of one graph.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeSet {
    words: Vec<u64>,
    nodes: usize,
}

impl NodeSet {
    /// No node out of `nodes`.
    pub fn new(nodes: usize) -> Self {
        Self {
            words: vec![0; nodes.div_ceil(64)],
            nodes,
        }
    }

    /// How many nodes the graph has.
    pub fn universe(&self) -> usize {
        self.nodes
    }

    /// Whether the node is in the set.
    #[inline]
    pub fn contains(&self, node: NodeId) -> bool {
        self.words[node.index() / 64] >> (node.index() % 64) & 1 != 0
    }

    /// Adds a node; whether it is new.
    #[inline]
    pub fn insert(&mut self, node: NodeId) -> bool {
        let word = &mut self.words[node.index() / 64];
        let bit = 1 << (node.index() % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Takes a node out.
    #[inline]
    pub fn remove(&mut self, node: NodeId) {
        self.words[node.index() / 64] &= !(1 << (node.index() % 64));
    }

    /// Number of nodes in the set.
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The nodes in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            std::iter::successors(Some(word), |&rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|&rest| rest != 0)
                .map(move |rest| NodeId((at * 64) as u32 + rest.trailing_zeros()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_removes_and_iterates() {
        let mut set = NodeSet::new(130);
        assert!(set.insert(NodeId(129)) && set.insert(NodeId(0)) && set.insert(NodeId(64)));
        assert!(!set.insert(NodeId(64)));
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [NodeId(0), NodeId(64), NodeId(129)]
        );
        set.remove(NodeId(64));
        assert_eq!((set.count(), set.contains(NodeId(64))), (2, false));
    }
}
