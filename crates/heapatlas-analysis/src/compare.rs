//! What is new, gone and grown between two snapshots of one process.

use std::borrow::Cow;
use std::cmp::Reverse;

use heapatlas_model::NodeId;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::classes::Classes;
use crate::interfaces::Interfaces;
use crate::paths::PathTree;
use crate::paths::shapes::{ShapeId, Shapes};
use crate::summary::class_figures;
use crate::{Heap, path_in_words};

/// Two snapshots compared, class by class.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// Sums over all classes.
    pub totals: Change,
    /// Classes with new or deleted objects, most allocated bytes first.
    pub classes: Vec<ClassChange>,
}

/// How much came and went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// Objects only in the newer snapshot.
    pub new: u64,
    /// Objects only in the older one.
    pub deleted: u64,
    /// Bytes of the new objects.
    pub allocated_bytes: u64,
    /// Bytes of the deleted objects.
    pub freed_bytes: u64,
}

impl Change {
    /// New less deleted objects.
    pub fn delta(&self) -> i64 {
        self.new
            .cast_signed()
            .wrapping_sub(self.deleted.cast_signed())
    }

    /// Allocated less freed bytes.
    pub fn delta_bytes(&self) -> i64 {
        self.allocated_bytes
            .cast_signed()
            .wrapping_sub(self.freed_bytes.cast_signed())
    }
}

/// A class whose objects came or went.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassChange {
    /// The name shown.
    pub name: String,
    /// What tells two classes of one name apart.
    pub key: String,
    /// How much came and went.
    pub change: Change,
    /// The commonest retaining paths of the new objects, most objects first.
    pub paths: Vec<PathShare>,
}

/// A retaining path that several objects share.
#[derive(Clone, PartialEq, Debug)]
pub struct PathShare {
    /// From the root down, in words.
    pub path: String,
    /// How many of the new objects are held this way.
    pub count: u64,
}

/// More than two snapshots, step by step.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// Each snapshot against the one before it.
    pub steps: Vec<Comparison>,
    /// Each class that changed in any step, with one value for each snapshot.
    pub classes: Vec<ClassSeries>,
}

/// A class over a series of snapshots.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassSeries {
    /// The name shown.
    pub name: String,
    /// What tells two classes of one name apart.
    pub key: String,
    /// For each snapshot the number of objects.
    pub count: Vec<u64>,
    /// For each snapshot their own bytes.
    pub shallow_bytes: Vec<u64>,
    /// For each snapshot the bytes they retain.
    pub retained_bytes: Vec<u64>,
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions {
    /// At most so many paths for each class; 0 for none, which is faster.
    pub paths: usize,
}

/// Compares two snapshots of one process, the older first.
///
/// Objects are told by class and id. An object that survived counts nowhere, whatever became of
/// its size; one whose class changed is deleted in one row and new in another; nodes without
/// size do not count. Plain objects of both go by the interfaces of the newer one.
pub fn compare(base: &Heap, current: &Heap, options: CompareOptions) -> Comparison {
    let interfaces = current.interfaces();
    let base_classes = reassigned(base, current, interfaces);
    let sides = [
        Side::new(base, &base_classes),
        Side::new(current, current.class_assignment()),
    ];
    compare_sides(&sides[0], &sides[1], options)
}

/// Compares each snapshot with the one before it.
///
/// Plain objects of all of them go by the interfaces of the last one, so that a class keeps its
/// name over the whole series.
pub fn compare_series(heaps: &[Heap], options: CompareOptions) -> Series {
    let Some(last) = heaps.last() else {
        return Series {
            steps: Vec::new(),
            classes: Vec::new(),
        };
    };
    let classes: Vec<Cow<'_, Classes>> = heaps
        .iter()
        .map(|heap| {
            if std::ptr::eq(heap, last) {
                Cow::Borrowed(heap.class_assignment())
            } else {
                Cow::Owned(reassigned(heap, last, last.interfaces()))
            }
        })
        .collect();
    let sides: Vec<Side<'_>> = heaps
        .iter()
        .zip(&classes)
        .map(|(heap, classes)| Side::new(heap, classes))
        .collect();
    let steps: Vec<Comparison> = sides
        .windows(2)
        .map(|pair| compare_sides(&pair[0], &pair[1], options))
        .collect();
    let classes = class_series(heaps, &classes, &steps);
    Series { steps, classes }
}

