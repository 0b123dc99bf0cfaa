//! An allocation profile as text for people, part by part.

use std::io::{self, Write};
use std::ops::Range;

use heapatlas_analysis::profile::{
    CallFrame, CallLabel, CallNode, CallTree, Metric, PowerRow, ProfileView, Site, distribution,
    live_over_time, threads_by,
};
use heapatlas_model::{AllocationProfile, Amount, Bytes, Count};

use super::chart;
use super::text::{Paint, Table, bar, percent, plural, printable, shell_word, short_name};
use crate::commands::row_choice::remark_on_rest;
use crate::duration::duration;

/// Longer paths lose their first folders in text; JSON has them whole.
const LONGEST_PATH: usize = 50;
/// Functions in trees and tables are cut at so many characters.
const LONGEST_FUNCTION: usize = 80;

/// How to show a profile.
pub struct ProfileText<'a> {
    /// The profile.
    pub view: &'a ProfileView<'a>,
    /// Emphasis.
    pub paint: Paint,
    /// Columns of the terminal.
    pub width: usize,
    /// Whether the terminal shows more than ASCII.
    pub is_unicode: bool,
}

impl ProfileText<'_> {
    fn profile(&self) -> &AllocationProfile {
        self.view.profile()
    }

    /// What was measured, and the sums.
    pub fn heading(&self, out: &mut dyn Write) -> io::Result<()> {
        let profile = self.profile();
        writeln!(
            out,
            "{}  pid {}, {}{}",
            self.paint.bold(&self.command()),
            profile.pid,
            duration(profile.duration_ns),
            profile.exit_status.map(status_in_words).unwrap_or_default()
        )?;
        if self.is_sampled() {
            writeln!(
                out,
                "sampled every {} on average: all figures are estimates",
                Bytes(profile.sample_interval_bytes)
            )?;
        }
        writeln!(out)?;
        let mut table = Table::new(&["", "", ""]);
        for (name, figure, remark) in self.totals() {
            table.row(vec![format!("  {name:<12}"), figure, remark]);
        }
        table.write(out, self.paint)
    }

    /// Whether figures are estimates.
    fn is_sampled(&self) -> bool {
        self.profile().sample_interval_bytes != 0
    }

    fn command(&self) -> String {
        let words: Vec<String> = self
            .profile()
            .command
            .iter()
            .map(|word| shell_word(word))
            .collect();
        let command = if words.is_empty() {
            "(unknown command)".to_owned()
        } else {
            words.join(" ")
        };
        short_name(&command)
    }

    fn totals(&self) -> [(&'static str, String, String); 4] {
        let profile = self.profile();
        let share = percent(profile.temporary.blocks, profile.total.blocks);
        let (temporary, what_is) = match self.is_sampled() {
            true => ("-".to_owned(), "unknown: samples do not tell".to_owned()),
            false => (
                Count(profile.temporary.blocks).to_string(),
                format!("{share} of allocations: freed before the thread's next one"),
            ),
        };
        [
            (
                "allocations",
                Count(profile.total.blocks).to_string(),
                format!(
                    "{} in all; {} freed",
                    Bytes(profile.total.bytes),
                    Count(profile.frees)
                ),
            ),
            ("temporary", temporary, what_is),
            (
                "peak",
                Bytes(profile.peak.bytes).to_string(),
                format!(
                    "in {} at {}",
                    blocks(profile.peak),
                    duration(profile.peak_time_ns)
                ),
            ),
            (
                "live at end",
                Bytes(profile.live_at_end.bytes).to_string(),
                format!("in {}", blocks(profile.live_at_end)),
            ),
        ]
    }

    /// Live bytes over a time.
    pub fn chart(&self, out: &mut dyn Write, time_ns: Range<u64>) -> io::Result<()> {
        if self.profile().timeline.is_empty() {
            return Ok(());
        }
        let columns = chart::columns(self.width, self.profile().peak.bytes);
        let values = live_over_time(self.profile(), time_ns.clone(), columns);
        writeln!(out, "\n{}", self.paint.bold("live bytes over time"))?;
        let marks: Vec<u64> = self.profile().marks.iter().map(|m| m.time_ns).collect();
        for line in chart::lines(&values, time_ns, &marks, self.is_unicode) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// The first moments that have a name, if there are any.
    pub fn marks(&self, out: &mut dyn Write, limit: usize) -> io::Result<()> {
        let marks = &self.profile().marks;
        if marks.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{}", self.paint.bold("marks"))?;
        let mut table = Table::new(&["at", "text"]);
        for mark in marks.iter().take(limit) {
            table.row(vec![duration(mark.time_ns), cut(&printable(&mark.text))]);
        }
        if let Some(rest) = remark_on_rest(marks.len(), marks.len().min(limit), "mark", "marks") {
            table.remark(rest);
        }
        table.write(out, self.paint)
    }

    /// The first sites by a metric, of which the profile has so much in all.
    pub fn sites(
        &self,
        out: &mut dyn Write,
        metric: Metric,
        sites: &[&Site],
        limit: usize,
    ) -> io::Result<()> {
        let is_large = |site: &&&Site| metric.weight(&site.figures) > 0;
        let large: Vec<_> = sites.iter().filter(is_large).collect();
        writeln!(out, "\n{}", self.paint.bold(title(metric)))?;
        if large.is_empty() {
            return writeln!(out, "  nothing");
        }
        let whole = self.whole(metric);
        let mut table = Table::new(&["bytes", "blocks", "%", "site"]);
        for site in large.iter().take(limit) {
            let amount = metric.amount(&site.figures);
            let name = site.frame.as_ref().map_or("(no stack)".to_owned(), place);
            table.row(amount_cells(metric, amount, whole, name));
        }
        if let Some(rest) = remark_on_rest(large.len(), large.len().min(limit), "site", "sites") {
            table.remark(rest);
        }
        table.write(out, self.paint)
    }

    fn whole(&self, metric: Metric) -> u64 {
        let profile = self.profile();
        metric.weight_of(match metric {
            Metric::Live => profile.live_at_end,
            Metric::Peak => profile.peak,
            Metric::Temporary => profile.temporary,
            Metric::Allocations | Metric::Bytes => profile.total,
        })
    }

    /// What `live at end` does not say.
    pub fn hint(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.profile().live_at_end.blocks == 0 {
            return Ok(());
        }
        let hint =
            "live at end is not the same as unreachable: the program may still have needed it";
        writeln!(out, "\n{}", self.paint.dim(hint))
    }

    /// A call tree.
    pub fn tree(
        &self,
        out: &mut dyn Write,
        heading: &str,
        metric: Metric,
        tree: &CallTree,
    ) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint.bold(heading))?;
        let whole = metric.weight(&tree.nodes[0].inclusive);
        let mut table = Table::new(&["bytes", "blocks", "%", "call"]);
        for node in &tree.nodes {
            let amount = metric.amount(&node.inclusive);
            let name = format!("{:1$}{2}", "", node.depth, self.node_name(node));
            table.row(amount_cells(metric, amount, whole, name));
        }
        table.write(out, self.paint)
    }

    fn node_name(&self, node: &CallNode) -> String {
        let name = match node.label {
            CallLabel::Root => "(all)".to_owned(),
            CallLabel::CutOff => "(outer frames are missing)".to_owned(),
            CallLabel::Frame(id) => place(self.view.frame(id)),
        };
        match node.omitted {
            0 => name,
            count => format!("{name}  … {count} smaller below"),
        }
    }

    /// The threads.
    pub fn threads(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint.bold("threads"))?;
        let mut table = Table::new(&[
            "id",
            "allocations",
            "frees",
            "bytes",
            "at peak",
            "live at end",
            "temporary",
            "name",
        ]);
        for thread in threads_by(self.profile(), Metric::Bytes) {
            table.row(vec![
                thread.os_thread_id.to_string(),
                Count(thread.total.blocks).to_string(),
                Count(thread.frees).to_string(),
                Bytes(thread.total.bytes).to_string(),
                Bytes(thread.peak.bytes).to_string(),
                Bytes(thread.live_at_end.bytes).to_string(),
                percent(thread.temporary.blocks, thread.total.blocks),
                short_name(&thread.name),
            ]);
        }
        table.write(out, self.paint)
    }

    /// How sizes and lifetimes are distributed, and how deep the stacks are.
    pub fn histograms(&self, out: &mut dyn Write) -> io::Result<()> {
        let sizes = distribution(&self.profile().sizes);
        let size_range = |row: &PowerRow| range(row, |bytes| Bytes(bytes).to_string());
        self.histogram(out, "blocks by size", &sizes, size_range)?;
        let lifetimes = distribution(&self.profile().lifetimes);
        let time_range = |row: &PowerRow| range(row, duration);
        self.histogram(out, "freed blocks by lifetime", &lifetimes, time_range)?;
        let deepest = Count(u64::from(self.profile().deepest_stack()));
        writeln!(out, "\ndeepest stack: {deepest} frames")
    }

    fn histogram(
        &self,
        out: &mut dyn Write,
        title: &str,
        rows: &[PowerRow],
        range: impl Fn(&PowerRow) -> String,
    ) -> io::Result<()> {
        writeln!(out, "\n{}", self.paint.bold(title))?;
        let whole = rows.iter().map(|row| row.amount.blocks).sum();
        let largest = rows.iter().map(|row| row.amount.blocks).max().unwrap_or(0);
        let mut table = Table::new(&["from", "blocks", "%", "bytes", ""]);
        for row in rows {
            table.row(vec![
                range(row),
                Count(row.amount.blocks).to_string(),
                percent(row.amount.blocks, whole),
                Bytes(row.amount.bytes).to_string(),
                self.bar(row.amount.blocks, largest),
            ]);
        }
        table.write(out, self.paint)
    }

    fn bar(&self, part: u64, whole: u64) -> String {
        let bar = bar(part, whole);
        if self.is_unicode {
            bar
        } else {
            bar.replace('█', "#")
        }
    }
}

