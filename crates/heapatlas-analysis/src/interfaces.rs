//! Classes for objects without one: interfaces, found by what properties they have in common.
//!
//! V8 calls every object literal `Object`. What tells them apart is their properties, so the
//! commonest property lists of a heap become classes such as `{id, label}`, and each plain
//! object joins the largest of them that it has all the properties of.

use std::cmp::Reverse;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use heapatlas_model::{EdgeKind, HeapGraph, NodeId, StringId};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::display_name::{format_property, utf16_len};

/// An interface's name may have so many UTF-16 units, less separators and the closing brace.
const LONGEST_NAME: usize = 120;
/// An interface stands for at least so many objects.
const FEWEST_OBJECTS: u64 = 2;
/// An interface stands for at least one plain object in so many.
const RAREST_SHARE: u64 = 1000;

/// The interfaces of a heap, commonest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interfaces {
    /// The definitions; the earlier one wins where two fit equally well.
    pub definitions: Vec<Interface>,
}

/// A set of properties that several plain objects have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The name of the class: `{id, label}`.
    pub name: String,
    /// The properties, in the order in which the commonest objects have them.
    pub properties: Vec<String>,
    /// Plain objects with exactly these properties in this order (or more, where the name was cut).
    pub count: u64,
}

/// A property's name within one heap: equal names have equal ids, whatever string they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct PropertyId(u32);

impl PropertyId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The property lists of the plain objects, each distinct one once.
pub(crate) struct Shapes<'g> {
    properties: Properties<'g>,
    lists: Lists,
    /// For each list how many objects have it.
    counts: Vec<u32>,
    /// For each plain object the row of its list.
    shape_of: Vec<u32>,
}

impl<'g> Shapes<'g> {
    /// Reads the property edges of the objects, in their order.
    pub fn collect(graph: &'g HeapGraph, plain_objects: &[NodeId]) -> Self {
        let columns = graph.columns();
        let is_property: Vec<bool> = columns
            .edge_types
            .iter()
            .map(|edge_type| edge_type.kind == EdgeKind::Property)
            .collect();
        let mut shapes = Self {
            properties: Properties::new(graph),
            lists: Lists::default(),
            counts: Vec::new(),
            shape_of: Vec::with_capacity(plain_objects.len()),
        };
        let mut list = Vec::new();
        for &object in plain_objects {
            list.clear();
            let first = columns.first_edge[object.index()] as usize;
            let end = columns.first_edge[object.index() + 1] as usize;
            let types = &columns.edge_type[first..end];
            for (&row, &label) in types.iter().zip(&columns.edge_label[first..end]) {
                if is_property[row as usize] {
                    list.extend(shapes.properties.intern(StringId(label)));
                }
            }
            shapes.add(&list);
        }
        shapes
    }

    fn add(&mut self, list: &[PropertyId]) {
        let (shape, is_new) = self.lists.intern(list);
        if is_new {
            self.counts.push(0);
        }
        self.counts[shape as usize] += 1;
        self.shape_of.push(shape);
    }

    /// The interfaces common enough to be classes.
    pub fn infer(&self) -> Interfaces {
        let mut candidates = Lists::default();
        let mut counts: Vec<u64> = Vec::new();
        // The list whose head first gave the candidate, and how much of it is the head.
        let mut heads: Vec<(u32, usize)> = Vec::new();
        for (shape, &count) in self.counts.iter().enumerate() {
            let list = self.lists.get(shape as u32);
            let head = self.named_head(list);
            if head == 0 {
                continue;
            }
            let (candidate, is_new) = candidates.intern(self.key(&list[..head]));
            if is_new {
                counts.push(0);
                heads.push((shape as u32, head));
            }
            counts[candidate as usize] += u64::from(count);
        }
        let objects = self.shape_of.len() as u64;
        let mut common: Vec<usize> = (0..counts.len())
            .filter(|&at| {
                counts[at] >= FEWEST_OBJECTS && counts[at].saturating_mul(RAREST_SHARE) >= objects
            })
            .collect();
        common.sort_by_key(|&at| Reverse(counts[at]));
        let definition = |at: usize| {
            let (shape, head) = heads[at];
            self.definition(&self.lists.get(shape)[..head], counts[at])
        };
        Interfaces {
            definitions: common.into_iter().map(definition).collect(),
        }
    }