/// The classes of a heap by the rules and interfaces of another one.
fn reassigned(heap: &Heap, other: &Heap, interfaces: &Interfaces) -> Classes {
    Classes::assign(
        heap.graph(),
        heap.detached_states(),
        other.options().class_by_name,
        Some(interfaces),
    )
}

/// One of the snapshots compared: its objects sorted by class and, within a class, by id.
struct Side<'h> {
    heap: &'h Heap,
    classes: &'h Classes,
    /// Objects with a size, those of one class together.
    objects: Vec<Object>,
    /// For each class where its objects begin; one more entry than there are classes.
    first: Vec<usize>,
}

/// An object as it is told: by id, then by its place in the file.
type Object = (u64, NodeId);

impl<'h> Side<'h> {
    fn new(heap: &'h Heap, classes: &'h Classes) -> Self {
        let has_size = |node: &NodeId| heap.shallow_bytes(*node) > 0;
        let mut first = vec![0_usize; classes.table.len() + 1];
        for node in heap.graph().nodes().filter(has_size) {
            first[classes.class_of[node.index()].0 as usize + 1] += 1;
        }
        for class in 1..first.len() {
            first[class] += first[class - 1];
        }
        let mut next = first.clone();
        let mut objects = vec![(0, NodeId(0)); first[classes.table.len()]];
        for node in heap.graph().nodes().filter(has_size) {
            let slot = &mut next[classes.class_of[node.index()].0 as usize];
            objects[*slot] = (heap.graph().object_id(node), node);
            *slot += 1;
        }
        sort_ranges(&mut objects, &first);
        Self {
            heap,
            classes,
            objects,
            first,
        }
    }

    /// The objects of a class by its row, none where there is no such class.
    fn of_class(&self, class: Option<usize>) -> &[Object] {
        class.map_or(&[], |class| {
            &self.objects[self.first[class]..self.first[class + 1]]
        })
    }

    fn class_by_key(&self) -> FxHashMap<&'h str, usize> {
        let keys = self.classes.table.iter().map(|class| class.key.as_str());
        keys.zip(0..).collect()
    }
}

/// Sorts each class's objects. Writers give ids out in order and mostly list objects that way,
/// so that most classes are sorted already or in a few runs.
fn sort_ranges(objects: &mut [Object], first: &[usize]) {
    let mut rest = objects;
    let mut ranges = Vec::with_capacity(first.len());
    for bounds in first.windows(2) {
        let (range, others) = rest.split_at_mut(bounds[1] - bounds[0]);
        ranges.push(range);
        rest = others;
    }
    ranges
        .into_par_iter()
        .for_each(|range| range.sort_unstable());
}

fn compare_sides(base: &Side<'_>, current: &Side<'_>, options: CompareOptions) -> Comparison {
    let mut classes = changed_classes(base, current);
    let mut totals = Change::default();
    for class in &classes {
        totals.add(class.change);
    }
    if options.paths > 0 && current.heap.has_tree() {
        add_paths(base, current, options.paths, &mut classes);
    }
    Comparison { totals, classes }
}

/// The classes with new or deleted objects, most allocated bytes first.
fn changed_classes(base: &Side<'_>, current: &Side<'_>) -> Vec<ClassChange> {
    let in_current = current.class_by_key();
    let in_base = base.class_by_key();
    let of_current = current.classes.table.iter().zip(0..).map(|(class, at)| {
        let before = in_base.get(class.key.as_str()).copied();
        (class, before, Some(at))
    });
    let only_in_base = base.classes.table.iter().zip(0..);
    let only_in_base = only_in_base
        .filter(|(class, _)| !in_current.contains_key(class.key.as_str()))
        .map(|(class, at)| (class, Some(at), None));
    let mut classes: Vec<ClassChange> = of_current
        .chain(only_in_base)
        .map(|(class, before, after)| ClassChange {
            name: class.name.clone(),
            key: class.key.clone(),
            change: change(base, before, current, after),
            paths: Vec::new(),
        })
        .filter(|class| class.change.new > 0 || class.change.deleted > 0)
        .collect();
    classes.sort_by(|one, other| order(one).cmp(&order(other)));
    classes
}

fn order(class: &ClassChange) -> (Reverse<(u64, i64)>, &str, &str) {
    let bytes = (class.change.allocated_bytes, class.change.delta_bytes());
    (Reverse(bytes), &class.name, &class.key)
}

