//! The functions of a unit, and what is inlined into them.

use gimli::{Attribute, AttributeValue, DwAt, DwTag, UnitOffset};

use super::debug_info::{Dwarf, Slice, Units};
use super::demangled;
use super::lines::{Row, number};
use super::unit::{OpenUnit, Unit, attributes, ranges_of};

type Attributes<'a> = [Attribute<Slice<'a>>];

/// Where the functions of a unit are.
#[derive(Default)]
pub(super) struct Functions {
    /// By their start.
    ranges: Vec<FunctionRange>,
    /// Modules and types that functions stand in.
    scopes: Vec<Scope>,
    /// By their entry, functions without a mangled name: the innermost of `scopes` that they stand in.
    scope_of: Vec<(UnitOffset, usize)>,
}

/// What functions stand in: a module, a type.
struct Scope {
    entry: UnitOffset,
    /// One of those before, which this one stands in.
    outer: Option<usize>,
}

/// A scope whose entries are being read.
struct OpenScope {
    depth: isize,
    entry: UnitOffset,
    /// Its number among those that are kept.
    kept: Option<usize>,
}

struct FunctionRange {
    start: u64,
    end: u64,
    entry: UnitOffset,
}

/// A function inlined at an address.
pub(super) struct Inlined {
    pub(super) entry: UnitOffset,
    /// Where it is called.
    pub(super) call: Row,
    depth: isize,
}

/// So long is the way from a piece of code to its name at most; files that are not damaged need four steps.
const MOST_STEPS: usize = 16;

/// So many modules and types are told of those that a function stands in.
const MOST_SCOPES: usize = 100;

impl Functions {
    /// As far as the unit can be read.
    pub(super) fn read(dwarf: &Dwarf, open: &OpenUnit) -> Self {
        let mut functions = Self::default();
        let _ = functions.read_entries(dwarf, open);
        functions.ranges.sort_by_key(|range| range.start);
        functions
    }

    fn read_entries<'a>(&mut self, dwarf: &Dwarf<'a>, open: &OpenUnit<'a>) -> gimli::Result<()> {
        let mut open_scopes: Vec<OpenScope> = Vec::new();
        let mut attributes = Vec::new();
        // Bounds what a damaged file can ask for, whose functions may all have the same long list of ranges.
        let mut ranges_left = open.header.unit_length().max(1000);
        let mut entries = open.entries_raw(None)?;
        while !entries.is_empty() {
            let (entry, depth) = (entries.next_offset(), entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            let is_function = abbreviation.tag() == gimli::DW_TAG_subprogram;
            if !is_function && !is_scope(abbreviation.tag()) {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            entries.read_attributes(abbreviation.attributes(), &mut attributes)?;
            while open_scopes.pop_if(|scope| scope.depth >= depth).is_some() {}
            if !is_function {
                let kept = None;
                open_scopes.push(OpenScope { depth, entry, kept });
                continue;
            }
            ranges_of(dwarf, open, &attributes, &mut |range| {
                let gimli::Range { begin: start, end } = range;
                // Code that the linker left out begins at 0.
                if start != 0 && ranges_left > 0 {
                    ranges_left -= 1;
                    self.ranges.push(FunctionRange { start, end, entry });
                }
            });
            let is_plain = mangled_name(&attributes).is_none()
                && value(&attributes, gimli::DW_AT_name).is_some();
            if is_plain && let Some(scope) = self.keep(&mut open_scopes) {
                self.scope_of.push((entry, scope));
            }
        }
        Ok(())
    }

    /// The innermost scope, kept with all that it stands in. Most scopes have no function that needs them.
    fn keep(&mut self, open_scopes: &mut [OpenScope]) -> Option<usize> {
        let kept = open_scopes
            .iter()
            .rposition(|scope| scope.kept.is_some())
            .map_or(0, |last| last + 1);
        let mut outer = kept.checked_sub(1).and_then(|last| open_scopes[last].kept);
        for scope in &mut open_scopes[kept..] {
            let entry = scope.entry;
            self.scopes.push(Scope { entry, outer });
            outer = Some(self.scopes.len() - 1);
            scope.kept = outer;
        }
        outer
    }

    /// The entry of the function that an address lies in.
    pub(super) fn at(&self, address: u64) -> Option<UnitOffset> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (address < range.end).then_some(range.entry)
    }

    /// What is written before the name of a function without a mangled name: `module::Type::`, or nothing.
    fn path<'a>(&self, dwarf: &Dwarf<'a>, open: &OpenUnit<'a>, entry: UnitOffset) -> String {
        let place = self
            .scope_of
            .binary_search_by_key(&entry.0, |(entry, _)| entry.0);
        let mut next = place.ok().map(|place| self.scope_of[place].1);
        let mut names = Vec::new();
        while let Some(scope) = next.and_then(|scope| self.scopes.get(scope))
            && names.len() < MOST_SCOPES
        {
            names.push(scope_name(dwarf, open, scope.entry) + "::");
            next = scope.outer;
        }
        names.reverse();
        names.concat()
    }
}

