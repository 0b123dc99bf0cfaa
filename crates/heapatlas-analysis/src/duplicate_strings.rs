//! Strings that stand in the heap more than once.

use std::cmp::Reverse;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use heapatlas_model::{EdgeKind, EdgeLabel, HeapGraph, NodeId, NodeKind, StringId};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::Heap;
use crate::display_name::{LONGEST_NAME, halves, utf16_len};
use crate::name_test::NameTest;

/// Joined strings are compared whole up to so many UTF-16 units; longer ones only by their head.
const LONGEST_JOINED: usize = 4 * LONGEST_NAME;

/// Which strings stand in the heap more than once, and which may.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DuplicateStrings {
    /// Equal strings, most bytes first.
    pub groups: Vec<StringGroup>,
    /// Strings that begin alike and are too long for the file to tell whether they are equal.
    ///
    /// V8 cuts what it writes at 1024 characters. DevTools calls these duplicates; on Node 24 it
    /// reports 16 different source texts as one.
    pub perhaps: Vec<StringGroup>,
}

/// Strings with one text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StringGroup {
    /// The text, or what the file has of it.
    pub text: String,
    /// The strings, in order.
    pub nodes: Vec<NodeId>,
    /// Their own bytes together.
    pub shallow_bytes: u64,
}

/// Finds the strings that stand in the heap more than once. Strings without size, slices of
/// others and joined strings that were flattened (one of their halves is empty) do not count.
pub fn duplicate_strings(heap: &Heap) -> DuplicateStrings {
    let graph = heap.graph();
    let mut texts = Texts::new(graph);
    let mut extents = Extents::new(graph);
    let mut certain: Vec<((TextId, Option<Extent>), NodeId)> = Vec::new();
    let mut perhaps: Vec<((TextId, u64), NodeId)> = Vec::new();
    for node in graph.nodes() {
        let kind = graph.kind(node);
        let is_string = matches!(kind, NodeKind::String | NodeKind::ConcatenatedString);
        if !is_string || heap.shallow_bytes(node) == 0 {
            continue;
        }
        let Some((text, is_whole)) = texts.of_unflattened(node) else {
            continue;
        };
        if is_whole {
            certain.push(((text, None), node));
        } else if let Some(extent) = extents.of(node) {
            certain.push(((text, Some(extent)), node));
        } else {
            // Different sizes are different strings.
            perhaps.push(((text, graph.self_size_bytes(node)), node));
        }
    }
    DuplicateStrings {
        groups: groups(heap, &texts, certain),
        perhaps: groups(heap, &texts, perhaps),
    }
}

/// Puts together the strings that what is told of them makes equal: the text, and where the
/// file has only its head, the rest in as far as the file tells.
fn groups<Rest: Ord + Copy>(
    heap: &Heap,
    texts: &Texts<'_>,
    mut found: Vec<((TextId, Rest), NodeId)>,
) -> Vec<StringGroup> {
    found.sort_unstable();
    let mut groups: Vec<StringGroup> = found
        .chunk_by(|one, other| one.0 == other.0)
        .filter(|members| members.len() > 1)
        .map(|members| {
            let bytes = |&(_, node): &(_, NodeId)| heap.shallow_bytes(node);
            let (text, _) = members[0].0;
            StringGroup {
                text: texts.text(text).into_owned(),
                nodes: members.iter().map(|member| member.1).collect(),
                shallow_bytes: members.iter().map(bytes).fold(0, u64::saturating_add),
            }
        })
        .collect();
    groups.sort_by_key(|group| (Reverse(group.shallow_bytes), group.nodes[0]));
    groups
}

/// Number of a distinct text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct TextId(u32);

/// A text and whether it is all of the string, not only its head.
type Text = (TextId, bool);

/// Where a distinct text stands.
enum Source {
    /// In the file.
    Name(StringId),
    /// Joined from several.
    Joined(String),
}

/// The texts of strings, each distinct one once.
struct Texts<'g> {
    graph: &'g HeapGraph,
    ids: HashTable<TextId>,
    hashes: Vec<u64>,
    sources: Vec<Source>,
    /// For each string its text, once somebody asked.
    of_name: Vec<Option<Text>>,
    of_joined: FxHashMap<NodeId, Text>,
}