/// What came and went of a class, by its row on each side.
fn change(
    base: &Side<'_>,
    before: Option<usize>,
    current: &Side<'_>,
    after: Option<usize>,
) -> Change {
    let mut change = Change::default();
    merge(base, before, current, after, |event| match event {
        Event::Deleted(node) => change.add_deleted(base.heap.shallow_bytes(node)),
        Event::New(node) => change.add_new(current.heap.shallow_bytes(node)),
    });
    change
}

/// What a merge meets: a node of the base, or one of the current heap.
enum Event {
    Deleted(NodeId),
    New(NodeId),
}

/// Goes through the objects of a class on both sides, by id.
fn merge(
    base: &Side<'_>,
    before: Option<usize>,
    current: &Side<'_>,
    after: Option<usize>,
    mut tell: impl FnMut(Event),
) {
    let mut before = base.of_class(before).iter().copied().peekable();
    let mut after = current.of_class(after).iter().copied().peekable();
    loop {
        match (before.peek().copied(), after.peek().copied()) {
            (Some(old), Some(new)) if old.0 == new.0 => {
                before.next();
                after.next();
                // An id that V8 gave to something else since.
                if base.heap.graph().kind(old.1) != current.heap.graph().kind(new.1) {
                    tell(Event::Deleted(old.1));
                    tell(Event::New(new.1));
                }
            }
            (Some(old), new) if new.is_none_or(|new| old.0 < new.0) => {
                before.next();
                tell(Event::Deleted(old.1));
            }
            (_, Some(new)) => {
                after.next();
                tell(Event::New(new.1));
            }
            (_, None) => return,
        }
    }
}

/// Tells for each class by which paths its new objects are held, the commonest first.
///
/// Paths that differ in indexes only, or in how often they go round, are one.
fn add_paths(base: &Side<'_>, current: &Side<'_>, limit: usize, classes: &mut [ClassChange]) {
    let in_base = base.class_by_key();
    let in_current = current.class_by_key();
    let tree = PathTree::new(current.heap);
    let mut shapes = Shapes::new(current.heap, &tree);
    for class in classes.iter_mut().filter(|class| class.change.new > 0) {
        let [before, after] = [&in_base, &in_current].map(|rows| rows.get(&*class.key).copied());
        let mut counts: FxHashMap<ShapeId, u64> = FxHashMap::default();
        merge(base, before, current, after, |event| {
            if let Event::New(node) = event
                && current.heap.raw_distance(node) >= 0
            {
                *counts.entry(shapes.of(node)).or_default() += 1;
            }
        });
        let mut commonest: Vec<(ShapeId, u64)> = counts.into_iter().collect();
        commonest.sort_unstable_by_key(|&(shape, count)| (Reverse(count), shape));
        commonest.truncate(limit);
        class.paths = commonest
            .into_iter()
            .map(|(shape, count)| PathShare {
                path: path_in_words(&shapes.steps(shape)),
                count,
            })
            .collect();
    }
}

impl Change {
    fn add_new(&mut self, bytes: u64) {
        self.new += 1;
        self.allocated_bytes = self.allocated_bytes.saturating_add(bytes);
    }

    fn add_deleted(&mut self, bytes: u64) {
        self.deleted += 1;
        self.freed_bytes = self.freed_bytes.saturating_add(bytes);
    }

    fn add(&mut self, other: Self) {
        self.new += other.new;
        self.deleted += other.deleted;
        self.allocated_bytes = self.allocated_bytes.saturating_add(other.allocated_bytes);
        self.freed_bytes = self.freed_bytes.saturating_add(other.freed_bytes);
    }
}

