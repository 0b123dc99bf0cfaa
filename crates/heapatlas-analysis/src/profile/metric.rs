//! By what allocations are ranked.

use heapatlas_model::{Amount, StackFigures, ThreadFigures};

/// By what allocations are ranked, and what a share is a share of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Bytes that were live at the end.
    Live,
    /// Bytes that were live when the process held the most.
    Peak,
    /// Blocks freed before their thread allocated anything else.
    Temporary,
    /// Blocks ever allocated.
    Allocations,
    /// Bytes ever allocated.
    Bytes,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Live,
        Self::Peak,
        Self::Temporary,
        Self::Allocations,
        Self::Bytes,
    ];

    /// The bytes and blocks it looks at.
    pub fn amount(self, figures: &StackFigures) -> Amount {
        match self {
            Self::Live => figures.live_at_end,
            Self::Peak => figures.peak,
            Self::Temporary => figures.temporary,
            Self::Allocations | Self::Bytes => figures.total,
        }
    }

    /// The bytes or blocks it ranks by.
    pub fn weight(self, figures: &StackFigures) -> u64 {
        self.weight_of(self.amount(figures))
    }

    /// What it ranks threads by.
    pub fn thread_weight(self, thread: &ThreadFigures) -> u64 {
        self.weight_of(match self {
            Self::Live => thread.live_at_end,
            Self::Peak => thread.peak,
            Self::Temporary => thread.temporary,
            Self::Allocations | Self::Bytes => thread.total,
        })
    }

    /// The one of a pair that counts.
    pub fn weight_of(self, amount: Amount) -> u64 {
        if self.counts_blocks() {
            amount.blocks
        } else {
            amount.bytes
        }
    }

    /// Whether it counts blocks, and not bytes.
    pub fn counts_blocks(self) -> bool {
        matches!(self, Self::Temporary | Self::Allocations)
    }
}
