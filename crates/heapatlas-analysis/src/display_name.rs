//! What a node is called in a row: not its class, and not always the name in the file.

use std::borrow::Cow;

use heapatlas_model::{EdgeId, EdgeKind, EdgeLabel, HeapGraph, NodeId, NodeKind};

use crate::detachedness::Detachedness;

/// Put in front of the name of a native node that is not part of a document.
pub(crate) const DETACHED_PREFIX: &str = "Detached ";
/// The name that V8 gives objects without a constructor of their own.
pub(crate) const PLAIN_OBJECT: &str = "Object";
/// V8 cuts names at so many UTF-16 units; joined strings are shown up to here as well.
pub(crate) const LONGEST_NAME: usize = 1024;
/// The list of a plain object's properties is cut at so many UTF-16 units.
const LONGEST_PROPERTY_LIST: usize = 100;

/// A node's name as DevTools shows it in a row.
pub(crate) fn display_name(graph: &HeapGraph, detachedness: &Detachedness, node: NodeId) -> String {
    match graph.kind(node) {
        NodeKind::ConcatenatedString => joined_text(graph, node),
        NodeKind::Object if is_plain_object(graph, node) => property_list(graph, node),
        _ => full_name(graph, detachedness, node).into_owned(),
    }
}

/// The name in the file, with `Detached ` in front where it applies.
pub(crate) fn full_name<'g>(
    graph: &'g HeapGraph,
    detachedness: &Detachedness,
    node: NodeId,
) -> Cow<'g, str> {
    let name = graph.name_text(node);
    if detachedness.is_renamed(node) {
        Cow::Owned(format!("{DETACHED_PREFIX}{name}"))
    } else {
        name
    }
}

/// Number of UTF-16 units, which is what DevTools calls the length.
pub(crate) fn utf16_len(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// A property's name as it stands in lists: in JSON notation if it could be mistaken for a part
/// of the list.
pub(crate) fn format_property(name: &str) -> Cow<'_, str> {
    if name.contains([',', '\'', '"', '{', '}']) {
        Cow::Owned(json_string(name))
    } else {
        Cow::Borrowed(name)
    }
}

/// The two halves of a concatenated string: its first internal edges `first` and `second`.
pub(crate) fn halves(graph: &HeapGraph, node: NodeId) -> (Option<NodeId>, Option<NodeId>) {
    let (mut first, mut second) = (None, None);
    for edge in graph.edges(node) {
        if graph.edge_kind(edge) != EdgeKind::Internal {
            continue;
        }
        if is_called(graph, edge, "first") {
            first = first.or(Some(graph.target(edge)));
        } else if is_called(graph, edge, "second") {
            second = second.or(Some(graph.target(edge)));
        }
    }
    (first, second)
}

fn is_called(graph: &HeapGraph, edge: EdgeId, text: &str) -> bool {
    matches!(graph.label(edge), EdgeLabel::Name(name) if graph.strings().is(name, text))
}

fn is_plain_object(graph: &HeapGraph, node: NodeId) -> bool {
    graph.strings().is(graph.name(node), PLAIN_OBJECT)
}

/// The pieces of a concatenated string from the left, until there are 1024 units.
///
/// Ropes are a million deep where a program appends in a loop, hence no recursion. A rope that
/// contains itself (no engine writes one) ends after as many steps as a sound one could take.
fn joined_text(graph: &HeapGraph, node: NodeId) -> String {
    let mut text = String::new();
    let mut units = 0;
    let mut pending = vec![node];
    let mut steps_left = 2 * graph.node_count() + 1;
    while let Some(piece) = pending.pop()
        && units < LONGEST_NAME
        && steps_left > 0
    {
        steps_left -= 1;
        if graph.kind(piece) == NodeKind::ConcatenatedString {
            let (first, second) = halves(graph, piece);
            pending.extend(second);
            pending.extend(first);
        } else {
            let piece = graph.name_text(piece);
            units += utf16_len(&piece);
            text.push_str(&piece);
        }
    }
    text
}

/// `{a, b, …, y, z}`: properties from both ends in turn, while they fit.
fn property_list(graph: &HeapGraph, node: NodeId) -> String {
    let mut start = String::from("{");
    let mut end = String::from("}");
    let mut units = 2;
    let mut properties = graph.edges(node).filter(|&edge| is_listed(graph, edge));
    let mut from_end = false;
    let mut is_cut = false;
    while let Some(edge) = next_from(&mut properties, from_end) {
        let label = graph.label_text(edge);
        let property = format_property(&label);
        // One property is shown, however long it is.
        is_cut = start.len() > 1 && units + utf16_len(&property) > LONGEST_PROPERTY_LIST;
        if is_cut {
            break;
        }
        units += utf16_len(&property);
        let part = if from_end { &mut end } else { &mut start };
        // Seen from DevTools' code: nothing but the brace there means no separator, also
        // after a property whose name is empty.
        let is_alone = part.len() == 1;
        units += if is_alone { 0 } else { 2 };
        match (from_end, is_alone) {
            (false, true) => part.push_str(&property),
            (false, false) => part.extend([", ", &property]),
            (true, true) => part.insert_str(0, &property),
            (true, false) => part.insert_str(0, &format!("{property}, ")),
        }
        from_end = !from_end;
    }
    if is_cut {
        start.push_str(", …");
    }
    if end.len() > 1 {
        start.push_str(", ");
    }
    start + &end
}

