//! The allocation profile: allocations by stack, over time.

use crate::{LocationId, ModuleId, StackId};

/// Which tool wrote a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProfileFormat {
    /// Our own trace.
    Heaptrace,
}

impl ProfileFormat {
    /// The format's name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heaptrace => "heaptrace",
        }
    }
}

/// How a recording was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum RecordingMode {
    /// Every allocation: figures are as they were.
    #[default]
    Exact,
    /// Some allocations by chance: figures are estimates.
    Sampled,
    /// Every allocation, of which sums were kept.
    Aggregate,
    /// Sums without stacks.
    Counting,
}

impl RecordingMode {
    /// The mode's name in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Sampled => "sampled",
            Self::Aggregate => "aggregate",
            Self::Counting => "counting",
        }
    }
}

/// Bytes and blocks, which always go in pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// Requested bytes.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
}

/// What allocations with one stack came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StackFigures {
    /// All blocks ever allocated. (A reallocation is one more block with its full new size.)
    pub total: Amount,
    /// What was live when the whole process held the most.
    pub peak: Amount,
    /// What was live at the end.
    pub live_at_end: Amount,
    /// Blocks that were freed before their thread allocated anything else.
    pub temporary: Amount,
    /// The sum of the lifetimes of freed blocks, in nanoseconds, saturating.
    pub lifetime_ns: u64,
}

/// What one thread did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ThreadFigures {
    /// The system's number of the thread.
    pub os_thread_id: u64,
    /// Its name; empty if it has none.
    pub name: String,
    /// All blocks that it allocated.
    pub total: Amount,
    /// Blocks that it allocated and that were live at the process' peak.
    pub peak: Amount,
    /// Blocks that it allocated and that were live at the end.
    pub live_at_end: Amount,
    /// Blocks that it freed, whoever allocated them.
    pub frees: u64,
    /// Its temporary blocks.
    pub temporary: Amount,
}

/// How much was live at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimelinePoint {
    /// The end of the interval, in nanoseconds since the start.
    pub time_ns: u64,
    /// The most that was live within the interval.
    pub most: Amount,
    /// Resident memory of the process in bytes; 0 where unknown.
    pub resident_bytes: u64,
}

/// A moment that the program, or whoever recorded it, gave a name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// When, in nanoseconds since the start.
    pub time_ns: u64,
    /// Its name.
    pub text: String,
}

/// A loaded file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Module {
    /// Its path in the measured process.
    pub path: String,
    /// Its build-id; empty where there is none.
    pub build_id: Vec<u8>,
    /// Address in memory less address in the file's program headers.
    pub bias: u64,
    /// The addresses in memory that it takes, end exclusive.
    pub range: std::ops::Range<u64>,
}

/// A place in code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CodeLocation {
    /// The address to look up, in memory: one less than a return address.
    pub address: u64,
    /// The module that holds it; `None` for code made at run time, or gone.
    pub module: Option<ModuleId>,
}

/// A function at a location, as source knows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Frame {
    /// The demangled name; empty where unknown.
    pub function: String,
    /// The source file; empty where unknown.
    pub file: String,
    /// The line, from 1; 0 where unknown.
    pub line: u32,
}

/// Call stacks as a tree: each is its innermost location called from another stack.
///
/// Row 0 is the empty stack, row 1 the empty stack below which stacks hang that were cut off:
/// both have themselves as parent and no location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StackTable {
    parents: Vec<StackId>,
    locations: Vec<LocationId>,
}

/// The allocation profile of one process.
#[derive(Clone, PartialEq, Debug)]
pub struct AllocationProfile {
    /// Who wrote it.
    pub format: ProfileFormat,
    /// How it was recorded. If samples were, figures are estimates of all allocations.
    pub mode: RecordingMode,
    /// The mean number of bytes between samples, the largest if it changed; 0 unless sampled.
    pub sample_interval_bytes: u64,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The process.
    pub pid: u64,
    /// When it began, in nanoseconds since 1970; 0 where unknown.
    pub start_unix_ns: u64,
    /// How long it was measured.
    pub duration_ns: u64,
    /// How it ended, as `wait` tells; `None` where unknown or still running.
    pub exit_status: Option<i32>,
    /// All blocks ever allocated.
    pub total: Amount,
    /// Blocks freed.
    pub frees: u64,
    /// The most that was live at one time (on equal peaks the last one).
    pub peak: Amount,
    /// When that was, in nanoseconds since the start.
    pub peak_time_ns: u64,
    /// What was live at the end.
    pub live_at_end: Amount,
    /// Blocks that were freed before their thread allocated anything else; none if samples were recorded, which do not
    /// tell.
    pub temporary: Amount,
    /// Allocations whose stack was cut off.
    pub truncated_stacks: u64,
    /// Events that the recorder had to drop.
    pub dropped_events: u64,
    /// The loaded files.
    pub modules: Vec<Module>,
    /// The places that stacks speak of.
    pub locations: Vec<CodeLocation>,
    /// The stacks.
    pub stacks: StackTable,
    /// For each stack what was allocated with it.
    pub figures: Vec<StackFigures>,
    /// The threads.
    pub threads: Vec<ThreadFigures>,
    /// Live bytes over time, in order of time.
    pub timeline: Vec<TimelinePoint>,
    /// Moments with a name, of the whole recording, in order of time.
    pub marks: Vec<Mark>,
    /// For each power of two the blocks with so many bytes: row 0 for 0, row n for 2^(n-1) and more.
    pub sizes: Vec<Amount>,
    /// For each power of two the freed blocks that lived so many nanoseconds, rows as in `sizes`.
    pub lifetimes: Vec<Amount>,
    /// For each location its frames, innermost (inlined) first; empty until names were looked up.
    pub frames: Vec<Vec<Frame>>,
}

