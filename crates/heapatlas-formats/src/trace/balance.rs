//! What is live of one stack or thread, and what was at the latest peak of all.
//!
//! The peak has an epoch, one more whenever as much is live as never before. A balance remembers the epoch in which it
//! was touched last; when it is touched in a later one, what it held until then is what it held at the latest peak.

use heapatlas_model::Amount;

/// The stack of blocks that are only followed, since they are not asked for.
pub(super) const NOT_COUNTED: u32 = u32::MAX;

/// What is live, and what was at the peak.
#[derive(Clone, Copy, Default)]
pub(super) struct Balance {
    pub live: Amount,
    pub peak: Amount,
    epoch: u64,
}

impl Balance {
    /// What was there at the peak with this epoch, and what is there.
    pub fn peak_and_live(&self, epoch: u64) -> (Amount, Amount) {
        let was_touched = self.epoch == epoch;
        (if was_touched { self.peak } else { self.live }, self.live)
    }

    #[inline]
    pub fn touch(&mut self, epoch: u64, change: impl FnOnce(&mut Amount)) {
        if self.epoch != epoch {
            self.peak = self.live;
            self.epoch = epoch;
        }
        change(&mut self.live);
    }
}

/// Sums wrap: no process has 2^64 bytes, and a file that says so shall not end ours.
#[inline]
pub(super) fn add(amount: &mut Amount, more: Amount) {
    amount.bytes = amount.bytes.wrapping_add(more.bytes);
    amount.blocks = amount.blocks.wrapping_add(more.blocks);
}

/// Wraps as [`add`] does.
#[inline]
pub(super) fn subtract(amount: &mut Amount, less: Amount) {
    amount.bytes = amount.bytes.wrapping_sub(less.bytes);
    amount.blocks = amount.blocks.wrapping_sub(less.blocks);
}
