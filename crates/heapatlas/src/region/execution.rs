//! One execution of what does not stay on a thread: a task or a span, poll by poll.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};

use super::lanes;
use super::reading::Figures;
use super::rows::Place;

/// What a task or a span has had so far.
pub(crate) struct Execution {
    place: Place,
    /// The one around it, whether or not this runs while that does.
    parent: Option<Arc<Execution>>,
    resets: u32,
    wall_ns: AtomicU64,
    net_bytes: AtomicI64,
    peak_bytes: AtomicU64,
}

impl Execution {
    /// Allocates: the caller is inside heapatlas.
    pub(super) fn new(place: Place, parent: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            place,
            parent,
            resets: lanes::resets(),
            wall_ns: AtomicU64::new(0),
            net_bytes: AtomicI64::new(0),
            peak_bytes: AtomicU64::new(0),
        })
    }

    #[inline]
    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    pub(super) fn began_after_reset(&self) -> bool {
        self.resets == lanes::resets()
    }

    pub(super) fn wall_ns(&self) -> u64 {
        self.wall_ns.load(Relaxed)
    }

    /// Exact if polls do not overlap. If they do, each adds its peak to what the others have had by its end.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Relaxed)
    }

    /// Adds a poll that had at most `peak_bytes` live of what it allocated.
    pub(super) fn add_poll(&self, figures: &Figures, peak_bytes: u64) {
        self.wall_ns.fetch_add(figures.wall_ns, Relaxed);
        let before = self.net_bytes.fetch_add(figures.net_bytes(), Relaxed);
        let peak = before.saturating_add_unsigned(peak_bytes).max(0) as u64;
        self.peak_bytes.fetch_max(peak, Relaxed);
    }
}
