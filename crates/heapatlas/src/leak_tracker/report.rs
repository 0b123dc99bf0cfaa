//! Leaks as text: equal ones together, the largest first.

use std::fmt::{self, Write};

use super::allocation::{Allocation, bytes_text};
use super::filter::Filter;

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
        for (index, group) in groups.iter().enumerate() {
            writeln!(out, "{}", self.painted("2", RULE))?;
            self.write_group(out, index + 1, group)?;
        }
        Ok(())
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
        first.write_origin(out, "  ")
    }
}

fn addresses_text(leaks: &[&Allocation]) -> String {
    let shown: Vec<String> = leaks
        .iter()
        .take(ADDRESSES_SHOWN)
        .map(|leak| format!("0x{:08x}", leak.address))
        .collect();
    let text = shown.join(", ");
    match leaks.len().saturating_sub(ADDRESSES_SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The largest first, of equal size in the order of their first allocations.
fn groups(leaks: &[Allocation]) -> Vec<Group<'_>> {
    let mut sorted: Vec<&Allocation> = leaks.iter().collect();
    // Stable: within a group the order of registration stays.
    sorted.sort_by(|one, other| key(one).cmp(&key(other)));
    let mut groups: Vec<Group<'_>> = sorted
        .chunk_by(|one, other| is_same_origin(one, other))
        .map(|leaks| Group {
            leaks: leaks.to_vec(),
            bytes: leaks
                .iter()
                .fold(0, |sum, leak| sum.saturating_add(leak.size_bytes)),
        })
        .collect();
    groups.sort_by_key(|group| {
        let first = group.leaks.first().map(|leak| leak.timestamp);
        (std::cmp::Reverse(group.bytes), first)
    });
    groups
}

type Key<'a> = (
    &'a str,
    Option<&'a str>,
    Vec<u64>,
    Option<(&'a str, u32, u32)>,
);

fn key(leak: &Allocation) -> Key<'_> {
    (
        &leak.type_name,
        leak.scope.as_deref(),
        leak.stack.iter().map(|frame| frame.address).collect(),
        leak.location
            .as_ref()
            .map(|place| (&*place.file, place.line, place.column)),
    )
}

fn is_same_origin(one: &Allocation, other: &Allocation) -> bool {
    one.type_name == other.type_name
        && one.scope == other.scope
        && one.location == other.location
        && one.stack == other.stack
}