pub(super) fn amount_cells(
    metric: Metric,
    amount: Amount,
    whole: u64,
    name: String,
) -> Vec<String> {
    vec![
        Bytes(amount.bytes).to_string(),
        Count(amount.blocks).to_string(),
        percent(metric.weight_of(amount), whole),
        name,
    ]
}

fn title(metric: Metric) -> &'static str {
    match metric {
        Metric::Live => "live at end",
        Metric::Peak => "at the peak",
        Metric::Temporary => "temporary",
        Metric::Allocations => "most allocations",
        Metric::Bytes => "most bytes in all",
    }
}

/// `4 B … 7 B`; one value alone where it is the whole range.
fn range(row: &PowerRow, word: impl Fn(u64) -> String) -> String {
    if row.from == row.to {
        word(row.from)
    } else {
        format!("{} …", word(row.from))
    }
}

fn blocks(amount: Amount) -> String {
    let word = plural(amount.blocks as usize, "block", "blocks");
    format!("{} {word}", Count(amount.blocks))
}

/// `, exit code 1`, `, killed by signal 9`; nothing for success.
fn status_in_words(status: i32) -> String {
    let signal = status & 0x7f;
    match (status, signal) {
        (0, _) => String::new(),
        (_, 0) => format!(", exit code {}", (status >> 8) & 0xff),
        _ => format!(", killed by signal {signal}"),
    }
}

