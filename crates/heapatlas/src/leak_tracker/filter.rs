//! What the tracker is to ignore.

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::time::Duration;

use super::Pattern;
use super::allocation::bytes_text;
use super::sorted::{SortedSet, joined};

/// Says which allocations are ignored. By default none.
///
/// Filters are combined by [`and`](Self::and), [`or`](Self::or), [`not`](Self::not), or the operators `&`, `|`, `!`. What
/// comes out is simplified, and compares by content:
///
/// ```
/// use heapatlas::Filter;
/// let cache = Filter::ignore_types(["Cache"]);
/// let small = Filter::ignore_smaller_than(64);
/// assert_eq!((cache.clone() & small.clone()).to_string(), r#"size < 64 B AND type is in: "Cache""#);
/// assert_eq!(cache.clone() & small.clone(), small & cache.clone());
/// assert_eq!(!!cache.clone(), cache.clone());
/// assert_eq!(cache & Filter::ignore_none(), Filter::ignore_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Rule);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rule {
    None,
    All,
    Addresses(SortedSet<u64>),
    Types(SortedSet<String>),
    StackContains(Pattern),
    SmallerThan(u64),
    LargerThan(u64),
    YoungerThan(Duration),
    OlderThan(Duration),
    Threads(SortedSet<String>),
    /// Two parts at least, sorted, none twice, none of them an `And`.
    And(Vec<Rule>),
    /// The same, none of them an `Or`.
    Or(Vec<Rule>),
    /// Of a rule that is neither `None`, `All`, `And`, `Or` nor `Not`.
    Not(Box<Rule>),
}

/// What a filter may ask about an allocation.
pub(crate) struct Facts<'a> {
    pub address: u64,
    pub size: u64,
    pub type_name: &'a str,
    /// Whether the thread has one of these names; names of threads are looked up.
    pub thread_is_in: &'a dyn Fn(&SortedSet<String>) -> bool,
    /// Unknown while the allocation is registered: it will be older when it is reported.
    pub age: Option<Duration>,
    /// Whether the stack has a pattern; finding names costs, so it is asked last.
    pub stack_has: &'a dyn Fn(&Pattern) -> bool,
}

impl Filter {
    /// Ignores nothing.
    #[must_use]
    pub const fn ignore_none() -> Self {
        Self(Rule::None)
    }

    /// Ignores everything.
    #[must_use]
    pub const fn ignore_all() -> Self {
        Self(Rule::All)
    }

    /// Ignores the blocks at these addresses.
    pub fn ignore_addresses(addresses: impl IntoIterator<Item = u64>) -> Self {
        let mut set = SortedSet::new();
        for address in addresses {
            set.insert(address);
        }
        Self(Rule::Addresses(set))
    }

    /// Ignores these types, by their whole names (`my_crate::Packet`).
    pub fn ignore_types<S: Into<String>>(types: impl IntoIterator<Item = S>) -> Self {
        Self(Rule::Types(set_of_texts(types)))
    }

    /// Ignores one type.
    #[must_use]
    pub fn ignore_type<T: ?Sized>() -> Self {
        Self::ignore_types([std::any::type_name::<T>()])
    }

    /// Ignores allocations whose stack, with its functions, files and lines, has this text or matches this regular
    /// expression. Where there are no stacks, the allocating line is searched.
    pub fn ignore_stack_contains(pattern: impl Into<Pattern>) -> Self {
        Self(Rule::StackContains(pattern.into()))
    }

    /// Ignores blocks of less than so many bytes.
    #[must_use]
    pub const fn ignore_smaller_than(bytes: u64) -> Self {
        Self(Rule::SmallerThan(bytes))
    }

    /// Ignores blocks of more than so many bytes.
    #[must_use]
    pub const fn ignore_larger_than(bytes: u64) -> Self {
        Self(Rule::LargerThan(bytes))
    }

    /// Ignores blocks that are younger when they are reported: what is still in use, perhaps.
    #[must_use]
    pub const fn ignore_younger_than(age: Duration) -> Self {
        Self(Rule::YoungerThan(age))
    }

