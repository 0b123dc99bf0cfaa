//! One function: what it allocates, who calls it, what it calls.

use std::cmp::Reverse;

use hashbrown::{HashMap, HashSet};
use heapatlas_model::{StackFigures, StackId};
use rustc_hash::FxBuildHasher;

use super::Metric;
use super::view::ProfileView;

/// What is allocated in a function, and by way of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallersAndCallees {
    /// What the function itself is to blame for, library code that it calls included.
    pub own: StackFigures,
    /// Of all stacks that it is in; a stack counts once, however often the function is in it.
    pub inclusive: StackFigures,
    /// Who calls it, largest first.
    pub callers: Vec<Neighbor>,
    /// What it calls, library code included, largest first.
    pub callees: Vec<Neighbor>,
}

/// A function that calls another or is called by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbor {
    /// Its name.
    pub function: String,
    /// Of all stacks in which the two follow one another; a stack counts once.
    pub figures: StackFigures,
}

/// What is allocated in the functions of a name, and by way of them; `None` where no
/// allocation passes through one.
pub fn callers_and_callees(
    view: &ProfileView<'_>,
    function: &str,
    metric: Metric,
) -> Option<CallersAndCallees> {
    let (mut own, mut inclusive) = (StackFigures::default(), StackFigures::default());
    let (mut callers, mut callees) = (Sums::default(), Sums::default());
    for (stack, figures) in view.allocating_stacks() {
        let names = functions(view, stack);
        if !names.contains(&function) {
            continue;
        }
        inclusive += *figures;
        if names.get(view.frames_before_blame(stack)) == Some(&function) {
            own += *figures;
        }
        let pairs = || names.windows(2).map(|pair| (pair[0], pair[1]));
        callers.add(
            pairs()
                .filter(|(inner, _)| *inner == function)
                .map(|(_, outer)| outer),
            figures,
        );
        callees.add(
            pairs()
                .filter(|(_, outer)| *outer == function)
                .map(|(inner, _)| inner),
            figures,
        );
    }
    (inclusive != StackFigures::default()).then(|| CallersAndCallees {
        own,
        inclusive,
        callers: callers.ranked(metric),
        callees: callees.ranked(metric),
    })
}

/// The functions of a stack, innermost first.
fn functions<'a>(view: &'a ProfileView<'_>, stack: StackId) -> Vec<&'a str> {
    let frames = view.frames_of(stack);
    frames
        .map(|frame| view.frame(frame).function.as_str())
        .collect()
}

/// Figures by function.
#[derive(Default)]
struct Sums<'a>(HashMap<&'a str, StackFigures, FxBuildHasher>);

impl<'a> Sums<'a> {
    /// Adds figures to each function once.
    fn add(&mut self, functions: impl Iterator<Item = &'a str>, figures: &StackFigures) {
        let distinct: HashSet<&str, FxBuildHasher> = functions.collect();
        for function in distinct {
            *self.0.entry(function).or_default() += *figures;
        }
    }

    fn ranked(self, metric: Metric) -> Vec<Neighbor> {
        let neighbor = |(function, figures): (&str, _)| Neighbor {
            function: function.to_owned(),
            figures,
        };
        let mut neighbors: Vec<Neighbor> = self.0.into_iter().map(neighbor).collect();
        neighbors.sort_by(|a, b| {
            let rank = |row: &Neighbor| Reverse(metric.weight(&row.figures));
            rank(a)
                .cmp(&rank(b))
                .then_with(|| a.function.cmp(&b.function))
        });
        neighbors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::test_profile::TestProfile;

    fn found(test: &TestProfile, function: &str) -> Option<(u64, u64, String, String)> {
        let view = ProfileView::new(&test.profile);
        let found = callers_and_callees(&view, function, Metric::Live)?;
        let words = |neighbors: &[Neighbor]| {
            let word =
                |row: &Neighbor| format!("{} {}", row.function, row.figures.live_at_end.bytes);
            neighbors.iter().map(word).collect::<Vec<_>>().join(", ")
        };
        Some((
            found.own.live_at_end.bytes,
            found.inclusive.live_at_end.bytes,
            words(&found.callers),
            words(&found.callees),
        ))
    }

    #[track_caller]
    fn check(
        test: &TestProfile,
        function: &str,
        own: u64,
        inclusive: u64,
        callers: &str,
        callees: &str,
    ) {
        let expected = (own, inclusive, callers.to_owned(), callees.to_owned());
        assert_eq!(found(test, function), Some(expected), "{function}");
    }

    #[test]
    fn neighbors() {
        let mut test = TestProfile::new();
        test.allocate(&["main a.c:1", "load a.c:5", "malloc"], 60, 1);
        test.allocate(&["main a.c:2", "load a.c:6", "parse a.c:8"], 30, 1);
        test.allocate(&["main a.c:2", "log a.c:9"], 10, 1);
        check(&test, "main", 0, 100, "", "load 90, log 10");
        check(&test, "load", 60, 90, "main 90", "malloc 60, parse 30");
        check(&test, "malloc", 0, 60, "load 60", "");
        assert_eq!(found(&test, "nobody"), None);
    }

    #[test]
    fn recursion_counts_once() {
        let mut test = TestProfile::new();
        test.allocate(
            &[
                "main a.c:1",
                "walk a.c:9",
                "visit a.c:4",
                "walk a.c:9",
                "visit a.c:4",
            ],
            6,
            1,
        );
        test.allocate(&["main a.c:1", "walk a.c:9", "walk a.c:9"], 4, 1);
        check(
            &test,
            "walk",
            4,
            10,
            "main 10, visit 6, walk 4",
            "visit 6, walk 4",
        );
        check(&test, "visit", 6, 6, "walk 6", "walk 6");
    }
}
