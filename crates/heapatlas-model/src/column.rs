//! A column of unsigned integers that is four bytes a row until a value needs eight.

/// Unsigned integers, 32 bits each until the first one that needs 64.
///
/// Nearly every size and id of a heap fits 32 bits; one 5 GB buffer widens the whole column,
/// which costs memory and never a wrong figure.
#[derive(Clone, Debug)]
pub enum UintColumn {
    /// All values fit 32 bits.
    Narrow(Vec<u32>),
    /// At least one did not.
    Wide(Vec<u64>),
}

impl Default for UintColumn {
    fn default() -> Self {
        Self::Narrow(Vec::new())
    }
}

impl UintColumn {
    /// An empty column.
    pub fn new() -> Self {
        Self::default()
    }

    /// `rows` zeros.
    pub fn zeros(rows: usize) -> Self {
        Self::Narrow(vec![0; rows])
    }

    /// A narrow column in which some rows, listed with their true value, did not fit.
    ///
    /// # Panics
    /// When a listed row is past the end.
    pub fn from_narrow(values: Vec<u32>, too_large: &[(usize, u64)]) -> Self {
        if too_large.is_empty() {
            return Self::Narrow(values);
        }
        let mut wide: Vec<u64> = values.into_iter().map(u64::from).collect();
        for &(row, value) in too_large {
            wide[row] = value;
        }
        Self::Wide(wide)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(values) => values.len(),
            Self::Wide(values) => values.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a row.
    ///
    /// # Panics
    /// When `row` is past the end.
    #[inline]
    pub fn get(&self, row: usize) -> u64 {
        match self {
            Self::Narrow(values) => u64::from(values[row]),
            Self::Wide(values) => values[row],
        }
    }

    /// Sets a row's value; widens the column if need be.
    ///
    /// # Panics
    /// When `row` is past the end.
    #[inline]
    pub fn set(&mut self, row: usize, value: u64) {
        match self {
            Self::Wide(values) => values[row] = value,
            Self::Narrow(values) => match u32::try_from(value) {
                Ok(small) => values[row] = small,
                Err(_) => {
                    self.widen();
                    self.set(row, value);
                }
            },
        }
    }

    /// Adds to a row's value, saturating at `u64::MAX`.
    ///
    /// # Panics
    /// When `row` is past the end.
    #[inline]
    pub fn add(&mut self, row: usize, value: u64) {
        self.set(row, self.get(row).saturating_add(value));
    }

    /// Appends a row.
    pub fn push(&mut self, value: u64) {
        match self {
            Self::Wide(values) => values.push(value),
            Self::Narrow(values) => match u32::try_from(value) {
                Ok(small) => values.push(small),
                Err(_) => {
                    self.widen();
                    self.push(value);
                }
            },
        }
    }

    /// Drops the rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        match self {
            Self::Narrow(values) => values.truncate(rows),
            Self::Wide(values) => values.truncate(rows),
        }
    }

    /// All values in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).map(|row| self.get(row))
    }

    /// The sum, saturating at `u64::MAX` (only a hostile file gets there).
    pub fn sum(&self) -> u64 {
        match self {
            Self::Narrow(values) => values.iter().map(|&value| u64::from(value)).sum(),
            Self::Wide(values) => values
                .iter()
                .fold(0, |sum: u64, &value| sum.saturating_add(value)),
        }
    }

    fn widen(&mut self) {
        if let Self::Narrow(values) = self {
            *self = Self::Wide(values.iter().map(|&value| u64::from(value)).collect());
        }
    }
}

/// Two columns are equal when their values are, however wide they are stored.
impl PartialEq for UintColumn {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl FromIterator<u64> for UintColumn {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut column = Self::new();
        for value in values {
            column.push(value);
        }
        column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_without_losing_a_value() {
        let mut column: UintColumn = [1, 2, 3].into_iter().collect();
        column.set(1, 5_000_000_000);
        column.push(u64::MAX);
        assert_eq!(
            column.iter().collect::<Vec<_>>(),
            [1, 5_000_000_000, 3, u64::MAX]
        );
        assert_eq!(column.sum(), u64::MAX);
    }

    #[test]
    fn equality_ignores_the_width() {
        let narrow = UintColumn::Narrow(vec![7, 8]);
        assert_eq!(narrow, UintColumn::Wide(vec![7, 8]));
        assert_ne!(narrow, UintColumn::Wide(vec![7, 9]));
        assert_eq!(
            UintColumn::from_narrow(vec![0, 8], &[(0, 1 << 40)]).get(0),
            1 << 40
        );
    }
}
