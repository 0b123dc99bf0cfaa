//! Sums of figures. They saturate: a file may claim any number.

use std::ops::AddAssign;

use crate::{Amount, StackFigures};

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.blocks = self.blocks.saturating_add(other.blocks);
    }
}

impl AddAssign for StackFigures {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.peak += other.peak;
        self.live_at_end += other.live_at_end;
        self.temporary += other.temporary;
        self.lifetime_ns = self.lifetime_ns.saturating_add(other.lifetime_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate() {
        let mut sum = Amount {
            bytes: u64::MAX,
            blocks: 1,
        };
        sum += Amount {
            bytes: 1,
            blocks: 2,
        };
        assert_eq!(
            sum,
            Amount {
                bytes: u64::MAX,
                blocks: 3
            }
        );
    }
}