    /// Ignores blocks that are older when they are reported: what a program keeps from its start on.
    #[must_use]
    pub const fn ignore_older_than(age: Duration) -> Self {
        Self(Rule::OlderThan(age))
    }

    /// Ignores what threads of these names allocated.
    pub fn ignore_threads<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(Rule::Threads(set_of_texts(names)))
    }

    /// Ignores what both ignore.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(Joint::AND.of([self.0, other.0]))
    }

    /// Ignores what one of them ignores.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(Joint::OR.of([self.0, other.0]))
    }

    /// Ignores what this one does not.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the trait is implemented, too"
    )]
    pub fn not(self) -> Self {
        Self(inverted(self.0))
    }

    /// Whether nothing is ignored, whatever it is.
    pub fn is_none(&self) -> bool {
        self.0 == Rule::None
    }

    /// Whether an allocation is ignored; `None` if that hangs on what is not known yet.
    pub(crate) fn ignores(&self, facts: &Facts<'_>) -> Option<bool> {
        self.0.applies(facts)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::ignore_none()
    }
}

impl BitAnd for Filter {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        self.and(other)
    }
}

impl BitOr for Filter {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

impl Not for Filter {
    type Output = Self;
    fn not(self) -> Self {
        Self(inverted(self.0))
    }
}

fn set_of_texts<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> SortedSet<String> {
    let mut set = SortedSet::new();
    for text in texts {
        set.insert(text.into());
    }
    set
}

/// How parts are joined.
struct Joint {
    /// A part that changes nothing: what is left when there is no part.
    neutral: Rule,
    /// A part that decides alone.
    dominant: Rule,
    join: fn(Vec<Rule>) -> Rule,
}

impl Joint {
    const AND: Self = Self {
        neutral: Rule::All,
        dominant: Rule::None,
        join: Rule::And,
    };
    const OR: Self = Self {
        neutral: Rule::None,
        dominant: Rule::All,
        join: Rule::Or,
    };

    fn of(&self, parts: impl IntoIterator<Item = Rule>) -> Rule {
        let mut flat = SortedSet::new();
        for part in parts {
            match (part, (self.join)(Vec::new())) {
                (Rule::And(inner), Rule::And(_)) | (Rule::Or(inner), Rule::Or(_)) => {
                    for rule in inner {
                        flat.insert(rule);
                    }
                }
                (part, _) => {
                    flat.insert(part);
                }
            }
        }
        if flat.has(&self.dominant) {
            return self.dominant.clone();
        }
        flat.remove(&self.neutral);
        let mut parts = flat.into_values();
        match parts.len() {
            0 => self.neutral.clone(),
            1 => parts.remove(0),
            _ => (self.join)(parts),
        }
    }
}

fn inverted(rule: Rule) -> Rule {
    match rule {
        Rule::None => Rule::All,
        Rule::All => Rule::None,
        Rule::Not(inner) => *inner,
        Rule::And(parts) => Joint::OR.of(parts.into_iter().map(inverted)),
        Rule::Or(parts) => Joint::AND.of(parts.into_iter().map(inverted)),
        other => Rule::Not(Box::new(other)),
    }
}

impl Rule {
    fn applies(&self, facts: &Facts<'_>) -> Option<bool> {
        Some(match self {
            Self::None => false,
            Self::All => true,
            Self::Addresses(addresses) => addresses.has(&facts.address),
            Self::Types(types) => has_text(types, facts.type_name),
            Self::StackContains(pattern) => (facts.stack_has)(pattern),
            Self::SmallerThan(bytes) => facts.size < *bytes,
            Self::LargerThan(bytes) => facts.size > *bytes,
            Self::YoungerThan(age) => facts.age? < *age,
            Self::OlderThan(age) => facts.age? > *age,
            Self::Threads(names) => (facts.thread_is_in)(names),
            Self::And(parts) => return first_decision(parts, facts, false),
            Self::Or(parts) => return first_decision(parts, facts, true),
            Self::Not(inner) => !inner.applies(facts)?,
        })
    }