fn next_from<T>(items: &mut impl DoubleEndedIterator<Item = T>, from_end: bool) -> Option<T> {
    if from_end {
        items.next_back()
    } else {
        items.next()
    }
}

fn is_listed(graph: &HeapGraph, edge: EdgeId) -> bool {
    graph.edge_kind(edge) == EdgeKind::Property && !is_called(graph, edge, "__proto__")
}

/// A JSON string, escaped as JavaScript's `JSON.stringify` does.
fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{GraphBuilder, SnapshotFormat};

    use super::*;

    fn object_with(properties: &[&str]) -> HeapGraph {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let object = builder.node(NodeKind::Object, PLAIN_OBJECT, 1, 1);
        for name in properties {
            builder.named_edge(object, EdgeKind::Internal, "map", object);
            builder.named_edge(object, EdgeKind::Property, name, object);
        }
        builder.finish().unwrap()
    }

    #[track_caller]
    fn check_list(properties: &[&str], expected: &str) {
        let graph = object_with(properties);
        let name = display_name(&graph, &Detachedness::default(), NodeId(0));
        assert_eq!(name, expected);
    }

    #[test]
    fn lists_properties_of_plain_objects() {
        check_list(&[], "{}");
        check_list(&["a"], "{a}");
        check_list(&["a", "__proto__", "b", "c"], "{a, b, c}");
        check_list(
            &["only,one", "it's", "say \"hi\"", "a b"],
            r#"{"only,one", "it's", "say \"hi\"", a b}"#,
        );
        check_list(&["", "a", "b"], "{a, b}");
    }

    #[test]
    fn cuts_the_list_in_the_middle() {
        let long = |letter: &str, units| letter.repeat(units);
        // `{` and `}` count: 1 + 49 + 1 + 49 = 100 fits, one more does not.
        check_list(
            &[&long("a", 49), &long("m", 9), &long("z", 49)],
            &format!("{{{}, …, {}}}", long("a", 49), long("z", 49)),
        );
        check_list(
            &[&long("a", 49), &long("m", 9), &long("z", 50)],
            &format!("{{{}, …}}", long("a", 49)),
        );
        check_list(
            &[&long("a", 500), "b"],
            &format!("{{{}, …}}", long("a", 500)),
        );
        // Units, not bytes and not characters.
        check_list(
            &[&long("é", 49), &long("😀", 24)],
            &format!("{{{}, {}}}", long("é", 49), long("😀", 24)),
        );
        check_list(
            &[&long("é", 49), &long("😀", 25)],
            &format!("{{{}, …}}", long("é", 49)),
        );
    }

    #[test]
    fn joins_ropes_of_any_depth() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let piece = builder.node(NodeKind::String, "ab", 1, 1);
        let empty = builder.node(NodeKind::String, "", 3, 1);
        let mut rope = piece;
        for id in 0..200_000 {
            let longer = builder.node(NodeKind::ConcatenatedString, "(concatenated string)", id, 1);
            builder.named_edge(longer, EdgeKind::Internal, "first", rope);
            let second = if id % 2 == 0 { piece } else { empty };
            builder.named_edge(longer, EdgeKind::Internal, "second", second);
            rope = longer;
        }
        let graph = builder.finish().unwrap();
        let name = |node| display_name(&graph, &Detachedness::default(), node);
        assert_eq!(name(rope), "ab".repeat(512));
        assert_eq!(name(NodeId(2)), "abab");
        assert_eq!(name(NodeId(4)), "ababab");
    }

    #[test]
    fn a_rope_that_contains_itself_ends() {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let rope = builder.node(NodeKind::ConcatenatedString, "", 1, 1);
        builder.named_edge(rope, EdgeKind::Internal, "first", rope);
        builder.named_edge(rope, EdgeKind::Internal, "second", rope);
        let graph = builder.finish().unwrap();
        assert_eq!(display_name(&graph, &Detachedness::default(), rope), "");
    }

    #[test]
    fn quotes_like_javascript() {
        assert_eq!(format_property("plain\n"), "plain\n");
        assert_eq!(
            format_property("a,\n\u{1f}\\é\u{7f}"),
            "\"a,\\n\\u001f\\\\é\u{7f}\""
        );
    }
}
