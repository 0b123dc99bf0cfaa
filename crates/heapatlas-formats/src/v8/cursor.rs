//! A position in JSON text, with the few steps the outermost object asks for. No recursion.

use memchr::memchr2;
use serde_json::value::RawValue;

use super::error::{Problem, ReadError};

/// A position in JSON text, inside of a named section.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    pub section: &'a str,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize, section: &'a str) -> Self {
        Self { bytes, at, section }
    }

    /// The next byte that is not white space, not consumed.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !is_white_space(byte) {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Consumes `byte`, after white space.
    pub fn expect(&mut self, byte: u8) -> Result<(), ReadError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(&format!("`{}`", char::from(byte))))
    }

    /// Consumes `byte` if it is next, after white space.
    pub fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Consumes a string; gives what stands between the quotes, escapes and all.
    pub fn string(&mut self) -> Result<&'a [u8], ReadError> {
        self.expect(b'"')?;
        let start = self.at;
        match find_closing_quote(self.bytes, start) {
            Some(end) => {
                self.at = end + 1;
                Ok(&self.bytes[start..end])
            }
            None => {
                self.at = self.bytes.len();
                Err(self.truncated("the end of a string"))
            }
        }
    }

    /// Consumes one value of any kind and depth, and gives its text. (`serde_json` does not
    /// recurse where it need not build anything.)
    pub fn skip_value(&mut self) -> Result<&'a str, ReadError> {
        if self.peek().is_none() {
            return Err(self.truncated("a value"));
        }
        let text = &self.bytes[self.at..];
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
        match values.next() {
            None => Err(self.truncated("a value")),
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value.get())
            }
            Some(Err(error)) => {
                self.at += offset_of_error(text, &error);
                Err(self.unexpected("JSON"))
            }
        }
    }

    /// An error at this place: something else was expected.
    pub fn unexpected(&self, expected: &str) -> ReadError {
        match self.bytes.get(self.at) {
            None => self.truncated(expected),
            Some(_) => self.error(Problem::Unexpected {
                expected: expected.to_owned(),
                found: excerpt(self.bytes, self.at),
            }),
        }
    }

    /// An error at this place: the file ends.
    pub fn truncated(&self, expected: &str) -> ReadError {
        self.error(Problem::Truncated(expected.to_owned()))
    }

    /// An error at this place.
    pub fn error(&self, problem: Problem) -> ReadError {
        ReadError {
            section: self.section.to_owned(),
            offset: self.at,
            problem,
        }
    }
}

/// The position of the quote that closes the string whose inside begins at `start`.
pub(super) fn find_closing_quote(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

pub(super) fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The byte of `text` at which `serde_json`, which counts lines, gave up.
pub(super) fn offset_of_error(text: &[u8], error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return text.len();
    }
    let line_start = match error.line() {
        0 | 1 => 0,
        line => {
            let mut ends = memchr::memchr_iter(b'\n', text);
            ends.nth(line - 2).map_or(text.len(), |end| end + 1)
        }
    };
    (line_start + error.column().saturating_sub(1)).min(text.len())
}

/// A few characters of the text, for an error message.
pub(super) fn excerpt(bytes: &[u8], at: usize) -> String {
    let end = bytes.len().min(at + 12);
    let text = String::from_utf8_lossy(&bytes[at.min(end)..end]);
    format!("`{}`", text.escape_debug())
}
