//! What a stack is searched for: a text, or a regular expression.
//!
//! The crate has no regular expressions from outside (the smallest costs more to build than all of the rest), so
//! here is a small engine: a program of few instructions, run over all its states at once. Its time is bounded
//! by the length of the program times that of the text, whatever the expression.
//!
//! What compiles expressions is `#[inline]`: it is built where a program uses it, and costs nothing in others.

use std::fmt;

/// A text or a regular expression that a stack is searched for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Text(String),
    Regex { source: String, program: Vec<Step> },
}

impl Pattern {
    /// The text itself, wherever it stands.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Kind::Text(text.into()))
    }

    /// A regular expression, found anywhere in the text.
    ///
    /// Known are `.` (all but a line break), `[a-z]`, `[^a-z]`, `\d \w \s \D \W \S`, `\b`, `\n \t \r`, `* + ? {2} {2,} {2,5}`,
    /// groups `( )` and `(?: )`, `|`, and `^ $` at the ends of the text. `\` takes the meaning from any other sign.
    ///
    /// # Errors
    /// The expression is not well formed, uses what is not known here (references back, looking ahead), or is too large.
    #[inline]
    pub fn regex(source: &str) -> Result<Self, PatternError> {
        let program = Compiler::compile(source)?;
        Ok(Self(Kind::Regex {
            source: source.to_owned(),
            program,
        }))
    }

    /// Whether it occurs in a text.
    pub fn is_in(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Text(wanted) => text.contains(wanted.as_str()),
            Kind::Regex { program, .. } => Search::new(program).is_in(text),
        }
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Text(text) => write!(f, "\"{text}\""),
            Kind::Regex { source, .. } => write!(f, "/{source}/"),
        }
    }
}

/// Why a regular expression was turned down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Where in the expression, counted in characters from 0.
    pub position: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, problem } = self;
        write!(f, "regular expression, character {position}: {problem}")
    }
}

impl std::error::Error for PatternError {}

/// One instruction. Targets are indexes into the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    /// Takes one character of the set.
    Take(Set),
    /// Goes on at both places.
    Fork(usize, usize),
    Jump(usize),
    AtStart,
    AtEnd,
    AtWordEdge,
    Found,
}

/// A set of characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Set {
    is_inverted: bool,
    ranges: Vec<(char, char)>,
}

impl Set {
    fn one(character: char) -> Self {
        Self::of(&[(character, character)])
    }

    fn of(ranges: &[(char, char)]) -> Self {
        Self {
            is_inverted: false,
            ranges: ranges.to_vec(),
        }
    }

    fn inverted(mut self) -> Self {
        self.is_inverted = !self.is_inverted;
        self
    }

    fn has(&self, character: char) -> bool {
        let is_within = self
            .ranges
            .iter()
            .any(|&(first, last)| first <= character && character <= last);
        is_within != self.is_inverted
    }

    /// The set behind a `\`, if the letter names one.
    fn named(letter: char) -> Option<Self> {
        let set = match letter.to_ascii_lowercase() {
            'd' => Self::of(&[('0', '9')]),
            'w' => Self::of(&[('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')]),
            's' => Self::of(&[('\t', '\r'), (' ', ' '), ('\u{a0}', '\u{a0}')]),
            _ => return None,
        };
        Some(if letter.is_ascii_uppercase() {
            set.inverted()
        } else {
            set
        })
    }
}

/// Longer programs are turned down: `(a{1000}){1000}` is short, what it stands for is not.
const MOST_STEPS: usize = 20_000;
const DEEPEST_NESTING: usize = 64;

struct Compiler {
    source: Vec<char>,
    position: usize,
    depth: usize,
    program: Vec<Step>,
}

impl Compiler {
    #[inline]
    fn compile(source: &str) -> Result<Vec<Step>, PatternError> {
        let mut compiler = Self {
            source: source.chars().collect(),
            position: 0,
            depth: 0,
            program: Vec::new(),
        };
        compiler.alternatives()?;
        if compiler.peek().is_some() {
            return Err(compiler.error("this `)` closes nothing"));
        }
        compiler.push(Step::Found)?;
        Ok(compiler.program)
    }

    /// `a|b|c`
    #[inline]
    fn alternatives(&mut self) -> Result<(), PatternError> {
        let start = self.program.len();
        self.sequence()?;
        let mut ends = Vec::new();
        while self.take_if('|') {
            // What was there moves by one to make room for the fork; it becomes the first way.
            self.insert(start, Step::Fork(start + 1, start))?;
            for end in &mut ends {
                *end += 1;
            }
            ends.push(self.program.len());
            self.push(Step::Jump(start))?;
            let second = self.program.len();
            self.program[start] = Step::Fork(start + 1, second);
            self.sequence()?;
        }
        let after = self.program.len();
        for end in ends {
            self.program[end] = Step::Jump(after);
        }
        Ok(())
    }

