//! Arrays of numbers, in rows.

use serde_json::value::RawValue;

use super::decimal;
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
        let Some(magnitude) = whole.magnitude else {
            return Err(document.error(member, offset, too_large(text)));
        };
        let is_below_zero = whole.is_negative && magnitude > 0;
        negatives += usize::from(is_below_zero);
        values.push(if is_below_zero { 0 } else { magnitude });
    }
    if negatives > 0 {
        let numbers = if negatives == 1 { "number" } else { "numbers" };
        let were = if negatives == 1 { "was" } else { "were" };
        warn(
            warnings,
            format!("{negatives} negative {numbers} in `{member}` {were} read as 0"),
        );
    }
    Ok(values)
}

/// Reads an array of numbers that may be negative.
pub(super) fn read_signed(document: &Document<'_>, member: &str) -> Result<Vec<i64>, ReadError> {
    let elements = document.elements(member)?;
    elements
        .map(|(offset, text)| {
            if !is_number(text) {
                return Err(document.error(member, offset, unexpected("a number", text)));
            }
            let whole = decimal::truncate(text);
            let signed = whole.magnitude.and_then(|m| i64::try_from(m).ok());
            match signed {
                Some(value) if whole.is_negative => Ok(-value),
                Some(value) => Ok(value),
                None => Err(document.error(member, offset, too_large(text))),
            }
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

    /// A 32-bit value of a column that may be missing, 0 then.
    pub(super) fn narrow_named(&self, row: usize, name: &str) -> Result<u32, ReadError> {
        match self.column(name) {
            Ok(column) => self.narrow(row, column),
            Err(_) => Ok(0),
        }
    }

    /// An error at a value.
    pub(super) fn error(&self, row: usize, column: usize, problem: Problem) -> ReadError {
        self.cells
            .error_at(row * self.fields.len() + column, problem)
    }
}

/// The types of a table: those listed, then one for each number beyond the list, in the order
/// in which they turn up.
pub(super) struct TypeRows {
    listed: usize,
    names: Vec<String>,
    beyond: Vec<u64>,
}

impl TypeRows {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self {
            listed: names.len(),
            names,
            beyond: Vec::new(),
        }
    }

    /// The row of the type that a cell names.
    pub(super) fn row(
        &mut self,
        table: &Table<'_>,
        row: usize,
        column: usize,
    ) -> Result<u8, ReadError> {
        let number = table.get(row, column);
        let type_row = if number < self.listed as u64 {
            number as usize
        } else {
            self.row_beyond(number)
        };
        u8::try_from(type_row).map_err(|_| {
            let message = "there are more than 256 types".to_owned();
            table.error(row, column, Problem::TooLarge(message))
        })
    }

    fn row_beyond(&mut self, number: u64) -> usize {
        let known = self.beyond.iter().position(|&other| other == number);
        let position = known.unwrap_or_else(|| {
            self.beyond.push(number);
            self.names.push(format!("unknown({number})"));
            self.beyond.len() - 1
        });
        self.listed + position
    }

    pub(super) fn into_types<T>(self, make: impl FnMut(String) -> T) -> Vec<T> {
        self.names.into_iter().map(make).collect()
    }
}
