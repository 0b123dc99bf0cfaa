//! What lives in the heap: a mix of objects like that of a long-running server.

use super::heap::{EdgeKind, Heap, NodeId, NodeKind, Place};
use super::names::{Name, NameId};
use super::random::Random;

const GC_ROOTS: [&str; 14] = [
    "(Bootstrapper)",
    "(Builtins)",
    "(Client heap)",
    "(Compilation cache)",
    "(Eternal handles)",
    "(Global handles)",
    "(Handle scope)",
    "(Internalized strings)",
    "(Micro tasks)",
    "(Read-only roots)",
    "(Stack roots)",
    "(Strong roots)",
    "(Traced handles)",
    "(Weak roots)",
];

const CLASS_COUNT: usize = 400;

/// The values that there is one of. In real heaps most properties lead to one of them, to a shape
/// or to another of few targets: of a TypeScript compiler's edges 60 % go to 0.1 % of the nodes.
const ODDBALLS: [&str; 4] = ["undefined", "false", "true", "null"];

/// A JavaScript class, or the shape of a plain object.
struct Class {
    name: NameId,
    shape: NodeId,
    prototype: NodeId,
    properties: Vec<NameId>,
    place: Option<Place>,
}

/// Names that are needed again and again.
struct Words {
    empty: NameId,
    array: NameId,
    code: NameId,
    constructor: NameId,
    context: NameId,
    elements: NameId,
    feedback_cell: NameId,
    first: NameId,
    map: NameId,
    map_name: NameId,
    map_class: NameId,
    number: NameId,
    object_elements: NameId,
    object_shape: NameId,
    previous: NameId,
    proto: NameId,
    scope_info: NameId,
    second: NameId,
    session: NameId,
    shared: NameId,
    table: NameId,
}

impl Words {
    fn new(heap: &mut Heap) -> Self {
        let mut word = |text| heap.names.intern(Name::Fixed(text));
        Words {
            empty: word(""),
            array: word("Array"),
            code: word("code"),
            constructor: word("constructor"),
            context: word("context"),
            elements: word("elements"),
            feedback_cell: word("feedback_cell"),
            first: word("first"),
            map: word("map"),
            map_name: word("system / Map"),
            map_class: word("Map"),
            number: word("heap number"),
            object_elements: word("(object elements)"),
            object_shape: word("system / Map"),
            previous: word("previous"),
            proto: word("__proto__"),
            scope_info: word("scope_info"),
            second: word("second"),
            session: word("Session"),
            shared: word("shared"),
            table: word("table"),
        }
    }
}

/// Puts objects into a heap, until it is as large as wanted.
pub struct Population<'a> {
    heap: &'a mut Heap,
    random: Random,
    words: Words,
    classes: Vec<Class>,
    /// Objects that later ones may hang below.
    holders: Vec<NodeId>,
    strings: Vec<NameId>,
    code: Vec<NodeId>,
    contexts: Vec<NodeId>,
    map_of_maps: NodeId,
    oddballs: [NodeId; 4],
    array_shape: NodeId,
    closure_shape: NodeId,
    function_prototype: NodeId,
    chain_end: NodeId,
    hub: NodeId,
    hub_size: usize,
    hub_limit: usize,
    leak_table: NodeId,
    leaked: u32,
}

impl<'a> Population<'a> {
    /// Makes the roots and the engine's own objects.
    pub fn new(heap: &'a mut Heap, seed: u64, nodes: usize) -> Self {
        let words = Words::new(heap);
        let root = heap.add(NodeKind::Synthetic, words.empty, 0);
        let gc_roots = add_gc_roots(heap, root);
        let map_of_maps = heap.add(NodeKind::Hidden, words.map_name, 80);
        heap.link_index(gc_roots[11], EdgeKind::Hidden, 1, map_of_maps);
        let global = add_user_roots(heap, root, &words);
        let mut population = Population {
            random: Random::new(seed),
            classes: Vec::new(),
            holders: vec![global],
            strings: Vec::new(),
            code: Vec::new(),
            contexts: Vec::new(),
            map_of_maps,
            oddballs: [map_of_maps; 4],
            array_shape: global,
            closure_shape: global,
            function_prototype: global,
            chain_end: global,
            hub: global,
            hub_size: 0,
            hub_limit: nodes / 12,
            leak_table: global,
            leaked: 0,
            words,
            heap,
        };
        population.add_engine(&gc_roots);
        population.add_fixtures(global);
        population
    }

