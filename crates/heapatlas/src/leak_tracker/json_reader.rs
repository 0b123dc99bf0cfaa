//! A small reader of JSON: what a file of leaks needs, and where each thing stands.
//!
//! All functions are `#[inline]`: they are compiled where a program uses them, and cost nothing in others.

use std::borrow::Cow;

/// A value and where it begins.
pub(crate) struct Json<'a> {
    pub at: usize,
    pub value: Value<'a>,
}

pub(crate) enum Value<'a> {
    Null,
    Bool,
    /// As it is written.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// What is wrong, and at which byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub at: usize,
    pub problem: &'static str,
}

/// Deeper values are turned down: the reader calls itself.
const DEEPEST: usize = 100;

/// Reads one value that is all of the text.
#[inline]
pub(crate) fn read(text: &str) -> Result<Json<'_>, JsonError> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let json = reader.value()?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(json),
        Some(_) => Err(reader.error("the text should end here")),
    }
}

impl<'a> Json<'a> {
    /// The member of an object; the last one if there are several.
    #[inline]
    pub(crate) fn member(&self, name: &str) -> Option<&Json<'a>> {
        match &self.value {
            Value::Object(members) => {
                let found = members.iter().rev().find(|(key, _)| key == name);
                found.map(|(_, json)| json)
            }
            _ => None,
        }
    }

    /// For messages.
    #[inline]
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn value(&mut self) -> Result<Json<'a>, JsonError> {
        self.skip_space();
        let at = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Json { at, value })
    }

    #[inline]
    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Value<'a>, JsonError>,
    ) -> Result<Value<'a>, JsonError> {
        if self.depth == DEEPEST {
            return Err(self.error("values are nested too deeply"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    #[inline]
    fn array(&mut self) -> Result<Value<'a>, JsonError> {
        let mut items = Vec::new();
        if !self.take_if(b']') {
            loop {
                items.push(self.value()?);
                if self.ends(b']')? {
                    break;
                }
            }
        }
        Ok(Value::Array(items))
    }

    #[inline]
    fn object(&mut self) -> Result<Value<'a>, JsonError> {
        let mut members = Vec::new();
        if !self.take_if(b'}') {
            loop {
                members.push(self.named()?);
                if self.ends(b'}')? {
                    break;
                }
            }
        }
        Ok(Value::Object(members))
    }

    #[inline]
    fn named(&mut self) -> Result<(Cow<'a, str>, Json<'a>), JsonError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.error("the name of a field is expected, in quotes"));
        }
        let name = self.string()?;
        if !self.take_if(b':') {
            return Err(self.error("`:` is expected"));
        }
        Ok((name, self.value()?))
    }

    #[inline]
    fn ends(&mut self, end: u8) -> Result<bool, JsonError> {
        if self.take_if(b',') {
            Ok(false)
        } else if self.take_if(end) {
            Ok(true)
        } else if end == b']' {
            Err(self.error("`,` or `]` is expected"))
        } else {
            Err(self.error("`,` or `}` is expected"))
        }
    }

    #[inline]
    fn word(&mut self) -> Result<Value<'a>, JsonError> {
        let rest = self.rest();
        for (word, value) in [
            ("null", Value::Null),
            ("true", Value::Bool),
            ("false", Value::Bool),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.error("a value is expected"))
    }

    #[inline]
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let is_part = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.bytes().take_while(|&b| is_part(b)).count();
        let number = &rest[..length];
        if number.parse::<f64>().is_err() {
            return Err(self.error("this is not a number"));
        }
        self.at += length;
        Ok(number)
    }

    /// At the opening quote.
    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let is_special = |b: u8| b == b'"' || b == b'\\' || b < b' ';
            let plain = rest.bytes().take_while(|&b| !is_special(b)).count();
            if text.is_empty() {
                text = Cow::Borrowed(&rest[..plain]);
            } else {
                text.to_mut().push_str(&rest[..plain]);
            }
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    text.to_mut().push(character);
                }
                Some(_) => return Err(self.error("a control character in a string")),
                None => return Err(self.error("the string does not end")),
            }
        }
    }

    /// At the backslash.
    #[inline]
    fn escape(&mut self) -> Result<char, JsonError> {
        let character = match self.rest().as_bytes().get(1) {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(&sign @ (b'"' | b'\\' | b'/')) => char::from(sign),
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("this escape is not known")),
        };
        self.at += 2;
        Ok(character)
    }

    /// Half of a pair without the other half becomes the replacement character.
    #[inline]
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            let before = self.at;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// At the backslash of `\u12ab`.
    #[inline]
    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest().get(2..6);
        let is_hex = |digits: &&str| digits.bytes().all(|b| b.is_ascii_hexdigit());
        match digits
            .filter(is_hex)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        {
            Some(code) => {
                self.at += 6;
                Ok(code)
            }
            None => Err(self.error("four hexadecimal digits are expected")),
        }
    }

    #[inline]
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn take_if(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[inline]
    fn error(&self, problem: &'static str) -> JsonError {
        JsonError {
            at: self.at,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_values() {
        let text =
            r#" {"a": [1, -2.5e3, true, null, "x\n\"\u00e9\ud83d\ude00"], "b": {}, "a": false} "#;
        let json = read(text).unwrap();
        assert_eq!(json.member("a").map(Json::kind), Some("a boolean"));
        let Value::Object(members) = &json.value else {
            panic!("{}", json.kind())
        };
        let Value::Array(items) = &members[0].1.value else {
            panic!("{}", members[0].1.kind())
        };
        assert!(matches!(items[1].value, Value::Number("-2.5e3")));
        assert_eq!(items[1].at, 11);
        assert!(matches!(&items[4].value, Value::String(s) if s == "x\n\"é😀"));
        assert!(
            matches!(&read("\"\\ud800x\"").unwrap().value, Value::String(s) if s == "\u{fffd}x")
        );
    }

    #[test]
    fn errors_say_where() {
        for (text, at) in [
            ("", 0),
            ("[1,", 3),
            ("[1 2]", 3),
            ("{1:2}", 1),
            ("{\"a\" 2}", 5),
            ("{\"a\":2", 6),
            ("\"abc", 4),
            ("\"a\\x\"", 2),
            ("\"a\\u12g4\"", 2),
            ("\"a\nb\"", 2),
            ("1-2", 0),
            ("[] x", 3),
            ("nul", 0),
            ("\"\\uéé\"", 1),
        ] {
            assert_eq!(read(text).map(|_| ()).map_err(|e| e.at), Err(at), "{text}");
        }
        assert!(read(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn cut_anywhere_it_is_an_error_and_no_panic() {
        let text = r#"{"a": [1, "x\n\u00e9\ud83d\ude00é", true]}"#;
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            assert!(read(&text[..end]).is_err(), "{end}");
        }
    }
}