    /// Parts that ask for a stack come behind those that do not.
    fn asks_for_stack(&self) -> bool {
        match self {
            Self::StackContains(_) => true,
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::asks_for_stack),
            Self::Not(inner) => inner.asks_for_stack(),
            _ => false,
        }
    }

    fn text_of_parts(parts: &[Self], word: &str) -> String {
        let mut texts = SortedSet::new();
        for part in parts {
            texts.insert(part.text_of_part());
        }
        joined(texts.values(), word)
    }

    /// Within another rule, joined parts stand in parentheses.
    fn text_of_part(&self) -> String {
        match self {
            Self::And(_) | Self::Or(_) => format!("({self})"),
            _ => self.to_string(),
        }
    }
}

/// The first part that says `decisive` decides; without one, a part that does not know leaves all open.
fn first_decision(parts: &[Rule], facts: &Facts<'_>, decisive: bool) -> Option<bool> {
    let mut is_open = false;
    for asks_for_stack in [false, true] {
        for part in parts {
            if part.asks_for_stack() == asks_for_stack {
                match part.applies(facts) {
                    Some(decision) if decision == decisive => return Some(decision),
                    Some(_) => {}
                    None => is_open = true,
                }
            }
        }
    }
    (!is_open).then_some(!decisive)
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("ignore none"),
            Self::All => f.write_str("ignore all"),
            Self::Addresses(addresses) => {
                let addresses = addresses.values().iter();
                let texts: Vec<String> = addresses.map(|a| format!("0x{a:08x}")).collect();
                write!(f, "address is in: \"{}\"", joined(&texts, ", "))
            }
            Self::Types(types) => write!(f, "type is in: \"{}\"", in_one_line(types)),
            Self::StackContains(pattern) => write!(f, "stack contains {pattern}"),
            Self::SmallerThan(bytes) => write!(f, "size < {}", bytes_text(*bytes)),
            Self::LargerThan(bytes) => write!(f, "size > {}", bytes_text(*bytes)),
            Self::YoungerThan(age) => write!(f, "age < {age:?}"),
            Self::OlderThan(age) => write!(f, "age > {age:?}"),
            Self::Threads(names) => write!(f, "thread is in: \"{}\"", in_one_line(names)),
            Self::And(parts) => f.write_str(&Self::text_of_parts(parts, " AND ")),
            Self::Or(parts) => f.write_str(&Self::text_of_parts(parts, " OR ")),
            Self::Not(inner) => write!(f, "NOT ({inner})"),
        }
    }
}

fn in_one_line(texts: &SortedSet<String>) -> String {
    joined(texts.values(), ", ")
}