    /// Adds objects until the heap has at least `nodes` of them.
    pub fn grow_to(&mut self, nodes: usize) {
        while self.heap.nodes.len() < nodes {
            self.add_unit();
        }
        self.add_unreachable();
    }

    /// Adds strings of source-like text until all strings take `bytes` in the file.
    pub fn add_long_strings(&mut self, bytes: usize) {
        let mut written = self.heap.names.json_bytes();
        while written < bytes {
            let length = self.random.between(700, 1024);
            let name = self.heap.names.add_text(length);
            written += self.heap.names.json_bytes_of(name);
            let node = self.string_node(name, length);
            self.heap
                .link_index(self.hub, EdgeKind::Element, self.hub_size, node);
            self.hub_size += 1;
        }
    }

    /// Objects that are there in this snapshot only: their ids follow `skipped` others.
    pub fn add_temporaries(&mut self, count: usize, skipped: usize) {
        self.heap.skip_ids(skipped);
        let end = self.heap.nodes.len() + count;
        while self.heap.nodes.len() < end {
            self.add_record();
        }
    }

    /// Adds `count` nodes more to a map that is never emptied. The random state starts anew, so
    /// that a longer growth begins with the shorter one.
    pub fn leak(&mut self, seed: u64, count: usize, skipped: usize) {
        self.heap.skip_ids(skipped);
        self.random = Random::new(seed);
        let end = self.heap.nodes.len() + count;
        while self.heap.nodes.len() < end {
            self.leak_session();
        }
    }

    fn add_engine(&mut self, gc_roots: &[NodeId]) {
        self.oddballs = ODDBALLS.map(|text| {
            let name = self.heap.names.intern(Name::Fixed(text));
            let oddball = self.heap.add(NodeKind::Hidden, name, 40);
            let index = oddball.0 as usize;
            self.heap
                .link_index(gc_roots[9], EdgeKind::Element, index, oddball);
            self.internal(oddball, self.words.map, self.map_of_maps);
            oddball
        });
        for _ in 0..64 {
            let code = self.add_code();
            self.heap
                .link_index(gc_roots[1], EdgeKind::Hidden, code.0 as usize, code);
        }
        for number in 0..CLASS_COUNT {
            self.add_class(number as u32, gc_roots[5]);
        }
        self.array_shape = self.classes[0].shape;
        self.closure_shape = self.classes[1].shape;
        self.function_prototype = self.classes[1].prototype;
        let context = self.context_node(None);
        self.heap
            .link_index(gc_roots[10], EdgeKind::Element, 1, context);
        self.contexts.push(context);
        self.add_weak_map(gc_roots[5]);
    }

    /// The containers that give the heap its extremes: a hub, a long chain, a leak.
    fn add_fixtures(&mut self, global: NodeId) {
        let hub_array = self.array_node(0);
        self.hub = hub_array;
        self.property(global, "registry", hub_array);
        let chain = self.object_of_class(7);
        self.property(global, "history", chain);
        self.chain_end = chain;
        let sessions = self.heap.add(NodeKind::Object, self.words.map_class, 32);
        self.internal(sessions, self.words.map, self.array_shape);
        self.property(global, "sessions", sessions);
        let table = self.heap.add(NodeKind::Array, self.words.empty, 4096);
        self.internal(sessions, self.words.table, table);
        self.leak_table = table;
    }

