//! Text for people: aligned tables, figures with units, nothing that could upset a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use heapatlas_model::{Bytes, Count};

/// Names in tables are cut at so many characters; JSON has them whole.
const LONGEST_NAME: usize = 110;
/// A bar of this length is 100 %.
const LONGEST_BAR: usize = 30;

/// Text with control characters and direction marks spelled out. Names come from the heap of
/// somebody's program: they may hold anything, terminal commands included.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unprintable(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name as it stands in a table: printable and not too long.
pub fn short_name(name: &str) -> String {
    let name = printable(name);
    if name.chars().count() <= LONGEST_NAME {
        return name.into_owned();
    }
    name.chars().take(LONGEST_NAME - 1).chain(['…']).collect()
}

/// A path in words, broken between steps where a line would become longer than this.
pub fn wrapped_path(path: &str, indent: usize, width: usize) -> String {
    let mut text = String::new();
    let mut line = 0;
    for step in path_steps(&printable(path)) {
        let length = step.chars().count();
        if line > 0 && line + length > width {
            let step = step.trim_start();
            let _ = write!(text, "\n{:indent$}{step}", "");
            line = step.chars().count();
        } else {
            text.push_str(step);
            line += length;
        }
    }
    text
}

/// Cuts a path in words before each arrow, and behind a class in parentheses that is followed
/// by a property or variable: `global`, `.kept (Object)`, `.records (Map)`, ` -> table`.
fn path_steps(path: &str) -> Vec<&str> {
    let is_cut = |at: usize| {
        let (before, after) = path.split_at(at);
        after.starts_with(" -> ")
            || before.ends_with(')') && (after.starts_with('.') || after.starts_with(" variable "))
    };
    let mut steps = Vec::new();
    let mut start = 0;
    for (at, _) in path.char_indices().skip(1).filter(|&(at, _)| is_cut(at)) {
        steps.push(&path[start..at]);
        start = at;
    }
    steps.push(&path[start..]);
    steps
}

/// A name as an argument that a shell takes as it is.
pub fn shell_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `+1,234`, `-5`, `0`.
pub fn signed_count(count: i64) -> String {
    format!("{}{}", sign(count), Count(count.unsigned_abs()))
}

/// `+1.2 MiB`, `-5 B`, `0 B`.
pub fn signed_bytes(bytes: i64) -> String {
    format!("{}{}", sign(bytes), Bytes(bytes.unsigned_abs()))
}

fn sign(value: i64) -> &'static str {
    match value {
        1.. => "+",
        0 => "",
        _ => "-",
    }
}

/// `12.3 %` of a whole; of nothing, nothing.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", share(part, whole) * 100.0)
}

/// A share as a bar.
pub fn bar(part: u64, whole: u64) -> String {
    let length = (share(part, whole).min(1.0) * LONGEST_BAR as f64).round() as usize;
    "█".repeat(length)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// `file` or `files`: the word after a count.
pub fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// Values of a series: `200 → 1,200 → 2,200`.
pub fn arrows<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(" → ")
}

/// Emphasis where colors are wanted; nothing depends on it to be understood.
#[derive(Clone, Copy)]
pub struct Paint {
    /// Whether to emit escape sequences at all.
    pub is_on: bool,
}

impl Paint {
    /// Headings and names that matter.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What can be skipped.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.is_on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A table: figures to the right, the last column (a name) to the left and as long as it likes.
pub struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Row>,
}

enum Row {
    Cells(Vec<String>),
    /// A line between rows that belongs to the one before it.
    Remark(String),
}

impl Table {
    /// A table without rows.
    pub fn new(titles: &[&'static str]) -> Self {
        Self {
            titles: titles.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as there are titles.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.titles.len());
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a line below the last row.
    pub fn remark(&mut self, text: String) {
        self.rows.push(Row::Remark(text));
    }

    /// Writes the table; an empty title line is left out.
    pub fn write(&self, out: &mut dyn Write, paint: Paint) -> io::Result<()> {
        let widths = self.widths();
        if self.titles.iter().any(|title| !title.is_empty()) {
            let titles: Vec<String> = self.titles.iter().map(|&title| title.to_owned()).collect();
            writeln!(out, "{}", paint.bold(&line(&titles, &widths)))?;
        }
        for row in &self.rows {
            match row {
                Row::Cells(cells) => writeln!(out, "{}", line(cells, &widths))?,
                Row::Remark(text) => writeln!(out, "{}", paint.dim(text))?,
            }
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .titles
            .iter()
            .map(|title| title.chars().count())
            .collect();
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    let last = cells.len() - 1;
    for (cell, &width) in cells[..last].iter().zip(widths) {
        let _ = write!(text, "{cell:>width$}  ");
    }
    text.push_str(&cells[last]);
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_spelled_out() {
        assert_eq!(printable("plain é 漢字"), "plain é 漢字");
        assert_eq!(
            printable("\x1b[31mred\n\u{202e}"),
            r"\u{1b}[31mred\n\u{202e}"
        );
        assert_eq!(short_name(&"x".repeat(1024)).chars().count(), LONGEST_NAME);
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(shell_word("app.heapsnapshot"), "app.heapsnapshot");
        assert_eq!(shell_word("(string)"), "'(string)'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }

    #[test]
    fn paths_break_before_arrows() {
        assert_eq!(
            wrapped_path("global -> a (Map) -> b", 2, 100),
            "global -> a (Map) -> b"
        );
        assert_eq!(
            wrapped_path("global -> a (Map) -> b", 2, 12),
            "global\n  -> a (Map)\n  -> b"
        );
        assert_eq!(
            wrapped_path("global.kept (Object).onTick() variable bus (Bus)", 2, 12),
            "global.kept (Object)\n  .onTick()\n  variable bus (Bus)"
        );
    }

    #[test]
    fn shares_of_nothing_are_nothing() {
        assert_eq!((percent(0, 0).as_str(), bar(5, 0).as_str()), ("0.0 %", ""));
        assert_eq!(bar(1, 2).chars().count(), LONGEST_BAR / 2);
    }

    #[test]
    fn tables_align() {
        let mut table = Table::new(&["count", "name"]);
        table.row(vec!["1".to_owned(), "a".to_owned()]);
        table.row(vec!["1,000,000".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out, Paint { is_on: false }).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "    count  name\n        1  a\n1,000,000\n"
        );
    }
}
