//! Which class each node belongs to.

use heapatlas_model::{HeapGraph, Location, NodeId, NodeKind, StringId};
use rustc_hash::FxHashMap;

use crate::detachedness::Detachedness;
use crate::display_name::{DETACHED_PREFIX, PLAIN_OBJECT};
use crate::interfaces::{Interfaces, Shapes};
use crate::{Class, ClassId};

/// The classes of a heap.
///
/// Intended difference to DevTools: there, two classes with one key (an object that is called
/// `RegExp` beside regular expressions) hide one another; here they are one class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    /// The classes in order of first appearance.
    pub table: Vec<Class>,
    /// For each node its class.
    pub class_of: Vec<ClassId>,
    /// The interfaces that plain objects were sorted by; none where classes go by name only.
    pub interfaces: Interfaces,
}

impl Classes {
    /// Assigns each node its class.
    ///
    /// `by_name`: neither a source position nor the properties of plain objects tell classes
    /// apart. `interfaces`: `None` to find out which ones this heap has, `Some` to apply those of
    /// another heap (without which a comparison would see classes come and go).
    pub fn assign(
        graph: &HeapGraph,
        detachedness: &Detachedness,
        by_name: bool,
        interfaces: Option<&Interfaces>,
    ) -> Self {
        let mut names = ClassNames::new(graph);
        let mut assignment = Assignment::new(graph, by_name);
        let mut used = Interfaces::default();
        if !by_name {
            let objects = plain_objects(graph, &mut names);
            let shapes = Shapes::collect(graph, &objects);
            used = interfaces.cloned().unwrap_or_else(|| shapes.infer());
            let matches = shapes.matches(&used);
            let interface_names: Vec<NameId> = used
                .definitions
                .iter()
                .map(|interface| names.intern(&interface.name))
                .collect();
            assignment.interface_of_plain = objects
                .into_iter()
                .zip(matches)
                .filter_map(|(object, at)| Some((object, interface_names[at? as usize])))
                .collect();
        }
        let class_of = assignment.run(graph, detachedness, &mut names);
        Self {
            table: assignment.table,
            class_of,
            interfaces: used,
        }
    }
}

/// A class's name within one heap: equal texts have equal ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct NameId(u32);

/// The names of classes, found once for each string.
struct ClassNames<'g> {
    graph: &'g HeapGraph,
    /// For each string the class name of objects called so, plus one; 0 while unknown.
    known: Vec<u32>,
    /// The same for nodes whose name gets `Detached ` in front.
    known_detached: FxHashMap<StringId, NameId>,
    ids: FxHashMap<String, NameId>,
    texts: Vec<String>,
}

impl<'g> ClassNames<'g> {
    fn new(graph: &'g HeapGraph) -> Self {
        Self {
            graph,
            known: vec![0; graph.strings().len()],
            known_detached: FxHashMap::default(),
            ids: FxHashMap::default(),
            texts: Vec::new(),
        }
    }

    fn intern(&mut self, text: &str) -> NameId {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = NameId(self.texts.len() as u32);
        self.texts.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        id
    }

    /// The class name of an object or native node with this name.
    #[inline]
    fn of_object(&mut self, name: StringId) -> NameId {
        match self.known.get(name.index()) {
            Some(&known) if known != 0 => NameId(known - 1),
            _ => self.find_out(name),
        }
    }

    #[cold]
    fn find_out(&mut self, name: StringId) -> NameId {
        let text = self.graph.strings().get(name);
        let id = self.intern(&element_class(&text));
        // A salvaged file may name strings that it lacks; those are not remembered by number.
        if let Some(known) = self.known.get_mut(name.index()) {
            *known = id.0 + 1;
        }
        id
    }

    /// The class name of a native node whose name gets `Detached ` in front.
    fn of_detached(&mut self, name: StringId) -> NameId {
        if let Some(&id) = self.known_detached.get(&name) {
            return id;
        }
        let text = format!("{DETACHED_PREFIX}{}", self.graph.strings().get(name));
        let id = self.intern(&element_class(&text));
        self.known_detached.insert(name, id);
        id
    }
}