impl AllocationProfile {
    /// The profile of a process that has done nothing yet.
    pub fn new(format: ProfileFormat) -> Self {
        Self {
            format,
            mode: RecordingMode::Exact,
            sample_interval_bytes: 0,
            command: Vec::new(),
            pid: 0,
            start_unix_ns: 0,
            duration_ns: 0,
            exit_status: None,
            total: Amount::default(),
            frees: 0,
            peak: Amount::default(),
            peak_time_ns: 0,
            live_at_end: Amount::default(),
            temporary: Amount::default(),
            truncated_stacks: 0,
            dropped_events: 0,
            modules: Vec::new(),
            locations: Vec::new(),
            stacks: StackTable::new(),
            figures: vec![StackFigures::default(); 2],
            threads: Vec::new(),
            timeline: Vec::new(),
            marks: Vec::new(),
            sizes: Vec::new(),
            lifetimes: Vec::new(),
            frames: Vec::new(),
        }
    }
}

impl AllocationProfile {
    /// How many frames the deepest stack has with which something was allocated; inlined functions do not
    /// count. 0 when nothing was allocated, or without stacks. Takes time and memory as there are stacks.
    pub fn deepest_stack(&self) -> u32 {
        let mut depths = vec![0_u32; self.stacks.len()];
        // Parents come before their children.
        for row in StackTable::CUT_OFF.index() + 1..depths.len() {
            let parent = self.stacks.parent(StackId::from_index(row));
            depths[row] = depths[parent.index()] + 1;
        }
        let used = self.figures.iter().zip(depths);
        used.filter(|(figures, _)| figures.total.blocks > 0)
            .map(|(_, depth)| depth)
            .max()
            .unwrap_or(0)
    }
}

impl Default for StackTable {
    fn default() -> Self {
        Self::new()
    }
}

impl StackTable {
    /// The empty stack.
    pub const EMPTY: StackId = StackId(0);
    /// The empty stack that stands for frames that are missing.
    pub const CUT_OFF: StackId = StackId(1);

    /// A table of the two empty stacks.
    pub fn new() -> Self {
        Self {
            parents: vec![Self::EMPTY, Self::CUT_OFF],
            locations: vec![LocationId(u32::MAX); 2],
        }
    }

    /// Adds a stack that is not in the table yet.
    ///
    /// # Panics
    /// When `parent` is not in the table.
    pub fn push(&mut self, parent: StackId, location: LocationId) -> StackId {
        assert!(parent.index() < self.len(), "a stack needs its parent");
        self.parents.push(parent);
        self.locations.push(location);
        StackId::from_index(self.len() - 1)
    }

    /// Number of stacks, the two empty ones included.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there is none but the empty ones.
    pub fn is_empty(&self) -> bool {
        self.len() == 2
    }

    /// The stack that called a stack's innermost location; an empty one's is itself.
    ///
    /// # Panics
    /// When the stack is not in the table.
    pub fn parent(&self, stack: StackId) -> StackId {
        self.parents[stack.index()]
    }

    /// A stack's innermost location; `None` for the empty ones.
    ///
    /// # Panics
    /// When the stack is not in the table.
    pub fn location(&self, stack: StackId) -> Option<LocationId> {
        let location = self.locations[stack.index()];
        (stack.index() > Self::CUT_OFF.index()).then_some(location)
    }

    /// The locations of a stack, innermost first.
    ///
    /// # Panics
    /// When the stack is not in the table.
    pub fn walk(&self, stack: StackId) -> impl Iterator<Item = LocationId> + '_ {
        let callers = std::iter::successors(Some(stack), |&stack| Some(self.parent(stack)));
        callers.map_while(|stack| self.location(stack))
    }

    /// Whether the outermost frames of a stack are missing.
    ///
    /// # Panics
    /// When the stack is not in the table.
    pub fn is_cut_off(&self, mut stack: StackId) -> bool {
        while stack.index() > Self::CUT_OFF.index() {
            stack = self.parent(stack);
        }
        stack == Self::CUT_OFF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stacks only count when something was allocated with them.
    #[test]
    fn deepest_of_those_that_allocate() {
        let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
        assert_eq!(profile.deepest_stack(), 0);
        let mut stack = StackTable::CUT_OFF;
        for (location, blocks) in [(5, 0), (6, 3), (5, 0)] {
            stack = profile.stacks.push(stack, LocationId(location));
            profile.figures.push(StackFigures {
                total: Amount { blocks, bytes: 0 },
                ..StackFigures::default()
            });
        }
        assert_eq!(profile.deepest_stack(), 2);
    }

    #[test]
    fn walks_from_the_innermost_frame_out() {
        let mut stacks = StackTable::new();
        let main = stacks.push(StackTable::EMPTY, LocationId(7));
        let inner = stacks.push(main, LocationId(3));
        let lost = stacks.push(StackTable::CUT_OFF, LocationId(9));
        let walked: Vec<_> = stacks.walk(inner).collect();
        assert_eq!(walked, [LocationId(3), LocationId(7)]);
        assert_eq!(
            (stacks.is_cut_off(inner), stacks.is_cut_off(lost)),
            (false, true)
        );
        assert_eq!(stacks.walk(StackTable::EMPTY).count(), 0);
    }
}
