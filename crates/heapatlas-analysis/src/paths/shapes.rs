//! The shape of a retaining path: what is left of it when indexes, single objects and
//! repetitions are taken out. Objects that leak in one way share a shape.

use heapatlas_model::{EdgeId, EdgeKind, NodeId, NodeKind, StringId};
use rustc_hash::FxHashMap;

use super::map_tables::is_map_key;
use super::{PathTree, bare_label, is_number, node_word};
use crate::{ClassId, Heap, PathStep};

/// A shape of a [`Shapes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShapeId(pub u32);

/// An edge in a shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EdgeShape {
    /// One of many by a number: an element, an entry of a table.
    Index,
    /// The key of an entry of a map.
    Key,
    /// One of many by a name: a property of an object that is used as a map.
    Property,
    /// A name.
    Named(StringId),
}

/// One more step of a shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Step {
    edge: Option<EdgeShape>,
    class: ClassId,
    /// Tells functions and roots apart, which are all of one class.
    name: Option<StringId>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    parent: Option<ShapeId>,
    step: Step,
    /// One of the nodes at its end.
    example: NodeId,
    /// Whether the last steps stand for any number of repetitions.
    repeats: bool,
    /// Whether it leads through the engine's own structures, which come and go as code is compiled.
    is_internal: bool,
}

/// The longest cycle of steps that is recognized as a repetition (closure, context, closure …).
const LONGEST_CYCLE: usize = 4;
/// An object with more properties than this is taken for a map.
const MAP_PROPERTIES: usize = 128;

/// All shapes met.
pub struct Shapes<'h> {
    heap: &'h Heap,
    paths: &'h PathTree,
    shapes: Vec<Shape>,
    by_step: FxHashMap<(Option<ShapeId>, Step), ShapeId>,
    /// For each node its shape's number plus one, 0 while unknown.
    of_node: Vec<u32>,
    is_map: FxHashMap<(NodeId, ClassId), bool>,
    numbered: FxHashMap<StringId, StringId>,
    bare_texts: FxHashMap<String, StringId>,
}

impl<'h> Shapes<'h> {
    pub fn new(heap: &'h Heap, paths: &'h PathTree) -> Self {
        Self {
            heap,
            paths,
            shapes: Vec::new(),
            by_step: FxHashMap::default(),
            of_node: vec![0; heap.graph().node_count()],
            is_map: FxHashMap::default(),
            numbered: FxHashMap::default(),
            bare_texts: FxHashMap::default(),
        }
    }

    /// The shape of the shortest path to a node.
    pub fn of(&mut self, node: NodeId) -> ShapeId {
        let mut open = Vec::new();
        let mut at = node;
        let mut shape = loop {
            if let Some(known) = self.of_node[at.index()].checked_sub(1) {
                break Some(ShapeId(known));
            }
            match self.paths.parent(at) {
                Some((parent, edge)) => {
                    open.push((Some(edge), at));
                    at = parent;
                }
                None => {
                    open.push((None, at));
                    break None;
                }
            }
        };
        for (edge, node) in open.into_iter().rev() {
            let edge = edge.map(|edge| self.edge_shape(edge, node));
            let next = self.extend(shape, edge, node);
            self.of_node[node.index()] = next.0 + 1;
            shape = Some(next);
        }
        shape.expect("a path has at least one node")
    }

    /// The shape of an edge, by itself.
    pub fn edge_shape(&mut self, edge: EdgeId, target: NodeId) -> EdgeShape {
        let graph = self.heap.graph();
        let name = StringId(graph.columns().edge_label[edge.index()]);
        match graph.edge_kind(edge) {
            EdgeKind::Element | EdgeKind::Hidden => EdgeShape::Index,
            EdgeKind::Internal if is_number(&graph.strings().get(name)) => {
                if is_map_key(graph, graph.source(edge), edge) {
                    EdgeShape::Key
                } else {
                    EdgeShape::Index
                }
            }
            EdgeKind::Internal => EdgeShape::Named(self.without_number(name)),
            EdgeKind::Property => {
                let holder = self.paths.parent(target).filter(|parent| parent.1 == edge);
                let holder = holder.map_or_else(|| graph.source(edge), |parent| parent.0);
                if self.is_map(holder, target) {
                    EdgeShape::Property
                } else {
                    EdgeShape::Named(name)
                }
            }
            _ => EdgeShape::Named(name),
        }
    }

    /// Whether an object is used as a map: a great many properties, most of them of one class.
    /// (A global object has as many, but of all kinds.)
    fn is_map(&mut self, holder: NodeId, value: NodeId) -> bool {
        let graph = self.heap.graph();
        let class = self.heap.class_of(value);
        if graph.kind(value) == NodeKind::Closure || graph.edges(holder).len() <= MAP_PROPERTIES {
            return false;
        }
        *self.is_map.entry((holder, class)).or_insert_with(|| {
            let targets = graph.targets(holder);
            let alike = targets
                .iter()
                .filter(|&&other| self.heap.class_of(other) == class)
                .count();
            alike * 2 > targets.len()
        })
    }

    /// Blink's references are numbered: `12 / Node::parent_`. All with the same text are one.
    fn without_number(&mut self, name: StringId) -> StringId {
        if let Some(&known) = self.numbered.get(&name) {
            return known;
        }
        let text = self.heap.graph().strings().get(name);
        let bare = bare_label(&text);
        let first = if bare.len() == text.len() {
            name
        } else {
            *self.bare_texts.entry(bare.to_owned()).or_insert(name)
        };
        self.numbered.insert(name, first);
        first
    }