    #[inline]
    fn sequence(&mut self) -> Result<(), PatternError> {
        while !matches!(self.peek(), None | Some('|' | ')')) {
            let start = self.program.len();
            self.atom()?;
            self.repetition(start)?;
        }
        Ok(())
    }

    #[inline]
    fn atom(&mut self) -> Result<(), PatternError> {
        let Some(character) = self.next() else {
            return Err(self.error("something is missing here"));
        };
        let step = match character {
            '(' => return self.group(),
            '[' => Step::Take(self.class()?),
            '.' => Step::Take(Set::one('\n').inverted()),
            '^' => Step::AtStart,
            '$' => Step::AtEnd,
            '\\' => self.escape()?,
            '*' | '+' | '?' | '{' => {
                self.position -= 1;
                return Err(self.error("nothing stands before this to be repeated"));
            }
            other => Step::Take(Set::one(other)),
        };
        self.push(step)
    }

    #[inline]
    fn group(&mut self) -> Result<(), PatternError> {
        if self.take_if('?') && !self.take_if(':') {
            return Err(self.error("of the groups with `(?` only `(?:` is known"));
        }
        self.depth += 1;
        if self.depth > DEEPEST_NESTING {
            return Err(self.error("groups are nested too deeply"));
        }
        self.alternatives()?;
        self.depth -= 1;
        if self.take_if(')') {
            Ok(())
        } else {
            Err(self.error("a `)` is missing"))
        }
    }

    #[inline]
    fn escape(&mut self) -> Result<Step, PatternError> {
        match self.peek() {
            Some('b') => {
                self.position += 1;
                Ok(Step::AtWordEdge)
            }
            Some('B' | '0'..='9') => Err(self.error("this escape is not known")),
            _ => self.escaped_set().map(Step::Take),
        }
    }

    #[inline]
    fn escaped_set(&mut self) -> Result<Set, PatternError> {
        let Some(character) = self.next() else {
            return Err(self.error("nothing stands behind `\\`"));
        };
        Ok(match character {
            'n' => Set::one('\n'),
            't' => Set::one('\t'),
            'r' => Set::one('\r'),
            other => Set::named(other).unwrap_or_else(|| Set::one(other)),
        })
    }

    /// Behind `[`.
    #[inline]
    fn class(&mut self) -> Result<Set, PatternError> {
        let is_inverted = self.take_if('^');
        let mut set = Set::default();
        let mut is_first = true;
        loop {
            let Some(character) = self.next() else {
                return Err(self.error("a `]` is missing"));
            };
            if character == ']' && !is_first {
                break;
            }
            is_first = false;
            self.class_item(character, &mut set)?;
        }
        set.is_inverted = is_inverted;
        Ok(set)
    }

    #[inline]
    fn class_item(&mut self, character: char, set: &mut Set) -> Result<(), PatternError> {
        let item = if character == '\\' {
            self.escaped_set()?
        } else {
            Set::one(character)
        };
        if item.is_inverted {
            return Err(self.error("an inverted set within `[ ]` is not known"));
        }
        let is_range = self.peek() == Some('-') && !matches!(self.peek_at(1), None | Some(']'));
        if !is_range {
            set.ranges.extend(item.ranges);
            return Ok(());
        }
        self.position += 1;
        let last = match self.next() {
            Some('\\') => self.escaped_set()?,
            Some(last) => Set::one(last),
            None => return Err(self.error("a `]` is missing")),
        };
        match (item.ranges.as_slice(), last.ranges.as_slice()) {
            (&[(first, _)], &[(last, _)]) if first <= last => set.ranges.push((first, last)),
            _ => return Err(self.error("this range has no order")),
        }
        Ok(())
    }

