//! The interface of all detectors.

use heapatlas_model::NodeId;

use super::series::Series;
use super::suspect::Suspect;

/// Finds one kind of wrong.
pub trait Detector: Sync {
    /// Its name, in reports.
    fn name(&self) -> &'static str;

    /// What it finds in the last snapshot of a series, given the ones before, and what detectors
    /// before it have found.
    fn find(&self, series: &Series<'_>, found: &[Finding]) -> Vec<Finding>;
}

/// A suspect with the nodes of the last snapshot that it is about.
pub struct Finding {
    pub suspect: Suspect,
    pub items: Vec<NodeId>,
}
