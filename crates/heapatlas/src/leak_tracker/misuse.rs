//! Frees that are wrong.

use std::fmt::{self, Write};
use std::panic::Location;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::allocation::{
    Allocation, SourceLocation, StackFrame, ThreadLabel, bytes_text, write_stack,
};
use super::locked::Locked;
use super::registry::{Record, Which};
use super::scope::{self, Current};
use super::{stacks, threads};
use crate::guard::{self, Guard};
use crate::os::moment::{self, Moment};
use crate::stack::{self, StackId};

/// What is wrong with a free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MisuseKind {
    /// The block was freed before. The second free is left out. (Found among the blocks that were freed last: see
    /// [`LeakTracker::hold_freed_blocks`](super::LeakTracker::hold_freed_blocks). The old address of a block that was moved when
    /// it was resized counts as one that is not known.)
    DoubleFree,
    /// A block that is freed already was to change its size. It is left as it is, and the call fails.
    UseAfterFree,
    /// A block of a diagnostic allocator was freed or resized by an adaptive one, or the other way round. It works here, but
    /// not in a release build, where the adaptive functions are the C library's: there the diagnostic record would stay, or
    /// the block would be unknown.
    WrongAllocator,
    /// The tracker does not know the address: memory of the C library, of the program's global allocator (which is wrong), or allocated
    /// before tracking was enabled. It is handed on to the C library.
    ForeignPointer,
    /// The block was freed past the tracker, for example by C code that calls `free`: its memory was given out again.
    FreedElsewhere,
}

impl MisuseKind {
    const ALL: [Self; 5] = [
        Self::DoubleFree,
        Self::UseAfterFree,
        Self::WrongAllocator,
        Self::ForeignPointer,
        Self::FreedElsewhere,
    ];

    /// Whether it is wrong for certain, whoever made the block.
    pub fn is_error(self) -> bool {
        matches!(
            self,
            Self::DoubleFree | Self::UseAfterFree | Self::WrongAllocator
        )
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0)
    }

    fn text(self) -> &'static str {
        match self {
            Self::DoubleFree => "double free, which was left out",
            Self::UseAfterFree => "resized after it was freed; the call failed",
            Self::WrongAllocator => "freed or resized by the wrong one of adaptive and diagnostic",
            Self::ForeignPointer => "freed, but not known to the tracker",
            Self::FreedElsewhere => "freed past the tracker",
        }
    }
}

impl fmt::Display for MisuseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A free that is wrong, or that the tracker cannot explain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misuse {
    /// What is wrong.
    pub kind: MisuseKind,
    /// How often: equal ones, from the same stack and of blocks from the same stack, are one.
    pub count: u64,
    /// The address that was freed; like all that follows that of the first one.
    pub address: u64,
    /// When.
    pub timestamp: SystemTime,
    /// By whom.
    pub thread: ThreadLabel,
    /// In which scope.
    pub scope: Option<String>,
    /// The line that freed it; none if C code did.
    pub location: Option<SourceLocation>,
    /// The stack of that.
    pub stack: Arc<[StackFrame]>,
    /// What is known of the block.
    pub block: Option<Allocation>,
    /// The line that freed it first.
    pub freed_at: Option<SourceLocation>,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}: {}", self.address, self.kind)?;
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        writeln!(f)?;
        if let Some(location) = &self.location {
            writeln!(f, "  at        : {location}")?;
        }
        writeln!(f, "  thread    : {}", self.thread)?;
        write_stack(f, &self.stack, "  ")?;
        if let Some(location) = &self.freed_at {
            writeln!(f, "  freed at  : {location}")?;
        }
        if let Some(block) = &self.block {
            let size = bytes_text(block.size_bytes);
            writeln!(f, "  the block - {} ({size})", block.type_name)?;
            block.write_origin(f, None, "    ")?;
        }
        Ok(())
    }
}

/// Wrong frees, as an error. Its text tells of each with its stack and that of the block.
#[derive(Clone, PartialEq, Eq)]
pub struct MisuseError(Vec<Misuse>);

impl MisuseError {
    /// Of those that are errors for certain.
    pub(crate) fn check(mut misuses: Vec<Misuse>) -> Result<(), Self> {
        misuses.retain(|misuse| misuse.kind.is_error());
        if misuses.is_empty() {
            Ok(())
        } else {
            Err(Self(misuses))
        }
    }

    /// Each of them, equal ones together: one at least.
    pub fn misuses(&self) -> &[Misuse] {
        &self.0
    }
}

impl fmt::Display for MisuseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: u64 = self.0.iter().map(|misuse| misuse.count).sum();
        writeln!(f, "Wrong frees of native memory: {count}")?;
        self.0.iter().try_for_each(|misuse| write!(f, "{misuse}"))
    }
}

/// The text, which `unwrap` shows.
impl fmt::Debug for MisuseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for MisuseError {}

