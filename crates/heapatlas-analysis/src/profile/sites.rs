//! Sites: the lines of the program that are to blame for allocations.

use std::cmp::Reverse;

use hashbrown::HashMap;
use heapatlas_model::{StackFigures, StackId};
use rustc_hash::FxBuildHasher;

use super::Metric;
use super::frames::{CallFrame, FrameId};
use super::view::ProfileView;

/// What one line of the program allocated, by way of whatever library code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// The line; `None` for allocations without any stack.
    pub frame: Option<CallFrame>,
    /// What it came to.
    pub figures: StackFigures,
}

/// All sites, largest first; equal ones by name. Each allocation is in exactly one of them.
pub fn sites(view: &ProfileView<'_>, metric: Metric) -> Vec<Site> {
    sites_of(view, view.allocating_stacks(), metric)
}

/// The sites of what the process mapped itself, most that is mapped at the end first.
pub fn mapping_sites(view: &ProfileView<'_>) -> Vec<Site> {
    let stacks = view.profile().mappings.iter().flat_map(|m| &m.stacks);
    sites_of(
        view,
        stacks.map(|(stack, figures)| (*stack, figures)),
        Metric::Live,
    )
}

fn sites_of<'a>(
    view: &ProfileView<'_>,
    stacks: impl Iterator<Item = (StackId, &'a StackFigures)>,
    metric: Metric,
) -> Vec<Site> {
    let mut sums: HashMap<Option<FrameId>, StackFigures, FxBuildHasher> = HashMap::default();
    for (stack, figures) in stacks {
        let blamed = view.frames_of(stack).nth(view.frames_before_blame(stack));
        *sums.entry(blamed).or_default() += *figures;
    }
    let site = |(frame, figures): (Option<FrameId>, StackFigures)| Site {
        frame: frame.map(|id| view.frame(id).clone()),
        figures,
    };
    let mut sites: Vec<Site> = sums.into_iter().map(site).collect();
    sites.sort_by(|a, b| a.rank(metric).cmp(&b.rank(metric)));
    sites
}

impl Site {
    /// The function; empty for allocations without any stack.
    pub fn function(&self) -> &str {
        self.frame.as_ref().map_or("", |frame| &frame.function)
    }

    /// Smaller is earlier; no two sites have the same rank.
    fn rank(&self, metric: Metric) -> impl Ord + '_ {
        let frame = self.frame.as_ref();
        (
            Reverse(metric.weight(&self.figures)),
            self.function(),
            frame.map(|frame| (&frame.file, frame.line, &frame.module)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::test_profile::TestProfile;
    use heapatlas_model::{Amount, StackTable};

    /// `function:line bytes` of each site, ranked by bytes that live.
    fn found(test: &TestProfile) -> Vec<String> {
        let sites = sites(&ProfileView::new(&test.profile), Metric::Live);
        let words = |site: &Site| {
            let line = site.frame.as_ref().and_then(|frame| frame.line);
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            format!(
                "{}{line} {}",
                site.function(),
                site.figures.live_at_end.bytes
            )
        };
        sites.iter().map(words).collect()
    }

    #[test]
    fn library_code_is_not_to_blame() {
        let mut test = TestProfile::new();
        test.allocate(
            &["main a.rs:3", "alloc::vec::Vec<T,A>::push", "__rust_alloc"],
            10,
            1,
        );
        test.allocate(&["main a.rs:3", "alloc::boxed::Box<T>::new"], 5, 1);
        test.allocate(
            &["main a.rs:4", "load b.rs:7", "xmalloc b.rs:90", "malloc"],
            8,
            1,
        );
        assert_eq!(found(&test), ["main:3 15", "load:7 8"]);
    }

    #[test]
    fn inlined_functions_are_frames() {
        let mut test = TestProfile::new();
        let place = "alloc::vec::Vec<T,A>::reserve /rustc/1/library/alloc/src/vec/mod.rs:9 < grow a.rs:5 < main a.rs:2";
        test.allocate(&[place, "alloc::raw_vec::finish_grow"], 7, 1);
        assert_eq!(found(&test), ["grow:5 7"]);
    }

    #[test]
    fn where_all_is_library_code() {
        let mut test = TestProfile::new();
        test.allocate(&["__libc_start_main", "std::rt::init", "malloc"], 3, 1);
        test.allocate(&["operator new(unsigned long)", "malloc"], 2, 1);
        let pool = "start /home/u/.cargo/registry/src/i/rayon-core-1.0.0/src/registry.rs:7";
        test.allocate(&[pool, "alloc::vec::Vec<T,A>::push", "malloc"], 9, 1);
        test.add(
            StackTable::EMPTY,
            &[],
            StackFigures {
                live_at_end: Amount {
                    bytes: 1,
                    blocks: 1,
                },
                ..StackFigures::default()
            },
        );
        assert_eq!(
            found(&test),
            ["start:7 9", "std::rt::init 3", "malloc 2", " 1"]
        );
    }

    #[test]
    fn recursion_counts_once() {
        let mut test = TestProfile::new();
        test.allocate(
            &["main a.c:1", "walk a.c:9", "walk a.c:9", "walk a.c:9"],
            6,
            2,
        );
        test.allocate(&["main a.c:1", "walk a.c:9"], 4, 1);
        assert_eq!(found(&test), ["walk:9 10"]);
    }

    #[test]
    fn metrics_rank() {
        let mut test = TestProfile::new();
        let figures = |bytes, blocks| StackFigures {
            total: Amount { bytes, blocks },
            temporary: Amount { bytes: 1, blocks },
            ..StackFigures::default()
        };
        test.add(StackTable::EMPTY, &["few"], figures(100, 1));
        test.add(StackTable::EMPTY, &["many"], figures(10, 9));
        let view = ProfileView::new(&test.profile);
        let first = |metric| sites(&view, metric)[0].function().to_owned();
        assert_eq!(first(Metric::Bytes), "few");
        assert_eq!(first(Metric::Allocations), "many");
        assert_eq!(first(Metric::Temporary), "many");
        assert_eq!(first(Metric::Peak), "few");
    }
}
