//! The outermost object and its `snapshot` member, split by `serde_json` into unparsed members.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::super::cursor::offset_of_error;
use super::super::decimal;
use super::super::read::MEMBERS;
use super::{Problem, ReadError, unexpected};

/// A member of an object: its text, which lies in the file.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The members of the file.
pub(super) struct Document<'a> {
    bytes: &'a [u8],
    members: Members<'a>,
    header: Members<'a>,
}

impl<'a> Document<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut document = Self {
            bytes,
            members: Members::new(),
            header: Members::new(),
        };
        if bytes.is_empty() {
            return Err(document.error("file", 0, Problem::Empty));
        }
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let whole: &RawValue = serde_json::from_slice(text)
            .map_err(|error| document.json_error("file", bytes.len() - text.len(), text, &error))?;
        if !whole.get().starts_with('{') {
            let message = "it is JSON, but not an object".to_owned();
            return Err(document.error("file", 0, Problem::NotASnapshot(message)));
        }
        document.members = document.members_of("file", whole)?;
        document.check_no_member_twice(whole.get())?;
        document.header = match document.members.get("snapshot") {
            Some(header) if header.get().starts_with('{') => {
                document.members_of("snapshot", header)?
            }
            _ => return Err(document.not_a_snapshot("its members are", &document.members)),
        };
        Ok(document)
    }

    /// The `meta` object.
    pub(super) fn meta(&self) -> Result<Meta<'_>, ReadError> {
        match self.header.get("meta") {
            Some(meta) if meta.get().starts_with('{') => Ok(Meta {
                document: self,
                text: meta.get(),
                members: self.members_of("snapshot", meta)?,
            }),
            _ => Err(self.not_a_snapshot("the members of `snapshot` are", &self.header)),
        }
    }

    pub(super) fn has(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }

    /// A number of the header. These are hints, so what is none is none, and what is too large
    /// is clamped.
    pub(super) fn header_number(&self, member: &str) -> Option<u64> {
        let text = self.header.get(member)?.get();
        let whole = is_number(text).then(|| decimal::truncate(text))?;
        (!whole.is_negative).then(|| whole.magnitude.unwrap_or(u64::MAX))
    }

    /// The text of an array, `[]` where the file has none.
    pub(super) fn array(&self, member: &str) -> Result<&'a str, ReadError> {
        let Some(value) = self.members.get(member) else {
            return match member {
                "nodes" | "edges" | "strings" => Err(self.missing(member)),
                _ => Ok("[]"),
            };
        };
        if value.get().starts_with('[') {
            return Ok(value.get());
        }
        let offset = self.offset_of(value.get());
        Err(self.error(member, offset, unexpected("an array", value.get())))
    }

    /// The elements of an array as text, with their offsets.
    pub(super) fn elements(
        &self,
        member: &str,
    ) -> Result<impl Iterator<Item = (usize, &'a str)> + use<'a, '_>, ReadError> {
        let text = self.array(member)?;
        let elements: Vec<&'a RawValue> = serde_json::from_str(text).map_err(|error| {
            self.json_error(member, self.offset_of(text), text.as_bytes(), &error)
        })?;
        let elements = elements.into_iter().map(|element| element.get());
        Ok(elements.map(|element| (self.offset_of(element), element)))
    }

    /// Where a piece of the file's text lies in the file.
    pub(super) fn offset_of(&self, text: &str) -> usize {
        text.as_ptr() as usize - self.bytes.as_ptr() as usize
    }

    pub(super) fn error(&self, section: &str, offset: usize, problem: Problem) -> ReadError {
        ReadError {
            section: section.to_owned(),
            offset,
            problem,
        }
    }

    /// An error at some byte of a member's text.
    pub(super) fn error_in(&self, member: &str, within: usize, problem: Problem) -> ReadError {
        let start = self.members.get(member);
        let start = start.map_or(0, |value| self.offset_of(value.get()));
        self.error(member, start + within, problem)
    }

    /// Members nobody knows may stand there as often as they like.
    fn check_no_member_twice(&self, text: &str) -> Result<(), ReadError> {
        let mut seen = BTreeSet::new();
        for key in keys(text) {
            if MEMBERS.contains(&key.as_str()) && !seen.insert(key.clone()) {
                let message = format!("a second `{key}`");
                return Err(self.error("file", 0, Problem::Inconsistent(message)));
            }
        }
        Ok(())
    }

    fn members_of(&self, section: &str, object: &'a RawValue) -> Result<Members<'a>, ReadError> {
        let text = object.get();
        serde_json::from_str(text).map_err(|error| {
            self.json_error(section, self.offset_of(text), text.as_bytes(), &error)
        })
    }

    fn missing(&self, member: &str) -> ReadError {
        let problem = Problem::Unexpected {
            expected: format!("a member `{member}`"),
            found: "the end of the object".to_owned(),
        };
        self.error("file", self.bytes.len(), problem)
    }

    fn not_a_snapshot(&self, what: &str, members: &Members<'_>) -> ReadError {
        let mut names: Vec<String> = members.keys().take(8).map(|n| format!("`{n}`")).collect();
        if members.len() > names.len() {
            names.push("others".to_owned());
        }
        let message = match names.is_empty() {
            true => "it has no members".to_owned(),
            false => format!("{what} {}", names.join(", ")),
        };
        self.error("file", 0, Problem::NotASnapshot(message))
    }

    /// Translates an error of `serde_json`, which counts lines, into a byte of the file.
    fn json_error(
        &self,
        section: &str,
        start: usize,
        text: &[u8],
        error: &serde_json::Error,
    ) -> ReadError {
        let within = offset_of_error(text, error);
        if error.classify() == Category::Eof {
            let problem = Problem::Truncated("the rest of the JSON text".to_owned());
            return self.error(section, start + within, problem);
        }
        let found = String::from_utf8_lossy(&text[within..text.len().min(within + 20)]);
        self.error(section, start + within, unexpected("JSON", &found))
    }
}