/// The name without an element's attributes: `<div id="a">` is a `<div>`.
fn element_class(name: &str) -> std::borrow::Cow<'_, str> {
    let start = match name.strip_prefix(DETACHED_PREFIX) {
        Some(rest) if rest.starts_with('<') => DETACHED_PREFIX.len(),
        _ if name.starts_with('<') => 0,
        _ => return name.into(),
    };
    match name[start..].find(' ') {
        Some(space) => format!("{}>", &name[..start + space]).into(),
        None => name.into(),
    }
}

/// The objects called `Object`, in order.
fn plain_objects(graph: &HeapGraph, names: &mut ClassNames<'_>) -> Vec<NodeId> {
    let columns = graph.columns();
    let plain = names.intern(PLAIN_OBJECT);
    let is_object: Vec<bool> = columns
        .node_types
        .iter()
        .map(|node_type| node_type.kind == NodeKind::Object)
        .collect();
    let mut objects = Vec::new();
    for (row, &type_row) in columns.node_type.iter().enumerate() {
        if is_object[type_row as usize] && names.of_object(columns.node_name[row]) == plain {
            objects.push(NodeId::from_index(row));
        }
    }
    objects
}

/// Not assigned yet.
const NONE: ClassId = ClassId(u32::MAX);

/// Classes being given out, node by node.
struct Assignment<'g> {
    table: Vec<Class>,
    /// For each name the class of that name without a source position.
    by_name: Vec<ClassId>,
    /// The classes with a source position: script, line, column.
    by_location: FxHashMap<(NameId, u32, u32, u32), ClassId>,
    /// Plain objects that joined an interface, in order.
    interface_of_plain: Vec<(NodeId, NameId)>,
    /// Source positions of objects, in order, one each.
    locations: Vec<&'g Location>,
}

impl<'g> Assignment<'g> {
    fn new(graph: &'g HeapGraph, by_name: bool) -> Self {
        Self {
            table: Vec::new(),
            by_name: Vec::new(),
            by_location: FxHashMap::default(),
            interface_of_plain: Vec::new(),
            locations: if by_name {
                Vec::new()
            } else {
                object_locations(graph)
            },
        }
    }

    fn run(
        &mut self,
        graph: &HeapGraph,
        detachedness: &Detachedness,
        names: &mut ClassNames<'_>,
    ) -> Vec<ClassId> {
        let columns = graph.columns();
        let rules: Vec<Rule> = columns
            .node_types
            .iter()
            .map(|node_type| Rule::new(node_type, names))
            .collect();
        let interface_of_plain = std::mem::take(&mut self.interface_of_plain);
        let mut interface_of_plain = interface_of_plain.iter().peekable();
        let locations = std::mem::take(&mut self.locations);
        let mut locations = locations.iter().peekable();
        let mut class_of = Vec::with_capacity(graph.node_count());
        for (row, (&type_row, &name)) in
            columns.node_type.iter().zip(&columns.node_name).enumerate()
        {
            let node = NodeId(row as u32);
            let class = match rules[type_row as usize] {
                Rule::Fixed(class_name) => self.class(class_name, names),
                Rule::Native if detachedness.is_renamed(node) => {
                    self.class(names.of_detached(name), names)
                }
                Rule::Native => self.class(names.of_object(name), names),
                Rule::Object => {
                    let joined = interface_of_plain.next_if(|joined| joined.0 == node);
                    let class_name =
                        joined.map_or_else(|| names.of_object(name), |joined| joined.1);
                    match locations.next_if(|location| location.node == node) {
                        Some(location) => self.class_at(class_name, location, names),
                        None => self.class(class_name, names),
                    }
                }
            };
            class_of.push(class);
        }
        class_of
    }

    #[inline]
    fn class(&mut self, name: NameId, names: &ClassNames<'_>) -> ClassId {
        match self.by_name.get(name.0 as usize) {
            Some(&class) if class != NONE => class,
            _ => self.new_class(name, names),
        }
    }