impl<'g> Texts<'g> {
    fn new(graph: &'g HeapGraph) -> Self {
        Self {
            graph,
            ids: HashTable::new(),
            hashes: Vec::new(),
            sources: Vec::new(),
            of_name: vec![None; graph.strings().len()],
            of_joined: FxHashMap::default(),
        }
    }

    fn text(&self, id: TextId) -> std::borrow::Cow<'_, str> {
        source_text(self.graph, &self.sources[id.0 as usize])
    }

    fn of_string(&mut self, name: StringId) -> Text {
        if let Some(&Some(text)) = self.of_name.get(name.index()) {
            return text;
        }
        let content = self.graph.strings().get(name);
        let is_whole = utf16_len(&content) != LONGEST_NAME;
        let text = (self.intern(&content, || Source::Name(name)), is_whole);
        // A salvaged file may name strings that it lacks; those are not remembered.
        if let Some(known) = self.of_name.get_mut(name.index()) {
            *known = Some(text);
        }
        text
    }

    fn intern(&mut self, content: &str, source: impl FnOnce() -> Source) -> TextId {
        let hash = FxBuildHasher.hash_one(content);
        let is_same = |id: &TextId| {
            self.hashes[id.0 as usize] == hash
                && source_text(self.graph, &self.sources[id.0 as usize]) == content
        };
        if let Some(&id) = self.ids.find(hash, is_same) {
            return id;
        }
        let id = TextId(self.sources.len() as u32);
        self.hashes.push(hash);
        self.sources.push(source());
        let hashes = &self.hashes;
        self.ids.insert_unique(hash, id, |id| hashes[id.0 as usize]);
        id
    }

    /// The text of a string, `None` for a concatenated one of which one half is empty: that is
    /// only the shell that V8 leaves behind when it flattens one.
    fn of_unflattened(&mut self, node: NodeId) -> Option<Text> {
        if self.graph.kind(node) != NodeKind::ConcatenatedString {
            return Some(self.of_string(self.graph.name(node)));
        }
        self.join_below(node);
        let (first, second) = halves(self.graph, node);
        for half in [first, second].into_iter().flatten() {
            let (text, _) = self.of_any(half);
            if self.text(text).is_empty() {
                return None;
            }
        }
        Some(self.of_any(node))
    }

    /// The text of a node, where joined ones have been joined before.
    fn of_any(&mut self, node: NodeId) -> Text {
        if self.graph.kind(node) == NodeKind::ConcatenatedString {
            // Only a rope that contains itself is not known by now.
            let empty = (self.intern("", || Source::Joined(String::new())), false);
            *self.of_joined.entry(node).or_insert(empty)
        } else {
            self.of_string(self.graph.name(node))
        }
    }

    /// Joins a rope and all ropes below it, lowest first.
    ///
    /// Each is joined from its halves, not from its pieces: a program that appends in a loop
    /// leaves a million ropes, each one piece longer than the one before.
    fn join_below(&mut self, node: NodeId) {
        let mut pending = vec![(node, false)];
        while let Some((rope, are_halves_joined)) = pending.pop() {
            if self.graph.kind(rope) != NodeKind::ConcatenatedString {
                continue;
            }
            let (first, second) = halves(self.graph, rope);
            if are_halves_joined {
                let text = self.join(first, second);
                self.of_joined.insert(rope, text);
            } else if !self.of_joined.contains_key(&rope) {
                // A stand-in until it is joined, at which a rope that contains itself ends.
                let (empty, _) = self.of_any(rope);
                self.of_joined.insert(rope, (empty, false));
                pending.push((rope, true));
                pending.extend(second.into_iter().chain(first).map(|half| (half, false)));
            }
        }
    }

    fn join(&mut self, first: Option<NodeId>, second: Option<NodeId>) -> Text {
        let empty = (self.intern("", || Source::Joined(String::new())), true);
        let head = first.map_or(empty, |first| self.of_any(first));
        let tail = second.map_or(empty, |second| self.of_any(second));
        let head_text = self.text(head.0);
        if !head.1 || utf16_len(&head_text) >= LONGEST_NAME {
            return (head.0, head.1 && tail == empty);
        }
        let mut joined = head_text.into_owned();
        joined.push_str(&self.text(tail.0));
        let is_whole = tail.1 && utf16_len(&joined) <= LONGEST_JOINED;
        if !is_whole {
            joined = head_of(&joined);
        }
        let id = self.intern(&joined.clone(), || Source::Joined(joined));
        (id, is_whole)
    }
}

