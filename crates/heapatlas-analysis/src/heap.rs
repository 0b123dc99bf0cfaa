//! A graph with its figures.

use std::sync::OnceLock;

use heapatlas_model::{HeapGraph, NodeId, SnapshotFormat, UintColumn};
use prefetch_index::prefetch_index;

use crate::classes::Classes;
use crate::detachedness::Detachedness;
use crate::display_name::display_name;
use crate::distances::{self, NO_DISTANCE, SYSTEM_DISTANCE};
use crate::graph_facts::GraphFacts;
use crate::inspect::LocationIndex;
use crate::interfaces::Interfaces;
use crate::plain_edges::PlainEdges;
use crate::retained::{self, DominatorOrder, Retained};
use crate::statistics::statistics;
use crate::{Statistics, dominators, owned_sizes};

/// A class of objects within one [`Heap`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClassId(pub u32);

/// A class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Class {
    /// The name shown.
    pub name: String,
    /// What tells two classes of one name apart; equal in all snapshots of one process.
    pub key: String,
}

/// Which figures to compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figures {
    /// Classes, counts and shallow sizes: the first table.
    Shallow,
    /// Distances, dominators and retained sizes as well.
    All,
}

/// By which rules to compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// Whether an object is charged with the backing stores it alone owns (DevTools' way since 2024).
    pub owned_sizes: bool,
    /// Whether classes of one name are one class, wherever they were defined, and plain objects
    /// are `Object`, whatever properties they have (DevTools' way before 2024).
    pub class_by_name: bool,
    /// Which figures.
    pub figures: Figures,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            owned_sizes: true,
            class_by_name: false,
            figures: Figures::All,
        }
    }
}

/// A graph with its figures.
#[derive(Debug)]
pub struct Heap {
    graph: HeapGraph,
    options: OpenOptions,
    detachedness: Detachedness,
    classes: Classes,
    shallow: UintColumn,
    total_bytes: u64,
    /// None when only the first table was asked for.
    tree: Option<TreeFigures>,
    /// Made when somebody looks at an object.
    locations: OnceLock<LocationIndex>,
}

/// Figures that need the whole graph to be walked.
#[derive(Debug)]
struct TreeFigures {
    distance: Vec<i32>,
    dominator: Vec<NodeId>,
    retained: UintColumn,
    order: DominatorOrder,
}

