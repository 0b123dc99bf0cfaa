//! How many blocks a sampled one stands for.
//!
//! A block of `s` bytes was recorded with a probability of `p = 1 - exp(-s / T)`, so it stands for `1 / p` blocks and
//! `s / p` bytes: the sums are right on average, whatever the sizes. Books are kept in whole blocks and bytes; what
//! is cut off is carried to the next sample of the same stack, so that rounding moves no sum by more than one.

use heapatlas_model::Amount;

/// The samples of a recording; none in an exact one.
pub(super) struct Samples {
    /// The interval of threads that have said none.
    first_interval: u64,
    most_interval: u64,
    /// For each stack what is still to be counted.
    rests: Vec<Rest>,
}

/// Parts of a block and of a byte.
#[derive(Clone, Copy, Default)]
struct Rest {
    blocks: f64,
    bytes: f64,
}

/// A block counts its blocks in 32 bits. (That is reached for an interval of gigabytes and blocks of one byte.)
const MOST_BLOCKS: f64 = u32::MAX as f64;

impl Samples {
    pub fn new(first_interval: u64) -> Self {
        Self {
            first_interval,
            most_interval: first_interval,
            rests: Vec::new(),
        }
    }

    pub fn first_interval(&self) -> u64 {
        self.first_interval
    }

    pub fn note_interval(&mut self, interval_bytes: u64) {
        self.most_interval = self.most_interval.max(interval_bytes);
    }

    /// The largest interval; 0 if nothing was sampled.
    #[inline]
    pub fn most_interval(&self) -> u64 {
        self.most_interval
    }

    /// What a sampled block of a stack stands for.
    #[cold]
    pub fn weigh(&mut self, interval: u64, stack: u32, size_bytes: u64) -> Amount {
        let row = stack as usize;
        if self.rests.len() <= row {
            self.rests.resize(row + 1, Rest::default());
        }
        let rest = &mut self.rests[row];
        let blocks = weight(interval, size_bytes);
        Amount {
            blocks: whole(&mut rest.blocks, blocks.min(MOST_BLOCKS)) as u64,
            bytes: whole(&mut rest.bytes, blocks * size_bytes as f64) as u64,
        }
    }
}

/// One divided by the probability that a block of this size is sampled. (One without bytes never is; if a file says so
/// all the same, it is one block.)
fn weight(interval: u64, size_bytes: u64) -> f64 {
    let probability = -(-(size_bytes as f64) / interval as f64).exp_m1();
    if probability > 0.0 {
        1.0 / probability
    } else {
        1.0
    }
}

/// The whole part of an amount and what was left before; the rest is left.
fn whole(rest: &mut f64, amount: f64) -> f64 {
    let sum = amount + *rest;
    let whole = sum.floor().clamp(0.0, MOST_BLOCKS.max(amount));
    *rest = (sum - whole).clamp(0.0, 1.0);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of what a thousand samples of a stack stand for.
    fn sum(interval: u64, size_bytes: u64) -> Amount {
        let mut samples = Samples::new(interval);
        let mut sum = Amount::default();
        for index in 0..2000 {
            // Another stack in between changes nothing.
            let amount = samples.weigh(interval, 5 + index % 2, size_bytes + index as u64 % 2);
            if index % 2 == 0 {
                sum.blocks += amount.blocks;
                sum.bytes += amount.bytes;
            }
        }
        sum
    }

    #[test]
    fn a_sample_stands_for_as_many_as_there_are_on_average() {
        // 1000 / (1 - exp(-1)) = 1581.98; times 100 bytes.
        let expected = Amount {
            blocks: 1581,
            bytes: 158_197,
        };
        assert_eq!(sum(100, 100), expected);
        // 1000 / (1 - exp(-1/1000)) = 1000500.08
        let expected = Amount {
            blocks: 1_000_500,
            bytes: 1_000_500,
        };
        assert_eq!(sum(1000, 1), expected);
        // Far larger than the interval: itself.
        let expected = Amount {
            blocks: 1000,
            bytes: 1_000_000_000,
        };
        assert_eq!(sum(1000, 1_000_000), expected);
    }

    #[test]
    fn hostile_numbers_do_no_harm() {
        let mut samples = Samples::new(u64::MAX);
        for (interval, size_bytes) in [
            (u64::MAX, 0),
            (u64::MAX, 1),
            (1, u64::MAX),
            (u64::MAX, u64::MAX),
            (1, 1),
        ] {
            for _ in 0..3 {
                let amount = samples.weigh(interval, 0, size_bytes);
                assert!(
                    (1..=u64::from(u32::MAX)).contains(&amount.blocks),
                    "{interval} {size_bytes}"
                );
            }
        }
    }
}
