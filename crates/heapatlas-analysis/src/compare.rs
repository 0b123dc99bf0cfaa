//! What is new, gone and grown between two snapshots of one process.

use crate::Heap;

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
pub fn compare(base: &Heap, current: &Heap, options: CompareOptions) -> Comparison {
    let _ = (base, current, options);
    todo!()
}

/// Compares each snapshot with the one before it.
pub fn compare_series(heaps: &[Heap], options: CompareOptions) -> Series {
    let _ = (heaps, options);
    todo!()
}