fn source_text<'a>(graph: &'a HeapGraph, source: &'a Source) -> std::borrow::Cow<'a, str> {
    match source {
        Source::Name(name) => graph.strings().get(*name),
        Source::Joined(text) => text.as_str().into(),
    }
}

/// The first 1024 units.
fn head_of(text: &str) -> String {
    let mut units = 0;
    text.chars()
        .take_while(|character| {
            units += character.len_utf16();
            units <= LONGEST_NAME
        })
        .collect()
}

/// How long a string is and what it hashes to, as V8 15 and later tell in internal edges:
/// string -`length`-> number -`value`-> string with the digits.
type Extent = (StringId, Option<StringId>);

struct Extents<'g> {
    graph: &'g HeapGraph,
    is_length: NameTest<'g>,
    is_hash: NameTest<'g>,
    is_value: NameTest<'g>,
}

impl<'g> Extents<'g> {
    fn new(graph: &'g HeapGraph) -> Self {
        Self {
            graph,
            is_length: NameTest::new(graph.strings(), |name| name == "length"),
            is_hash: NameTest::new(graph.strings(), |name| name == "hash"),
            is_value: NameTest::new(graph.strings(), |name| name == "value"),
        }
    }

    /// `None` when the file does not tell the length.
    fn of(&mut self, node: NodeId) -> Option<Extent> {
        let length = child(self.graph, node, &mut self.is_length)?;
        let hash = child(self.graph, node, &mut self.is_hash);
        Some((
            self.digits(length)?,
            hash.and_then(|hash| self.digits(hash)),
        ))
    }

    fn digits(&mut self, number: NodeId) -> Option<StringId> {
        child(self.graph, number, &mut self.is_value).map(|text| self.graph.name(text))
    }
}