impl Heap {
    /// Computes the figures, on as many threads as the pool has.
    pub fn open(graph: HeapGraph, options: OpenOptions) -> Self {
        let detachedness = Detachedness::find(&graph);
        let facts = GraphFacts::new(&graph);
        let names_and_sizes = || {
            let by_name = options.class_by_name;
            let sizes = own_sizes(&facts, options);
            let classes = Classes::assign(&graph, &detachedness, by_name, None);
            // That was the last look at all texts; few will be shown.
            graph.strings().page_out();
            (sizes, classes)
        };
        let paths_and_tree = || {
            let plain = PlainEdges::find(&facts);
            let distances = distances::find(&facts, &plain);
            let tree = dominators::find(&facts, &plain, &distances.page_objects);
            (distances.of_node, tree)
        };
        let (shallow, classes, walked) = match options.figures {
            Figures::Shallow => {
                let (shallow, classes) = names_and_sizes();
                (shallow, classes, None)
            }
            Figures::All => {
                let ((shallow, classes), walked) = rayon::join(names_and_sizes, paths_and_tree);
                (shallow, classes, Some(walked))
            }
        };
        let tree = walked.map(|(distance, tree)| {
            let Retained {
                bytes: retained,
                dominator,
                order,
            } = retained::sum_up(&tree, &shallow);
            TreeFigures {
                distance,
                dominator,
                retained,
                order,
            }
        });
        drop(facts);
        let extra = graph.v8().and_then(|v8| v8.extra_native_bytes).unwrap_or(0);
        // Everything hangs below the root, so the sum of all sizes is what the root retains.
        let total_bytes = shallow.sum().saturating_add(extra);
        Self {
            graph,
            options,
            detachedness,
            classes,
            shallow,
            total_bytes,
            tree,
            locations: OnceLock::new(),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &HeapGraph {
        &self.graph
    }

    /// The rules by which the figures were computed.
    pub fn options(&self) -> OpenOptions {
        self.options
    }

    /// The classes in order of first appearance.
    pub fn classes(&self) -> &[Class] {
        &self.classes.table
    }

    /// A node's class.
    pub fn class_of(&self, node: NodeId) -> ClassId {
        self.classes.class_of[node.index()]
    }

    /// A class.
    pub fn class(&self, class: ClassId) -> &Class {
        &self.classes()[class.0 as usize]
    }

    /// The interfaces by which plain objects were told apart.
    pub fn interfaces(&self) -> &Interfaces {
        &self.classes.interfaces
    }

    /// The classes with everything that belongs to them.
    pub(crate) fn class_assignment(&self) -> &Classes {
        &self.classes
    }

    /// Source positions by node.
    pub(crate) fn location_index(&self) -> &LocationIndex {
        self.locations
            .get_or_init(|| LocationIndex::new(&self.graph))
    }

    /// A node's own bytes, with what it owns.
    pub fn shallow_bytes(&self, node: NodeId) -> u64 {
        self.shallow.get(node.index())
    }

    /// All nodes' own bytes, with what they own.
    pub fn shallow_column(&self) -> &UintColumn {
        &self.shallow
    }

    /// Whether distances, dominators and retained sizes are known.
    pub fn has_tree(&self) -> bool {
        self.tree.is_some()
    }

    /// What would go if the node went.
    ///
    /// # Panics
    /// When the heap was opened for the first table only.
    pub fn retained_bytes(&self, node: NodeId) -> u64 {
        self.tree().retained.get(node.index())
    }

    /// Asks memory for a node's sizes, which will be wanted soon.
    #[inline(always)]
    pub(crate) fn prefetch_sizes(&self, node: NodeId) {
        for sizes in [&self.shallow, &self.tree().retained] {
            match sizes {
                UintColumn::Narrow(sizes) => prefetch_index(sizes, node.index()),
                UintColumn::Wide(sizes) => prefetch_index(sizes, node.index()),
            }
        }
    }

    /// Steps from the nearest user root; `None` where DevTools shows none.
    pub fn distance(&self, node: NodeId) -> Option<u32> {
        let distance = self.raw_distance(node);
        (0..SYSTEM_DISTANCE)
            .contains(&distance)
            .then_some(distance.cast_unsigned())
    }

    /// DevTools' number: -5 for what no strong reference leads to, from 100,000,000 on for what
    /// only the system holds. -5 everywhere when the heap was opened for the first table only.
    pub fn raw_distance(&self, node: NodeId) -> i32 {
        self.tree
            .as_ref()
            .map_or(NO_DISTANCE, |tree| tree.distance[node.index()])
    }

    /// The immediate dominator; the root's is the root.
    ///
    /// # Panics
    /// When the heap was opened for the first table only.
    pub fn dominator(&self, node: NodeId) -> NodeId {
        self.tree().dominator[node.index()]
    }

    /// The dominator tree in an order in which every subtree is a range.
    pub(crate) fn dominator_order(&self) -> &DominatorOrder {
        &self.tree().order
    }

    /// 0 unknown, 1 attached, 2 detached.
    pub fn detachedness(&self, node: NodeId) -> u8 {
        self.detachedness.state(node)
    }

    /// Which nodes are part of a document.
    pub(crate) fn detached_states(&self) -> &Detachedness {
        &self.detachedness
    }

    /// A node's name as DevTools shows it in a row.
    pub fn display_name(&self, node: NodeId) -> String {
        display_name(&self.graph, &self.detachedness, node)
    }

    /// Everything the root retains, plus what the embedder holds outside of nodes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Where the bytes are; `None` for formats without these groups.
    pub fn statistics(&self) -> Option<Statistics> {
        let is_v8 = self.graph.format() == SnapshotFormat::V8;
        is_v8.then(|| statistics(&self.graph, &self.shallow, self.total_bytes))
    }

    fn tree(&self) -> &TreeFigures {
        self.tree
            .as_ref()
            .expect("the heap was opened with Figures::All")
    }
}

fn own_sizes(facts: &GraphFacts<'_>, options: OpenOptions) -> UintColumn {
    if options.owned_sizes {
        owned_sizes::transfer(facts)
    } else {
        facts.graph.columns().self_size.clone()
    }
}