/// The `meta` object.
pub(super) struct Meta<'a> {
    document: &'a Document<'a>,
    pub(super) text: &'a str,
    members: Members<'a>,
}

/// More columns than any snapshot has.
const MAX_FIELDS: usize = 64;

impl Meta<'_> {
    /// The names of a table's columns; none where the file lists none.
    pub(super) fn fields(&self, member: &str) -> Result<Vec<String>, ReadError> {
        let fields = self.members.get(member).and_then(|list| texts(list.get()));
        match fields.unwrap_or_default() {
            fields if fields.len() > MAX_FIELDS => Err(self.error(member, "at most 64 columns")),
            fields => Ok(fields),
        }
    }

    /// The names of a table's types: the entry for its column `type`.
    pub(super) fn type_names(&self, fields: &str, types: &str) -> Result<Vec<String>, ReadError> {
        let position = self.fields(fields)?.iter().position(|f| f == "type");
        let lists = self
            .members
            .get(types)
            .and_then(|lists| elements(lists.get()));
        let names = position.and_then(|position| texts(lists?.get(position)?.get()));
        match names {
            Some(names) if names.len() <= 256 => Ok(names),
            Some(_) => Err(self.error(types, "at most 256 types")),
            None => Err(self.error(types, "a list of type names at the place of `type`")),
        }
    }

    /// An error at a member of `meta`.
    pub(super) fn error(&self, member: &str, expected: &str) -> ReadError {
        let value = self.members.get(member).map(|value| value.get());
        let offset = self.document.offset_of(value.unwrap_or(self.text));
        let problem = Problem::Unexpected {
            expected: format!("{expected} in `meta.{member}`"),
            found: value.map_or("nothing".to_owned(), |value| {
                value.chars().take(40).collect()
            }),
        };
        self.document.error("snapshot", offset, problem)
    }
}

/// Whether JSON text is a number.
pub(super) fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// The elements of a JSON array, `None` for anything else.
fn elements(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// The strings of a JSON array, empty where an element is none.
fn texts(array: &str) -> Option<Vec<String>> {
    let text = |element: &RawValue| serde_json::from_str(element.get()).unwrap_or_default();
    Some(elements(array)?.into_iter().map(text).collect())
}

/// The keys of a JSON object, in order, double ones included (a map has room for one of each).
fn keys(object: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut depth = 0_usize;
    let mut is_key = true;
    let mut rest = object;
    while let Some(at) = rest.find(['"', '{', '[', '}', ']', ':', ',']) {
        let token = &rest[at..];
        let mut length = 1;
        match token.as_bytes()[0] {
            b'"' => {
                length = string_length(token);
                if depth == 1 && is_key {
                    keys.extend(serde_json::from_str::<String>(&token[..length]));
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => is_key = false,
            b',' if depth == 1 => is_key = true,
            _ => {}
        }
        rest = &token[length..];
    }
    keys
}

/// The length of the string at the head of valid JSON, with both quotes.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