    /// How many properties of a list go into the name.
    fn named_head(&self, list: &[PropertyId]) -> usize {
        let mut units = 1;
        for (at, property) in list.iter().enumerate() {
            let property_units = self.properties.units[property.index()] as usize;
            if units > 1 && units + property_units > LONGEST_NAME {
                return at;
            }
            units += property_units + if units > 1 { 2 } else { 0 };
        }
        list.len()
    }

    /// What tells the names of two lists apart. Empty names in front leave no trace in a name:
    /// a separator is put only behind something.
    fn key<'a>(&self, list: &'a [PropertyId]) -> &'a [PropertyId] {
        let is_empty = |property: &PropertyId| self.properties.units[property.index()] == 0;
        let empty = list.iter().take_while(|p| is_empty(p)).count();
        &list[empty..]
    }

    fn definition(&self, list: &[PropertyId], count: u64) -> Interface {
        let text = |property: &PropertyId| self.properties.texts[property.index()].as_str();
        let mut name = String::from("{");
        for property in list {
            if name.len() > 1 {
                name.push_str(", ");
            }
            name.push_str(&format_property(text(property)));
        }
        name.push('}');
        Interface {
            name,
            properties: list
                .iter()
                .map(|property| text(property).to_owned())
                .collect(),
            count,
        }
    }

    /// For each plain object the row of the interface it joins, if any.
    pub fn matches(&self, interfaces: &Interfaces) -> Vec<Option<u32>> {
        let tree = InterfaceTree::new(interfaces, &self.properties);
        let mut walk = Walk::default();
        let of_shape: Vec<Option<u32>> = (0..self.counts.len())
            .map(|shape| tree.best_match(self.lists.get(shape as u32), &mut walk))
            .collect();
        let of_object = self.shape_of.iter();
        of_object.map(|&shape| of_shape[shape as usize]).collect()
    }
}

/// The property names of a heap, each text once.
struct Properties<'g> {
    graph: &'g HeapGraph,
    /// For each string its property's id plus one, [`SKIPPED`], or 0 while unknown.
    known: Vec<u32>,
    ids: FxHashMap<String, PropertyId>,
    texts: Vec<String>,
    /// For each property how many UTF-16 units it takes in a list.
    units: Vec<u32>,
}

/// The mark of `__proto__`, which is in no interface.
const SKIPPED: u32 = u32::MAX;

impl<'g> Properties<'g> {
    fn new(graph: &'g HeapGraph) -> Self {
        Self {
            graph,
            known: vec![0; graph.strings().len()],
            ids: FxHashMap::default(),
            texts: Vec::new(),
            units: Vec::new(),
        }
    }

    /// The property's id; `None` for `__proto__`.
    #[inline]
    fn intern(&mut self, name: StringId) -> Option<PropertyId> {
        match self.known.get(name.index()) {
            Some(&SKIPPED) => None,
            Some(&known) if known != 0 => Some(PropertyId(known - 1)),
            _ => self.intern_text(name),
        }
    }

    #[cold]
    fn intern_text(&mut self, name: StringId) -> Option<PropertyId> {
        let text = self.graph.strings().get(name);
        let id = if text == "__proto__" {
            None
        } else if let Some(&id) = self.ids.get(text.as_ref()) {
            Some(id)
        } else {
            let id = PropertyId(self.texts.len() as u32);
            self.units.push(utf16_len(&format_property(&text)) as u32);
            self.texts.push(text.clone().into_owned());
            self.ids.insert(text.into_owned(), id);
            Some(id)
        };
        // A salvaged file may name strings that it lacks; those are not remembered by number.
        if let Some(known) = self.known.get_mut(name.index()) {
            *known = id.map_or(SKIPPED, |id| id.0 + 1);
        }
        id
    }
}

/// Distinct lists of properties, one after another in one array.
#[derive(Default)]
struct Lists {
    rows: HashTable<u32>,
    hashes: Vec<u64>,
    /// For each list where it ends; it starts where the one before it ends.
    ends: Vec<usize>,
    items: Vec<PropertyId>,
}

impl Lists {
    fn get(&self, row: u32) -> &[PropertyId] {
        let row = row as usize;
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.items[start..self.ends[row]]
    }

    /// The list's row, and whether it is a new one.
    fn intern(&mut self, list: &[PropertyId]) -> (u32, bool) {
        let hash = FxBuildHasher.hash_one(list);
        let is_same = |&row: &u32| self.hashes[row as usize] == hash && self.get(row) == list;
        if let Some(&row) = self.rows.find(hash, is_same) {
            return (row, false);
        }
        let row = self.ends.len() as u32;
        self.hashes.push(hash);
        self.items.extend_from_slice(list);
        self.ends.push(self.items.len());
        let hashes = &self.hashes;
        self.rows
            .insert_unique(hash, row, |&row| hashes[row as usize]);
        (row, true)
    }
}

