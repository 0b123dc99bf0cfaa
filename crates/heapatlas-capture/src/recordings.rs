//! What a recording is: what it holds, who asked for it, how it ended.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::counts::Counts;
use crate::gather::Counters;

/// What of all allocations a recording holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum How {
    /// Every one, with its stack.
    Exact,
    /// Every one; whoever keeps the recording keeps sums by stack only.
    Aggregate,
    /// Some, by chance.
    Sampled {
        /// The mean number of bytes between samples.
        interval_bytes: u64,
        /// Set where the interval is to follow what recording costs: the share of the program's time that it may
        /// take.
        overhead: Option<f64>,
    },
    /// Sums without stacks, which need no file.
    Counting,
}

impl How {
    /// The name of the mode, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Aggregate => "aggregate",
            Self::Sampled { .. } => "sampled",
            Self::Counting => "counting",
        }
    }

    /// The mean number of bytes between samples; 0 unless sampled.
    pub fn interval_bytes(self) -> u64 {
        match self {
            Self::Sampled { interval_bytes, .. } => interval_bytes,
            _ => 0,
        }
    }
}

/// A recording that is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wanted {
    /// What it holds.
    pub how: How,
    /// How long it takes; `None` for as long as the program runs.
    pub duration: Option<Duration>,
}

/// Who asked for a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// It began with the program.
    Launch,
    /// A signal.
    Signal,
    /// Somebody at the socket, who is told how it ended.
    Socket,
}

/// A recording that begins.
#[derive(Clone, PartialEq, Debug)]
pub struct Begun {
    /// What it holds.
    pub how: How,
    /// Who asked for it.
    pub asker: Asker,
    /// Where it is to be kept, if whoever asked said so.
    pub output: Option<PathBuf>,
    /// The tick of its beginning.
    pub start_tick: u64,
    /// Ticks in a second, to about a percent.
    pub ticks_per_second: u64,
}

/// How a recording ended, and what the recorder has to say of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Ended {
    /// How the program ended, as the system tells; `None` when it still runs.
    pub status: Option<ExitStatus>,
    /// The tick at the end.
    pub tick: u64,
    /// Nanoseconds since the recording began.
    pub elapsed_ns: u64,
    /// What the recorder counted meanwhile, in all processes.
    pub counters: Counters,
    /// Whether it ended because as much was kept as there may be.
    pub was_full: bool,
    /// The intervals between samples that were used, where they followed the cost of recording.
    pub intervals_bytes: Option<RangeInclusive<u64>>,
    /// What was counted, where that is all that was asked for.
    pub counts: Option<Counts>,
}