/// The classes that any step changed, with their figures in each snapshot. Those that grew most
/// from the first to the last come first.
fn class_series(
    heaps: &[Heap],
    classes: &[Cow<'_, Classes>],
    steps: &[Comparison],
) -> Vec<ClassSeries> {
    let mut rows: Vec<ClassSeries> = Vec::new();
    let mut row_of: FxHashMap<&str, usize> = FxHashMap::default();
    for class in steps.iter().flat_map(|step| &step.classes) {
        row_of.entry(&class.key).or_insert_with(|| {
            rows.push(ClassSeries {
                name: class.name.clone(),
                key: class.key.clone(),
                count: vec![0; heaps.len()],
                shallow_bytes: vec![0; heaps.len()],
                retained_bytes: vec![0; heaps.len()],
            });
            rows.len() - 1
        });
    }
    for (at, (heap, classes)) in heaps.iter().zip(classes).enumerate() {
        let figures = class_figures(heap, classes, None);
        for (class, figures) in classes.table.iter().zip(figures) {
            if let Some(&row) = row_of.get(class.key.as_str()) {
                rows[row].count[at] = figures.count;
                rows[row].shallow_bytes[at] = figures.shallow_bytes;
                rows[row].retained_bytes[at] = figures.retained_bytes;
            }
        }
    }
    let growth = |bytes: &[u64]| match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => last.cast_signed().saturating_sub(first.cast_signed()),
        _ => 0,
    };
    rows.sort_by_key(|row| {
        Reverse((
            growth(&row.shallow_bytes),
            row.shallow_bytes.last().copied(),
        ))
    });
    rows
}

#[cfg(test)]
mod tests {
    use heapatlas_model::{EdgeKind, GraphBuilder, NodeKind, SnapshotFormat};

    use super::*;
    use crate::OpenOptions;

    /// A heap of objects by kind, name, id and size, all held by the root.
    fn heap(objects: &[(NodeKind, &str, u64, u64)]) -> Heap {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        for &(kind, name, id, bytes) in objects {
            let object = builder.node(kind, name, id, bytes);
            builder.named_edge(root, EdgeKind::Property, "held", object);
        }
        Heap::open(builder.finish().unwrap(), OpenOptions::default())
    }

    fn things(ids_and_sizes: &[(u64, u64)]) -> Heap {
        let objects = ids_and_sizes.iter();
        let objects: Vec<_> = objects
            .map(|&(id, bytes)| (NodeKind::Object, "Thing", id, bytes))
            .collect();
        heap(&objects)
    }

    fn rows(base: &Heap, current: &Heap) -> Vec<(String, [u64; 4])> {
        let comparison = compare(base, current, CompareOptions { paths: 0 });
        let row = |class: ClassChange| {
            let change = class.change;
            let figures = [
                change.new,
                change.deleted,
                change.allocated_bytes,
                change.freed_bytes,
            ];
            (class.key, figures)
        };
        comparison.classes.into_iter().map(row).collect()
    }