    fn add_unit(&mut self) {
        match self.random.below(100) {
            0..=33 => {
                let record = self.add_record();
                self.holders.push(record);
            }
            34..=49 => self.add_closure(),
            50..=60 => self.add_array(),
            61..=63 => self.add_map(),
            64..=75 => self.add_strings(),
            76..=81 => self.add_concatenated_string(),
            82..=87 => {
                let code = self.add_code();
                self.code.push(code);
            }
            88..=90 => self.add_transition(),
            91..=92 => self.add_buffer(),
            93..=95 => self.extend_chain(),
            _ => self.extend_hub(),
        }
    }

    fn add_record(&mut self) -> NodeId {
        let class = self.random.skewed_below(CLASS_COUNT);
        let record = self.object_of_class(class);
        for index in 0..self.classes[class].properties.len() {
            let name = self.classes[class].properties[index];
            // Small integers are not in the file.
            if let Some(value) = self.some_value() {
                self.heap.link(record, EdgeKind::Property, name, value);
            }
        }
        self.hang(record);
        record
    }

    fn object_of_class(&mut self, class: usize) -> NodeId {
        let Class {
            name,
            shape,
            prototype,
            place,
            ref properties,
        } = self.classes[class];
        let size = 24 + 8 * properties.len();
        let object = self.heap.add(NodeKind::Object, name, size);
        self.internal(object, self.words.map, shape);
        self.heap
            .link(object, EdgeKind::Property, self.words.proto, prototype);
        if let Some(place) = place {
            self.heap.locate(object, place);
        }
        object
    }

    fn some_value(&mut self) -> Option<NodeId> {
        match self.random.below(100) {
            0..=6 => Some(self.fresh_string()),
            7..=8 => Some(self.repeated_string()),
            9 => Some(self.number_node()),
            10..=54 => Some(self.oddballs[self.random.skewed_below(ODDBALLS.len())]),
            55..=94 => {
                let index = self.random.skewed_below(self.holders.len());
                Some(self.holders[self.holders.len() - 1 - index])
            }
            _ => None,
        }
    }

    /// Makes `node` reachable: below some earlier object, recent ones being more likely.
    fn hang(&mut self, node: NodeId) {
        let index = self.random.skewed_below(self.holders.len());
        let holder = self.holders[self.holders.len() - 1 - index];
        let name = self.heap.names.intern(Name::Property(index as u32 % 3000));
        self.heap.link(holder, EdgeKind::Property, name, node);
    }

    fn add_closure(&mut self) {
        let name = self
            .heap
            .names
            .intern(Name::Property(self.random.skewed_below(5000) as u32));
        let closure = self.heap.add(NodeKind::Closure, name, 64);
        self.internal(closure, self.words.map, self.closure_shape);
        self.heap.link(
            closure,
            EdgeKind::Property,
            self.words.proto,
            self.function_prototype,
        );
        let code = self.code[self.random.skewed_below(self.code.len())];
        self.internal(closure, self.words.shared, code);
        self.internal(closure, self.words.code, code);
        self.internal(closure, self.words.feedback_cell, code);
        let context = self.closure_context();
        self.internal(closure, self.words.context, context);
        self.heap.locate(closure, place_of(code.0));
        self.hang(closure);
    }

    fn closure_context(&mut self) -> NodeId {
        if self.random.chance(60) {
            return *self.random.pick(&self.contexts);
        }
        let previous = *self.random.pick(&self.contexts);
        let context = self.context_node(Some(previous));
        for slot in 0..self.random.between(1, 3) {
            let name = self
                .heap
                .names
                .intern(Name::Property(slot as u32 * 7 + context.0 % 900));
            if let Some(value) = self.some_value() {
                self.heap.link(context, EdgeKind::Context, name, value);
            }
        }
        if self.random.chance(20) {
            self.contexts.push(context);
        }
        context
    }

    fn context_node(&mut self, previous: Option<NodeId>) -> NodeId {
        let name = self.heap.names.intern(Name::Fixed("system / Context"));
        let context = self.heap.add(NodeKind::Object, name, 40);
        self.internal(context, self.words.map, self.array_shape);
        let scope_info = self.code[self.random.below(self.code.len())];
        self.internal(context, self.words.scope_info, scope_info);
        if let Some(previous) = previous {
            self.internal(context, self.words.previous, previous);
        }
        context
    }

