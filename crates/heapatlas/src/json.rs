//! JSON, written by hand: the library brings no serializer along.

use std::fmt::Write;

/// Writes one value, which is an object or a list mostly. Commas come by themselves.
///
/// ```text
/// json.open('{').key("bytes").number(12).key("names").open('[').string("a").close(']').close('}')
/// {"bytes":12,"names":["a"]}
/// ```
#[derive(Default, Debug)]
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// `{` or `[`.
    pub(crate) fn open(&mut self, bracket: char) -> &mut Self {
        self.separate();
        self.out.push(bracket);
        self
    }

    /// `}` or `]`.
    pub(crate) fn close(&mut self, bracket: char) -> &mut Self {
        self.out.push(bracket);
        self
    }

    /// The name of the value that comes next.
    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.out.push(':');
        self
    }

    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.separate();
        self.out.push('"');
        let mut rest = text;
        while let Some(place) = rest.find(needs_escape) {
            self.out.push_str(&rest[..place]);
            let mut chars = rest[place..].chars();
            if let Some(character) = chars.next() {
                self.escape(character);
            }
            rest = chars.as_str();
        }
        self.out.push_str(rest);
        self.out.push('"');
        self
    }

    pub(crate) fn number(&mut self, number: impl Into<u128>) -> &mut Self {
        self.raw(format_args!("{}", number.into()))
    }

    pub(crate) fn signed(&mut self, number: i64) -> &mut Self {
        self.raw(format_args!("{number}"))
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(format_args!("{value}"))
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.raw(format_args!("null"))
    }

    /// A new line, for those who read it.
    pub(crate) fn line(&mut self) -> &mut Self {
        self.separate();
        self.out.push('\n');
        self
    }

    fn raw(&mut self, value: std::fmt::Arguments<'_>) -> &mut Self {
        self.separate();
        // Writing to a string does not fail.
        let _ = self.out.write_fmt(value);
        self
    }

    /// A comma, if a value or a closed bracket is before.
    fn separate(&mut self) {
        let last = self.out.as_bytes().last();
        if !matches!(last, None | Some(b'{' | b'[' | b':' | b',' | b'\n')) {
            self.out.push(',');
        }
    }

    fn escape(&mut self, character: char) {
        let short = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            _ => {
                let _ = write!(self.out, "\\u{:04x}", u32::from(character));
                return;
            }
        };
        self.out.push_str(short);
    }
}

fn needs_escape(character: char) -> bool {
    matches!(character, '"' | '\\' | '\0'..='\x1f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_commas() {
        let mut json = Writer::new();
        json.open('{').key("a").number(1_u64).key("b").open('[');
        json.line().string("x").line().string("").bool(true).null();
        json.signed(-3).open('[').close(']').open('{').close('}');
        json.close(']').key("c").number(u128::MAX).close('}');
        let expected = "{\"a\":1,\"b\":[\n\"x\",\n\"\",true,null,-3,[],{}],\
            \"c\":340282366920938463463374607431768211455}";
        assert_eq!(json.finish(), expected);
    }

    #[test]
    fn characters_that_need_an_escape() {
        let check = |text: &str, expected: &str| {
            let mut json = Writer::new();
            json.string(text);
            assert_eq!(json.finish(), expected);
        };
        check("a\"b\\c\n\r\t", r#""a\"b\\c\n\r\t""#);
        check("\0\x1f\x7fé☃😀", "\"\\u0000\\u001f\x7fé☃😀\"");
        check("ends with,", "\"ends with,\"");
    }
}
