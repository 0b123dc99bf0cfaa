//! A question about names, answered once for each string and not once for each node.

use heapatlas_model::{StringId, StringTable};

const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

/// Remembers for each string whether its text passes a test.
///
/// Passes over all nodes or edges ask about few distinct strings many times; decoding text for
/// each of them would cost more than the pass itself.
pub(crate) struct NameTest<'g> {
    strings: &'g StringTable,
    answers: Vec<u8>,
    test: fn(&str) -> bool,
}

impl<'g> NameTest<'g> {
    /// A test of which nothing is known yet: one byte for each string of the table.
    pub fn new(strings: &'g StringTable, test: fn(&str) -> bool) -> Self {
        Self {
            strings,
            answers: vec![UNKNOWN; strings.len()],
            test,
        }
    }

    /// Whether the string passes.
    #[inline]
    pub fn passes(&mut self, name: StringId) -> bool {
        match self.answers.get(name.index()) {
            Some(&YES) => true,
            Some(&NO) => false,
            _ => self.find_out(name),
        }
    }

    #[cold]
    fn find_out(&mut self, name: StringId) -> bool {
        let passes = (self.test)(&self.strings.get(name));
        // A salvaged file may name strings that it lacks; those are not remembered.
        if let Some(answer) = self.answers.get_mut(name.index()) {
            *answer = if passes { YES } else { NO };
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_answers_and_survives_missing_strings() {
        let strings = StringTable::from_texts(["<dummy>", "Array", "Map"]);
        let mut is_array = NameTest::new(&strings, |name| name == "Array");
        for _ in 0..2 {
            assert!(is_array.passes(StringId(1)));
            assert!(!is_array.passes(StringId(2)));
            assert!(!is_array.passes(StringId(9)));
        }
    }
}