    fn add_array(&mut self) {
        let length = self.random.skewed_below(64);
        let array = self.array_node(length);
        for index in 0..length {
            if let Some(value) = self.some_value() {
                self.heap.link_index(array, EdgeKind::Element, index, value);
            }
        }
        self.hang(array);
    }

    fn array_node(&mut self, length: usize) -> NodeId {
        let array = self.heap.add(NodeKind::Object, self.words.array, 32);
        self.internal(array, self.words.map, self.array_shape);
        let elements = self
            .heap
            .add(NodeKind::Array, self.words.object_elements, 16 + 8 * length);
        self.internal(elements, self.words.map, self.map_of_maps);
        self.internal(array, self.words.elements, elements);
        array
    }

    fn add_map(&mut self) {
        let map = self.heap.add(NodeKind::Object, self.words.map_class, 32);
        self.internal(map, self.words.map, self.array_shape);
        let length = self.random.skewed_below(48);
        let table = self
            .heap
            .add(NodeKind::Array, self.words.empty, 64 + 24 * length);
        self.internal(table, self.words.map, self.map_of_maps);
        self.internal(map, self.words.table, table);
        for index in 0..length {
            let key = self.fresh_string();
            self.numbered(table, 3 * index as u32, key);
            if let Some(value) = self.some_value() {
                self.numbered(table, 3 * index as u32 + 1, value);
            }
        }
        self.hang(map);
    }

    fn add_strings(&mut self) {
        for _ in 0..3 {
            let string = self.fresh_string();
            self.hang(string);
        }
    }

    /// Mostly short, a few of the 1,024 characters that V8 cuts at.
    fn fresh_string(&mut self) -> NodeId {
        let length = match self.random.below(1000) {
            0..=799 => self.random.between(8, 24),
            800..=984 => self.random.between(25, 90),
            985..=997 => self.random.between(91, 400),
            _ => 1024,
        };
        let name = self.heap.names.add_text(length);
        if self.strings.len() < 20_000 {
            self.strings.push(name);
        }
        self.string_node(name, length)
    }

    fn repeated_string(&mut self) -> NodeId {
        match self.strings.len() {
            0 => self.fresh_string(),
            count => {
                let name = self.strings[self.random.skewed_below(count)];
                self.string_node(name, 24)
            }
        }
    }

    fn string_node(&mut self, name: NameId, length: usize) -> NodeId {
        let string = self
            .heap
            .add(NodeKind::String, name, 16 + length.next_multiple_of(8));
        self.internal(string, self.words.map, self.map_of_maps);
        string
    }

    fn number_node(&mut self) -> NodeId {
        let number = self.heap.add(NodeKind::Number, self.words.number, 16);
        self.internal(number, self.words.map, self.map_of_maps);
        number
    }

    fn add_concatenated_string(&mut self) {
        let (first, second) = (self.fresh_string(), self.repeated_string());
        let name = self.words.empty;
        let string = self.heap.add(NodeKind::ConcatenatedString, name, 32);
        self.internal(string, self.words.map, self.map_of_maps);
        self.internal(string, self.words.first, first);
        self.internal(string, self.words.second, second);
        self.hang(string);
    }

    /// A function's shared info with its bytecode, constants and feedback.
    fn add_code(&mut self) -> NodeId {
        let mut part = |text, size| {
            let name = self.heap.names.intern(Name::Fixed(text));
            self.heap.add(NodeKind::Code, name, size)
        };
        let shared = part("(shared function info)", 64);
        let bytecode = part("system / BytecodeArray", 240);
        let constants = part("(constant pool)", 88);
        let feedback = part("system / FeedbackVector", 120);
        for (index, child) in [bytecode, constants, feedback].into_iter().enumerate() {
            self.heap
                .link_index(shared, EdgeKind::Hidden, index + 1, child);
            self.internal(child, self.words.map, self.map_of_maps);
        }
        self.heap
            .link_index(bytecode, EdgeKind::Hidden, 1, constants);
        if self.code.len() < 64 {
            self.code.push(shared);
        }
        // Only a function that still runs reaches code by a strong path; the cache is weak.
        let holder = self.code[self.random.below(self.code.len())];
        self.heap.link_index(holder, EdgeKind::Hidden, 9, shared);
        self.heap
            .link(feedback, EdgeKind::Weak, self.words.empty, holder);
        shared
    }

