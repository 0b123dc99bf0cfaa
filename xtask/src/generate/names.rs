//! The string table: what is kept is the recipe of each string, its text is made when written.

use std::collections::HashMap;
use std::io::{self, Write};

use super::random::Random;

/// Index into the string table.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameId(pub u32);

/// How to write one string.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Name {
    Fixed(&'static str),
    /// Decimal text: the name of a numbered internal reference.
    Number(u32),
    Class(u32),
    Property(u32),
    /// The key, value and table ids of an entry in a WeakMap.
    WeakMapEntry([u32; 3]),
    /// Contents of a string: `length` characters, different for each `seed`.
    Text {
        seed: u32,
        length: u32,
    },
}

#[derive(Default)]
pub struct Names {
    names: Vec<Name>,
    interned: HashMap<Name, NameId>,
}

impl Names {
    pub fn intern(&mut self, name: Name) -> NameId {
        if let Some(&id) = self.interned.get(&name) {
            return id;
        }
        let id = self.push(name.clone());
        self.interned.insert(name, id);
        id
    }

    /// Adds contents that are known to be new.
    pub fn add_text(&mut self, length: usize) -> NameId {
        let seed = self.names.len() as u32;
        self.push(Name::Text {
            seed,
            length: length as u32,
        })
    }

    fn push(&mut self, name: Name) -> NameId {
        self.names.push(name);
        NameId(self.names.len() as u32 - 1)
    }

    /// What the string takes in the file, with its quotes and the comma.
    pub fn json_bytes_of(&self, id: NameId) -> usize {
        let mut counter = ByteCounter(3);
        let written = self.names[id.0 as usize].write(&mut counter);
        written.expect("counting does not fail");
        counter.0
    }

    pub fn json_bytes(&self) -> usize {
        (0..self.names.len() as u32)
            .map(|id| self.json_bytes_of(NameId(id)))
            .sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.names.iter()
    }
}

struct ByteCounter(usize);

impl Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const WORDS: [&str; 32] = [
    "user", "session", "request", "cache", "token", "order", "invoice", "handler", "listener",
    "config", "stream", "buffer", "chunk", "entry", "index", "count", "label", "title", "path",
    "query", "result", "error", "status", "parent", "child", "node", "value", "state", "event",
    "target", "source", "record",
];

/// What V8 escapes in the strings of a snapshot, and plain text around it.
const PIECES: [&str; 12] = [
    " ", ", ", "/", " = ", "\\n  ", "\\\"", ": ", "\\u00E9", "_", "-", "(\\t", "\\\\",
];

impl Name {
    /// Writes the string as JSON, without the quotes.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match *self {
            Name::Fixed(text) => out.write_all(text.as_bytes()),
            Name::Number(number) => write!(out, "{number}"),
            Name::Class(number) => write_compound(out, number, true),
            Name::Property(number) => write_compound(out, number, false),
            Name::WeakMapEntry([key, value, table]) => write!(
                out,
                "1 / part of key (Object @{key}) -> value (Object @{value}) \
                 pair in WeakMap (table @{table})"
            ),
            Name::Text { seed, length } => write_text(out, seed, length as usize),
        }
    }
}

/// `requestToken17`: two words, and a number that makes it unique.
fn write_compound(out: &mut impl Write, number: u32, capital: bool) -> io::Result<()> {
    let word = |salt: u32| WORDS[(number.wrapping_mul(salt) >> 3) as usize % WORDS.len()];
    let first = word(2_654_435_761);
    let second = word(40_503);
    let start = if capital {
        first[..1].to_uppercase()
    } else {
        first[..1].to_owned()
    };
    write!(
        out,
        "{start}{}{}{}",
        &first[1..],
        second[..1].to_uppercase(),
        &second[1..]
    )?;
    write!(out, "{number}")
}

/// Text of exactly `length` characters once the JSON is decoded, if that is at least 8.
fn write_text(out: &mut impl Write, seed: u32, length: usize) -> io::Result<()> {
    write!(out, "{seed:08x}")?;
    let mut random = Random::new(u64::from(seed));
    let mut left = length.saturating_sub(8);
    while left > 0 {
        let word = random.pick(&WORDS);
        let taken = word.len().min(left);
        out.write_all(&word.as_bytes()[..taken])?;
        left -= taken;
        let piece = random.pick(&PIECES);
        let decoded = decoded_length(piece);
        if decoded <= left {
            out.write_all(piece.as_bytes())?;
            left -= decoded;
        }
    }
    Ok(())
}

fn decoded_length(piece: &str) -> usize {
    match piece.find('\\') {
        None => piece.len(),
        Some(_) if piece.contains("\\u") => 1,
        Some(_) => piece.len() - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_json_of_the_length_asked_for() {
        for (seed, length) in [(0, 8), (1, 9), (77, 40), (123_456, 1024)] {
            let mut json = vec![b'"'];
            Name::Text { seed, length }.write(&mut json).unwrap();
            json.push(b'"');
            let text: String = serde_json::from_slice(&json).unwrap();
            assert_eq!(text.chars().count(), length as usize, "{text}");
        }
    }
}
