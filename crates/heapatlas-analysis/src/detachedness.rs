//! Which nodes belong to a document and which were taken out of theirs.

use heapatlas_model::{EdgeKind, HeapGraph, NodeId, NodeKind};

use crate::name_test::NameTest;

/// Part of a document.
pub(crate) const ATTACHED: u8 = 1;
/// Once part of a document, and no longer.
pub(crate) const DETACHED: u8 = 2;

/// The bits of a state that hold its value; the rest are flags of this module.
const VALUE: u8 = 0b0011_1111;
const IS_VISITED: u8 = 0b0100_0000;
const IS_RENAMED: u8 = 0b1000_0000;

/// For each node whether it belongs to a document, as DevTools spreads the word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detachedness {
    /// One byte a node; empty when no node has a state.
    states: Vec<u8>,
}

impl Detachedness {
    /// Spreads the states that the file gives from native node to native node. Where the file
    /// has no such column, the writer has put `Detached ` in front of names instead.
    pub fn find(graph: &HeapGraph) -> Self {
        match graph.v8().and_then(|v8| v8.detachedness.as_ref()) {
            None => Self::from_names(graph),
            Some(column) if column.marked.is_empty() => Self::default(),
            Some(column) => Self::spread(graph, &column.marked),
        }
    }

    /// 0 unknown, 1 attached, 2 detached.
    #[inline]
    pub fn state(&self, node: NodeId) -> u8 {
        self.states
            .get(node.index())
            .map_or(0, |state| state & VALUE)
    }

    /// Whether the node's name gets `Detached ` in front.
    #[inline]
    pub fn is_renamed(&self, node: NodeId) -> bool {
        self.states
            .get(node.index())
            .is_some_and(|state| state & IS_RENAMED != 0)
    }

    fn from_names(graph: &HeapGraph) -> Self {
        let mut is_detached = NameTest::new(graph.strings(), |name| name.starts_with("Detached "));
        let mut states = Vec::new();
        for node in graph.nodes() {
            if graph.kind(node) == NodeKind::Native && is_detached.passes(graph.name(node)) {
                states.resize(graph.node_count(), 0);
                states[node.index()] = DETACHED;
            }
        }
        Self { states }
    }

    fn spread(graph: &HeapGraph, marked: &[(NodeId, u8)]) -> Self {
        let mut spread = Spread {
            graph,
            states: vec![0; graph.node_count()],
            attached: Vec::new(),
            detached: Vec::new(),
        };
        for &(node, state) in marked {
            // Other writers may use other values; they mean nothing to us and are passed on.
            spread.states[node.index()] = state & VALUE;
        }
        // All seeds before any child, so that a node's own word always wins.
        for &(node, state) in marked {
            if state == ATTACHED || state == DETACHED {
                spread.visit(node, state);
            }
        }
        // Attached first: what hangs below both is attached.
        while let Some(node) = spread.attached.pop() {
            spread.visit_children(node, ATTACHED);
        }
        while let Some(node) = spread.detached.pop() {
            spread.visit_children(node, DETACHED);
        }
        Self {
            states: spread.states,
        }
    }
}

struct Spread<'g> {
    graph: &'g HeapGraph,
    states: Vec<u8>,
    attached: Vec<NodeId>,
    detached: Vec<NodeId>,
}

