//! A process with a heap as V8 lays it out: arrays with their elements, maps with their tables,
//! functions with their contexts. Objects keep their ids, what nobody holds is not in a snapshot.

use std::collections::BTreeMap;

use heapatlas_analysis::{Heap, OpenOptions};
use heapatlas_model::{
    Detachedness, EdgeKind, GraphBuilder, Location, NodeId, NodeKind, SnapshotFormat,
};

/// An object of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Object(usize);

#[derive(Clone, Debug)]
enum Label {
    Name(String),
    Index(u32),
}

#[derive(Clone, Debug)]
struct Record {
    kind: NodeKind,
    name: String,
    bytes: u64,
    detachedness: u8,
    edges: Vec<(EdgeKind, Label, Object)>,
}

/// The process.
pub struct Process {
    objects: Vec<Record>,
    /// The global object.
    pub global: Object,
    rename: fn(&str) -> String,
}

impl Process {
    /// With these names for classes and properties of the program; those of the language stay.
    pub fn new(rename: fn(&str) -> String) -> Self {
        let mut process = Self {
            objects: Vec::new(),
            global: Object(2),
            rename,
        };
        let root = process.add(NodeKind::Synthetic, "", 0);
        let roots = process.add(NodeKind::Synthetic, "(GC roots)", 0);
        let global = process.add(NodeKind::Object, "global", 0);
        process.link(root, EdgeKind::Element, Label::Index(1), roots);
        process.link(root, EdgeKind::Shortcut, Label::Name("1".into()), global);
        process
    }

    fn add(&mut self, kind: NodeKind, name: &str, bytes: u64) -> Object {
        self.objects.push(Record {
            kind,
            name: name.to_owned(),
            bytes,
            detachedness: 0,
            edges: Vec::new(),
        });
        Object(self.objects.len() - 1)
    }

    fn link(&mut self, from: Object, kind: EdgeKind, label: Label, to: Object) {
        self.objects[from.0].edges.push((kind, label, to));
    }

    /// An instance of a class of the program.
    pub fn new_object(&mut self, class: &str) -> Object {
        let name = (self.rename)(class);
        self.add(NodeKind::Object, &name, 32)
    }

    /// An object of so many bytes.
    pub fn new_large(&mut self, class: &str, bytes: u64) -> Object {
        let name = (self.rename)(class);
        self.add(NodeKind::Object, &name, bytes)
    }

    /// An object of the language: `Object`, `Map`, `system / PromiseReaction`.
    pub fn new_plain(&mut self, kind: NodeKind, name: &str) -> Object {
        self.add(kind, name, 24)
    }

    pub fn new_text(&mut self, text: &str) -> Object {
        self.add(NodeKind::String, text, 24)
    }

    /// An element of a page: 1 in the document, 2 in none.
    pub fn new_element(&mut self, name: &str, detachedness: u8) -> Object {
        let element = self.add(NodeKind::Native, name, 100);
        self.objects[element.0].detachedness = detachedness;
        element
    }

    pub fn new_array(&mut self) -> Object {
        let array = self.add(NodeKind::Object, "Array", 16);
        let store = self.add(NodeKind::Array, "(object elements)", 16);
        self.internal(array, "elements", store);
        array
    }

    pub fn new_map(&mut self) -> Object {
        self.add(NodeKind::Object, "Map", 16)
    }

    /// A function that sees these variables.
    pub fn new_function(&mut self, name: &str, variables: &[(&str, Object)]) -> Object {
        let name = (self.rename)(name);
        let function = self.add(NodeKind::Closure, &name, 32);
        let context = self.add(NodeKind::Hidden, "system / Context", 24);
        self.internal(function, "context", context);
        for (variable, value) in variables {
            let label = Label::Name((self.rename)(variable));
            self.link(context, EdgeKind::Context, label, *value);
        }
        function
    }

    /// Sets a variable that a function sees.
    pub fn set_variable(&mut self, function: Object, variable: &str, value: Object) {
        let context = self.objects[function.0].edges[0].2;
        let name = (self.rename)(variable);
        let label = Label::Name(name.clone());
        self.forget(context, &name);
        self.link(context, EdgeKind::Context, label, value);
    }

    pub fn set(&mut self, object: Object, property: &str, value: Object) {
        let name = (self.rename)(property);
        self.forget(object, &name);
        self.link(object, EdgeKind::Property, Label::Name(name), value);
    }

    /// What a property refers to.
    pub fn get(&self, object: Object, property: &str) -> Option<Object> {
        let name = (self.rename)(property);
        let mut edges = self.objects[object.0].edges.iter();
        edges.find_map(|(_, label, to)| {
            matches!(label, Label::Name(known) if *known == name).then_some(*to)
        })
    }

    pub fn delete(&mut self, object: Object, property: &str) {
        let name = (self.rename)(property);
        self.forget(object, &name);
    }

