//! Call trees: from the program's start down to what allocates, and from the blamed lines up to
//! who called them.

use std::cmp::Reverse;

use hashbrown::HashMap;
use heapatlas_model::{LocationId, StackFigures, StackId, StackTable};
use rustc_hash::FxBuildHasher;

use super::Metric;
use super::frames::FrameId;
use super::view::ProfileView;

/// What a node of a call tree stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CallLabel {
    /// Everything.
    Root,
    /// Outer frames that are missing, since stacks were cut off.
    CutOff,
    /// A frame.
    Frame(FrameId),
}

/// A node of a call tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallNode {
    /// Steps from the root.
    pub depth: usize,
    /// What it stands for.
    pub label: CallLabel,
    /// Of all stacks that pass through it.
    pub inclusive: StackFigures,
    /// Of the stacks that end in it.
    pub own: StackFigures,
    /// How many of its children were left out, since they are too small.
    pub omitted: usize,
}

/// A call tree: its nodes, each before its children, larger children first. The first is the root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallTree {
    /// The nodes.
    pub nodes: Vec<CallNode>,
}

/// Callers above, what they call below. Nodes with less than a share of the whole are left out.
pub fn top_down(view: &ProfileView<'_>, metric: Metric, least_share: f64) -> CallTree {
    Arena::of_stacks(view, |frame| frame).into_tree(view, metric, least_share)
}

/// The same by function, whatever the line: what flame graphs show. Nothing is left out but what
/// the metric does not count.
pub fn by_function(view: &ProfileView<'_>, metric: Metric) -> CallTree {
    let mut first_frames = HashMap::<&str, FrameId, FxBuildHasher>::default();
    let frames = view.frames().iter().zip(0..);
    let representatives: Vec<FrameId> = frames
        .map(|(frame, row)| *first_frames.entry(&frame.function).or_insert(FrameId(row)))
        .collect();
    let representative = |frame: FrameId| representatives[frame.0 as usize];
    Arena::of_stacks(view, representative).into_tree(view, metric, 0.0)
}

/// The tree while it grows: parents stand before their children.
struct Arena {
    labels: Vec<CallLabel>,
    parents: Vec<usize>,
    own: Vec<StackFigures>,
    rows: HashMap<(usize, CallLabel), usize, FxBuildHasher>,
}

impl Arena {
    /// Follows the table of stacks row by row, which costs less than walking each stack.
    fn of_stacks(view: &ProfileView<'_>, name: impl Fn(FrameId) -> FrameId) -> Self {
        let mut arena = Self {
            labels: vec![CallLabel::Root],
            parents: vec![0],
            own: vec![StackFigures::default()],
            rows: HashMap::default(),
        };
        let profile = view.profile();
        let mut nodes = Vec::with_capacity(profile.stacks.len());
        for row in 0..profile.stacks.len() {
            let stack = StackId::from_index(row);
            let node = match profile.stacks.location(stack) {
                Some(location) => {
                    let caller = nodes[profile.stacks.parent(stack).index()];
                    arena.call(view, caller, location, &name)
                }
                None if stack == StackTable::CUT_OFF => arena.child(0, CallLabel::CutOff),
                None => 0,
            };
            if let Some(figures) = profile.figures.get(row) {
                arena.own[node] += *figures;
            }
            nodes.push(node);
        }
        arena
    }

    /// The node of a location that is called from another: one for each frame, outermost first.
    fn call(
        &mut self,
        view: &ProfileView<'_>,
        caller: usize,
        location: LocationId,
        name: impl Fn(FrameId) -> FrameId,
    ) -> usize {
        let frames = view.frames_at(location).iter().rev();
        frames.fold(caller, |node, &frame| {
            self.child(node, CallLabel::Frame(name(frame)))
        })
    }

    fn child(&mut self, parent: usize, label: CallLabel) -> usize {
        let next = self.labels.len();
        let row = *self.rows.entry((parent, label)).or_insert(next);
        if row == next {
            self.labels.push(label);
            self.parents.push(parent);
            self.own.push(StackFigures::default());
        }
        row
    }

    fn inclusive(&self) -> Vec<StackFigures> {
        let mut inclusive = self.own.clone();
        for row in (1..inclusive.len()).rev() {
            let figures = inclusive[row];
            inclusive[self.parents[row]] += figures;
        }
        inclusive
    }

    fn into_tree(self, view: &ProfileView<'_>, metric: Metric, least_share: f64) -> CallTree {
        let inclusive = self.inclusive();
        let limit = Limit::new(metric, &inclusive[0], least_share);
        let mut children = vec![Vec::new(); self.labels.len()];
        let mut omitted = vec![0; self.labels.len()];
        for row in 1..self.labels.len() {
            match limit.judge(&inclusive[row]) {
                Size::Nothing => {}
                Size::Small => omitted[self.parents[row]] += 1,
                Size::Large => children[self.parents[row]].push(row),
            }
        }
        let mut nodes = Vec::new();
        let mut waiting = vec![(0, 0)];
        while let Some((row, depth)) = waiting.pop() {
            let below = &mut children[row];
            below.sort_by_key(|&row| rank(view, metric, inclusive[row], self.labels[row]));
            waiting.extend(below.iter().rev().map(|&row| (row, depth + 1)));
            nodes.push(CallNode {
                depth,
                label: self.labels[row],
                inclusive: inclusive[row],
                own: self.own[row],
                omitted: omitted[row],
            });
        }
        CallTree { nodes }
    }
}

