//! The lines of a unit.

use gimli::{ColumnType, DebugLineOffset, FileEntry, LineProgramHeader};

use super::Place;
use super::debug_info::{Dwarf, Slice};
use super::unit::{OpenUnit, root_attributes};

/// Which line each instruction is of.
#[derive(Default)]
pub(super) struct Lines {
    /// Paths, by the numbers that the unit gives them.
    files: Vec<String>,
    /// By address.
    rows: Vec<AddressRow>,
}

struct AddressRow {
    address: u64,
    /// No row: from here on no code of the unit.
    row: Option<Row>,
}

/// A place in the program text; 0 is not known.
#[derive(Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) file: u32,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Lines {
    pub(super) fn read(dwarf: &Dwarf, open: &OpenUnit, program: DebugLineOffset) -> Self {
        let (folder, name) = folder_and_name(dwarf, open);
        let address_size = open.header.address_size();
        let Ok(program) = dwarf
            .debug_line
            .program(program, address_size, folder, name)
        else {
            return Self::default();
        };
        let files = files(dwarf, open, folder, program.header());
        let mut sequences = Vec::new();
        let mut sequence = Vec::new();
        let mut rows = program.rows();
        while let Ok(Some((_, row))) = rows.next_row() {
            let address = row.address();
            if !row.end_sequence() {
                push(
                    &mut sequence,
                    AddressRow {
                        address,
                        row: Some(Row::read(row)),
                    },
                );
                continue;
            }
            let first: Option<&AddressRow> = sequence.first();
            // Code that the linker left out begins at 0.
            if first.is_some_and(|first| first.address != 0 && first.address < address) {
                sequence.push(AddressRow { address, row: None });
                sequences.push(std::mem::take(&mut sequence));
            }
            sequence.clear();
        }
        Self {
            files,
            rows: joined(sequences),
        }
    }

    pub(super) fn at(&self, address: u64) -> Option<Row> {
        let after = self.rows.partition_point(|row| row.address <= address);
        self.rows.get(after.checked_sub(1)?)?.row
    }

    /// A frame that is at a row.
    pub(super) fn place(&self, row: Option<Row>, function: Option<String>) -> Place {
        let row = row.unwrap_or_default();
        let is_known = |number: &u32| *number != 0;
        Place {
            function,
            file: self
                .files
                .get(row.file as usize)
                .filter(|file| !file.is_empty())
                .cloned(),
            line: Some(row.line).filter(is_known),
            column: Some(row.column).filter(is_known),
        }
    }
}

impl Row {
    fn read(row: &gimli::LineRow) -> Self {
        let line = number(row.line().map_or(0, u64::from));
        let column = match row.column() {
            ColumnType::Column(column) if line != 0 => number(column.get()),
            _ => 0,
        };
        Self {
            file: number(row.file_index()),
            line,
            column,
        }
    }
}

/// What does not fit is as good as not known.
pub(super) fn number(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// Of rows for one address the last one counts.
fn push(sequence: &mut Vec<AddressRow>, row: AddressRow) {
    match sequence.last_mut() {
        Some(last) if last.address == row.address => *last = row,
        _ => sequence.push(row),
    }
}

/// One list of rows, by address. Where a sequence begins as another one ends, its row stands last.
fn joined(mut sequences: Vec<Vec<AddressRow>>) -> Vec<AddressRow> {
    sequences.sort_by_key(|sequence| sequence.first().map(|row| row.address));
    let mut rows: Vec<AddressRow> = sequences.into_iter().flatten().collect();
    // Of a damaged file.
    if !rows.is_sorted_by_key(|row| row.address) {
        rows.sort_by_key(|row| row.address);
    }
    rows
}

/// Where the compiler ran, and the file that it was given.
fn folder_and_name<'a>(
    dwarf: &Dwarf<'a>,
    open: &OpenUnit<'a>,
) -> (Option<Slice<'a>>, Option<Slice<'a>>) {
    let attributes = root_attributes(open);
    let text = |name| {
        let attribute = attributes
            .iter()
            .find(|attribute| attribute.name() == name)?;
        dwarf.attr_string(open, attribute.value()).ok()
    };
    (text(gimli::DW_AT_comp_dir), text(gimli::DW_AT_name))
}

fn files<'a>(
    dwarf: &Dwarf<'a>,
    open: &OpenUnit<'a>,
    folder: Option<Slice<'a>>,
    header: &LineProgramHeader<Slice<'a>>,
) -> Vec<String> {
    let text = |value| dwarf.attr_string(open, value).ok();
    let path = |file: &FileEntry<Slice<'a>>| {
        // Number 0 is the folder where the compiler ran.
        let number = file.directory_index();
        let below = (number != 0)
            .then(|| header.directory(number))
            .flatten()
            .and_then(text);
        let parts = [folder, below, text(file.path_name())];
        parts
            .into_iter()
            .flatten()
            .fold(String::new(), |path, part| {
                joined_path(path, &part.to_string_lossy())
            })
    };
    // Before DWARF 5 the files are counted from 1.
    let uncounted = (header.version() < 5).then(String::new);
    uncounted
        .into_iter()
        .chain(header.file_names().iter().map(path))
        .collect()
}

fn joined_path(folder: String, part: &str) -> String {
    if folder.is_empty() || part.starts_with('/') {
        return part.to_string();
    }
    let separator = if folder.ends_with('/') { "" } else { "/" };
    folder + separator + part
}