fn child(graph: &HeapGraph, node: NodeId, is_called: &mut NameTest<'_>) -> Option<NodeId> {
    let edge = graph.edges(node).find(|&edge| {
        graph.edge_kind(edge) == EdgeKind::Internal
            && matches!(graph.label(edge), EdgeLabel::Name(name) if is_called.passes(name))
    })?;
    Some(graph.target(edge))
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, SnapshotFormat};

    use super::*;
    use crate::OpenOptions;

    /// Builds strings and ropes.
    struct Strings {
        builder: GraphBuilder,
        id: u64,
    }

    impl Strings {
        fn new() -> Self {
            let mut builder = GraphBuilder::new(SnapshotFormat::V8);
            builder.node(NodeKind::Synthetic, "", 1, 0);
            Self { builder, id: 1 }
        }

        fn node(&mut self, kind: NodeKind, text: &str, bytes: u64) -> NodeId {
            self.id += 2;
            self.builder.node(kind, text, self.id, bytes)
        }

        fn string(&mut self, text: &str, bytes: u64) -> NodeId {
            self.node(NodeKind::String, text, bytes)
        }

        fn join(&mut self, first: NodeId, second: NodeId) -> NodeId {
            let rope = self.node(NodeKind::ConcatenatedString, "(concatenated string)", 32);
            self.edge(rope, "first", first);
            self.edge(rope, "second", second);
            rope
        }

        fn edge(&mut self, from: NodeId, name: &str, to: NodeId) {
            self.builder.named_edge(from, EdgeKind::Internal, name, to);
        }

        fn extent(&mut self, string: NodeId, length: &str, hash: &str) {
            for (name, digits) in [("length", length), ("hash", hash)] {
                let number = self.node(NodeKind::Number, "int", 0);
                let value = self.string(digits, 0);
                self.edge(string, name, number);
                self.edge(number, "value", value);
            }
        }

        fn find(self) -> DuplicateStrings {
            let graph = self.builder.finish().unwrap();
            duplicate_strings(&Heap::open(graph, OpenOptions::default()))
        }
    }

    fn nodes(groups: &[StringGroup]) -> Vec<&[NodeId]> {
        groups.iter().map(|group| &group.nodes[..]).collect()
    }

    #[test]
    fn equal_texts_are_duplicates_however_they_are_stored() {
        let mut strings = Strings::new();
        let [a, b] = ["ab", "cd"].map(|text| strings.string(text, 16));
        let whole = strings.string("abcd", 24);
        let rope = strings.join(a, b);
        let again = strings.string("cd", 16);
        strings.string("cd", 0);
        strings.node(NodeKind::SlicedString, "cd", 16);
        let found = strings.find();
        assert_eq!(nodes(&found.groups), [&[whole, rope][..], &[b, again]]);
        assert_eq!(
            (found.groups[0].text.as_str(), found.groups[0].shallow_bytes),
            ("abcd", 56)
        );
        assert_eq!(found.perhaps, []);
    }

    #[test]
    fn flattened_ropes_are_no_strings_of_their_own() {
        let mut strings = Strings::new();
        let text = strings.string("text", 16);
        let empty = strings.string("", 12);
        strings.join(text, empty);
        let nothing = strings.join(empty, empty);
        strings.join(text, nothing);
        assert_eq!(strings.find(), DuplicateStrings::default());
    }

    #[test]
    fn cut_strings_are_perhaps_equal_if_their_sizes_are() {
        let mut strings = Strings::new();
        let head = "x".repeat(LONGEST_NAME);
        let [a, b] = [5_000; 2].map(|bytes| strings.string(&head, bytes));
        strings.string(&head, 6_000);
        let longer = format!("{head}!");
        let [c, d] = [5_000; 2].map(|bytes| strings.string(&longer, bytes));
        // Two ropes whose first half was cut.
        let tail = strings.string("tail", 16);
        let [e, f] = [a, b].map(|first| strings.join(first, tail));
        let found = strings.find();
        assert_eq!(nodes(&found.groups), [&[c, d][..]]);
        assert_eq!(nodes(&found.perhaps), [&[a, b][..], &[e, f]]);
    }

    #[test]
    fn units_count_and_not_bytes() {
        let mut strings = Strings::new();
        let uncut = strings.string(&"é".repeat(512), 2_000);
        let same = strings.string(&"é".repeat(512), 2_000);
        strings.string(&"😀".repeat(512), 3_000);
        strings.string(&"😀".repeat(512), 3_000);
        let found = strings.find();
        assert_eq!(nodes(&found.groups), [[uncut, same]]);
        assert_eq!(found.perhaps.len(), 1);
    }

    #[test]
    fn length_and_hash_tell_long_strings_apart() {
        let mut strings = Strings::new();
        let head = "x".repeat(LONGEST_NAME);
        let all = [5_000; 4].map(|bytes| strings.string(&head, bytes));
        strings.extent(all[0], "4990", "17");
        strings.extent(all[1], "4990", "18");
        strings.extent(all[2], "4991", "17");
        strings.extent(all[3], "4990", "17");
        let found = strings.find();
        assert_eq!(nodes(&found.groups), [[all[0], all[3]]]);
        assert_eq!(found.perhaps, []);
    }

    #[test]
    fn ropes_built_in_a_loop_end_soon() {
        let mut strings = Strings::new();
        let letter = strings.string("x", 16);
        let (mut appended, mut prepended) = (letter, letter);
        for _ in 0..20_000 {
            appended = strings.join(appended, letter);
            prepended = strings.join(letter, prepended);
        }
        // What is not joined whole is told by its head: above 1024 units where the left half is
        // the long one, above 4096 where the right half is.
        let found = strings.find();
        assert_eq!(found.groups[0].nodes.len(), 2);
        assert_eq!(
            found.perhaps.iter().map(|group| group.nodes.len()).max(),
            Some(20_001 - 1_024 + 20_001 - 4_096)
        );
    }

    #[test]
    fn a_rope_that_contains_itself_ends() {
        let mut strings = Strings::new();
        let letter = strings.string("x", 16);
        let rope = strings.join(letter, letter);
        strings.edge(rope, "other", rope);
        let own = strings.node(NodeKind::ConcatenatedString, "", 32);
        strings.edge(own, "first", own);
        strings.edge(own, "second", rope);
        strings.find();
    }
}
