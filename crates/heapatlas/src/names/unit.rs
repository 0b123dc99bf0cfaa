//! One unit of debug information: what one run of a compiler told.

use std::cell::OnceCell;
use std::sync::Arc;

use gimli::{
    Abbreviations, Attribute, AttributeValue, DebugAddrBase, DebugInfoOffset, DebugLineOffset,
    DebugLocListsBase, DebugRngListsBase, DebugStrOffsetsBase, LittleEndian, Reader as _,
    Section as _,
};

use super::Place;
use super::debug_info::{Dwarf, Slice, Units};
use super::functions::{Functions, name, stack_at};
use super::lines::Lines;

/// A unit of gimli, open.
pub(super) type OpenUnit<'a> = gimli::Unit<Slice<'a>>;

/// A unit, with what was read of it.
pub(super) struct Unit {
    pub(super) offset: DebugInfoOffset,
    root: OnceCell<Option<Root>>,
    functions: OnceCell<Functions>,
    lines: OnceCell<Lines>,
}

/// So many pieces has one entry at most: a damaged file could have each of its entries name one list that is as long as
/// the file.
const MOST_RANGES: u32 = 100_000;

/// What all entries of a unit rely on.
#[derive(Clone)]
struct Root {
    abbreviations: Arc<Abbreviations>,
    low_pc: u64,
    str_offsets_base: DebugStrOffsetsBase<usize>,
    addr_base: DebugAddrBase<usize>,
    loclists_base: DebugLocListsBase<usize>,
    rnglists_base: DebugRngListsBase<usize>,
    line_program: Option<DebugLineOffset>,
}

impl Unit {
    pub(super) fn new(offset: DebugInfoOffset) -> Self {
        Self {
            offset,
            root: OnceCell::new(),
            functions: OnceCell::new(),
            lines: OnceCell::new(),
        }
    }

    /// The frames at an address, innermost first. Empty if the unit tells nothing about it.
    pub(super) fn look_up(
        &self,
        dwarf: &Dwarf,
        units: &Units,
        address: u64,
        symbol: Option<&str>,
    ) -> Vec<Place> {
        let Some(open) = self.open(dwarf) else {
            return Vec::new();
        };
        let lines = self.lines(dwarf, &open);
        let function = self.functions(dwarf, &open).at(address);
        let row = lines.at(address);
        if function.is_none() && row.is_none() {
            return Vec::new();
        }
        let mut places = Vec::new();
        // Where in the function that is next to be told: at first the address, then where what was told is inlined.
        let mut at = row;
        let inlined = function.map(|entry| stack_at(dwarf, &open, entry, address));
        for callee in inlined.unwrap_or_default().iter().rev() {
            let function = name(dwarf, units, self, callee.entry, None);
            places.push(lines.place(at, function));
            at = Some(callee.call);
        }
        let function = function.and_then(|entry| name(dwarf, units, self, entry, symbol));
        places.push(lines.place(at, function));
        places
    }

    /// `None` if it is damaged.
    pub(super) fn open<'a>(&self, dwarf: &Dwarf<'a>) -> Option<OpenUnit<'a>> {
        let header = dwarf.unit_header(self.offset).ok()?;
        let root = self
            .root
            .get_or_init(|| {
                Some(Root::read(
                    dwarf,
                    header,
                    dwarf.abbreviations(&header).ok()?,
                ))
            })
            .clone()?;
        Some(root.unit(header))
    }

    pub(super) fn functions(&self, dwarf: &Dwarf, open: &OpenUnit) -> &Functions {
        self.functions.get_or_init(|| Functions::read(dwarf, open))
    }

    fn lines(&self, dwarf: &Dwarf, open: &OpenUnit) -> &Lines {
        self.lines.get_or_init(|| {
            let program = self.root.get().and_then(|root| root.as_ref()?.line_program);
            program.map_or_else(Lines::default, |program| Lines::read(dwarf, open, program))
        })
    }

    /// The code of the unit, as its root tells. Keeps nothing: it is asked of every unit.
    pub(super) fn for_each_range(&self, dwarf: &Dwarf, each: &mut dyn FnMut(gimli::Range)) {
        let Ok(header) = dwarf.unit_header(self.offset) else {
            return;
        };
        let open = |abbreviations| {
            let open = Root::read(dwarf, header, abbreviations).unit(header);
            Some(open).filter(|open| !root_attributes(open).is_empty())
        };
        let first = first_abbreviation(dwarf, &header).map(Arc::new);
        // Tools that rewrite tables (`dwz`) may put another abbreviation first.
        let all = || dwarf.abbreviations(&header).ok();
        if let Some(open) = first.and_then(open).or_else(|| open(all()?)) {
            ranges_of(dwarf, &open, &root_attributes(&open), each);
        }
    }
}

