//! Strings stay byte ranges of the file they came from and are decoded when somebody looks.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::{StringId, UintColumn};

/// Bytes that somebody else owns: a mapped file, a decompressed buffer, a test array.
pub trait ByteSource: Send + Sync {
    /// All the bytes.
    fn bytes(&self) -> &[u8];

    /// Tells the owner that these bytes were read and will not be read again, so that it may
    /// give their memory back. After this call their contents are unspecified.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }

    /// Tells the owner that these bytes will not be read again soon. Their contents stay; a
    /// mapped file may drop its pages, since the next look brings them back.
    fn page_out(&self, range: Range<usize>) {
        let _ = range;
    }
}

impl ByteSource for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl ByteSource for &'static [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// How the bytes of a [`StringTable`] stand for text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StringEncoding {
    /// The inside of a JSON string: backslash escapes, UTF-8 elsewhere.
    Json,
    /// Plain UTF-8.
    Utf8,
}

/// The strings of a graph: names of nodes and edges.
///
/// A string costs eight bytes here beside its bytes in the source.
#[derive(Clone)]
pub struct StringTable {
    source: Arc<dyn ByteSource>,
    encoding: StringEncoding,
    starts: UintColumn,
    lengths: UintColumn,
}

impl StringTable {
    /// A table over ranges of `source`.
    ///
    /// # Panics
    /// When the two columns differ in length. (A range outside of the source reads as empty.)
    pub fn new(
        source: Arc<dyn ByteSource>,
        encoding: StringEncoding,
        starts: UintColumn,
        lengths: UintColumn,
    ) -> Self {
        assert_eq!(starts.len(), lengths.len(), "one length for each start");
        Self {
            source,
            encoding,
            starts,
            lengths,
        }
    }

    /// Tells the owner of the texts that they will not be looked at soon; see
    /// [`ByteSource::page_out`].
    pub fn page_out(&self) {
        self.source.page_out(0..self.source.bytes().len());
    }

    /// A table that owns its text.
    pub fn from_texts<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        let mut bytes = Vec::new();
        let mut starts = UintColumn::new();
        let mut lengths = UintColumn::new();
        for text in texts {
            starts.push(bytes.len() as u64);
            lengths.push(text.as_ref().len() as u64);
            bytes.extend_from_slice(text.as_ref().as_bytes());
        }
        Self::new(Arc::new(bytes), StringEncoding::Utf8, starts, lengths)
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// How the bytes of [`raw`](Self::raw) are to be read.
    pub fn encoding(&self) -> StringEncoding {
        self.encoding
    }

    /// The bytes as they stand in the source, escapes and all; `None` when the table has no
    /// such entry (a salvaged file).
    pub fn raw(&self, id: StringId) -> Option<&[u8]> {
        let row = id.index();
        if row >= self.len() {
            return None;
        }
        let start = usize::try_from(self.starts.get(row)).ok()?;
        let end = start.checked_add(usize::try_from(self.lengths.get(row)).ok()?)?;
        Some(self.source.bytes().get(start..end).unwrap_or_default())
    }

    /// The text. What is not Unicode (lone surrogates, stray bytes) becomes U+FFFD; an entry
    /// that a cut-off file lacks reads `#<index>`.
    pub fn get(&self, id: StringId) -> Cow<'_, str> {
        match self.raw(id) {
            None => Cow::Owned(format!("#{}", id.0)),
            Some(raw) => match self.encoding {
                StringEncoding::Utf8 => String::from_utf8_lossy(raw),
                StringEncoding::Json => decode_json(raw),
            },
        }
    }

    /// The id of the first string with this text, by looking at all of them.
    pub fn find(&self, text: &str) -> Option<StringId> {
        // Text without escapes is spelled the same in JSON, except where a writer escapes more
        // than it must; comparing decoded text finds those, too, at a higher price.
        (0..self.len())
            .map(StringId::from_index)
            .find(|&id| self.is(id, text))
    }

    /// Whether a string has this text.
    pub fn is(&self, id: StringId, text: &str) -> bool {
        let Some(raw) = self.raw(id) else {
            return false;
        };
        if self.encoding == StringEncoding::Utf8 || raw.len() < text.len() {
            return raw == text.as_bytes();
        }
        // An escape takes at most six bytes for one. Heaps hold strings of megabytes: most are
        // told apart by their length alone, the others by their first byte.
        if raw.len() > text.len() * LONGEST_ESCAPE || !may_begin_alike(raw, text) {
            return false;
        }
        if raw.contains(&b'\\') {
            decode_json(raw) == text
        } else {
            raw == text.as_bytes()
        }
    }

    /// All texts in order.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        (0..self.len()).map(|row| self.get(StringId::from_index(row)))
    }
}

