//! What leaks, who holds it, and why we think so.

use crate::Heap;

/// Something that grows or should be gone.
#[derive(Clone, PartialEq, Debug)]
pub struct Suspect {
    /// Stable over runs on the same files: detector, name and path, hashed.
    pub id: String,
    /// `growth`, `detached`, ...: what is wrong with it.
    pub kind: &'static str,
    /// The detector that found it.
    pub detector: &'static str,
    /// What leaks, in the class's words.
    pub name: String,
    /// For each snapshot how many there are and their bytes, absolute.
    pub growth: Vec<GrowthPoint>,
    /// What would go with it, in the last snapshot.
    pub retained_bytes: u64,
    /// From the root to what leaks.
    pub path: Vec<PathStep>,
    /// Why it is suspected, in a sentence.
    pub why: String,
}

/// A suspect in one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GrowthPoint {
    /// Objects.
    pub count: u64,
    /// What they retain, in bytes.
    pub bytes: u64,
}

/// One step of a path from the root.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PathStep {
    /// The edge that led here; `None` at the root.
    pub edge: Option<String>,
    /// The node, by class or name.
    pub node: String,
}

/// How to look for leaks.
#[derive(Clone, Copy, Debug)]
pub struct LeakOptions {
    /// At most so many suspects.
    pub limit: usize,
}

/// Suspects, the worst first.
///
/// One snapshot: what looks wrong by itself. Two: what is new in the second. Three or more:
/// what is new in the second and still there in the last (baseline, target, ..., final).
pub fn find_leaks(heaps: &[Heap], options: LeakOptions) -> Vec<Suspect> {
    let _ = (heaps, options);
    todo!()
}

/// A path in one line: `global.sessions (Map) -> table -> [*] Session`.
pub fn path_in_words(path: &[PathStep]) -> String {
    let _ = path;
    todo!()
}
