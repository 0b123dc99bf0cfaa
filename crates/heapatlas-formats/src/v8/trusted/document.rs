//! The outermost object and its `snapshot` member, split by `serde_json` into unparsed members.

use std::collections::BTreeMap;

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::decimal;
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

    /// A number of the header.
    pub(super) fn header_number(&self, member: &str) -> Result<Option<u64>, ReadError> {
        let Some(value) = self.header.get(member) else {
            return Ok(None);
        };
        if !is_number(value.get()) {
            let offset = self.offset_of(value.get());
            return Err(self.error("snapshot", offset, unexpected("a number", value.get())));
        }
        let whole = decimal::truncate(value.get());
        match whole.magnitude {
            _ if whole.is_negative => Ok(Some(0)),
            Some(number) => Ok(Some(number)),
            None => {
                let offset = self.offset_of(value.get());
                let message = format!("{} is more than 64 bits hold", value.get());
                Err(self.error("snapshot", offset, Problem::TooLarge(message)))
            }
        }
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
        let line_start = match error.line() {
            0 | 1 => 0,
            line => {
                let mut ends = memchr::memchr_iter(b'\n', text);
                ends.nth(line - 2).map_or(text.len(), |end| end + 1)
            }
        };
        let within = (line_start + error.column().saturating_sub(1)).min(text.len());
        if error.classify() == Category::Eof {
            let problem = Problem::Truncated("the rest of the JSON text".to_owned());
            return self.error(section, start + text.len(), problem);
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

impl Meta<'_> {
    /// The names of a table's columns.
    pub(super) fn fields(&self, member: &str) -> Result<Vec<String>, ReadError> {
        let fields = self.optional_fields(member)?.unwrap_or_default();
        if fields.is_empty() {
            return Err(self.error(member, "a list of columns"));
        }
        Ok(fields)
    }

    /// The names of a table's columns, where the file lists them.
    pub(super) fn optional_fields(&self, member: &str) -> Result<Option<Vec<String>>, ReadError> {
        let Some(list) = self.members.get(member) else {
            return Ok(None);
        };
        match serde_json::from_str(list.get()) {
            Ok(fields) => Ok(Some(fields)),
            Err(_) => Err(self.error(member, "a list of strings")),
        }
    }

    /// The names of a table's types: the entry for its column `type`.
    pub(super) fn type_names(&self, fields: &str, types: &str) -> Result<Vec<String>, ReadError> {
        let position = self.fields(fields)?.iter().position(|f| f == "type");
        let list = self.members.get(types).map_or("[]", |list| list.get());
        let lists: Vec<&RawValue> =
            serde_json::from_str(list).map_err(|_| self.error(types, "a list"))?;
        let names = position.and_then(|position| lists.get(position));
        names
            .and_then(|names| serde_json::from_str(names.get()).ok())
            .ok_or_else(|| self.error(types, "a list of type names at the place of `type`"))
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
