//! One place in the code: what it allocates, who calls it, what it calls, the stacks through it.

use std::cmp::Reverse;

use hashbrown::{HashMap, HashSet};
use heapatlas_model::StackFigures;
use rustc_hash::FxBuildHasher;

use super::Metric;
use super::frames::FrameId;
use super::subject::{Subject, located_frames};
use super::view::ProfileView;

/// What is allocated at a place, and by way of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallersAndCallees {
    /// What the place itself is to blame for, library code that it calls included.
    pub own: StackFigures,
    /// Of all stacks that it is in; a stack counts once, however often the place is in it.
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

/// A stack that passes through a place, frame by frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StackThrough {
    /// Innermost first.
    pub frames: Vec<FrameId>,
    /// Which of them are what was asked for.
    pub is_subject: Vec<bool>,
    /// Whether its outermost frames are missing.
    pub is_cut_off: bool,
    /// Of all stacks with these frames, whatever their addresses.
    pub figures: StackFigures,
}

/// What is allocated at a place, and by way of it. All zero where no allocation passes through it.
pub fn callers_and_callees(
    view: &ProfileView<'_>,
    subject: &Subject,
    metric: Metric,
) -> CallersAndCallees {
    let (mut own, mut inclusive) = (StackFigures::default(), StackFigures::default());
    let (mut callers, mut callees) = (Sums::default(), Sums::default());
    for (stack, figures) in view.allocating_stacks() {
        let frames = located_frames(view, stack);
        if !frames.iter().any(|&frame| subject.holds(frame)) {
            continue;
        }
        inclusive += *figures;
        let blamed = frames.get(view.frames_before_blame(stack));
        if blamed.is_some_and(|&frame| subject.holds(frame)) {
            own += *figures;
        }
        let steps = || {
            let pairs = frames.windows(2).map(|pair| (pair[0], pair[1]));
            pairs.filter(|&(inner, outer)| !subject.is_within(inner, outer.0))
        };
        let name = |frame: FrameId| view.frame(frame).function.as_str();
        let from = steps().filter(|&(inner, _)| subject.holds(inner));
        callers.add(from.map(|(_, outer)| name(outer.1)), figures);
        let to = steps().filter(|&(_, outer)| subject.holds(outer));
        callees.add(to.map(|(inner, _)| name(inner.1)), figures);
    }
    CallersAndCallees {
        own,
        inclusive,
        callers: callers.ranked(metric),
        callees: callees.ranked(metric),
    }
}

/// The stacks that pass through a place, largest first, without those of which the metric counts nothing.
pub fn stacks_through(
    view: &ProfileView<'_>,
    subject: &Subject,
    metric: Metric,
) -> Vec<StackThrough> {
    let mut rows: HashMap<(Vec<FrameId>, bool), StackThrough, FxBuildHasher> = HashMap::default();
    for (stack, figures) in view.allocating_stacks() {
        let located = located_frames(view, stack);
        let is_subject: Vec<bool> = located.iter().map(|&frame| subject.holds(frame)).collect();
        if metric.weight(figures) == 0 || !is_subject.contains(&true) {
            continue;
        }
        let frames: Vec<FrameId> = located.into_iter().map(|(_, frame)| frame).collect();
        let is_cut_off = view.profile().stacks.is_cut_off(stack);
        let row = rows
            .entry((frames, is_cut_off))
            .or_insert_with_key(|key| StackThrough {
                frames: key.0.clone(),
                is_subject,
                is_cut_off,
                figures: StackFigures::default(),
            });
        row.figures += *figures;
    }
    let mut stacks: Vec<StackThrough> = rows.into_values().collect();
    stacks.sort_by(|a, b| {
        let rank = |row: &StackThrough| Reverse(metric.weight(&row.figures));
        rank(a).cmp(&rank(b)).then_with(|| a.frames.cmp(&b.frames))
    });
    stacks
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
    use crate::profile::Place;
    use crate::profile::test_profile::TestProfile;

    fn found(test: &TestProfile, place: &str) -> Option<(u64, u64, String, String)> {
        let view = ProfileView::new(&test.profile);
        let subject = Subject::find(&view, &Place::parse(place))?;
        let found = callers_and_callees(&view, &subject, Metric::Live);
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
        check(&test, "a.c:2", 0, 40, "", "load 30, log 10");
        assert_eq!(found(&test, "nobody"), None);
    }

    #[test]
    fn what_is_inlined_at_an_address_does_not_call_it() {
        let mut test = TestProfile::new();
        test.allocate(&["main a.c:1", "inner a.c:7 < outer a.c:3", "malloc"], 8, 1);
        check(&test, "0x1002", 8, 8, "main 8", "malloc 8");
        check(&test, "outer", 0, 8, "main 8", "inner 8");
    }

    #[test]
    fn stacks() {
        let mut test = TestProfile::new();
        test.allocate(&["main a.c:1", "load a.c:5", "malloc"], 60, 1);
        test.allocate(&["main a.c:2", "load a.c:5", "malloc"], 70, 2);
        test.allocate(&["main a.c:2", "log a.c:9"], 10, 1);
        let view = ProfileView::new(&test.profile);
        let subject = Subject::find(&view, &Place::parse("load")).expect("it is there");
        let words = |row: &StackThrough| {
            let name = |(&id, &is_subject): (&FrameId, &bool)| {
                let mark = if is_subject { "*" } else { "" };
                format!("{}{mark}", view.frame(id).function)
            };
            let names: Vec<_> = row.frames.iter().zip(&row.is_subject).map(name).collect();
            format!("{} {}", names.join(" "), row.figures.live_at_end.bytes)
        };
        let stacks = stacks_through(&view, &subject, Metric::Live);
        let stacks: Vec<_> = stacks.iter().map(words).collect();
        assert_eq!(stacks, ["malloc load* main 70", "malloc load* main 60"]);
        assert_eq!(stacks_through(&view, &subject, Metric::Temporary), []);
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