/// The blamed lines, below each its callers. Nodes with less than a share of the whole are left out.
///
/// Stacks are told apart frame by frame, and only as far as what they have in common is large.
pub fn bottom_up(view: &ProfileView<'_>, metric: Metric, least_share: f64) -> CallTree {
    let stacks = view.allocating_stacks();
    let cursors: Vec<Cursor> = stacks
        .filter(|(_, figures)| metric.weight(figures) > 0)
        .map(|(stack, figures)| Cursor::at_blame(view, stack, *figures))
        .collect();
    let limit = Limit::new(metric, &sum(&cursors), least_share);
    let mut nodes = Vec::new();
    let mut waiting = vec![(CallLabel::Root, 0, cursors)];
    while let Some((label, depth, cursors)) = waiting.pop() {
        let inclusive = sum(&cursors);
        let (callers, own) = step_out(view, cursors);
        let (mut large, small): (Vec<_>, Vec<_>) = callers
            .into_iter()
            .map(|(frame, cursors)| (CallLabel::Frame(frame), depth + 1, cursors))
            .partition(|(_, _, cursors)| limit.judge(&sum(cursors)) == Size::Large);
        large.sort_by_cached_key(|(label, _, cursors)| {
            Reverse(rank(view, metric, sum(cursors), *label))
        });
        waiting.extend(large);
        nodes.push(CallNode {
            depth,
            label,
            inclusive,
            own,
            omitted: small.len(),
        });
    }
    CallTree { nodes }
}

/// How far a stack was followed outwards.
#[derive(Clone, Copy)]
struct Cursor {
    stack: StackId,
    /// How many frames of the stack's innermost location were passed.
    passed: usize,
    figures: StackFigures,
}

impl Cursor {
    fn at_blame(view: &ProfileView<'_>, stack: StackId, figures: StackFigures) -> Self {
        let mut cursor = Self {
            stack,
            passed: 0,
            figures,
        };
        for _ in 0..view.frames_before_blame(stack) {
            cursor.next(view);
        }
        cursor
    }

    fn next(&mut self, view: &ProfileView<'_>) -> Option<FrameId> {
        loop {
            let stacks = &view.profile().stacks;
            let frames = view.frames_at(stacks.location(self.stack)?);
            if let Some(&frame) = frames.get(self.passed) {
                self.passed += 1;
                return Some(frame);
            }
            self.stack = stacks.parent(self.stack);
            self.passed = 0;
        }
    }
}

fn sum(cursors: &[Cursor]) -> StackFigures {
    let mut sum = StackFigures::default();
    cursors.iter().for_each(|cursor| sum += cursor.figures);
    sum
}

/// The stacks by their next frame, and the figures of those that have none.
fn step_out(
    view: &ProfileView<'_>,
    cursors: Vec<Cursor>,
) -> (HashMap<FrameId, Vec<Cursor>, FxBuildHasher>, StackFigures) {
    let mut callers = HashMap::<FrameId, Vec<Cursor>, FxBuildHasher>::default();
    let mut own = StackFigures::default();
    for mut cursor in cursors {
        match cursor.next(view) {
            Some(frame) => callers.entry(frame).or_default().push(cursor),
            None => own += cursor.figures,
        }
    }
    (callers, own)
}

/// From which size on a node is shown.
struct Limit {
    metric: Metric,
    least: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Nothing,
    Small,
    Large,
}

impl Limit {
    fn new(metric: Metric, whole: &StackFigures, least_share: f64) -> Self {
        Self {
            metric,
            least: metric.weight(whole) as f64 * least_share,
        }
    }

    fn judge(&self, figures: &StackFigures) -> Size {
        match self.metric.weight(figures) {
            0 => Size::Nothing,
            weight if (weight as f64) < self.least => Size::Small,
            _ => Size::Large,
        }
    }
}