/// `load  src/table.c:45`, `load  (libz.so.1)`.
pub(super) fn place(frame: &CallFrame) -> String {
    let function = cut(&printable(&frame.function));
    match (&frame.file, frame.line, &frame.module) {
        (Some(file), Some(line), _) => format!("{function}  {}:{line}", short_path(file)),
        (Some(file), None, _) => format!("{function}  {}", short_path(file)),
        (None, _, Some(module)) => {
            let module = printable(module.rsplit('/').next().unwrap_or(module)).into_owned();
            // A function without a name is called after its module.
            let is_said = frame.function.starts_with(&format!("{module}+"));
            if is_said {
                function
            } else {
                format!("{function}  ({module})")
            }
        }
        (None, _, None) => function,
    }
}

/// A function's name without what stands in its angle brackets, and then without its end, as far
/// as it is too long.
fn cut(function: &str) -> String {
    let is_short = |name: &str| name.chars().count() <= LONGEST_FUNCTION;
    if is_short(function) {
        return function.to_owned();
    }
    let name = without_type_arguments(function);
    if is_short(&name) {
        return name;
    }
    name.chars()
        .take(LONGEST_FUNCTION - 1)
        .chain(['…'])
        .collect()
}

/// `a<…>::b` of `a<c<d>, e>::b`. Rust's `<A as B>::c`, which begins with a bracket, stays.
fn without_type_arguments(function: &str) -> String {
    let mut name = String::new();
    let mut depth = 0_usize;
    let mut before = ' ';
    for character in function.chars() {
        let is_argument = character == '<' && (before.is_alphanumeric() || "_:".contains(before));
        match character {
            '<' if depth > 0 => depth += 1,
            '<' if is_argument => {
                name.push_str("<…>");
                depth = 1;
            }
            // The end of an arrow closes nothing.
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth == 0 => name.push(character),
            _ => {}
        }
        before = character;
    }
    name
}

/// A path without its first folders, where it is long.
fn short_path(path: &str) -> String {
    let path = printable(path);
    if path.chars().count() <= LONGEST_PATH {
        return path.into_owned();
    }
    let is_short = |rest: &&str| rest.chars().count() < LONGEST_PATH;
    let tails = path.match_indices('/').map(|(at, _)| &path[at..]);
    match tails.into_iter().find(is_short) {
        Some(tail) => format!("…{tail}"),
        None => path.into_owned(),
    }
}

#[cfg(test)]
mod tests;