    /// What stands behind an atom that begins at `start`.
    #[inline]
    fn repetition(&mut self, start: usize) -> Result<(), PatternError> {
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.position += 1;
                self.bounds()?
            }
            _ => return Ok(()),
        };
        self.position += 1;
        // Lazy or greedy is the same when only asked whether.
        self.take_if('?');
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(self.error("a repetition of a repetition needs a group"));
        }
        self.repeat(start, least, most)
    }

    /// Behind `{`; leaves the position at `}`.
    #[inline]
    fn bounds(&mut self) -> Result<(usize, Option<usize>), PatternError> {
        let least = self.number()?;
        let most = if !self.take_if(',') {
            Some(least)
        } else if self.peek() == Some('}') {
            None
        } else {
            Some(self.number()?)
        };
        if self.peek() != Some('}') {
            return Err(self.error("a `}` is missing"));
        }
        if most.is_some_and(|most| most < least) {
            return Err(self.error("the upper bound is below the lower one"));
        }
        Ok((least, most))
    }

    #[inline]
    fn number(&mut self) -> Result<usize, PatternError> {
        let start = self.position;
        let mut number = 0_usize;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            number = (number * 10 + digit as usize).min(MOST_STEPS);
            self.position += 1;
        }
        if self.position == start {
            return Err(self.error("a number is missing"));
        }
        Ok(number)
    }

    #[inline]
    fn repeat(
        &mut self,
        start: usize,
        least: usize,
        most: Option<usize>,
    ) -> Result<(), PatternError> {
        let body = self.program.split_off(start);
        for _ in 0..least {
            self.append(&body, start)?;
        }
        match most {
            Some(most) => {
                for _ in least..most {
                    let fork = self.program.len();
                    self.push(Step::Fork(fork + 1, fork + 1 + body.len()))?;
                    self.append(&body, start)?;
                }
            }
            None => {
                let fork = self.program.len();
                self.push(Step::Fork(fork + 1, fork + body.len() + 2))?;
                self.append(&body, start)?;
                self.push(Step::Jump(fork))?;
            }
        }
        Ok(())
    }

    /// A copy of instructions that were made for another place.
    #[inline]
    fn append(&mut self, body: &[Step], made_for: usize) -> Result<(), PatternError> {
        let here = self.program.len();
        let moved = |target: usize| target + here - made_for;
        for step in body {
            self.push(match step {
                Step::Fork(one, other) => Step::Fork(moved(*one), moved(*other)),
                Step::Jump(target) => Step::Jump(moved(*target)),
                other => other.clone(),
            })?;
        }
        Ok(())
    }

    #[inline]
    fn insert(&mut self, at: usize, step: Step) -> Result<(), PatternError> {
        let tail = self.program.split_off(at);
        self.push(step)?;
        self.append(&tail, at)
    }

    #[inline]
    fn push(&mut self, step: Step) -> Result<(), PatternError> {
        if self.program.len() >= MOST_STEPS {
            return Err(self.error("the expression is too large"));
        }
        self.program.push(step);
        Ok(())
    }

    #[inline]
    fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    #[inline]
    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.source.get(self.position + ahead).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += 1;
        Some(character)
    }

    #[inline]
    fn take_if(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.position += usize::from(is_there);
        is_there
    }

    #[inline]
    fn error(&self, problem: &'static str) -> PatternError {
        PatternError {
            position: self.position,
            problem,
        }
    }
}

/// A run of a program over a text.
struct Search<'a> {
    program: &'a [Step],
    /// States to enter at the present place.
    pending: Vec<usize>,
    /// States that wait for the character behind the present place.
    waiting: Vec<usize>,
    /// By instruction: the round in which it was entered last.
    entered: Vec<usize>,
    round: usize,
}

/// What surrounds a place in the text.
#[derive(Clone, Copy)]
struct Place {
    before: Option<char>,
    after: Option<char>,
}

impl Place {
    fn is_word_edge(self) -> bool {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        is_word(self.before) != is_word(self.after)
    }
}

impl<'a> Search<'a> {
    fn new(program: &'a [Step]) -> Self {
        Self {
            program,
            pending: Vec::new(),
            waiting: Vec::new(),
            entered: vec![0; program.len()],
            round: 0,
        }
    }

    fn is_in(&mut self, text: &str) -> bool {
        let mut before = None;
        for after in text.chars().map(Some).chain([None]) {
            if self.enter_pending(Place { before, after }) {
                return true;
            }
            self.take(after);
            before = after;
        }
        false
    }

    /// Enters what is pending, and a new attempt from here. True: the end was reached.
    fn enter_pending(&mut self, place: Place) -> bool {
        self.round += 1;
        self.pending.push(0);
        while let Some(index) = self.pending.pop() {
            if std::mem::replace(&mut self.entered[index], self.round) == self.round {
                continue;
            }
            let goes_on = match &self.program[index] {
                Step::Found => return true,
                Step::Take(_) => {
                    self.waiting.push(index);
                    false
                }
                Step::Fork(one, other) => {
                    self.pending.extend([*one, *other]);
                    false
                }
                Step::Jump(target) => {
                    self.pending.push(*target);
                    false
                }
                Step::AtStart => place.before.is_none(),
                Step::AtEnd => place.after.is_none(),
                Step::AtWordEdge => place.is_word_edge(),
            };
            if goes_on {
                self.pending.push(index + 1);
            }
        }
        false
    }