/// The interfaces as a tree: each path from the root spells the properties of one, rarest first.
///
/// A plain object walks down along the properties it has. Rarest first keeps it from walking far
/// along interfaces that it does not have all properties of.
struct InterfaceTree {
    /// For each property of the heap its rank by rarity, [`UNRANKED`] if no interface has it.
    ranks: Vec<u32>,
    nodes: Vec<TreeNode>,
}

const UNRANKED: u32 = u32::MAX;

#[derive(Default)]
struct TreeNode {
    /// The nodes below, by the rank of the property that leads there.
    children: Vec<(u32, u32)>,
    /// The interface that ends here.
    here: Fit,
    /// The best interface that ends here or below.
    below: Fit,
}

/// How well an interface fits an object that has all its properties: ordered by that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Fit {
    /// More properties fit better; none means no interface.
    properties: u32,
    /// Among equals the earlier definition fits better.
    definition: Reverse<u32>,
}

/// Reused between walks.
#[derive(Default)]
struct Walk {
    ranks: Vec<u32>,
    pending: Vec<(u32, u32)>,
}

impl InterfaceTree {
    fn new(interfaces: &Interfaces, properties: &Properties<'_>) -> Self {
        let mut tree = Self {
            ranks: vec![UNRANKED; properties.texts.len()],
            nodes: vec![TreeNode::default()],
        };
        // An interface of another heap with a property that is unknown here fits nothing.
        let known: Vec<(u32, Vec<PropertyId>)> = interfaces
            .definitions
            .iter()
            .zip(0..)
            .filter_map(|(interface, at)| {
                let names = interface.properties.iter();
                let ids: Option<Vec<_>> = names
                    .map(|name| properties.ids.get(name).copied())
                    .collect();
                Some((at, ids?))
            })
            .collect();
        tree.rank_by_rarity(&known);
        for (definition, ids) in &known {
            let mut ranks: Vec<u32> = ids.iter().map(|id| tree.ranks[id.index()]).collect();
            ranks.sort_unstable();
            tree.insert(&ranks, *definition);
        }
        for node in &mut tree.nodes {
            node.children.sort_unstable();
        }
        tree
    }

    fn rank_by_rarity(&mut self, interfaces: &[(u32, Vec<PropertyId>)]) {
        let mut uses: FxHashMap<PropertyId, u32> = FxHashMap::default();
        for property in interfaces.iter().flat_map(|(_, ids)| ids) {
            *uses.entry(*property).or_default() += 1;
        }
        let mut by_rarity: Vec<(u32, PropertyId)> = uses
            .into_iter()
            .map(|(property, n)| (n, property))
            .collect();
        by_rarity.sort_unstable();
        for ((_, property), rank) in by_rarity.into_iter().zip(0..) {
            self.ranks[property.index()] = rank;
        }
    }

    fn insert(&mut self, ranks: &[u32], definition: u32) {
        let fit = Fit {
            properties: ranks.len() as u32,
            definition: Reverse(definition),
        };
        let mut at = 0;
        for &rank in ranks {
            self.nodes[at].below = self.nodes[at].below.max(fit);
            at = self.child_or_new(at, rank);
        }
        let node = &mut self.nodes[at];
        node.below = node.below.max(fit);
        // Of two with the same properties the first stays, since it is the greater.
        node.here = node.here.max(fit);
    }

    fn child_or_new(&mut self, at: usize, rank: u32) -> usize {
        let known = self.nodes[at].children.iter().find(|child| child.0 == rank);
        if let Some(&(_, child)) = known {
            return child as usize;
        }
        let child = self.nodes.len();
        self.nodes[at].children.push((rank, child as u32));
        self.nodes.push(TreeNode::default());
        child
    }

    /// The row of the interface with the most properties all of which are in the list (a
    /// property that it lists twice must be there twice, as DevTools has it).
    fn best_match(&self, list: &[PropertyId], walk: &mut Walk) -> Option<u32> {
        let Walk { ranks, pending } = walk;
        ranks.clear();
        ranks.extend(list.iter().map(|property| self.ranks[property.index()]));
        ranks.retain(|&rank| rank != UNRANKED);
        ranks.sort_unstable();
        let mut best = Fit::default();
        pending.push((0, 0));
        while let Some((at, used)) = pending.pop() {
            let node = &self.nodes[at as usize];
            // What is below cannot beat what was found: no need to look.
            if node.below > best {
                best = best.max(node.here);
                node.push_steps(&ranks[used as usize..], used, pending);
            }
        }
        (best.properties > 0).then_some(best.definition.0)
    }
}