fn scope_name<'a>(dwarf: &Dwarf<'a>, open: &OpenUnit<'a>, entry: UnitOffset) -> String {
    let attributes = attributes(open, entry).unwrap_or_default();
    let name = value(&attributes, gimli::DW_AT_name);
    let name = name.and_then(|name| dwarf.attr_string(open, name).ok());
    name.map_or_else(
        || "(anonymous namespace)".to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn is_scope(tag: DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_namespace
            | gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_enumeration_type
    )
}

/// What is inlined into a function at an address, outermost first.
pub(super) fn stack_at<'a>(
    dwarf: &Dwarf<'a>,
    open: &OpenUnit<'a>,
    function: UnitOffset,
    address: u64,
) -> Vec<Inlined> {
    let mut stack = Vec::new();
    let _ = read_inlined(dwarf, open, function, address, &mut stack);
    stack
}

fn read_inlined<'a>(
    dwarf: &Dwarf<'a>,
    open: &OpenUnit<'a>,
    function: UnitOffset,
    address: u64,
    stack: &mut Vec<Inlined>,
) -> gimli::Result<()> {
    let mut attributes = Vec::new();
    let mut entries = open.entries_raw(Some(function))?;
    while !entries.is_empty() {
        let (entry, depth) = (entries.next_offset(), entries.next_depth());
        let abbreviation = entries.read_abbreviation()?;
        // The function's own entry has depth 0; what follows it at this depth is no part of it.
        if depth <= 0 && entry != function {
            break;
        }
        let Some(abbreviation) = abbreviation else {
            continue;
        };
        if abbreviation.tag() != gimli::DW_TAG_inlined_subroutine {
            entries.skip_attributes(abbreviation.attributes())?;
            if entries.next_depth() <= 0 {
                break;
            }
            continue;
        }
        entries.read_attributes(abbreviation.attributes(), &mut attributes)?;
        let mut is_here = false;
        ranges_of(dwarf, open, &attributes, &mut |range| {
            is_here |= (range.begin..range.end).contains(&address);
        });
        if is_here {
            // Two that stand side by side and both have the address: the latter counts.
            while stack.last().is_some_and(|outer| outer.depth >= depth) {
                stack.pop();
            }
            stack.push(Inlined {
                entry,
                call: call(&attributes),
                depth,
            });
        }
    }
    Ok(())
}

fn call(attributes: &Attributes) -> Row {
    let read = |name| {
        let value = value(attributes, name);
        value.map_or(0, |value| match value {
            AttributeValue::FileIndex(file) => number(file),
            value => number(value.udata_value().unwrap_or(0)),
        })
    };
    Row {
        file: read(gimli::DW_AT_call_file),
        line: read(gimli::DW_AT_call_line),
        column: read(gimli::DW_AT_call_column),
    }
}

/// The name of an entry that is a function, or code that tells which function it is of. For a function whose entry has
/// no mangled name, `symbol` is what the symbol table calls its code.
pub(super) fn name(
    dwarf: &Dwarf,
    units: &Units,
    unit: &Unit,
    entry: UnitOffset,
    symbol: Option<&str>,
) -> Option<String> {
    let (mut unit, mut entry) = (unit, entry);
    let mut plain = None;
    for _ in 0..MOST_STEPS {
        let Some(open) = unit.open(dwarf) else { break };
        let Some(attributes) = attributes(&open, entry) else {
            break;
        };
        let text = |value| {
            dwarf
                .attr_string(&open, value)
                .ok()
                .map(|text| text.to_string_lossy())
        };
        if let Some(mangled) = mangled_name(&attributes).and_then(text) {
            return Some(demangled(&mangled));
        }
        if plain.is_none()
            && let Some(name) = value(&attributes, gimli::DW_AT_name).and_then(text)
        {
            let functions = unit.functions(dwarf, &open);
            plain = Some(functions.path(dwarf, &open, entry) + &name);
        }
        let origin = value(&attributes, gimli::DW_AT_abstract_origin)
            .or_else(|| value(&attributes, gimli::DW_AT_specification));
        match origin {
            Some(AttributeValue::UnitRef(offset)) => entry = offset,
            Some(AttributeValue::DebugInfoRef(offset)) => {
                let Some(other) = units.holding(offset) else {
                    break;
                };
                let Some(offset) = offset.0.checked_sub(other.offset.0) else {
                    break;
                };
                (unit, entry) = (other, UnitOffset(offset));
            }
            _ => break,
        }
    }
    let is_mangled = |symbol: &&str| symbol.starts_with("_Z") || symbol.starts_with("_R");
    symbol.filter(is_mangled).map(demangled).or(plain)
}

fn mangled_name<'a>(attributes: &Attributes<'a>) -> Option<AttributeValue<Slice<'a>>> {
    value(attributes, gimli::DW_AT_linkage_name)
        .or_else(|| value(attributes, gimli::DW_AT_MIPS_linkage_name))
}

fn value<'a>(attributes: &Attributes<'a>, name: DwAt) -> Option<AttributeValue<Slice<'a>>> {
    attributes
        .iter()
        .find(|attribute| attribute.name() == name)
        .map(Attribute::value)
}
