//! Leaks as text: equal ones together, the largest first.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::allocation::{Allocation, bytes_text};
use super::filter::Filter;
use super::sorted::joined;

/// So many groups are shown; JSON has all leaks.
const GROUPS_SHOWN: usize = 100;
/// So many addresses of a group are shown.
const ADDRESSES_SHOWN: usize = 4;
const RULE: &str = "────────────────────────────────────────";

/// How a report begins and looks.
pub(crate) struct Style<'a> {
    pub title: &'a str,
    pub filter: Option<&'a Filter>,
    pub scope: Option<&'a str>,
    pub has_color: bool,
}

/// Blocks of one type, allocated at one stack in one scope.
#[derive(Default)]
struct Group<'a> {
    leaks: Vec<&'a Allocation>,
    bytes: u64,
}

impl Style<'_> {
    fn painted(&self, code: &str, text: &str) -> String {
        if self.has_color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn no_leaks(&self) -> String {
        self.painted("32", "✓ No native memory leaks detected")
    }

    /// The whole report, ending in a line break.
    pub(crate) fn write(&self, out: &mut dyn Write, leaks: &[Allocation]) -> fmt::Result {
        let groups = groups(leaks);
        let largest = leaks.iter().map(|leak| leak.size_bytes).max().unwrap_or(0);
        writeln!(out, "{}", self.painted("1;31", self.title))?;
        writeln!(out, "Leaks   : {}", leaks.len())?;
        let total = bytes_text(Allocation::total_bytes(leaks));
        writeln!(out, "Total   : {total}")?;
        writeln!(out, "Largest : {}", bytes_text(largest))?;
        if let Some(filter) = self.filter.filter(|filter| !filter.is_none()) {
            writeln!(out, "Filter  : {filter}")?;
        }
        if let Some(scope) = self.scope {
            writeln!(out, "Scope   : {scope}")?;
        }
        for (index, group) in groups.iter().take(GROUPS_SHOWN).enumerate() {
            writeln!(out, "{}", self.painted("2", RULE))?;
            self.write_group(out, index + 1, group)?;
        }
        self.write_rest(out, groups.get(GROUPS_SHOWN..).unwrap_or_default())
    }

    fn write_rest(&self, out: &mut dyn Write, groups: &[Group<'_>]) -> fmt::Result {
        if groups.is_empty() {
            return Ok(());
        }
        let (mut blocks, mut bytes) = (0, 0_u64);
        for group in groups {
            blocks += group.leaks.len();
            bytes = bytes.saturating_add(group.bytes);
        }
        writeln!(out, "{}", self.painted("2", RULE))?;
        let (places, bytes) = (groups.len(), bytes_text(bytes));
        writeln!(out, "and {blocks} smaller leaks of {places} kinds: {bytes}")
    }

    fn write_group(&self, out: &mut dyn Write, number: usize, group: &Group<'_>) -> fmt::Result {
        let Some((first, others)) = group.leaks.split_first() else {
            return Ok(());
        };
        let bytes = bytes_text(group.bytes);
        let amount = match others.len() {
            0 => bytes,
            others => format!("{} blocks, {bytes}", others + 1),
        };
        let heading = format!("Leak #{number} - {} ({amount})", first.type_name);
        writeln!(out, "{}", self.painted("1", &heading))?;
        writeln!(out, "  address   : {}", addresses_text(&group.leaks))?;
        first.write_origin(out, self.scope, "  ")
    }
}

fn addresses_text(leaks: &[&Allocation]) -> String {
    let shown: Vec<String> = leaks
        .iter()
        .take(ADDRESSES_SHOWN)
        .map(|leak| format!("0x{:08x}", leak.address))
        .collect();
    let text = joined(&shown, ", ");
    match leaks.len().saturating_sub(ADDRESSES_SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The largest first, of equal size in the order of their first allocations.
fn groups(leaks: &[Allocation]) -> Vec<Group<'_>> {
    let mut indexes = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for leak in leaks {
        let index = *indexes.entry(Origin(leak)).or_insert_with(|| {
            groups.push(Group::default());
            groups.len() - 1
        });
        let group = &mut groups[index];
        group.leaks.push(leak);
        group.bytes = group.bytes.saturating_add(leak.size_bytes);
    }
    let mut order = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        order.push((u64::MAX - group.bytes, index));
    }
    order.sort_unstable();
    let mut sorted = Vec::new();
    for (_, index) in order {
        sorted.push(std::mem::take(&mut groups[index]));
    }
    sorted
}

/// Where a block comes from, for comparison. Stacks of one report are shared mostly, so comparing them costs little.
struct Origin<'a>(&'a Allocation);

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.0, other.0);
        one.type_name == other.type_name
            && one.scope == other.scope
            && one.location == other.location
            && (Arc::ptr_eq(&one.stack, &other.stack) || one.stack == other.stack)
    }
}

impl Eq for Origin<'_> {}

impl Hash for Origin<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.type_name.hash(state);
        self.0.location.hash(state);
        for frame in &*self.0.stack {
            frame.address.hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::leak_tracker::ThreadLabel;

    fn leak(type_name: String, size_bytes: u64, address: u64) -> Allocation {
        Allocation {
            address,
            size_bytes,
            type_name: type_name.into(),
            timestamp: UNIX_EPOCH,
            thread: ThreadLabel::default(),
            scope: None,
            location: None,
            stack: Arc::new([]),
        }
    }

    fn report(leaks: &[Allocation]) -> String {
        let style = Style {
            title: "Title",
            filter: None,
            scope: None,
            has_color: false,
        };
        let mut text = String::new();
        style.write(&mut text, leaks).unwrap();
        text
    }

    #[test]
    fn equal_leaks_are_one_and_the_largest_come_first() {
        let mut leaks = vec![leak("Small".into(), 30, 1), leak("Other".into(), 100, 2)];
        leaks.extend((0..6).map(|number| leak("Small".into(), 30, 16 + number)));
        let expected = "Title\nLeaks   : 8\nTotal   : 310 B\nLargest : 100 B\n\
            ────────────────────────────────────────\nLeak #1 - Small (7 blocks, 210 B)\n  \
            address   : 0x00000001, 0x00000010, 0x00000011, 0x00000012 and 3 more\n  \
            timestamp : 1970-01-01T00:00:00.000000Z\n\
            ────────────────────────────────────────\nLeak #2 - Other (100 B)\n  \
            address   : 0x00000002\n  timestamp : 1970-01-01T00:00:00.000000Z\n";
        assert_eq!(report(&leaks), expected);
    }

    #[test]
    fn very_many_are_summed_up() {
        let leaks: Vec<_> = (0..150)
            .map(|number| leak(format!("T{number}"), 1000 - number, number))
            .collect();
        let text = report(&leaks);
        assert!(text.contains("Leak #100 - T99 (901 B)"), "{text}");
        // 900 + 899 + ... + 851.
        let rest = format!("and 50 smaller leaks of 50 kinds: {}\n", bytes_text(43_775));
        assert!(text.ends_with(&rest), "{text}");
    }
}