    /// A shape with one more step. Where the last steps repeat the ones before them, the shape
    /// stays as it was: a list of a million entries has one shape.
    pub fn extend(
        &mut self,
        shape: Option<ShapeId>,
        edge: Option<EdgeShape>,
        node: NodeId,
    ) -> ShapeId {
        let graph = self.heap.graph();
        let kind = graph.kind(node);
        let goes_by_name = matches!(kind, NodeKind::Closure | NodeKind::Synthetic);
        let name = goes_by_name.then(|| graph.name(node));
        let step = Step {
            edge,
            class: self.heap.class_of(node),
            name,
        };
        if let Some(shape) = shape
            && let Some(folded) = self.fold(shape, step)
        {
            self.shapes[folded.0 as usize].repeats = true;
            return folded;
        }
        if let Some(&known) = self.by_step.get(&(shape, step)) {
            return known;
        }
        let above = shape.is_some_and(|shape| self.shapes[shape.0 as usize].is_internal);
        let is_internal = above || matches!(kind, NodeKind::Code | NodeKind::ObjectShape);
        let id = ShapeId(self.shapes.len() as u32);
        self.shapes.push(Shape {
            parent: shape,
            step,
            example: node,
            repeats: false,
            is_internal,
        });
        self.by_step.insert((shape, step), id);
        id
    }

    /// Where the steps that end in `step` repeat the ones before them, the shape before the
    /// repetition.
    fn fold(&self, shape: ShapeId, step: Step) -> Option<ShapeId> {
        let mut tail = vec![(None, step)];
        let mut at = Some(shape);
        while let Some(id) = at.filter(|_| tail.len() < 2 * LONGEST_CYCLE) {
            let above = &self.shapes[id.0 as usize];
            tail.push((Some(id), above.step));
            at = above.parent;
        }
        (1..=LONGEST_CYCLE)
            .find(|&cycle| {
                tail.len() >= 2 * cycle && (0..cycle).all(|i| tail[i].1 == tail[i + cycle].1)
            })
            .and_then(|cycle| tail[cycle].0)
    }

    /// Whether the shape leads through code or object shapes.
    pub fn is_internal(&self, shape: ShapeId) -> bool {
        self.shapes[shape.0 as usize].is_internal
    }

    /// The steps of a shape, to print.
    pub fn steps(&self, shape: ShapeId) -> Vec<PathStep> {
        let graph = self.heap.graph();
        let mut steps = Vec::new();
        let mut at = Some(shape);
        while let Some(id) = at {
            let shape = &self.shapes[id.0 as usize];
            let edge = shape.step.edge.map(|edge| match edge {
                EdgeShape::Index | EdgeShape::Key | EdgeShape::Property => "[*]".to_owned(),
                EdgeShape::Named(name) => bare_label(&graph.strings().get(name)).to_owned(),
            });
            let mut node = node_word(self.heap, shape.example);
            if shape.repeats {
                node.push_str(" …");
            }
            steps.push(PathStep { edge, node });
            at = shape.parent;
        }
        steps.reverse();
        if steps.len() > 1 && steps[0].node.is_empty() {
            steps.remove(0);
            steps[0].edge = None;
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, SnapshotFormat};

    use super::*;
    use crate::OpenOptions;

    /// A heap that is one chain: each node is held by the one before, by a property.
    fn chain(nodes: &[(&str, &str)]) -> Heap {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let mut before = builder.node(NodeKind::Synthetic, "", 1, 0);
        for (id, (edge, class)) in (3..).step_by(2).zip(nodes) {
            let node = builder.node(NodeKind::Object, class, id, 8);
            builder.named_edge(before, EdgeKind::Property, edge, node);
            before = node;
        }
        Heap::open(builder.finish().unwrap(), OpenOptions::default())
    }

    /// The shape of the path to the last node.
    #[track_caller]
    fn check(nodes: &[(&str, &str)], expected: &str) {
        let heap = chain(nodes);
        let paths = PathTree::new(&heap);
        let mut shapes = Shapes::new(&heap, &paths);
        let shape = shapes.of(NodeId(nodes.len() as u32));
        let steps: Vec<String> = shapes
            .steps(shape)
            .into_iter()
            .map(|step| match step.edge {
                Some(edge) => format!("{edge} {}", step.node),
                None => step.node,
            })
            .collect();
        assert_eq!(steps.join(", "), expected);
    }

    #[test]
    fn steps_that_repeat_are_folded() {
        let entry = ("next", "Entry");
        check(&[("g", "G"), entry], "G, next Entry");
        check(&[("g", "G"), entry, entry], "G, next Entry …");
        check(&[("g", "G"), entry, entry, entry, entry], "G, next Entry …");
        check(
            &[("g", "G"), entry, entry, entry, ("value", "Value")],
            "G, next Entry …, value Value",
        );
    }

    #[test]
    fn cycles_of_several_steps_are_folded() {
        let (down, link) = (("down", "Box"), ("link", "Lid"));
        check(
            &[("g", "G"), down, link, down],
            "G, down Box, link Lid, down Box",
        );
        check(
            &[("g", "G"), down, link, down, link],
            "G, down Box, link Lid …",
        );
        check(
            &[("g", "G"), down, link, down, link, down, link],
            "G, down Box, link Lid …",
        );
    }

    #[test]
    fn steps_that_differ_are_not_folded() {
        check(
            &[("g", "G"), ("left", "T"), ("right", "T"), ("left", "T")],
            "G, left T, right T, left T",
        );
        check(&[("g", "G"), ("a", "T"), ("a", "U")], "G, a T, a U");
    }

    #[test]
    fn long_lists_have_short_shapes() {
        let nodes = vec![("next", "Entry"); 10_000];
        check(&nodes, "Entry, next Entry …");
    }
}