/// The first of a unit's abbreviations, which compilers use for the unit's first entry. To read them all costs
/// more than all else that is done with most units.
fn first_abbreviation<'a>(
    dwarf: &Dwarf<'a>,
    header: &gimli::UnitHeader<Slice<'a>>,
) -> Option<Abbreviations> {
    let section = dwarf.debug_abbrev.reader().slice();
    let from = section.get(header.debug_abbrev_offset().0..)?;
    let mut rest = Slice::new(from, LittleEndian);
    // Code, tag, and whether there are children.
    for _ in 0..3 {
        rest.skip_leb128().ok()?;
    }
    loop {
        let (attribute, form) = (rest.read_uleb128().ok()?, rest.read_uleb128().ok()?);
        if form == u64::from(gimli::DW_FORM_implicit_const.0) {
            rest.skip_leb128().ok()?;
        }
        if attribute == 0 && form == 0 {
            break;
        }
    }
    let length = from.len() - rest.len();
    // Where a table ends stands a zero.
    let table: Vec<u8> = from[..length].iter().copied().chain([0]).collect();
    let table = gimli::DebugAbbrev::new(&table, LittleEndian);
    table.abbreviations(gimli::DebugAbbrevOffset(0)).ok()
}

impl Root {
    fn read<'a>(
        dwarf: &Dwarf<'a>,
        header: gimli::UnitHeader<Slice<'a>>,
        abbreviations: Arc<Abbreviations>,
    ) -> Self {
        let (encoding, kind) = (header.encoding(), dwarf.file_type);
        let mut root = Self {
            abbreviations,
            low_pc: 0,
            str_offsets_base: DebugStrOffsetsBase::default_for_encoding_and_file(encoding, kind),
            addr_base: DebugAddrBase(0),
            loclists_base: DebugLocListsBase::default_for_encoding_and_file(encoding, kind),
            rnglists_base: DebugRngListsBase::default_for_encoding_and_file(encoding, kind),
            line_program: None,
        };
        let mut low_pc = None;
        for attribute in root_attributes(&root.clone().unit(header)) {
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_low_pc, value) => low_pc = Some(value),
                (_, AttributeValue::DebugLineRef(offset)) => root.line_program = Some(offset),
                (_, AttributeValue::DebugStrOffsetsBase(base)) => root.str_offsets_base = base,
                (_, AttributeValue::DebugAddrBase(base)) => root.addr_base = base,
                (_, AttributeValue::DebugLocListsBase(base)) => root.loclists_base = base,
                (_, AttributeValue::DebugRngListsBase(base)) => root.rnglists_base = base,
                _ => {}
            }
        }
        // By now the table of addresses is known.
        let open = root.clone().unit(header);
        let low_pc = low_pc.and_then(|value| dwarf.attr_address(&open, value).ok().flatten());
        root.low_pc = low_pc.unwrap_or(0);
        root
    }

    fn unit<'a>(self, header: gimli::UnitHeader<Slice<'a>>) -> OpenUnit<'a> {
        gimli::Unit {
            header,
            abbreviations: self.abbreviations,
            name: None,
            comp_dir: None,
            low_pc: self.low_pc,
            str_offsets_base: self.str_offsets_base,
            addr_base: self.addr_base,
            loclists_base: self.loclists_base,
            rnglists_base: self.rnglists_base,
            line_program: None,
            dwo_id: None,
        }
    }
}

/// The attributes of the unit's first entry.
pub(super) fn root_attributes<'a>(open: &OpenUnit<'a>) -> Vec<Attribute<Slice<'a>>> {
    attributes(open, open.header.root_offset()).unwrap_or_default()
}

/// The attributes of an entry.
pub(super) fn attributes<'a>(
    open: &OpenUnit<'a>,
    entry: gimli::UnitOffset,
) -> Option<Vec<Attribute<Slice<'a>>>> {
    let mut entries = open.entries_raw(Some(entry)).ok()?;
    let abbreviation = entries.read_abbreviation().ok()??;
    let mut attributes = Vec::new();
    entries
        .read_attributes(abbreviation.attributes(), &mut attributes)
        .ok()?;
    Some(attributes)
}

/// The code of an entry.
pub(super) fn ranges_of<'a>(
    dwarf: &Dwarf<'a>,
    open: &OpenUnit<'a>,
    attributes: &[Attribute<Slice<'a>>],
    each: &mut dyn FnMut(gimli::Range),
) {
    let (mut low, mut high, mut length, mut list) = (None, None, None, None);
    for attribute in attributes {
        let value = attribute.value();
        let address = || dwarf.attr_address(open, value).ok().flatten();
        match attribute.name() {
            gimli::DW_AT_low_pc => low = address(),
            gimli::DW_AT_high_pc => (high, length) = (address(), value.udata_value()),
            gimli::DW_AT_ranges => list = dwarf.attr_ranges_offset(open, value).ok().flatten(),
            _ => {}
        }
    }
    if let Some(mut ranges) = list.and_then(|list| dwarf.ranges(open, list).ok()) {
        let mut left = MOST_RANGES;
        while let (Ok(Some(range)), 1..) = (ranges.next(), left) {
            left -= 1;
            each(range);
        }
    } else if let Some(begin) = low {
        let end = high.or_else(|| begin.checked_add(length?));
        if let Some(end) = end.filter(|end| begin < *end) {
            each(gimli::Range { begin, end });
        }
    }
}
