//! What leaks, who holds it, and why we think so.
//!
//! Detectors sit behind one interface ([`Detector`]): each looks at a series of snapshots and
//! names what it finds wrong. A new one is a module here and a line in [`DETECTORS`].

mod detached;
mod detector;
mod growing_containers;
mod growing_lists;
mod growing_structures;
mod large_containers;
mod links;
mod series;
mod suspect;

pub use suspect::{GrowthPoint, Suspect};

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::Heap;
use detector::Detector;
use series::Series;

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
/// One snapshot: what looks wrong by itself. Two: what is new in the second. Three or more
/// (baseline, ..., target, final): what is new since the first, there in the last but one and
/// still there in the last.
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
