//! Figures of the running profiler.

use super::error::ProfilerError;
use super::state;

/// The figures of heap profiling until now.
///
/// A successful reallocation counts as one more block, with its full new size, as in dhat.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapStats {
    /// Blocks allocated since the profiler began.
    pub total_blocks: u64,
    /// Bytes of these blocks.
    pub total_bytes: u64,
    /// Blocks of these that are live.
    pub curr_blocks: usize,
    /// Bytes of these that are live.
    pub curr_bytes: usize,
    /// Blocks that were live when the live bytes were highest; of equal moments, at the latest.
    pub max_blocks: usize,
    /// The highest value of `curr_bytes`.
    pub max_bytes: usize,
}

/// The figures of ad hoc profiling until now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdHocStats {
    /// Events since the profiler began.
    pub total_events: u64,
    /// Their weights together.
    pub total_units: u64,
}

impl HeapStats {
    /// The figures now.
    ///
    /// # Panics
    ///
    /// When no heap profiler is running, or it ended with a failed assertion. See [`Self::try_get`].
    #[must_use]
    pub fn get() -> Self {
        Self::try_get().unwrap_or_else(|error| panic!("heapatlas: no heap stats: {error}"))
    }

    /// The figures now.
    ///
    /// # Errors
    ///
    /// When no heap profiler is running, it keeps no sums, or it ended with a failed assertion.
    pub fn try_get() -> Result<Self, ProfilerError> {
        let totals = state::totals_of(false)?;
        let small = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            total_blocks: totals.total.blocks,
            total_bytes: totals.total.bytes,
            curr_blocks: small(totals.current.blocks),
            curr_bytes: small(totals.current.bytes),
            max_blocks: small(totals.max.blocks),
            max_bytes: small(totals.max.bytes),
        })
    }
}

impl AdHocStats {
    /// The figures now.
    ///
    /// # Panics
    ///
    /// When no ad hoc profiler is running, or it ended with a failed assertion. See [`Self::try_get`].
    #[must_use]
    pub fn get() -> Self {
        Self::try_get().unwrap_or_else(|error| panic!("heapatlas: no ad hoc stats: {error}"))
    }

    /// The figures now.
    ///
    /// # Errors
    ///
    /// When no ad hoc profiler is running, or it ended with a failed assertion.
    pub fn try_get() -> Result<Self, ProfilerError> {
        let totals = state::totals_of(true)?;
        Ok(Self {
            total_events: totals.total.blocks,
            total_units: totals.total.bytes,
        })
    }
}
