//! Function names from ELF symbol tables.
//!
//! Symbols overlap: aliases, labels within a function, functions without a size. Once sorted,
//! they are laid out as segments that do not overlap, so that a lookup is one binary search.
//!
//! ```text
//!  symbols     f [0, 100)   label at 40, no size   g at 120, no size   h [150, 160)
//!  segments    0: f    100: -    120: g    150: h    160: -
//! ```

use std::cmp::Reverse;

use object::elf::SHF_EXECINSTR;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionIndex, SymbolKind};

use crate::elf::ElfFile;

/// The functions of a file by address.
#[derive(Default)]
pub(crate) struct SymbolTable<'a> {
    segments: Vec<Segment<'a>>,
}

/// From an address up to the next segment's: the function there.
#[derive(PartialEq, Debug)]
struct Segment<'a> {
    start: u64,
    name: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Symbol<'a> {
    start: u64,
    /// End of its bytes; equal to `start` for a symbol without a size.
    end: u64,
    /// End of its section: so far it may reach if it has no size.
    limit: u64,
    /// Lower is better, among symbols for the same bytes.
    rank: u8,
    name: &'a [u8],
}

impl<'a> SymbolTable<'a> {
    /// The functions of `.symtab` in the first file that has one; else of all `.dynsym`.
    pub(crate) fn new(files: &[&ElfFile<'a>]) -> Self {
        let whole = files
            .iter()
            .find(|file| file.object.symbols().next().is_some());
        let symbols = match whole {
            Some(file) => functions(&file.object, file.object.symbols()),
            None => files
                .iter()
                .flat_map(|file| functions(&file.object, file.object.dynamic_symbols()))
                .collect(),
        };
        Self {
            segments: lay_out(symbols),
        }
    }

    /// The mangled name of the function at an address.
    pub(crate) fn get(&self, address: u64) -> Option<&'a [u8]> {
        let after = self
            .segments
            .partition_point(|segment| segment.start <= address);
        self.segments.get(after.checked_sub(1)?)?.name
    }
}

fn functions<'a, 'file>(
    object: &'file object::File<'a>,
    symbols: object::SymbolIterator<'a, 'file>,
) -> Vec<Symbol<'a>> {
    let code = code_sections(object);
    let functions = symbols.filter_map(|symbol| function(&symbol, &code));
    functions.collect()
}

/// The sections that hold code, by index, and where each ends. A separate debug file has their headers, too.
fn code_sections(object: &object::File<'_>) -> Vec<(SectionIndex, u64)> {
    let sections = object.sections().filter(|section| match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => sh_flags.contains(SHF_EXECINSTR),
        _ => false,
    });
    let end = |section: &object::Section<'_, '_>| section.address().saturating_add(section.size());
    sections
        .map(|section| (section.index(), end(&section)))
        .collect()
}

fn function<'a>(
    symbol: &object::Symbol<'a, '_>,
    code: &[(SectionIndex, u64)],
) -> Option<Symbol<'a>> {
    let kinds = [SymbolKind::Text, SymbolKind::Label, SymbolKind::Unknown];
    let section = symbol.section_index()?;
    let row = code.binary_search_by_key(&section.0, |(index, _)| index.0);
    let (_, limit) = code.get(row.ok()?)?;
    let name = symbol.name_bytes().ok()?;
    (kinds.contains(&symbol.kind()) && !name.is_empty()).then(|| Symbol {
        start: symbol.address(),
        end: symbol.address().saturating_add(symbol.size()),
        limit: *limit,
        rank: rank(symbol),
        name,
    })
}

/// Of several names for one function the public one is what people know.
fn rank(symbol: &object::Symbol<'_, '_>) -> u8 {
    let is_typed = symbol.kind() == SymbolKind::Text;
    match (is_typed, symbol.is_local(), symbol.is_weak()) {
        (true, false, false) => 0,
        (true, false, true) => 1,
        (true, true, _) => 2,
        (false, ..) => 3,
    }
}

