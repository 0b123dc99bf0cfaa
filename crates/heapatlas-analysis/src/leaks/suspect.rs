//! What is suspected, and when it is worth a person's time.

use heapatlas_model::{Count, NodeId};

use crate::PathStep;

/// Something that grows or should be gone.
#[derive(Clone, PartialEq, Debug)]
pub struct Suspect {
    /// Stable over runs on the same files: detector, name and path, hashed.
    pub id: String,
    /// What is wrong with it: `growing`, `detached`, `large`.
    pub kind: &'static str,
    /// The detector that found it.
    pub detector: &'static str,
    /// What leaks, in the class's words.
    pub name: String,
    /// For each snapshot how many there are and what they retain, absolute.
    pub growth: Vec<GrowthPoint>,
    /// What would go with them, in the last snapshot.
    pub retained_bytes: u64,
    /// From the root to what leaks.
    pub path: Vec<PathStep>,
    /// Why it is suspected, in a sentence.
    pub why: String,
    /// The object id of one of the holders in the last snapshot, for a closer look.
    pub holder_id: u64,
    /// The object id of one of the leaked objects in the last snapshot.
    pub example_id: u64,
}

/// A suspect in one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GrowthPoint {
    /// Objects.
    pub count: u64,
    /// What they retain, in bytes.
    pub bytes: u64,
}

/// What was counted: the figures in each snapshot, the nodes of the last.
#[derive(Clone, Default)]
pub struct Measured {
    pub growth: Vec<GrowthPoint>,
    pub items: Vec<NodeId>,
}

/// Fewer objects than this are noise, unless they are large.
pub const FEWEST: u64 = 10;
/// Objects that retain this much are no noise, however few.
pub const LARGE_BYTES: u64 = 256 << 10;

/// Whether so many objects are worth a person's time.
pub fn is_worth_reporting(count: u64, bytes: u64) -> bool {
    count >= FEWEST || count > 0 && bytes >= LARGE_BYTES
}

/// `200, then 1,200, then 2,200`.
pub fn counts_in_words(growth: &[GrowthPoint]) -> String {
    let counts: Vec<String> = growth
        .iter()
        .map(|point| Count(point.count).to_string())
        .collect();
    counts.join(", then ")
}