    #[cold]
    fn new_class(&mut self, name: NameId, names: &ClassNames<'_>) -> ClassId {
        let text = &names.texts[name.0 as usize];
        let class = self.push(text, format!(",{text}"));
        self.by_name
            .resize(names.texts.len().max(self.by_name.len()), NONE);
        self.by_name[name.0 as usize] = class;
        class
    }

    fn class_at(&mut self, name: NameId, at: &Location, names: &ClassNames<'_>) -> ClassId {
        let position = (name, at.script_id, at.line, at.column);
        if let Some(&class) = self.by_location.get(&position) {
            return class;
        }
        let text = &names.texts[name.0 as usize];
        let key = format!("{},{},{},{text}", at.script_id, at.line, at.column);
        let class = self.push(text, key);
        self.by_location.insert(position, class);
        class
    }

    fn push(&mut self, name: &str, key: String) -> ClassId {
        let class = ClassId(self.table.len() as u32);
        self.table.push(Class {
            name: name.to_owned(),
            key,
        });
        class
    }
}

/// How nodes of a type get their class.
#[derive(Clone, Copy)]
enum Rule {
    /// All of them are one class.
    Fixed(NameId),
    /// By name, and never by source position.
    Native,
    /// By name and source position, plain objects by interface.
    Object,
}

impl Rule {
    fn new(node_type: &heapatlas_model::NodeType, names: &mut ClassNames<'_>) -> Self {
        let name = match node_type.kind {
            NodeKind::Object => return Self::Object,
            NodeKind::Native => return Self::Native,
            NodeKind::Hidden => "(system)",
            NodeKind::Code => "(compiled code)",
            NodeKind::Closure => "Function",
            NodeKind::RegExp => "RegExp",
            _ => &format!("({})", node_type.name),
        };
        Self::Fixed(names.intern(name))
    }
}