    fn forget(&mut self, object: Object, name: &str) {
        let edges = &mut self.objects[object.0].edges;
        edges.retain(|(_, label, _)| !matches!(label, Label::Name(known) if known == name));
    }

    pub fn internal(&mut self, from: Object, name: &str, to: Object) {
        self.link(from, EdgeKind::Internal, Label::Name(name.to_owned()), to);
    }

    pub fn weak(&mut self, from: Object, to: Object) {
        self.link(from, EdgeKind::Weak, Label::Name("1".to_owned()), to);
    }

    /// The elements of an array, or the keys and values of a map.
    fn contents(&self, container: Object) -> Vec<Object> {
        let edges = &self.objects[container.0].edges;
        let Some((.., store)) = edges.first() else {
            return Vec::new();
        };
        let entries = self.objects[store.0].edges.iter();
        entries.map(|edge| edge.2).collect()
    }

    pub fn len(&self, array: Object) -> usize {
        self.contents(array).len()
    }

    pub fn push(&mut self, array: Object, value: Object) {
        let mut elements = self.contents(array);
        elements.push(value);
        self.set_elements(array, &elements);
    }

    /// Gives an array these elements; every hundred of them it gets another store.
    pub fn set_elements(&mut self, array: Object, elements: &[Object]) {
        let mut store = self.objects[array.0].edges[0].2;
        if elements.len().is_multiple_of(100) {
            store = self.add(NodeKind::Array, "(object elements)", 16);
        }
        self.objects[store.0].edges.clear();
        self.objects[array.0].edges.clear();
        self.internal(array, "elements", store);
        for (index, &element) in (0..).zip(elements) {
            self.link(array, EdgeKind::Element, Label::Index(index), element);
            self.link(store, EdgeKind::Hidden, Label::Index(index + 2), element);
        }
    }

    pub fn elements(&self, array: Object) -> Vec<Object> {
        self.contents(array)
    }

    /// Puts an entry into a map, which gets a larger table when the old one is full.
    pub fn insert(&mut self, map: Object, key: Object, value: Object) {
        let mut entries = self.contents(map);
        entries.extend([key, value]);
        self.set_entries(map, &entries);
    }

    /// Gives a map these keys and values, in turn.
    pub fn set_entries(&mut self, map: Object, entries: &[Object]) {
        let buckets = (entries.len() as u64 / 4 + 1).next_power_of_two();
        let bytes = 8 * (5 + 7 * buckets);
        let table = match self.objects[map.0].edges.first() {
            Some(&(.., table)) if self.objects[table.0].bytes == bytes => table,
            _ => self.add(NodeKind::Array, "", bytes),
        };
        self.objects[map.0].edges.clear();
        self.internal(map, "table", table);
        self.objects[table.0].edges.clear();
        for (row, pair) in (0..).zip(entries.chunks(2)) {
            let slot = 3 + buckets + 3 * row;
            self.internal(table, &slot.to_string(), pair[0]);
            self.internal(table, &(slot + 1).to_string(), pair[1]);
        }
    }

    pub fn entries(&self, map: Object) -> Vec<Object> {
        self.contents(map)
    }

    /// What is reachable now.
    pub fn snapshot(&self) -> Heap {
        let mut open = vec![Object(0)];
        let mut nodes: BTreeMap<Object, NodeId> = [(Object(0), NodeId(0))].into();
        while let Some(object) = open.pop() {
            for &(kind, _, to) in &self.objects[object.0].edges {
                if kind != EdgeKind::Weak && nodes.insert(to, NodeId(0)).is_none() {
                    open.push(to);
                }
            }
        }
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let mut marked = Vec::new();
        for (object, node) in &mut nodes {
            let record = &self.objects[object.0];
            let id = 2 * object.0 as u64 + 1;
            *node = builder.node(record.kind, &record.name, id, record.bytes);
            if record.detachedness != 0 {
                marked.push((*node, record.detachedness));
            }
        }
        for (object, &node) in &nodes {
            self.write_edges(&mut builder, &nodes, *object, node);
        }
        builder.v8_mut().detachedness = Some(Detachedness { marked });
        Heap::open(builder.finish().unwrap(), OpenOptions::default())
    }

    fn write_edges(
        &self,
        builder: &mut GraphBuilder,
        nodes: &BTreeMap<Object, NodeId>,
        object: Object,
        node: NodeId,
    ) {
        let record = &self.objects[object.0];
        for (kind, label, to) in &record.edges {
            let Some(&to) = nodes.get(to) else { continue };
            match label {
                Label::Name(name) => builder.named_edge(node, *kind, name, to),
                Label::Index(index) => builder.indexed_edge(node, *kind, *index, to),
            }
        }
        if record.kind == NodeKind::Closure {
            builder.location(Location {
                node,
                script_id: 1,
                script_node: None,
                line: record.name.len() as u32,
                column: 0,
            });
        }
    }
}
