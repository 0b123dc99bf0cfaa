/// What a thread did, with addresses and ticks as they were.
///
/// A *stack* is the number of a node of the same thread: 0 the empty stack, 1 the one that stands for
/// missing frames, 2 the thread's first [`Event::Node`], and so on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stack that was not there yet: a frame called from another stack.
    Node {
        /// The stack of the caller.
        parent: u32,
        /// The return address.
        address: u64,
    },
    /// A block was allocated.
    Allocation {
        /// Its stack.
        stack: u32,
        /// Requested bytes.
        size_bytes: u64,
        /// Where it is.
        address: u64,
        /// When, after it was made.
        tick: u64,
    },
    /// A block was freed.
    Free {
        /// Where it was.
        address: u64,
        /// When, before it was gone.
        tick: u64,
    },
    /// A block is handed to `realloc`: it is gone, unless that fails.
    ReallocationBegins {
        /// Where the old block is.
        address: u64,
        /// When, before it was gone.
        tick: u64,
    },
    /// The block that the thread's `realloc` gave.
    ReallocationEnds {
        /// Its stack.
        stack: u32,
        /// Requested bytes.
        size_bytes: u64,
        /// Where the new block is, perhaps where the old one was. 0: it is not recorded (it was not sampled),
        /// and stack and size say nothing.
        address: u64,
        /// When, after it was made.
        tick: u64,
    },
    /// The thread's `realloc` failed, and the old block lives on.
    ReallocationFailed {
        /// When.
        tick: u64,
    },
    /// A mark that the program set.
    Mark {
        /// When.
        tick: u64,
        /// UTF-8 by intention.
        text: &'a [u8],
    },
    /// The thread is about to end.
    ThreadEnds {
        /// When.
        tick: u64,
    },
    /// Pages were mapped.
    Mapping {
        /// Its stack.
        stack: u32,
        /// How many bytes.
        size_bytes: u64,
        /// Where.
        address: u64,
        /// When.
        tick: u64,
    },
    /// From here on the thread's allocations are sampled.
    SampleInterval {
        /// The mean number of bytes between samples; 0: every allocation is recorded.
        interval_bytes: u64,
        /// When.
        tick: u64,
    },
    /// Pages were unmapped.
    Unmapping {
        /// How many bytes.
        size_bytes: u64,
        /// Where.
        address: u64,
        /// When.
        tick: u64,
    },
}

impl Event<'_> {
    /// When it was; a node has no time of its own.
    #[inline]
    pub fn tick(&self) -> Option<u64> {
        match *self {
            Self::Node { .. } => None,
            Self::Allocation { tick, .. }
            | Self::Free { tick, .. }
            | Self::ReallocationBegins { tick, .. }
            | Self::ReallocationEnds { tick, .. }
            | Self::ReallocationFailed { tick }
            | Self::Mark { tick, .. }
            | Self::ThreadEnds { tick }
            | Self::Mapping { tick, .. }
            | Self::SampleInterval { tick, .. }
            | Self::Unmapping { tick, .. } => Some(tick),
        }
    }

    /// The address of the block that it is about, if it is about one.
    pub fn address(&self) -> Option<u64> {
        match *self {
            Self::Allocation { address, .. }
            | Self::Free { address, .. }
            | Self::ReallocationBegins { address, .. }
            | Self::ReallocationEnds { address, .. } => Some(address),
            _ => None,
        }
    }
}

/// The low three bits of an event's first varint.
pub(crate) mod kind {
    pub const NODE: u64 = 0;
    pub const ALLOCATION: u64 = 1;
    pub const FREE: u64 = 2;
    pub const REALLOCATION_BEGINS: u64 = 3;
    pub const REALLOCATION_ENDS: u64 = 4;
    pub const REALLOCATION_FAILED: u64 = 5;
    pub const OTHER: u64 = 7;
}

/// What an event of kind 7 is.
pub(crate) mod subkind {
    pub const ALLOCATION: u64 = 0;
    pub const FREE: u64 = 1;
    pub const MARK: u64 = 2;
    pub const THREAD_ENDS: u64 = 3;
    pub const MAPPING: u64 = 4;
    pub const UNMAPPING: u64 = 5;
    pub const REALLOCATION_BEGINS: u64 = 6;
    pub const REALLOCATION_ENDS: u64 = 7;
    pub const SAMPLE_INTERVAL: u64 = 8;
}