    /// A new shape of a class, and an accessor on its prototype.
    fn add_transition(&mut self) {
        let class = self.random.below(CLASS_COUNT);
        let (shape, prototype) = (self.classes[class].shape, self.classes[class].prototype);
        let next = self.shape_node(prototype);
        let back_pointer = self.heap.names.intern(Name::Fixed("back_pointer"));
        self.internal(next, back_pointer, shape);
        self.heap
            .link_index(shape, EdgeKind::Hidden, next.0 as usize, next);
        self.classes[class].shape = next;
        let pair = self.heap.names.intern(Name::Fixed("system / AccessorPair"));
        let accessor = self.heap.add(NodeKind::Hidden, pair, 24);
        self.internal(accessor, self.words.map, self.map_of_maps);
        self.heap
            .link_index(prototype, EdgeKind::Hidden, 3, accessor);
    }

    fn shape_node(&mut self, prototype: NodeId) -> NodeId {
        let shape = self
            .heap
            .add(NodeKind::ObjectShape, self.words.object_shape, 80);
        self.internal(shape, self.words.map, self.map_of_maps);
        let descriptors = self.heap.names.intern(Name::Fixed("descriptors"));
        let array = self
            .heap
            .names
            .intern(Name::Fixed("system / DescriptorArray"));
        let descriptor_array = self.heap.add(NodeKind::ObjectShape, array, 64);
        self.internal(shape, descriptors, descriptor_array);
        let name = self.heap.names.intern(Name::Fixed("prototype"));
        self.internal(shape, name, prototype);
        shape
    }

    fn add_class(&mut self, number: u32, root: NodeId) {
        // One in four is a plain object, whose class DevTools names after its properties.
        let plain = number % 4 == 3;
        let name = match plain {
            true => self.heap.names.intern(Name::Fixed("Object")),
            false => self.heap.names.intern(Name::Class(number)),
        };
        let prototype = self.heap.add(NodeKind::Object, name, 56);
        let shape = self.shape_node(prototype);
        self.heap
            .link(root, EdgeKind::Internal, self.words.empty, prototype);
        let closure = self.heap.add(NodeKind::Closure, name, 64);
        self.heap.link(
            prototype,
            EdgeKind::Property,
            self.words.constructor,
            closure,
        );
        self.internal(closure, self.words.map, shape);
        let place = place_of(number * 31);
        self.heap.locate(closure, place);
        let count = self.random.between(6, 30);
        let properties = (0..count)
            .map(|_| self.random.skewed_below(3000) as u32)
            .map(|property| self.heap.names.intern(Name::Property(property)))
            .collect();
        let place = (!plain).then_some(place);
        self.classes.push(Class {
            name,
            shape,
            prototype,
            properties,
            place,
        });
    }

    fn add_buffer(&mut self) {
        let buffer_name = self.heap.names.intern(Name::Fixed("ArrayBuffer"));
        let data_name = self
            .heap
            .names
            .intern(Name::Fixed("system / JSArrayBufferData"));
        let backing_store = self.heap.names.intern(Name::Fixed("backing_store"));
        let buffer = self.heap.add(NodeKind::Object, buffer_name, 88);
        self.internal(buffer, self.words.map, self.array_shape);
        let size = 64 << self.random.below(9);
        let data = self.heap.add_native(&mut self.random, data_name, size);
        self.internal(buffer, backing_store, data);
        self.hang(buffer);
    }

