//! What leaks, who holds it, and why we think so.
//!
//! Detectors sit behind one interface ([`Detector`]): each looks at a series of snapshots and
//! names what it finds wrong. A new one is a module here and a line in [`DETECTORS`].

mod detached;
mod growing_containers;
mod growing_lists;
mod growing_structures;
mod large_containers;
mod links;
mod series;
pub(crate) mod shapes;
mod words;

pub use words::path_in_words;

use std::hash::{Hash, Hasher};

use heapatlas_model::NodeId;
use rustc_hash::FxHasher;

use crate::Heap;
use series::Series;

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

/// One step of a path from the root.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PathStep {
    /// The edge that led here; `None` where the path begins.
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

impl Default for LeakOptions {
    fn default() -> Self {
        Self { limit: 20 }
    }
}

/// Finds one kind of wrong.
trait Detector: Sync {
    /// Its name, in reports.
    fn name(&self) -> &'static str;

    /// What it finds in the last snapshot of a series, given the ones before, and what detectors
    /// before it have found.
    fn find(&self, series: &Series<'_>, found: &[Finding]) -> Vec<Finding>;
}

/// A suspect with the nodes of the last snapshot that it is about.
struct Finding {
    suspect: Suspect,
    items: Vec<NodeId>,
}

/// What was counted: the figures in each snapshot, the nodes of the last.
#[derive(Clone, Default)]
struct Measured {
    growth: Vec<GrowthPoint>,
    items: Vec<NodeId>,
}

/// In this order: those that can say most about a thing look first.
const DETECTORS: [&dyn Detector; 5] = [
    &growing_containers::GrowingContainers,
    &growing_lists::GrowingLists,
    &detached::DetachedDom,
    &growing_structures::GrowingStructures,
    &large_containers::LargeContainers,
];

/// Suspects, the worst first.
///
/// One snapshot: what looks wrong by itself. Two: what is new in the second. Three or more:
/// what is new in the second and still there in the last (baseline, target, ..., final).
///
/// # Panics
/// When a heap was opened for the first table only.
pub fn find_leaks(heaps: &[Heap], options: LeakOptions) -> Vec<Suspect> {
    if heaps.is_empty() {
        return Vec::new();
    }
    let series = Series::new(heaps);
    let mut found = Vec::new();
    for detector in DETECTORS {
        let more = detector.find(&series, &found);
        found.extend(more);
    }
    let mut suspects: Vec<Suspect> = found.into_iter().map(|finding| finding.suspect).collect();
    for suspect in &mut suspects {
        suspect.id = stable_id(suspect);
    }
    suspects.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.id.cmp(&b.id)));
    suspects.dedup_by(|a, b| a.id == b.id);
    suspects.truncate(options.limit);
    suspects
}

/// What a suspect is ranked by: the bytes it grew by, then what it retains.
fn weight(suspect: &Suspect) -> (u64, u64, u64) {
    let first = suspect.growth.first().copied().unwrap_or_default();
    let last = suspect.growth.last().copied().unwrap_or_default();
    let (grown_bytes, grown_count) = match suspect.growth.len() {
        0 | 1 => (last.bytes, last.count),
        _ => (
            last.bytes.saturating_sub(first.bytes),
            last.count.saturating_sub(first.count),
        ),
    };
    (grown_bytes, grown_count, suspect.retained_bytes)
}

fn stable_id(suspect: &Suspect) -> String {
    let mut hasher = FxHasher::default();
    suspect.detector.hash(&mut hasher);
    suspect.name.hash(&mut hasher);
    suspect.path.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Fewer objects than this are noise, unless they are large.
const FEWEST: u64 = 10;
/// Objects that retain this much are no noise, however few.
const LARGE_BYTES: u64 = 256 << 10;

/// Whether so many objects are worth a person's time.
fn is_worth_reporting(count: u64, bytes: u64) -> bool {
    count >= FEWEST || count > 0 && bytes >= LARGE_BYTES
}
