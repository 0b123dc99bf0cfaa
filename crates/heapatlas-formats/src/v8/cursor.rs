//! A position in JSON text, with the few steps the outermost object asks for. No recursion.

use memchr::memchr2;

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

    /// Consumes one value of any kind and depth; only brackets, strings and commas are looked at.
    pub fn skip_value(&mut self) -> Result<(), ReadError> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.truncated("a value")),
                Some(b'"') => drop(self.string()?),
                Some(bracket @ (b'[' | b'{')) => {
                    open.push(bracket + 2); // `[` + 2 is `]`, `{` + 2 is `}`.
                    self.at += 1;
                    continue;
                }
                Some(bracket @ (b']' | b'}')) => {
                    if open.pop() != Some(bracket) {
                        return Err(self.unexpected("a value"));
                    }
                    self.at += 1;
                }
                Some(b',' | b':') if !open.is_empty() => {
                    self.at += 1;
                    continue;
                }
                Some(byte) if is_scalar_byte(byte) => self.skip_scalar(),
                Some(_) => return Err(self.unexpected("a value")),
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    fn skip_scalar(&mut self) {
        while self
            .bytes
            .get(self.at)
            .is_some_and(|&byte| is_scalar_byte(byte))
        {
            self.at += 1;
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

fn is_scalar_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

/// A few characters of the text, for an error message.
pub(super) fn excerpt(bytes: &[u8], at: usize) -> String {
    let end = bytes.len().min(at + 12);
    let text = String::from_utf8_lossy(&bytes[at.min(end)..end]);
    format!("`{}`", text.escape_debug())
}
