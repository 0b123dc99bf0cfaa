//! V8 draws a WeakMap entry as two edges to the value, one from the key, one from the table,
//! both named `<n> / part of key (<key> @<id>) -> value (<value> @<id>) pair in WeakMap (table @<id>)`.

use heapatlas_model::{StringId, StringTable};
use rustc_hash::FxHashMap;

/// What the name of such an edge says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WeakMapEdge {
    /// The object id of the table.
    pub table: u64,
    /// Equal for the two edges of an entry: their names differ in the leading number only.
    pub entry: u32,
}

/// The names that speak of a WeakMap.
#[derive(Debug, Default)]
pub(crate) struct WeakMapEdges {
    by_name: FxHashMap<StringId, WeakMapEdge>,
    /// One bit for each string: in the innermost loops a miss must cost next to nothing.
    is_one: Vec<u64>,
    pub entries: usize,
}

/// The shortest name that can match.
const SHORTEST: usize = "1 / part of key ( @1) -> value ( @1) pair in WeakMap (table @1)".len();

impl WeakMapEdges {
    /// Looks at all strings that are long enough.
    pub fn find(strings: &StringTable) -> Self {
        let mut found = Self {
            is_one: vec![0; strings.len() / 64 + 1],
            ..Self::default()
        };
        let mut entries: FxHashMap<String, u32> = FxHashMap::default();
        for id in (0..strings.len()).map(StringId::from_index) {
            if !strings.raw(id).is_some_and(may_match) {
                continue;
            }
            let name = strings.get(id);
            if let Some((entry_text, table)) = parse(&name) {
                let next = entries.len() as u32;
                let entry = *entries.entry(entry_text.to_owned()).or_insert(next);
                found.by_name.insert(id, WeakMapEdge { table, entry });
                found.is_one[id.index() / 64] |= 1 << (id.index() % 64);
            }
        }
        found.entries = entries.len();
        found
    }

    /// What the name of an internal edge says of a WeakMap, if anything.
    #[inline]
    pub fn get(&self, name: StringId) -> Option<WeakMapEdge> {
        let word = self.is_one.get(name.index() / 64)?;
        if word >> (name.index() % 64) & 1 == 0 {
            return None;
        }
        self.by_name.get(&name).copied()
    }
}

/// Whether it is worth decoding a string: heaps hold millions of long ones.
fn may_match(raw: &[u8]) -> bool {
    let digits = raw.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // A writer may escape the slash.
    raw.len() >= SHORTEST
        && digits > 0
        && (raw[digits..].starts_with(b" / part") || raw[digits..].starts_with(b" \\/ part"))
}

/// The text after the leading number, and the table's id.
fn parse(name: &str) -> Option<(&str, u64)> {
    let entry = name.trim_start_matches(|c: char| c.is_ascii_digit());
    let (pair, table) = entry.rsplit_once(" pair in WeakMap (table @")?;
    let table = table.strip_suffix(')')?.parse().ok()?;
    let key_and_value = pair.strip_prefix(" / part of key (")?;
    let is_pair = entry.len() < name.len()
        && !entry.contains('\n')
        && key_and_value
            .match_indices(") -> value (")
            .any(|(at, arrow)| {
                let value = key_and_value[at + arrow.len()..].strip_suffix(')');
                ends_with_id(&key_and_value[..at]) && value.is_some_and(ends_with_id)
            });
    is_pair.then_some((entry, table))
}

/// Whether a text ends in ` @<digits>`.
fn ends_with_id(text: &str) -> bool {
    let head = text.trim_end_matches(|c: char| c.is_ascii_digit());
    head.len() < text.len() && head.ends_with(" @")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str =
        "12 / part of key (Session @77) -> value (Object @79) pair in WeakMap (table @4711)";

    #[test]
    fn parses_the_name_v8_gives() {
        let (entry, table) = parse(NAME).unwrap();
        assert_eq!(table, 4711);
        assert!(entry.starts_with(" / part of key (Session @77)"));
        let odd = "3 / part of key (a) -> value (b @1) -> value (c @2) pair in WeakMap (table @3)";
        assert!(parse(odd).is_some(), "a key may be called anything");
        let odd = "3 / part of key (a) -> value (b @1) pair in WeakMap (table @3)";
        assert_eq!(parse(odd), None, "the key has no id");
    }

    #[test]
    fn rejects_what_only_looks_like_it() {
        for name in [
            &NAME[2..],
            &NAME[..NAME.len() - 1],
            &NAME.replace("@77", "@x"),
            &NAME.replace("part of key", "part of the key"),
            &format!("{NAME} "),
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn the_two_edges_of_an_entry_share_its_number() {
        let other = NAME.replace("12 /", "3 /");
        let strings = StringTable::from_texts(["", NAME, "x", &other]);
        let edges = WeakMapEdges::find(&strings);
        assert_eq!(
            edges.get(StringId(1)).unwrap(),
            edges.get(StringId(3)).unwrap()
        );
        assert_eq!(edges.get(StringId(2)), None);
        assert_eq!(edges.entries, 1);
    }
}