/// What is kept of each.
#[derive(Clone, Copy)]
struct Noted {
    kind: MisuseKind,
    count: u64,
    address: u64,
    moment: Moment,
    thread: u32,
    scope: u32,
    location: Option<&'static Location<'static>>,
    stack: StackId,
    block: Option<Record>,
}

/// So many different ones are kept; the others are counted only.
const MOST_NOTED: usize = 1024;

static NOTED: Locked<Vec<Noted>> = Locked::new(Vec::new());
static COUNTS: [AtomicU64; MisuseKind::ALL.len()] = [const { AtomicU64::new(0) }; 5];

#[cold]
#[inline(never)]
pub(crate) fn note(
    kind: MisuseKind,
    address: u64,
    location: Option<&'static Location<'static>>,
    block: Option<Record>,
    guard: &Guard,
) {
    COUNTS[kind.index()].fetch_add(1, Ordering::Relaxed);
    let noted = Noted {
        kind,
        count: 1,
        address,
        moment: moment::now(),
        thread: threads::number(guard),
        scope: Current::get().number(),
        location,
        // Who is given the memory next is not to blame.
        stack: match kind {
            MisuseKind::FreedElsewhere => StackId::NONE,
            _ => stack::capture(guard),
        },
        block,
    };
    let is_new = NOTED.with(|all| {
        if let Some(known) = all.iter_mut().find(|known| known.is_like(&noted)) {
            known.count += 1;
            return false;
        }
        let has_room = all.len() < MOST_NOTED;
        if has_room {
            all.push(noted);
        }
        has_room
    });
    if kind.is_error() && is_new == Some(true) {
        say(&noted);
    }
}

/// What was left out must not go unnoticed by those who never ask. Each kind at each place once.
fn say(noted: &Noted) {
    let mut text = format!("heapatlas: 0x{:08x}: {}", noted.address, noted.kind);
    let mut add = |what: &str, location: Option<&Location<'_>>| {
        if let Some(location) = location {
            let _ = write!(text, "; {what} {location}");
        }
    };
    add("at", noted.location);
    if let Some(block) = &noted.block {
        add("freed at", block.freed_at);
        add("allocated at", block.origin.location);
        let size = bytes_text(block.size as u64);
        let _ = write!(text, " ({}, {size})", block.origin.type_name);
    }
    #[expect(clippy::print_stderr, reason = "tests show it with their output")]
    {
        eprintln!("{text}");
    }
}

impl Noted {
    fn is_like(&self, other: &Self) -> bool {
        let place = |location: Option<&'static Location<'static>>| location.map(ptr::from_ref);
        let origin = |noted: &Self| {
            noted
                .block
                .map(|block| (block.stack, place(block.origin.location), block.scope))
        };
        self.kind == other.kind
            && self.stack == other.stack
            && self.scope == other.scope
            && place(self.location) == place(other.location)
            && origin(self) == origin(other)
    }

    fn is_of(&self, which: Which) -> bool {
        which.has(self.scope) || self.block.is_some_and(|block| which.has(block.scope))
    }

    fn to_misuse(self, names: &mut stacks::Names) -> Misuse {
        let block = self.block.map(|block| {
            let frames = names.frames(block.stack, block.origin.location);
            block.to_allocation(self.address, frames)
        });
        Misuse {
            kind: self.kind,
            count: self.count,
            address: self.address,
            timestamp: self.moment.time(),
            thread: threads::label(self.thread),
            scope: scope::name_of(self.scope),
            location: self.location.map(Into::into),
            stack: names.frames(self.stack, self.location),
            block,
            freed_at: self.block.and_then(|block| block.freed_at).map(Into::into),
        }
    }
}

/// In the order in which they happened.
pub(crate) fn all(which: Which) -> Vec<Misuse> {
    let _guard = guard::enter();
    let noted = NOTED.with(|all| {
        let wanted = all.iter().filter(|noted| noted.is_of(which));
        wanted.copied().collect::<Vec<_>>()
    });
    let noted = noted.unwrap_or_default();
    if noted.is_empty() {
        return Vec::new();
    }
    stacks::with_names(|names| noted.iter().map(|noted| noted.to_misuse(names)).collect())
}

/// How many there were in the whole process.
pub(crate) fn count(kind: MisuseKind) -> u64 {
    COUNTS[kind.index()].load(Ordering::Relaxed)
}

/// Called with the guard held.
pub(crate) fn forget(which: Which) {
    NOTED.with(|all| all.retain(|noted| !noted.is_of(which)));
}

/// Forgets what nobody can ask for by a scope any more. Called with the guard held.
pub(crate) fn scope_ends(scope: u32) {
    let is_of_another = |noted: &Noted| {
        noted.scope != scope || noted.block.is_some_and(|block| block.scope != scope)
    };
    NOTED.with(|all| all.retain(is_of_another));
}

pub(crate) fn hold_for_fork() {
    NOTED.hold_for_fork();
}

pub(crate) fn open_after_fork() {
    NOTED.open_after_fork();
}