impl fmt::Debug for StringTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StringTable")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Equal when the texts are, wherever their bytes lie.
impl PartialEq for StringTable {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

/// Bytes of the longest escape, `\\u0041`, which may stand for a single one.
const LONGEST_ESCAPE: usize = 6;

/// Whether the first byte is the same or an escape.
fn may_begin_alike(raw: &[u8], text: &str) -> bool {
    match raw.first() {
        Some(b'\\') => true,
        first => first == text.as_bytes().first(),
    }
}

/// The text of a JSON string's inside. Never fails: a broken escape stands for itself, a lone
/// surrogate for U+FFFD.
pub fn decode_json(raw: &[u8]) -> Cow<'_, str> {
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        text.push_str(&String::from_utf8_lossy(&rest[..at]));
        let (decoded, used) = decode_escape(&rest[at..]);
        text.push(decoded);
        rest = &rest[at + used..];
    }
    text.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(text)
}

/// Decodes one escape at the head of `raw`; gives the character and the bytes it took.
fn decode_escape(raw: &[u8]) -> (char, usize) {
    let simple = match raw.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'"') => '"',
        Some(b'/') => '/',
        Some(b'\\') => '\\',
        Some(b'u') => return decode_unicode_escape(raw),
        _ => return ('\\', 1),
    };
    (simple, 2)
}

fn decode_unicode_escape(raw: &[u8]) -> (char, usize) {
    let Some(first) = hex4(raw) else {
        return ('\\', 1);
    };
    if (0xD800..0xDC00).contains(&first)
        && let Some(second) = raw.get(6..).and_then(hex4)
        && (0xDC00..0xE000).contains(&second)
    {
        let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            12,
        );
    }
    (
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
        6,
    )
}

/// The code unit of `\uXXXX` at the head of `raw`.
fn hex4(raw: &[u8]) -> Option<u32> {
    let digits = raw
        .get(2..6)
        .filter(|_| raw[0] == b'\\' && raw[1] == b'u')?;
    digits.iter().try_fold(0, |code, &digit| {
        Some(code * 16 + (digit as char).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, text: &str) {
        assert_eq!(decode_json(raw.as_bytes()), text, "{raw}");
    }

    #[test]
    fn decodes_json_strings() {
        check("plain", "plain");
        check(r#"a\"b\\c\/d\n\t\r\b\f"#, "a\"b\\c/d\n\t\r\u{8}\u{c}");
        check(r"\u00e9\u0041", "éA");
        check(r"\uD83D\uDE00!", "😀!");
        check(r"\u0000", "\0");
    }

    #[test]
    fn never_fails_on_broken_escapes() {
        check(r"\uD83D", "\u{FFFD}");
        check(r"\uD83Dx", "\u{FFFD}x");
        check(r"\uDE00\uD83D", "\u{FFFD}\u{FFFD}");
        check(r"\uD83D\u0041", "\u{FFFD}A");
        check(r"\u12", r"\u12");
        check(r"\q", r"\q");
        check("\\", "\\");
        assert_eq!(decode_json(b"\xff\\n"), "\u{FFFD}\n");
    }

    #[test]
    fn is_sees_through_escapes() {
        let source: Arc<dyn ByteSource> = Arc::new(br"ab\u0061\u0062\u2028".to_vec());
        let table = |start, length| {
            let (starts, lengths) = (
                UintColumn::Narrow(vec![start]),
                UintColumn::Narrow(vec![length]),
            );
            StringTable::new(Arc::clone(&source), StringEncoding::Json, starts, lengths)
        };
        assert!(table(0, 2).is(StringId(0), "ab"));
        assert!(table(2, 12).is(StringId(0), "ab"));
        assert!(table(14, 6).is(StringId(0), "\u{2028}"));
        assert!(table(0, 0).is(StringId(0), ""));
        assert!(!table(0, 2).is(StringId(0), "a"));
        assert!(!table(2, 12).is(StringId(0), "abc"));
    }

    #[test]
    fn table_finds_and_names_what_is_missing() {
        let table = StringTable::from_texts(["", "one", "two"]);
        assert_eq!(table.find("two"), Some(StringId(2)));
        assert_eq!(table.find("three"), None);
        assert_eq!(table.get(StringId(9)), "#9");
    }
}