impl TreeNode {
    /// Adds the children that one of the properties leads to. Looks up the fewer in the more,
    /// since both an object and a node can have very many.
    fn push_steps(&self, ranks: &[u32], used: u32, pending: &mut Vec<(u32, u32)>) {
        if self.children.len() < ranks.len() {
            for &(rank, child) in &self.children {
                let at = ranks.partition_point(|&other| other < rank);
                if ranks.get(at) == Some(&rank) {
                    pending.push((child, used + at as u32 + 1));
                }
            }
        } else {
            let mut previous = UNRANKED;
            for (&rank, at) in ranks.iter().zip(0..) {
                if rank == previous {
                    continue;
                }
                previous = rank;
                if let Ok(found) = self.children.binary_search_by_key(&rank, |child| child.0) {
                    pending.push((self.children[found].1, used + at + 1));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, NodeKind, SnapshotFormat};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn heap_of(objects: &[Vec<String>]) -> (HeapGraph, Vec<NodeId>) {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        let nodes = objects.iter().map(|properties| {
            let object = builder.node(NodeKind::Object, "Object", 3, 1);
            for name in properties {
                builder.named_edge(object, EdgeKind::Property, name, root);
            }
            object
        });
        let nodes = nodes.collect();
        (builder.finish().unwrap(), nodes)
    }

    /// Whether a list has all items of another one, as often as that has them.
    fn has_all(list: &[String], items: &[String]) -> bool {
        let count = |list: &[String], item| list.iter().filter(|other| *other == item).count();
        items
            .iter()
            .all(|item| count(list, item) >= count(items, item))
    }

    fn slow_match(interfaces: &Interfaces, properties: &[String]) -> Option<u32> {
        let mut best = None;
        let mut most = 0;
        for (interface, at) in interfaces.definitions.iter().zip(0..) {
            if interface.properties.len() > most && has_all(properties, &interface.properties) {
                most = interface.properties.len();
                best = Some(at);
            }
        }
        best
    }

    fn objects() -> impl Strategy<Value = Vec<Vec<String>>> {
        // One letter out of six: properties repeat, and interfaces overlap in all ways.
        vec(vec("[a-e]|__proto__|", 0..6), 0..40)
    }

    proptest! {
        #[test]
        fn finds_what_trying_all_interfaces_finds(objects in objects(), others in objects()) {
            let (graph, nodes) = heap_of(&objects);
            let (other_graph, other_nodes) = heap_of(&others);
            let interfaces = Shapes::collect(&other_graph, &other_nodes).infer();
            let matches = Shapes::collect(&graph, &nodes).matches(&interfaces);
            for (properties, found) in objects.iter().zip(matches) {
                prop_assert_eq!(found, slow_match(&interfaces, properties));
            }
        }
    }

    #[test]
    fn many_properties_and_many_shapes_end_soon() {
        // A dictionary with very many entries, beside very many objects that each have a key of
        // their own and the properties of all interfaces.
        let dictionary = (0..300_000).map(|at| format!("key{at}")).collect();
        let shared: Vec<String> = (0..40).map(|at| format!("p{at}")).collect();
        let interfaces = (0..200).map(|at| {
            let leave_out = |&(property, _): &(usize, &String)| at >> (property % 8) & 1 == 0;
            let kept = shared.iter().enumerate().filter(leave_out);
            kept.map(|(_, name)| name.clone()).collect::<Vec<_>>()
        });
        let mut objects: Vec<Vec<String>> = vec![dictionary];
        objects.extend(interfaces.flat_map(|properties| std::iter::repeat_n(properties, 10)));
        objects.extend((0..3_000).map(|at| {
            let own = std::iter::once(format!("own{at}"));
            shared.iter().cloned().chain(own).collect()
        }));
        let (graph, nodes) = heap_of(&objects);
        let shapes = Shapes::collect(&graph, &nodes);
        let interfaces = shapes.infer();
        let matches = shapes.matches(&interfaces);
        assert_eq!(matches[0], None);
        let last = objects.len() - 1;
        assert_eq!(matches[last], slow_match(&interfaces, &objects[last]));
    }
}