/// The source positions of objects, in the order of the nodes. The last one counts where the
/// file gives several for one object.
fn object_locations(graph: &HeapGraph) -> Vec<&Location> {
    let locations = graph.locations();
    // Node and row in one number: sorting those moves no locations and follows no references.
    let mut keys: Vec<u64> = (0_u64..)
        .zip(locations)
        .filter(|(_, location)| graph.kind(location.node) == NodeKind::Object)
        .map(|(row, location)| u64::from(location.node.0) << 32 | row)
        .collect();
    keys.sort_unstable();
    let mut kept: Vec<&Location> = Vec::with_capacity(keys.len());
    for key in keys {
        let location = &locations[(key & u64::from(u32::MAX)) as usize];
        match kept.last_mut() {
            Some(last) if last.node == location.node => *last = location,
            _ => kept.push(location),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{EdgeKind, GraphBuilder, SnapshotFormat};

    use super::*;

    fn builder() -> GraphBuilder {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        builder.node(NodeKind::Synthetic, "", 1, 0);
        builder
    }

    fn assign(graph: &HeapGraph, by_name: bool) -> Classes {
        let detachedness = Detachedness::find(graph);
        Classes::assign(graph, &detachedness, by_name, None)
    }

    fn names(classes: &Classes) -> Vec<&str> {
        let name = |class: &ClassId| classes.table[class.0 as usize].name.as_str();
        // The root is no news.
        classes.class_of[1..].iter().map(name).collect()
    }

    fn keys(classes: &Classes) -> Vec<&str> {
        let key = |class: &ClassId| classes.table[class.0 as usize].key.as_str();
        classes.class_of[1..].iter().map(key).collect()
    }

    #[track_caller]
    fn check(kind: NodeKind, name: &str, class: &str) {
        let mut builder = builder();
        builder.node(kind, name, 3, 1);
        assert_eq!(names(&assign(&builder.finish().unwrap(), false)), [class]);
    }

    #[test]
    fn classes_by_type_and_name() {
        check(NodeKind::Hidden, "system / Foo", "(system)");
        check(NodeKind::Code, "f", "(compiled code)");
        check(NodeKind::Closure, "f", "Function");
        check(NodeKind::RegExp, "/a/", "RegExp");
        check(NodeKind::String, "abc", "(string)");
        check(NodeKind::SlicedString, "abc", "(sliced string)");
        check(NodeKind::ObjectShape, "system / Map", "(object shape)");
        check(NodeKind::Object, "Map", "Map");
        check(NodeKind::Object, "<div id=\"a b\">", "<div>");
        check(NodeKind::Native, "<div>", "<div>");
        check(
            NodeKind::Native,
            "Detached <div id=\"a\">",
            "Detached <div>",
        );
        check(NodeKind::Native, "Detached Text node", "Detached Text node");
        check(NodeKind::String, "<div id>", "(string)");
    }

    #[test]
    fn equal_keys_are_one_class() {
        let mut builder = builder();
        builder.node(NodeKind::RegExp, "/a/", 3, 16);
        builder.node(NodeKind::Object, "RegExp", 5, 17);
        builder.node(NodeKind::Native, "(system)", 7, 17);
        builder.node(NodeKind::Hidden, "x", 9, 17);
        let classes = assign(&builder.finish().unwrap(), false);
        assert_eq!(classes.table.len(), 3);
        assert_eq!(
            keys(&classes),
            [",RegExp", ",RegExp", ",(system)", ",(system)"]
        );
    }

    fn location(node: NodeId, script_id: u32, line: u32) -> Location {
        Location {
            node,
            script_id,
            script_node: None,
            line,
            column: 4,
        }
    }

    #[test]
    fn positions_tell_classes_of_one_name_apart() {
        let mut builder = builder();
        let things = [3, 5, 7, 9].map(|id| builder.node(NodeKind::Object, "Thing", id, 1));
        let function = builder.node(NodeKind::Closure, "f", 11, 1);
        let native = builder.node(NodeKind::Native, "Thing", 12, 1);
        // Out of order, and one of them twice: the last one counts.
        builder.location(location(native, 5, 1));
        builder.location(location(things[2], 9, 9));
        builder.location(location(things[0], 5, 1));
        builder.location(location(things[1], 6, 1));
        builder.location(location(things[2], 5, 1));
        builder.location(location(function, 5, 1));
        let graph = builder.finish().unwrap();
        let split = [
            "5,1,4,Thing",
            "6,1,4,Thing",
            "5,1,4,Thing",
            ",Thing",
            ",Function",
            ",Thing",
        ];
        assert_eq!(keys(&assign(&graph, false)), split);
        let whole = [
            ",Thing",
            ",Thing",
            ",Thing",
            ",Thing",
            ",Function",
            ",Thing",
        ];
        assert_eq!(keys(&assign(&graph, true)), whole);
    }

    fn plain(builder: &mut GraphBuilder, properties: &[&str]) {
        let object = builder.node(NodeKind::Object, PLAIN_OBJECT, 1, 1);
        for name in properties {
            builder.named_edge(object, EdgeKind::Property, name, NodeId(0));
            builder.named_edge(object, EdgeKind::Internal, "map", NodeId(0));
        }
    }

    #[track_caller]
    fn check_plain(objects: &[&[&str]], expected: &[&str]) {
        let mut builder = builder();
        for properties in objects {
            plain(&mut builder, properties);
        }
        let graph = builder.finish().unwrap();
        assert_eq!(names(&assign(&graph, false)), expected);
        assert!(
            names(&assign(&graph, true))
                .iter()
                .all(|&name| name == PLAIN_OBJECT)
        );
    }

    #[test]
    fn plain_objects_join_the_largest_interface_they_fit() {
        check_plain(
            &[
                &["a"],
                &["a"],
                &["a", "b"],
                &["a", "b"],
                &["b", "c", "a"],
                &["b"],
                &[],
                &["c", "a"],
            ],
            &[
                "{a}", "{a}", "{a, b}", "{a, b}", "{a, b}", "Object", "Object", "{a}",
            ],
        );
    }

    #[test]
    fn the_commoner_order_of_the_same_properties_wins() {
        check_plain(
            &[
                &["a", "b"],
                &["a", "b"],
                &["b", "a"],
                &["b", "a"],
                &["b", "a"],
            ],
            &["{b, a}"; 5],
        );
        // Among equally common ones the first seen.
        check_plain(
            &[&["b", "a"], &["a", "b"], &["b", "a"], &["a", "b"]],
            &["{b, a}"; 4],
        );
        // Of two that fit with as many properties, the commoner.
        check_plain(
            &[
                &["a", "x"],
                &["a", "x"],
                &["a", "y"],
                &["a", "y"],
                &["a", "y"],
                &["x", "y", "a"],
            ],
            &["{a, x}", "{a, x}", "{a, y}", "{a, y}", "{a, y}", "{a, y}"],
        );
    }

    #[test]
    fn proto_is_no_property_and_odd_names_are_quoted() {
        check_plain(
            &[
                &["__proto__", "a, b"],
                &["a, b"],
                &["__proto__"],
                &["__proto__"],
            ],
            &["{\"a, b\"}", "{\"a, b\"}", "Object", "Object"],
        );
    }

    #[test]
    fn a_property_listed_twice_must_be_there_twice() {
        check_plain(
            &[&["a", "a"], &["a", "a"], &["a"], &["a", "b", "a"]],
            &["{a, a}", "{a, a}", "Object", "{a, a}"],
        );
    }

    #[test]
    fn long_names_are_cut_at_120_units() {
        let long = "x".repeat(115);
        let name = format!("{{{long}, é}}");
        // With the separator before `é` that is 119: one more would fit, two do not.
        let expected = [name.as_str(); 4];
        check_plain(
            &[
                &[&long, "é", "nn"],
                &[&long, "é", "mm"],
                &[&long, "é", "oo"],
                &["é", &long],
            ],
            &expected,
        );
        let longer = "x".repeat(119);
        let name = format!("{{{longer}}}");
        check_plain(&[&[&longer, "y"], &[&longer, "z"]], &[&name, &name]);
    }

    #[test]
    fn rare_interfaces_are_dropped() {
        let objects: Vec<&[&str]> = std::iter::repeat_n(&["a", "b"][..], 2)
            .chain(std::iter::repeat_n(&["a"][..], 1_998))
            .collect();
        let interfaces = |objects: &[&[&str]]| {
            let mut builder = builder();
            for properties in objects {
                plain(&mut builder, properties);
            }
            let classes = assign(&builder.finish().unwrap(), false);
            let definitions = classes.interfaces.definitions.into_iter();
            definitions
                .map(|found| (found.name, found.count))
                .collect::<Vec<_>>()
        };
        let both = [("{a}".to_owned(), 1_998), ("{a, b}".to_owned(), 2)];
        assert_eq!(interfaces(&objects), both);
        let one_more = [&objects[..], &[&["a"]]].concat();
        assert_eq!(interfaces(&one_more), [("{a}".to_owned(), 1_999)]);
    }

    #[test]
    fn interfaces_of_another_heap_apply() {
        let mut other = builder();
        plain(&mut other, &["a", "b"]);
        plain(&mut other, &["a", "b"]);
        plain(&mut other, &["unknown"]);
        plain(&mut other, &["unknown"]);
        let other = assign(&other.finish().unwrap(), false);
        let mut builder = builder();
        plain(&mut builder, &["c", "b", "a"]);
        plain(&mut builder, &["a"]);
        let graph = builder.finish().unwrap();
        let none = Detachedness::default();
        let classes = Classes::assign(&graph, &none, false, Some(&other.interfaces));
        assert_eq!(names(&classes), ["{a, b}", "Object"]);
        assert_eq!(classes.interfaces, other.interfaces);
    }

    #[test]
    fn renamed_nodes_are_a_class_of_their_own() {
        let mut builder = builder();
        let live = builder.node(NodeKind::Native, "<a href>", 2, 1);
        let gone = builder.node(NodeKind::Native, "<a href>", 4, 1);
        builder.v8_mut().detachedness = Some(heapatlas_model::Detachedness {
            marked: vec![(live, 1), (gone, 2)],
        });
        let classes = assign(&builder.finish().unwrap(), false);
        assert_eq!(names(&classes), ["<a>", "Detached <a>"]);
    }
}