/// Smaller is earlier: the order of siblings.
fn rank<'a>(
    view: &'a ProfileView<'a>,
    metric: Metric,
    figures: StackFigures,
    label: CallLabel,
) -> impl Ord + use<'a> {
    let frame = match label {
        CallLabel::Frame(id) => Some(view.frame(id)),
        CallLabel::Root | CallLabel::CutOff => None,
    };
    let words = frame.map(|frame| (&frame.function, &frame.file, frame.line, &frame.module));
    (Reverse(metric.weight(&figures)), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::test_profile::TestProfile;
    use heapatlas_model::Amount;

    /// Each node on a line: indented, its name, inclusive and own live bytes, omitted children.
    fn lines(view: &ProfileView<'_>, tree: &CallTree) -> Vec<String> {
        let line = |node: &CallNode| {
            let name = match node.label {
                CallLabel::Root => "*",
                CallLabel::CutOff => "?",
                CallLabel::Frame(id) => &view.frame(id).function,
            };
            let bytes = (node.inclusive.live_at_end.bytes, node.own.live_at_end.bytes);
            let omitted = if node.omitted > 0 { " …" } else { "" };
            format!(
                "{}{name} {} {}{omitted}",
                " ".repeat(node.depth),
                bytes.0,
                bytes.1
            )
        };
        tree.nodes.iter().map(line).collect()
    }

    fn program() -> TestProfile {
        let mut test = TestProfile::new();
        test.allocate(&["main a.c:1", "load a.c:5", "malloc"], 60, 1);
        test.allocate(&["main a.c:2", "load a.c:5", "malloc"], 30, 1);
        test.allocate(&["main a.c:2", "log a.c:9"], 10, 1);
        test
    }

    #[test]
    fn from_the_start_down() {
        let test = program();
        let view = ProfileView::new(&test.profile);
        let tree = top_down(&view, Metric::Live, 0.0);
        let expected = [
            "* 100 0",
            " main 60 0",
            "  load 60 0",
            "   malloc 60 60",
            " main 40 0",
            "  load 30 0",
            "   malloc 30 30",
            "  log 10 10",
        ];
        assert_eq!(lines(&view, &tree), expected);
        let tree = top_down(&view, Metric::Live, 0.2);
        assert_eq!(
            lines(&view, &tree)[4..],
            [" main 40 0 …", "  load 30 0", "   malloc 30 30"]
        );
    }

    #[test]
    fn by_function_lines_do_not_matter() {
        let test = program();
        let view = ProfileView::new(&test.profile);
        let expected = [
            "* 100 0",
            " main 100 0",
            "  load 90 0",
            "   malloc 90 90",
            "  log 10 10",
        ];
        assert_eq!(lines(&view, &by_function(&view, Metric::Live)), expected);
    }

    #[test]
    fn from_the_blamed_lines_up() {
        let test = program();
        let view = ProfileView::new(&test.profile);
        let tree = bottom_up(&view, Metric::Live, 0.0);
        let expected = [
            "* 100 0",
            " load 90 0",
            "  main 60 60",
            "  main 30 30",
            " log 10 0",
            "  main 10 10",
        ];
        assert_eq!(lines(&view, &tree), expected);
        let tree = bottom_up(&view, Metric::Live, 0.5);
        assert_eq!(
            lines(&view, &tree),
            ["* 100 0 …", " load 90 0 …", "  main 60 60"]
        );
    }

    #[test]
    fn inlined_functions_have_nodes() {
        let mut test = TestProfile::new();
        test.allocate(&["inner a.c:7 < outer a.c:3"], 8, 1);
        let view = ProfileView::new(&test.profile);
        let down = top_down(&view, Metric::Live, 0.0);
        assert_eq!(lines(&view, &down), ["* 8 0", " outer 8 0", "  inner 8 8"]);
        let up = bottom_up(&view, Metric::Live, 0.0);
        assert_eq!(lines(&view, &up), ["* 8 0", " inner 8 0", "  outer 8 8"]);
    }

    #[test]
    fn stacks_that_were_cut_off() {
        let mut test = TestProfile::new();
        let figures = StackFigures {
            live_at_end: Amount {
                bytes: 5,
                blocks: 1,
            },
            ..StackFigures::default()
        };
        test.add(StackTable::CUT_OFF, &["deep"], figures);
        test.add(StackTable::EMPTY, &[], figures);
        let view = ProfileView::new(&test.profile);
        let down = top_down(&view, Metric::Live, 0.0);
        assert_eq!(lines(&view, &down), ["* 10 5", " ? 5 0", "  deep 5 5"]);
        let up = bottom_up(&view, Metric::Live, 0.0);
        assert_eq!(lines(&view, &up), ["* 10 5", " deep 5 5"]);
    }

    #[test]
    fn what_the_metric_does_not_count_is_not_there() {
        let test = program();
        let view = ProfileView::new(&test.profile);
        for tree in [
            top_down(&view, Metric::Temporary, 0.0),
            bottom_up(&view, Metric::Temporary, 0.0),
            by_function(&view, Metric::Temporary),
        ] {
            assert_eq!(tree.nodes.len(), 1);
        }
    }

    #[test]
    fn deep_recursion_is_only_long() {
        let mut test = TestProfile::new();
        test.allocate(&vec!["walk a.c:9"; 3000], 4, 1);
        let view = ProfileView::new(&test.profile);
        assert_eq!(top_down(&view, Metric::Live, 0.0).nodes.len(), 3001);
        let up = bottom_up(&view, Metric::Live, 0.0);
        assert_eq!(up.nodes.len(), 3001);
        assert_eq!(up.nodes[3000].inclusive.live_at_end.bytes, 4);
    }
}