    /// Moves those on that wait for this character; the others are lost.
    fn take(&mut self, character: Option<char>) {
        for index in self.waiting.drain(..) {
            if let Step::Take(set) = &self.program[index]
                && character.is_some_and(|character| set.has(character))
            {
                self.pending.push(index + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(regex: &str, found_in: &[&str], not_in: &[&str]) {
        let pattern = Pattern::regex(regex).expect("a regular expression");
        for text in found_in {
            assert!(pattern.is_in(text), "/{regex}/ in {text:?}");
        }
        for text in not_in {
            assert!(!pattern.is_in(text), "/{regex}/ not in {text:?}");
        }
    }

    #[test]
    fn a_text_is_found_as_it_is() {
        assert!(Pattern::text("a.c").is_in("xa.cx"));
        assert!(!Pattern::text("a.c").is_in("abc"));
        assert!(Pattern::text("").is_in(""));
    }

    #[test]
    fn regular_expressions() {
        check("abc", &["abc", "xxabcxx"], &["ab", "acb", ""]);
        check("a.c", &["abc", "xa-c"], &["ac", "a\nc"]);
        check("^a", &["abc"], &["ba", ""]);
        check("a$", &["ba", "a"], &["ab"]);
        check("^$", &[""], &["a"]);
        check("ab*c", &["ac", "abc", "abbbc"], &["adc"]);
        check("ab+c", &["abc", "abbc"], &["ac"]);
        check("ab?c", &["ac", "abc"], &["abbc"]);
        check("^ab{2}c$", &["abbc"], &["abc", "abbbc"]);
        check("^ab{2,}c$", &["abbc", "abbbbc"], &["abc"]);
        check("^ab{1,2}c$", &["abc", "abbc"], &["ac", "abbbc"]);
        check("^(a|bc|d)$", &["a", "bc", "d"], &["b", "c", "ad", "bcd"]);
        check(
            "^(?:ab|c){2}$",
            &["abab", "abc", "cc"],
            &["ab", "c", "abcab"],
        );
        check("x(a|b|(c|d)e)*y", &["xy", "xabceydy", "xdey"], &["xcy"]);
        check("[a-c]+1", &["abc1"], &["d1", "1"]);
        check("^[^a-c]$", &["d", "]"], &["a", "b"]);
        check("^[]a-]$", &["]", "a", "-"], &["b"]);
        check(r"^\d+\.\d$", &["12.3"], &["123", "a.3"]);
        check(r"^[\w:]+$", &["a_b::C9"], &["a b"]);
        check(r"\bfoo\b", &["a foo b", "foo"], &["food", "_foo"]);
        check(r"^\D\W\S$", &["a-x"], &["1-x", "aax", "a- "]);
        check("(a*)*b", &["b", "aaab"], &["aaa"]);
        check("a??b", &["b", "ab"], &["a"]);
        check("ü.€", &["-üx€-"], &["ü€"]);
        check("", &["", "a"], &[]);
        check("a||b", &["", "x"], &[]);
    }

    #[test]
    fn time_is_bounded() {
        let text = "a".repeat(2000);
        check("^(a+)+$", &[&text], &[]);
        check("(a|a)*(a|a)*b", &[], &[&text]);
    }

    #[test]
    fn bad_expressions_are_turned_down_with_their_place() {
        for (regex, position) in [
            ("a(b", 3),
            ("ab)", 2),
            ("*a", 0),
            ("a[b", 3),
            ("a{2", 3),
            ("a{x}", 2),
            ("a{3,2}", 5),
            ("[b-a]", 4),
            ("a\\", 2),
            ("(?=a)", 2),
            (r"(a)\1", 4),
            ("a**", 2),
        ] {
            let error = Pattern::regex(regex).expect_err(regex);
            assert_eq!(error.position, position, "{regex}: {error}");
        }
    }

    #[test]
    fn large_and_deep_expressions_are_turned_down() {
        assert!(Pattern::regex("(a{1000}){1000}").is_err());
        assert!(Pattern::regex("a{99999999999999999999}").is_err());
        assert!(Pattern::regex(&"(".repeat(100_000)).is_err());
        assert!(Pattern::regex("(((a){200}){200}){200}").is_err());
    }
}
