//! The debug information of one file: which unit an address is of.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use gimli::{DebugInfoOffset, LittleEndian, SectionId};

use super::Place;
use super::elf::Elf;
use super::mapping::Mapping;
use super::unit::Unit;

/// Bytes of the mapped file.
pub(super) type Slice<'a> = gimli::EndianSlice<'a, LittleEndian>;
pub(super) type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;

/// Keeps no borrow of the file, so that both can be kept together: the readers of gimli are made anew for each address,
/// which costs little, over tables that are kept.
pub(super) struct DebugInfo {
    sections: Sections,
    /// Read at the first address.
    units: OnceCell<Units>,
}

struct Sections {
    file: Option<Arc<Mapping>>,
    places: Vec<(SectionId, Range<usize>)>,
}

/// The units of a file.
#[derive(Default)]
pub(super) struct Units {
    /// By their offset.
    units: Vec<Unit>,
    /// By their start.
    ranges: Vec<UnitRange>,
}

struct UnitRange {
    start: u64,
    end: u64,
    /// Of this one and all before.
    last_end: u64,
    unit: usize,
}

impl DebugInfo {
    pub(super) fn none() -> Self {
        let sections = Sections {
            file: None,
            places: Vec::new(),
        };
        Self {
            sections,
            units: OnceCell::new(),
        }
    }

    pub(super) fn new(file: Arc<Mapping>) -> Self {
        Self {
            sections: Sections::find(file),
            units: OnceCell::new(),
        }
    }

    /// The frames at an address of the file, innermost first; `symbol` is the function there by the symbol table. Empty
    /// if nothing is told about the address.
    pub(super) fn look_up(&self, address: u64, symbol: Option<&str>) -> Vec<Place> {
        let dwarf = self.sections.dwarf();
        let units = self.units.get_or_init(|| Units::read(&dwarf));
        let mut told = units
            .at(address)
            .map(|unit| unit.look_up(&dwarf, units, address, symbol));
        told.find(|places| !places.is_empty()).unwrap_or_default()
    }
}

impl Sections {
    fn find(file: Arc<Mapping>) -> Self {
        const USED: [SectionId; 10] = [
            SectionId::DebugAbbrev,
            SectionId::DebugAddr,
            SectionId::DebugAranges,
            SectionId::DebugInfo,
            SectionId::DebugLine,
            SectionId::DebugLineStr,
            SectionId::DebugRanges,
            SectionId::DebugRngLists,
            SectionId::DebugStr,
            SectionId::DebugStrOffsets,
        ];
        let place = |elf: &Elf, id: SectionId| Some((id, elf.section(id.name())?.bytes));
        let elf = Elf::parse(&file);
        let places = elf.map(|elf| USED.iter().filter_map(|id| place(&elf, *id)).collect());
        Self {
            places: places.unwrap_or_default(),
            file: Some(file),
        }
    }

    fn dwarf(&self) -> Dwarf<'_> {
        let file: &[u8] = self.file.as_deref().map_or(&[], |file| file);
        let bytes = |id: SectionId| {
            let place = self.places.iter().find(|(known, _)| *known == id);
            let place = place.and_then(|(_, place)| file.get(place.clone()));
            Slice::new(place.unwrap_or(&[]), LittleEndian)
        };
        gimli::Dwarf {
            debug_abbrev: bytes(SectionId::DebugAbbrev).into(),
            debug_addr: bytes(SectionId::DebugAddr).into(),
            debug_aranges: bytes(SectionId::DebugAranges).into(),
            debug_info: bytes(SectionId::DebugInfo).into(),
            debug_line: bytes(SectionId::DebugLine).into(),
            debug_line_str: bytes(SectionId::DebugLineStr).into(),
            debug_str: bytes(SectionId::DebugStr).into(),
            debug_str_offsets: bytes(SectionId::DebugStrOffsets).into(),
            ranges: gimli::RangeLists::new(
                bytes(SectionId::DebugRanges).into(),
                bytes(SectionId::DebugRngLists).into(),
            ),
            ..gimli::Dwarf::default()
        }
    }
}

impl Units {
    fn read(dwarf: &Dwarf) -> Self {
        let mut units = Vec::new();
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            units.extend(header.debug_info_offset().map(Unit::new));
        }
        let mut all = Self {
            units,
            ranges: Vec::new(),
        };
        all.read_ranges(dwarf);
        all
    }

    fn read_ranges(&mut self, dwarf: &Dwarf) {
        let mut has_ranges = vec![false; self.units.len()];
        let mut tables = dwarf.debug_aranges.headers();
        while let Ok(Some(table)) = tables.next() {
            let Some(unit) = self.position(table.debug_info_offset()) else {
                continue;
            };
            let mut entries = table.entries();
            while let Ok(Some(entry)) = entries.next() {
                has_ranges[unit] |= self.add_range(unit, entry.range());
            }
        }
        // Compilers may leave that table out.
        for unit in (0..self.units.len()).filter(|unit| !has_ranges[*unit]) {
            let mut found = Vec::new();
            self.units[unit].for_each_range(dwarf, &mut |range| found.push(range));
            for range in found {
                self.add_range(unit, range);
            }
        }
        self.ranges
            .sort_unstable_by_key(|range| (range.start, range.unit));
        let mut last_end = 0;
        for range in &mut self.ranges {
            last_end = last_end.max(range.end);
            range.last_end = last_end;
        }
    }

    fn add_range(&mut self, unit: usize, range: gimli::Range) -> bool {
        let gimli::Range { begin: start, end } = range;
        // Code that the linker left out begins at 0.
        let is_linked = start != 0 && start < end;
        if is_linked {
            self.ranges.push(UnitRange {
                start,
                end,
                last_end: end,
                unit,
            });
        }
        is_linked
    }

    /// The units that have code at an address: one, unless the file is odd.
    fn at(&self, address: u64) -> impl Iterator<Item = &Unit> {
        let before = self.ranges.partition_point(|range| range.start <= address);
        self.ranges[..before]
            .iter()
            .rev()
            .take_while(move |range| address < range.last_end)
            .filter(move |range| address < range.end)
            .filter_map(|range| self.units.get(range.unit))
    }

    fn position(&self, offset: DebugInfoOffset) -> Option<usize> {
        self.units
            .binary_search_by_key(&offset.0, |unit| unit.offset.0)
            .ok()
    }

    /// The unit that an entry is of.
    pub(super) fn holding(&self, offset: DebugInfoOffset) -> Option<&Unit> {
        let before = self.units.partition_point(|unit| unit.offset.0 <= offset.0);
        self.units.get(before.checked_sub(1)?)
    }
}