impl Spread<'_> {
    fn visit_children(&mut self, node: NodeId, state: u8) {
        for edge in self.graph.edges(node) {
            let kind = self.graph.edge_kind(edge);
            if !matches!(
                kind,
                EdgeKind::Hidden | EdgeKind::Invisible | EdgeKind::Weak
            ) {
                self.visit(self.graph.target(edge), state);
            }
        }
    }

    fn visit(&mut self, node: NodeId, state: u8) {
        let slot = &mut self.states[node.index()];
        if *slot & IS_VISITED != 0 {
            return;
        }
        *slot |= IS_VISITED;
        // The word is not passed on through objects of the program.
        if self.graph.kind(node) != NodeKind::Native {
            return;
        }
        if state == DETACHED {
            *slot = state | IS_VISITED | IS_RENAMED;
            self.detached.push(node);
        } else {
            *slot = state | IS_VISITED;
            self.attached.push(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{Detachedness as Column, GraphBuilder, SnapshotFormat};

    use super::*;

    fn builder() -> (GraphBuilder, NodeId) {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        (builder, root)
    }

    fn mark(builder: &mut GraphBuilder, marked: &[(NodeId, u8)]) {
        builder.v8_mut().detachedness = Some(Column {
            marked: marked.to_vec(),
        });
    }

    #[test]
    fn seeds_win_and_attached_spreads_first() {
        let (mut builder, _) = builder();
        let live = builder.node(NodeKind::Native, "HTMLDocument", 2, 1);
        let gone = builder.node(NodeKind::Native, "<div>", 4, 1);
        let shared = builder.node(NodeKind::Native, "Text", 6, 1);
        let below = builder.node(NodeKind::Native, "<i>", 8, 1);
        mark(&mut builder, &[(live, ATTACHED), (gone, DETACHED)]);
        builder.indexed_edge(live, EdgeKind::Element, 1, gone);
        builder.indexed_edge(gone, EdgeKind::Element, 1, shared);
        builder.indexed_edge(live, EdgeKind::Element, 2, shared);
        builder.indexed_edge(gone, EdgeKind::Element, 2, below);
        let states = Detachedness::find(&builder.finish().unwrap());
        let all = [live, gone, shared, below].map(|node| states.state(node));
        assert_eq!(all, [ATTACHED, DETACHED, ATTACHED, DETACHED]);
        let renamed = [live, gone, shared, below].map(|node| states.is_renamed(node));
        assert_eq!(renamed, [false, true, false, true]);
    }

    #[test]
    fn stops_at_objects_and_at_hidden_weak_and_invisible_edges() {
        let (mut builder, _) = builder();
        let gone = builder.node(NodeKind::Native, "<div>", 2, 1);
        let model = builder.node(NodeKind::Object, "Model", 3, 1);
        let behind = builder.node(NodeKind::Native, "<b>", 4, 1);
        let hidden = builder.node(NodeKind::Native, "<i>", 6, 1);
        let weak = builder.node(NodeKind::Native, "<u>", 8, 1);
        mark(&mut builder, &[(gone, DETACHED)]);
        builder.named_edge(gone, EdgeKind::Property, "model", model);
        builder.named_edge(model, EdgeKind::Property, "el", behind);
        builder.indexed_edge(gone, EdgeKind::Hidden, 1, hidden);
        builder.named_edge(gone, EdgeKind::Weak, "w", weak);
        builder.named_edge(gone, EdgeKind::Invisible, "i", weak);
        let states = Detachedness::find(&builder.finish().unwrap());
        let all = [gone, model, behind, hidden, weak].map(|node| states.state(node));
        assert_eq!(all, [DETACHED, 0, 0, 0, 0]);
    }

    #[test]
    fn a_marked_object_keeps_its_state_and_its_name() {
        let (mut builder, _) = builder();
        let object = builder.node(NodeKind::Object, "Wrapper", 3, 1);
        let odd = builder.node(NodeKind::Native, "Thing", 4, 1);
        mark(&mut builder, &[(object, DETACHED), (odd, 7)]);
        let states = Detachedness::find(&builder.finish().unwrap());
        assert_eq!((states.state(object), states.state(odd)), (DETACHED, 7));
        assert!(!states.is_renamed(object) && !states.is_renamed(odd));
    }

    #[test]
    fn without_the_column_names_tell() {
        let (mut builder, _) = builder();
        let gone = builder.node(NodeKind::Native, "Detached HTMLDivElement", 2, 1);
        let object = builder.node(NodeKind::Object, "Detached thing", 3, 1);
        let child = builder.node(NodeKind::Native, "Text", 4, 1);
        builder.indexed_edge(gone, EdgeKind::Element, 1, child);
        let states = Detachedness::find(&builder.finish().unwrap());
        let all = [gone, object, child].map(|node| states.state(node));
        assert_eq!(all, [DETACHED, 0, 0]);
        assert!(!states.is_renamed(gone));
    }
}