/// Turns symbols into segments. The innermost symbol that covers an address wins; one without a
/// size counts where no other covers, up to the next symbol.
fn lay_out(mut symbols: Vec<Symbol<'_>>) -> Vec<Segment<'_>> {
    symbols.sort_unstable_by_key(|symbol| {
        let underscores = symbol.name.iter().take_while(|&&byte| byte == b'_');
        let place = (symbol.start, Reverse(symbol.end));
        (place, symbol.rank, underscores.count(), symbol.name)
    });
    symbols.dedup_by_key(|symbol| (symbol.start, symbol.end));
    let mut layout = Layout::default();
    for (at, symbol) in symbols.iter().enumerate() {
        let next = symbols.get(at + 1).map_or(u64::MAX, |next| next.start);
        layout.close_until(symbol.start);
        layout.add(*symbol, next);
    }
    layout.close_until(u64::MAX);
    layout.segments
}

#[derive(Default)]
struct Layout<'a> {
    segments: Vec<Segment<'a>>,
    open: Vec<Symbol<'a>>,
}

impl<'a> Layout<'a> {
    /// Ends the symbols that end at an address or before it.
    fn close_until(&mut self, address: u64) {
        while let Some(top) = self.open.pop_if(|top| top.end <= address) {
            let below = self.open.last().map(|symbol| symbol.name);
            self.begin(top.end, below);
        }
    }

    /// Opens a symbol; `next` is where the one after it starts.
    fn add(&mut self, mut symbol: Symbol<'a>, next: u64) {
        let has_size = symbol.end > symbol.start;
        if !has_size && self.open.is_empty() {
            symbol.end = symbol.limit.min(next);
        }
        if symbol.end > symbol.start {
            self.begin(symbol.start, Some(symbol.name));
            self.open.push(symbol);
        }
    }

    fn begin(&mut self, start: u64, name: Option<&'a [u8]>) {
        match self.segments.last_mut() {
            // Symbols that overlap in part are closed late: the one on top hid the end.
            Some(last) if last.start >= start => last.name = name,
            _ => self.segments.push(Segment { start, name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks symbols of (start, size, rank, name) in a section that ends at 1000, as segments.
    fn check(symbols: &[(u64, u64, u8, &str)], expected: &[(u64, &str)]) {
        let symbols = symbols.iter().map(|&(start, size, rank, name)| Symbol {
            start,
            end: start + size,
            limit: 1000,
            rank,
            name: name.as_bytes(),
        });
        let found = lay_out(symbols.collect());
        let text = |segment: &Segment<'_>| {
            let name = segment.name.unwrap_or(b"-");
            (segment.start, String::from_utf8_lossy(name).into_owned())
        };
        let found: Vec<_> = found.iter().map(text).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|&(at, name)| (at, name.to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_function_ends_where_its_size_says() {
        check(
            &[(10, 5, 0, "f"), (20, 5, 0, "g")],
            &[(10, "f"), (15, "-"), (20, "g"), (25, "-")],
        );
    }

    #[test]
    fn a_symbol_without_size_reaches_to_the_next() {
        check(
            &[(10, 0, 3, "a"), (20, 0, 3, "b")],
            &[(10, "a"), (20, "b"), (1000, "-")],
        );
        check(
            &[(0, 30, 0, "f"), (10, 0, 3, "label")],
            &[(0, "f"), (30, "-")],
        );
    }

    #[test]
    fn of_aliases_the_public_one_is_shown() {
        check(
            &[
                (0, 9, 0, "__libc_malloc"),
                (0, 9, 0, "malloc"),
                (0, 9, 2, "a"),
            ],
            &[(0, "malloc"), (9, "-")],
        );
    }

    #[test]
    fn the_innermost_wins() {
        check(
            &[(0, 100, 0, "out"), (10, 10, 0, "in"), (12, 2, 0, "core")],
            &[
                (0, "out"),
                (10, "in"),
                (12, "core"),
                (14, "in"),
                (20, "out"),
                (100, "-"),
            ],
        );
        check(
            &[(0, 10, 0, "a"), (5, 10, 0, "b")],
            &[(0, "a"), (5, "b"), (15, "-")],
        );
    }
}