    #[track_caller]
    fn check(base: &Heap, current: &Heap, expected: &[(&str, [u64; 4])]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|&(key, figures)| (key.to_owned(), figures))
            .collect();
        assert_eq!(rows(base, current), expected);
    }

    #[test]
    fn new_deleted_and_unchanged() {
        let base = things(&[(3, 10), (5, 20), (9, 40)]);
        let current = things(&[(11, 1), (5, 7), (7, 2)]);
        check(&base, &current, &[(",Thing", [2, 2, 3, 50])]);
        let comparison = compare(&base, &current, CompareOptions { paths: 0 });
        assert_eq!(comparison.totals.delta(), 0);
        assert_eq!(comparison.totals.delta_bytes(), -47);
    }

    #[test]
    fn survivors_and_nodes_without_size_are_invisible() {
        check(&things(&[(3, 10)]), &things(&[(3, 99), (5, 0)]), &[]);
        check(&things(&[(3, 10), (5, 0)]), &things(&[(3, 10)]), &[]);
        // What lost its size is gone, as in DevTools.
        let gone = [(",Thing", [0, 1, 0, 10])];
        check(&things(&[(3, 10)]), &things(&[(3, 0)]), &gone);
    }

    #[test]
    fn ids_count_one_by_one_and_beyond_32_bits() {
        let large = 1 << 40;
        let base = things(&[(3, 1), (3, 1), (large, 1)]);
        let current = things(&[(3, 1), (large, 1), (large + 2, 1)]);
        check(&base, &current, &[(",Thing", [1, 1, 1, 1])]);
    }

    #[test]
    fn another_class_is_deleted_here_and_new_there() {
        let base = heap(&[(NodeKind::Object, "A", 3, 10)]);
        let current = heap(&[(NodeKind::Object, "B", 3, 10)]);
        let rows = [(",B", [1, 0, 10, 0]), (",A", [0, 1, 0, 10])];
        check(&base, &current, &rows);
    }

    #[test]
    fn another_type_is_another_object() {
        let base = heap(&[(NodeKind::Object, "Window", 3, 10)]);
        let current = heap(&[(NodeKind::Native, "Window", 3, 20)]);
        check(&base, &current, &[(",Window", [1, 1, 20, 10])]);
    }

    #[test]
    fn most_allocated_bytes_come_first() {
        let base = heap(&[]);
        let objects = [
            (NodeKind::Object, "Small", 3, 1),
            (NodeKind::Object, "Large", 5, 9),
            (NodeKind::Object, "Equal", 7, 1),
        ];
        let keys: Vec<String> = rows(&base, &heap(&objects))
            .into_iter()
            .map(|row| row.0)
            .collect();
        assert_eq!(keys, [",Large", ",Equal", ",Small"]);
    }

    /// Plain objects with one property each, by id.
    fn literals(objects: &[(u64, &str)]) -> Heap {
        let mut builder = GraphBuilder::new(SnapshotFormat::V8);
        let root = builder.node(NodeKind::Synthetic, "", 1, 0);
        for &(id, property) in objects {
            let object = builder.node(NodeKind::Object, "Object", id, 8);
            builder.named_edge(root, EdgeKind::Property, "held", object);
            builder.named_edge(object, EdgeKind::Property, property, root);
        }
        Heap::open(builder.finish().unwrap(), OpenOptions::default())
    }

    #[test]
    fn the_newer_heaps_interfaces_hold_for_both() {
        // One `{a}` is no interface, two are: without those of the newer heap, 3 would change
        // its class.
        let base = literals(&[(3, "a"), (11, "b"), (13, "b")]);
        let current = literals(&[(3, "a"), (5, "a"), (11, "b")]);
        let rows = [(",{a}", [1, 0, 8, 0]), (",Object", [0, 1, 0, 8])];
        check(&base, &current, &rows);
    }

    #[test]
    fn a_series_keeps_names() {
        let heaps = [
            literals(&[(3, "a")]),
            literals(&[(3, "a"), (5, "a")]),
            literals(&[(5, "a"), (7, "a"), (9, "a")]),
        ];
        let series = compare_series(&heaps, CompareOptions { paths: 0 });
        assert_eq!(series.steps.len(), 2);
        let [class] = &series.classes[..] else {
            panic!("one class: {:?}", series.classes);
        };
        assert_eq!(
            (class.name.as_str(), &class.count[..]),
            ("{a}", &[1, 2, 3][..])
        );
        assert_eq!(class.shallow_bytes, [8, 16, 24]);
        assert_eq!(class.retained_bytes, [8, 16, 24]);
        let deleted: Vec<u64> = series
            .steps
            .iter()
            .map(|step| step.totals.deleted)
            .collect();
        assert_eq!(deleted, [0, 1]);
        assert_eq!(compare_series(&[], CompareOptions { paths: 0 }).steps, []);
    }

    #[test]
    fn paths_of_new_objects_the_commonest_first() {
        let build = |count: u64| {
            let mut builder = GraphBuilder::new(SnapshotFormat::V8);
            let root = builder.node(NodeKind::Synthetic, "", 1, 0);
            let global = builder.node(NodeKind::Object, "global", 3, 8);
            let list = builder.node(NodeKind::Object, "Array", 5, 8);
            builder.named_edge(root, EdgeKind::Shortcut, "global", global);
            builder.named_edge(global, EdgeKind::Property, "list", list);
            for at in 0..count {
                let thing = builder.node(NodeKind::Object, "Thing", 7 + 2 * at, 8);
                if at == 1 {
                    builder.named_edge(global, EdgeKind::Property, "last", thing);
                } else {
                    builder.indexed_edge(list, EdgeKind::Element, at as u32, thing);
                }
            }
            builder.node(NodeKind::Object, "Thing", 1_001 + count, 8);
            Heap::open(builder.finish().unwrap(), OpenOptions::default())
        };
        let comparison = compare(&build(1), &build(4), CompareOptions { paths: 5 });
        let [class] = &comparison.classes[..] else {
            panic!("one class: {:?}", comparison.classes);
        };
        // The fourth new one is out of reach.
        assert_eq!(class.change.new, 4);
        let paths: Vec<(&str, u64)> = class
            .paths
            .iter()
            .map(|share| (share.path.as_str(), share.count))
            .collect();
        let in_list = "global.list (Array) -> [*] Thing";
        assert_eq!(paths, [(in_list, 2), ("global.last (Thing)", 1)]);
        let one = compare(&build(1), &build(4), CompareOptions { paths: 1 });
        assert_eq!(one.classes[0].paths.len(), 1);
    }
}