fn has_text(texts: &SortedSet<String>, wanted: &str) -> bool {
    texts.values().iter().any(|text| text == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ty(name: &str) -> Filter {
        Filter::ignore_types([name])
    }

    /// An allocation of 64 bytes of type `T` at 0x1000, by the thread `worker`, with a stack of one line.
    fn verdict(filter: &Filter, age: Option<Duration>) -> Option<bool> {
        filter.ignores(&Facts {
            address: 0x1000,
            size: 64,
            type_name: "T",
            thread_is_in: &|names| names.has(&"worker".to_owned()),
            age,
            stack_has: &|pattern| pattern.is_in("my::function (src/main.rs:7:5)"),
        })
    }

    #[test]
    fn each_rule_ignores_what_it_says() {
        let regex = Pattern::regex(r"main\.rs:\d+").unwrap();
        for (filter, expected) in [
            (Filter::ignore_none(), false),
            (Filter::ignore_all(), true),
            (Filter::ignore_addresses([0x1000]), true),
            (Filter::ignore_addresses([0x1001, 0x2000]), false),
            (ty("T"), true),
            (ty("t"), false),
            (ty("T2"), false),
            (Filter::ignore_stack_contains("my::function"), true),
            (Filter::ignore_stack_contains("my::other"), false),
            (Filter::ignore_stack_contains(regex), true),
            (Filter::ignore_smaller_than(64), false),
            (Filter::ignore_smaller_than(65), true),
            (Filter::ignore_larger_than(64), false),
            (Filter::ignore_larger_than(63), true),
            (Filter::ignore_threads(["worker"]), true),
            (Filter::ignore_threads(["main"]), false),
            (ty("T").not(), false),
            (ty("T") & Filter::ignore_larger_than(100), false),
            (ty("T") | Filter::ignore_larger_than(100), true),
        ] {
            assert_eq!(verdict(&filter, None), Some(expected), "{filter}");
        }
    }

    #[test]
    fn age_is_decided_when_it_is_known() {
        let second = Duration::from_secs(1);
        let young = Filter::ignore_younger_than(second * 5);
        let old = Filter::ignore_older_than(second * 5);
        assert_eq!(verdict(&young, None), None);
        assert_eq!(verdict(&!young.clone(), None), None);
        assert_eq!(verdict(&young, Some(second)), Some(true));
        assert_eq!(verdict(&young, Some(second * 5)), Some(false));
        assert_eq!(verdict(&old, Some(second * 6)), Some(true));
        // A part that decides alone does so before the age is known.
        assert_eq!(verdict(&(young.clone() | ty("T")), None), Some(true));
        assert_eq!(verdict(&(young.clone() & ty("U")), None), Some(false));
        assert_eq!(verdict(&(young & ty("T")), None), None);
    }

    #[test]
    fn combinations_are_simplified() {
        let [a, b, c] = ["A", "B", "C"].map(ty);
        let (none, all) = (Filter::ignore_none(), Filter::ignore_all());
        for (combined, expected) in [
            (none.clone() & a.clone(), none.clone()),
            (all.clone() & a.clone(), a.clone()),
            (all.clone() | a.clone(), all.clone()),
            (none.clone() | a.clone(), a.clone()),
            (a.clone() & a.clone(), a.clone()),
            (a.clone() | a.clone(), a.clone()),
            (!!a.clone(), a.clone()),
            (!none.clone(), all.clone()),
            (!all.clone(), none.clone()),
            (
                !(a.clone() & b.clone()),
                a.clone().not().or(b.clone().not()),
            ),
            (
                !(a.clone() | b.clone()),
                a.clone().not().and(b.clone().not()),
            ),
            (
                (a.clone() & b.clone()) & c.clone(),
                a.clone() & (b.clone() & c.clone()),
            ),
            (a.clone() | b.clone() | a.clone(), b.clone() | a.clone()),
        ] {
            assert_eq!(combined, expected);
        }
        assert!(none.is_none() && !a.is_none());
    }

    #[test]
    fn texts() {
        let [a, b] = ["A", "B"].map(ty);
        for (filter, expected) in [
            (Filter::ignore_none(), "ignore none"),
            (Filter::ignore_all(), "ignore all"),
            (Filter::ignore_types(["B", "A"]), r#"type is in: "A, B""#),
            (
                Filter::ignore_addresses([0x7fff_0000_1000, 16]),
                r#"address is in: "0x00000010, 0x7fff00001000""#,
            ),
            (Filter::ignore_stack_contains("f"), r#"stack contains "f""#),
            (
                Filter::ignore_stack_contains(Pattern::regex("f+").unwrap()),
                "stack contains /f+/",
            ),
            (
                b.clone() & a.clone(),
                r#"type is in: "A" AND type is in: "B""#,
            ),
            (
                (a.clone() | b.clone()) & Filter::ignore_larger_than(2048),
                r#"(type is in: "A" OR type is in: "B") AND size > 2.0 KiB"#,
            ),
            (a.not(), r#"NOT (type is in: "A")"#),
            (
                Filter::ignore_older_than(Duration::from_secs(5)),
                "age > 5s",
            ),
        ] {
            assert_eq!(filter.to_string(), expected);
        }
    }
}
