//! How sizes and lifetimes are distributed, and who of the threads did it.

use heapatlas_model::{AllocationProfile, Amount, ThreadFigures};

use super::Metric;

/// The blocks between two powers of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PowerRow {
    /// The least value, included.
    pub from: u64,
    /// The largest value, included.
    pub to: u64,
    /// How many.
    pub amount: Amount,
}

/// The rows of a profile's `sizes` or `lifetimes` with their ranges, without the empty ones at
/// either end.
pub fn distribution(amounts: &[Amount]) -> Vec<PowerRow> {
    let is_used = |amount: &Amount| *amount != Amount::default();
    let Some(first) = amounts.iter().position(is_used) else {
        return Vec::new();
    };
    let last = amounts.iter().rposition(is_used).unwrap_or(first);
    (first..=last)
        .map(|row| power_row(row, amounts[row]))
        .collect()
}

/// Row 0 is for 0 alone, row n for all numbers of n binary digits.
fn power_row(row: usize, amount: Amount) -> PowerRow {
    let most_of = |digits: usize| {
        u64::MAX
            .checked_shr(64 - digits.min(64) as u32)
            .unwrap_or(0)
    };
    let from = if row == 0 {
        0
    } else {
        most_of(row - 1).saturating_add(1)
    };
    PowerRow {
        from,
        to: most_of(row),
        amount,
    }
}

/// The threads, largest first; equal ones in order of their numbers.
pub fn threads_by(profile: &AllocationProfile, metric: Metric) -> Vec<&ThreadFigures> {
    let mut threads: Vec<&ThreadFigures> = profile.threads.iter().collect();
    let rank = |thread: &&ThreadFigures| {
        (
            std::cmp::Reverse(metric.thread_weight(thread)),
            thread.os_thread_id,
        )
    };
    threads.sort_by_key(rank);
    threads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(blocks: u64) -> Amount {
        Amount { bytes: 0, blocks }
    }

    #[test]
    fn ranges_are_powers_of_two() {
        let mut amounts = [Amount::default(); 65];
        let ranges = |amounts: &[Amount]| -> Vec<(u64, u64, u64)> {
            let rows = distribution(amounts);
            rows.iter()
                .map(|row| (row.from, row.to, row.amount.blocks))
                .collect()
        };
        assert_eq!(ranges(&amounts), []);
        amounts[0] = blocks(1);
        amounts[3] = blocks(2);
        assert_eq!(
            ranges(&amounts),
            [(0, 0, 1), (1, 1, 0), (2, 3, 0), (4, 7, 2)]
        );
        let mut largest = [Amount::default(); 65];
        largest[64] = blocks(3);
        assert_eq!(ranges(&largest), [(1 << 63, u64::MAX, 3)]);
    }
}