    /// Pairs whose keys are elsewhere in the heap: each value hangs on table and key.
    fn add_weak_map(&mut self, root: NodeId) {
        let name = self
            .heap
            .names
            .intern(Name::Fixed("system / EphemeronHashTable"));
        let table = self.heap.add(NodeKind::Array, name, 2048);
        self.heap.link_index(root, EdgeKind::Element, 1, table);
        for class in 0..120 {
            let key = self.classes[class].prototype;
            let value = self.object_of_class(class);
            let ids = [key, value, table].map(|node| self.heap.id_of(node));
            let entry = self.heap.names.intern(Name::WeakMapEntry(ids));
            self.internal(key, entry, value);
            self.internal(table, entry, value);
            self.heap.link(table, EdgeKind::Weak, self.words.empty, key);
        }
    }

    fn extend_chain(&mut self) {
        let link = self.object_of_class(7);
        self.property(self.chain_end, "next", link);
        self.chain_end = link;
    }

    fn extend_hub(&mut self) {
        for _ in 0..4 {
            if self.hub_size == self.hub_limit {
                return;
            }
            let record = self.object_of_class(11);
            self.heap
                .link_index(self.hub, EdgeKind::Element, self.hub_size, record);
            self.hub_size += 1;
        }
    }

    fn leak_session(&mut self) {
        let session = self.heap.add(NodeKind::Object, self.words.session, 56);
        self.internal(session, self.words.map, self.array_shape);
        self.heap.locate(
            session,
            Place {
                script: 17,
                line: 41,
                column: 13,
            },
        );
        for name in ["token", "user", "agent"] {
            let value = self.fresh_string();
            self.property(session, name, value);
        }
        let started = self.number_node();
        self.property(session, "started", started);
        self.numbered(self.leak_table, 3 * self.leaked + 1, session);
        self.leaked += 1;
    }

    /// As in real files, a handful of objects that only weak references lead to.
    fn add_unreachable(&mut self) {
        for _ in 0..8 {
            let orphan = self.object_of_class(13);
            self.heap
                .link(self.hub, EdgeKind::Weak, self.words.empty, orphan);
        }
    }

    fn internal(&mut self, from: NodeId, name: NameId, to: NodeId) {
        self.heap.link(from, EdgeKind::Internal, name, to);
    }

    fn numbered(&mut self, from: NodeId, number: u32, to: NodeId) {
        let name = self.heap.names.intern(Name::Number(number));
        self.internal(from, name, to);
    }

    fn property(&mut self, from: NodeId, name: &'static str, to: NodeId) {
        let name = self.heap.names.intern(Name::Fixed(name));
        self.heap.link(from, EdgeKind::Property, name, to);
    }
}

fn add_gc_roots(heap: &mut Heap, root: NodeId) -> Vec<NodeId> {
    let name = heap.names.intern(Name::Fixed("(GC roots)"));
    let gc_roots = heap.add(NodeKind::Synthetic, name, 0);
    heap.link_index(root, EdgeKind::Element, 1, gc_roots);
    let mut children = Vec::new();
    for (index, text) in GC_ROOTS.into_iter().enumerate() {
        let name = heap.names.intern(Name::Fixed(text));
        let child = heap.add(NodeKind::Synthetic, name, 0);
        heap.link_index(gc_roots, EdgeKind::Element, index + 1, child);
        children.push(child);
    }
    children
}

/// The global object by a shortcut edge, and the embedder's roots by element edges.
fn add_user_roots(heap: &mut Heap, root: NodeId, words: &Words) -> NodeId {
    let name = heap.names.intern(Name::Fixed("global"));
    let global = heap.add(NodeKind::Object, name, 4232);
    heap.link(root, EdgeKind::Shortcut, name, global);
    for (index, text) in ["C++ Persistent roots", "Node / Environment"]
        .into_iter()
        .enumerate()
    {
        let name = heap.names.intern(Name::Fixed(text));
        let node = heap.add(NodeKind::Synthetic, name, 0);
        heap.link_index(root, EdgeKind::Element, index + 3, node);
        heap.link(node, EdgeKind::Internal, words.empty, global);
    }
    global
}

fn place_of(number: u32) -> Place {
    Place {
        script: 60 + number % 61,
        line: number % 7919,
        column: number % 97,
    }
}
