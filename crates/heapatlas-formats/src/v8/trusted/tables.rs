//! Arrays of numbers, in rows.

use serde_json::value::RawValue;

use super::super::decimal;
use super::document::{Document, is_number};
use super::{Problem, ReadError, Warning, unexpected, warn};

/// The numbers of a member.
pub(super) struct Cells<'a> {
    document: &'a Document<'a>,
    member: &'static str,
    pub(super) values: Vec<u64>,
}

impl<'a> Cells<'a> {
    /// Reads an array of numbers that should not be negative.
    pub(super) fn read(
        document: &'a Document<'a>,
        member: &'static str,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, ReadError> {
        let text = document.array(member)?;
        // Nearly always they are plain integers; else one by one, each as its text.
        let values = match serde_json::from_str::<Vec<u64>>(text) {
            Ok(values) => values,
            Err(_) => read_odd(document, member, warnings)?,
        };
        Ok(Self {
            document,
            member,
            values,
        })
    }

    /// The offset of a value in the file, by reading the array again.
    fn offset_of(&self, position: usize) -> usize {
        let text = self.document.array(self.member).unwrap_or_default();
        let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        let element = elements.get(position);
        self.document
            .offset_of(element.map_or(&text[text.len()..], |e| e.get()))
    }

    fn error_at(&self, position: usize, problem: Problem) -> ReadError {
        let offset = self.offset_of(position);
        self.document.error(self.member, offset, problem)
    }
}

/// Reads numbers of which some are negative, too large, or no integers.
fn read_odd(
    document: &Document<'_>,
    member: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<u64>, ReadError> {
    let mut values = Vec::new();
    let mut negatives = 0_usize;
    for (offset, text) in document.elements(member)? {
        if !is_number(text) {
            return Err(document.error(member, offset, unexpected("a number", text)));
        }
        let whole = decimal::truncate(text);
        let value = match whole.magnitude {
            _ if whole.is_negative => 0,
            Some(magnitude) => magnitude,
            None => return Err(document.error(member, offset, too_large(text))),
        };
        negatives += usize::from(whole.is_negative);
        values.push(value);
    }
    if negatives > 0 {
        warn(
            warnings,
            format!("{negatives} negative numbers in `{member}` were read as 0"),
        );
    }
    Ok(values)
}

/// Reads an array of numbers that may be negative; what is too large is clamped.
pub(super) fn read_signed(document: &Document<'_>, member: &str) -> Result<Vec<i64>, ReadError> {
    let elements = document.elements(member)?;
    elements
        .map(|(offset, text)| {
            if !is_number(text) {
                return Err(document.error(member, offset, unexpected("a number", text)));
            }
            let whole = decimal::truncate(text);
            let size = whole.magnitude.unwrap_or(u64::MAX);
            Ok(match whole.is_negative {
                true => 0_i64.saturating_sub_unsigned(size),
                false => 0_i64.saturating_add_unsigned(size),
            })
        })
        .collect()
}

fn too_large(text: &str) -> Problem {
    let text: String = text.chars().take(40).collect();
    Problem::TooLarge(format!("{text} is more than 64 bits hold"))
}

/// Numbers as rows of named columns.
pub(super) struct Table<'a> {
    cells: &'a Cells<'a>,
    fields: &'a [String],
}

impl<'a> Table<'a> {
    pub(super) fn new(cells: &'a Cells<'a>, fields: &'a [String]) -> Result<Self, ReadError> {
        let (values, width) = (cells.values.len(), fields.len());
        if width == 0 && values == 0 || width > 0 && values.is_multiple_of(width) {
            return Ok(Self { cells, fields });
        }
        let message = format!("{values} numbers do not make rows of {width}");
        Err(cells.error_at(values, Problem::Inconsistent(message)))
    }

    pub(super) fn rows(&self) -> usize {
        self.cells
            .values
            .len()
            .checked_div(self.fields.len())
            .unwrap_or(0)
    }

    /// The position of a column.
    pub(super) fn column(&self, name: &str) -> Result<usize, ReadError> {
        let position = self.fields.iter().position(|field| field == name);
        position.ok_or_else(|| {
            let problem = Problem::Unexpected {
                expected: format!("a column `{name}` of `{}`", self.cells.member),
                found: format!("the columns {}", self.fields.join(", ")),
            };
            self.cells.document.error_in("snapshot", 0, problem)
        })
    }

    pub(super) fn get(&self, row: usize, column: usize) -> u64 {
        self.cells.values[row * self.fields.len() + column]
    }

    /// A value that has to fit 32 bits.
    pub(super) fn narrow(&self, row: usize, column: usize) -> Result<u32, ReadError> {
        let value = self.get(row, column);
        u32::try_from(value).map_err(|_| {
            let message = format!("{value} is more than 32 bits hold");
            self.error(row, column, Problem::TooLarge(message))
        })
    }

    /// A value of a column that may be missing, 0 then.
    pub(super) fn get_named(&self, row: usize, name: &str) -> u64 {
        self.column(name).map_or(0, |column| self.get(row, column))
    }

    /// A value of a small table, where a column may be missing and one too large is clamped.
    pub(super) fn clamped(&self, row: usize, name: &str) -> u32 {
        u32::try_from(self.get_named(row, name)).unwrap_or(u32::MAX)
    }

    /// An error at a value.
    pub(super) fn error(&self, row: usize, column: usize, problem: Problem) -> ReadError {
        self.cells
            .error_at(row * self.fields.len() + column, problem)
    }
}

/// The types of a table: those listed, then one for each number up to the largest in use.
pub(super) struct TypeRows {
    names: Vec<String>,
}

impl TypeRows {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// The row of the type that a cell names.
    pub(super) fn row(
        &mut self,
        table: &Table<'_>,
        row: usize,
        column: usize,
    ) -> Result<u8, ReadError> {
        let number = table.get(row, column);
        let Ok(type_row) = u8::try_from(number) else {
            let message = format!("{number} is too large for a type; the limit is 255");
            return Err(table.error(row, column, Problem::TooLarge(message)));
        };
        for missing in self.names.len()..=usize::from(type_row) {
            self.names.push(format!("unknown({missing})"));
        }
        Ok(type_row)
    }

    pub(super) fn into_types<T>(self, make: impl FnMut(String) -> T) -> Vec<T> {
        self.names.into_iter().map(make).collect()
    }
}
