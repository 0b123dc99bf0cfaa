use core::fmt;

/// Bytes that are not what the format says. Where they are the caller knows: a decoder leaves its
/// input at the beginning of what it could not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes end within something.
    Cut,
    /// A number of more than 64 bits.
    LongNumber,
    /// An event of the reserved kind.
    ReservedKind,
    /// A stack or node number of more than 32 bits.
    LargeStack,
    /// A line of times without an event, or one that rises too high.
    Line,
    /// A recording mode that does not exist (yet).
    UnknownMode,
    /// A chunk of an unknown kind.
    UnknownChunk,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "it ends too early",
            Self::LongNumber => "a number has more than 64 bits",
            Self::ReservedKind => "an event is of the reserved kind 6",
            Self::LargeStack => "a stack number has more than 32 bits",
            Self::Line => "a line of times has no event or rises too high",
            Self::UnknownMode => "the recording mode is unknown",
            Self::UnknownChunk => "the kind of chunk is unknown",
        })
    }
}

impl core::error::Error for Malformed {}
