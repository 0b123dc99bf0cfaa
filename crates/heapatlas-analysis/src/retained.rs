//! Retained sizes, and the dominator tree in an order in which every subtree is a range.

use heapatlas_model::{NodeId, UintColumn};

use crate::dominators::DominatorTree;

/// The dominator tree, parents before children and every subtree together.
#[derive(Debug, Default)]
pub(crate) struct DominatorOrder {
    /// The node of each position.
    pub order: Vec<NodeId>,
    /// For each position the one after its subtree.
    pub subtree_end: Vec<u32>,
}

/// Figures of the dominator tree, by node.
pub(crate) struct Retained {
    pub bytes: UintColumn,
    pub dominator: Vec<NodeId>,
    pub order: DominatorOrder,
}

/// Sums shallow sizes up the dominator tree.
pub(crate) fn sum_up(tree: &DominatorTree, shallow: &UintColumn) -> Retained {
    Retained {
        bytes: retained_bytes(tree, shallow),
        dominator: dominators_by_node(tree),
        order: order(tree),
    }
}

fn retained_bytes(tree: &DominatorTree, shallow: &UintColumn) -> UintColumn {
    let mut sums: Vec<u64> = tree
        .node
        .iter()
        .map(|node| shallow.get(node.index()))
        .collect();
    for number in (1..sums.len()).rev() {
        let above = tree.dominator[number] as usize;
        sums[above] = sums[above].saturating_add(sums[number]);
    }
    // The root's is the largest: if it fits 32 bits, all do.
    let mut bytes = UintColumn::zeros(sums.len());
    match &mut bytes {
        UintColumn::Narrow(values) if sums[0] <= u64::from(u32::MAX) => {
            for (node, &sum) in tree.node.iter().zip(&sums) {
                values[node.index()] = sum as u32;
            }
        }
        _ => {
            for (node, &sum) in tree.node.iter().zip(&sums) {
                bytes.set(node.index(), sum);
            }
        }
    }
    bytes
}

fn dominators_by_node(tree: &DominatorTree) -> Vec<NodeId> {
    let mut dominator = vec![NodeId(0); tree.node.len()];
    for (node, &above) in tree.node.iter().zip(&tree.dominator) {
        dominator[node.index()] = tree.node[above as usize];
    }
    dominator
}

/// Positions without a walk: subtree sizes from the last number up, then each node takes the
/// next free place in its dominator's range.
fn order(tree: &DominatorTree) -> DominatorOrder {
    let count = tree.node.len();
    let mut size = vec![1_u32; count];
    for number in (1..count).rev() {
        size[tree.dominator[number] as usize] += size[number];
    }
    let mut order = vec![NodeId(0); count];
    let mut subtree_end = vec![0_u32; count];
    // The next free position in the range of each number's children.
    let mut free = vec![0_u32; count];
    for number in 0..count {
        let position = if number == 0 {
            0
        } else {
            let slot = &mut free[tree.dominator[number] as usize];
            let position = *slot;
            *slot += size[number];
            position
        };
        free[number] = position + 1;
        order[position as usize] = tree.node[number];
        subtree_end[position as usize] = position + size[number];
    }
    DominatorOrder { order, subtree_end }
}
