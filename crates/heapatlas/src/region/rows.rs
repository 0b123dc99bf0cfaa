//! The rows of the table: one for each name below each other row, the same for all threads.
//!
//! ```text
//! (parent, name) --hash--> bucket -> Row -> Row -> ...     rows stay as long as the process
//! ```
//!
//! No locks: a row is put at the head of its bucket by one compare-and-exchange. So a forked child finds them whole.

use std::borrow::Cow;
use std::mem;
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// More rows than anybody reads. What comes after is charged to its outer region, or to [`OTHER`].
pub(super) const MAX_ROWS: usize = 4096;
/// Recursion is measured down to this depth.
const MAX_LEVEL: u32 = 64;
/// Longer names are cut.
const MAX_NAME_BYTES: usize = 200;

/// One row.
pub(crate) struct Row {
    /// Below [`MAX_ROWS`], for arrays.
    pub(super) index: usize,
    /// `None`: at the top.
    pub(super) parent: Option<&'static Row>,
    pub(super) level: u32,
    pub(super) name: Cow<'static, str>,
    next_in_bucket: AtomicPtr<Row>,
}

/// Where a region's figures go.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(super) row: &'static Row,
    /// Not if the row is that of an outer region, because there are too many rows.
    pub(super) is_own: bool,
}

static OTHER: Row = Row {
    index: 0,
    parent: None,
    level: 0,
    name: Cow::Borrowed("(other regions)"),
    next_in_bucket: AtomicPtr::new(ptr::null_mut()),
};

const BUCKETS: usize = 1024;
static ROWS: [AtomicPtr<Row>; BUCKETS] = [const { AtomicPtr::new(ptr::null_mut()) }; BUCKETS];
/// The next index to give; 0 is [`OTHER`].
static NEXT_INDEX: AtomicU32 = AtomicU32::new(1);
/// One that was given to a row which another thread made first, or 0. (If two are left at once, one row less fits.)
static SPARE_INDEX: AtomicU32 = AtomicU32::new(0);
/// How often a region got no row of its own.
static WITHOUT_ROW: AtomicU64 = AtomicU64::new(0);

impl Row {
    /// Whether it is the one for `name` below `parent`.
    #[inline]
    pub(super) fn is_for(&self, parent: Option<&'static Row>, name: &str) -> bool {
        is_same(self.parent, parent) && self.name == shortened(name)
    }
}

/// The place for `name` below `parent`. Allocates for a new name: the caller is inside heapatlas.
pub(super) fn place(parent: Option<&'static Row>, name: &str) -> Place {
    if let Some(row) = find_or_add(parent, shortened(name)) {
        return Place { row, is_own: true };
    }
    WITHOUT_ROW.fetch_add(1, Relaxed);
    Place {
        row: parent.unwrap_or(&OTHER),
        is_own: parent.is_none(),
    }
}

/// All rows, in no order.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    let heads = ROWS.iter().filter_map(|bucket| row(bucket));
    let listed = heads
        .flat_map(|head| std::iter::successors(Some(head), |&before| row(&before.next_in_bucket)));
    listed.chain([&OTHER])
}

/// How often a region got no row of its own since [`reset_without_row`].
pub(super) fn without_row() -> u64 {
    WITHOUT_ROW.load(Relaxed)
}

pub(super) fn reset_without_row() {
    WITHOUT_ROW.store(0, Relaxed);
}

fn find_or_add(parent: Option<&'static Row>, name: &str) -> Option<&'static Row> {
    let bucket = &ROWS[hash(parent, name) % BUCKETS];
    let mut head = row(bucket);
    if let Some(found) = find(head, None, parent, name) {
        return Some(found);
    }
    let mut new = new_row(parent, name)?;
    loop {
        let head_pointer = head.map_or(ptr::null_mut(), |head| ptr::from_ref(head).cast_mut());
        *new.0[0].next_in_bucket.get_mut() = head_pointer;
        let pointer = new.0.as_mut_ptr();
        let exchanged = bucket.compare_exchange(head_pointer, pointer, AcqRel, Acquire);
        if exchanged.is_ok() {
            mem::forget(new);
            // SAFETY: the row is never freed now, and nobody changes it.
            return Some(unsafe { &*pointer });
        }
        // Another thread was faster. Was it with the same name?
        let old_head = head;
        head = row(bucket);
        if let Some(found) = find(head, old_head, parent, name) {
            SPARE_INDEX.store(new.0[0].index as u32, Relaxed);
            return Some(found);
        }
    }
}

/// Looks from `head` on, up to `end`.
fn find(
    head: Option<&'static Row>,
    end: Option<&'static Row>,
    parent: Option<&'static Row>,
    name: &str,
) -> Option<&'static Row> {
    let mut next = head;
    while let Some(candidate) = next {
        if is_same(next, end) {
            return None;
        }
        if is_same(candidate.parent, parent) && candidate.name == name {
            return next;
        }
        next = row(&candidate.next_in_bucket);
    }
    None
}

/// `None`: there are too many, they are nested too deep, or there is no memory.
fn new_row(parent: Option<&'static Row>, name: &str) -> Option<NewRow> {
    let level = parent.map_or(0, |parent| parent.level + 1);
    if level >= MAX_LEVEL {
        return None;
    }
    let mut text = String::new();
    text.try_reserve_exact(name.len()).ok()?;
    text.push_str(name);
    let mut place = Vec::new();
    place.try_reserve_exact(1).ok()?;
    place.push(Row {
        index: new_index()?,
        parent,
        level,
        name: Cow::Owned(text),
        next_in_bucket: AtomicPtr::new(ptr::null_mut()),
    });
    Some(NewRow(place))
}

/// One row that nobody else has seen. (As a box, but there may be no memory for it.)
struct NewRow(Vec<Row>);

fn new_index() -> Option<usize> {
    let spare = SPARE_INDEX.swap(0, Relaxed);
    if spare != 0 {
        return Some(spare as usize);
    }
    let next = |index: u32| ((index as usize) < MAX_ROWS).then_some(index + 1);
    let index = NEXT_INDEX.fetch_update(Relaxed, Relaxed, next).ok()?;
    Some(index as usize)
}

#[inline]
fn row(pointer: &AtomicPtr<Row>) -> Option<&'static Row> {
    // SAFETY: null, or a row that was whole before its pointer was stored, and that stays.
    unsafe { pointer.load(Acquire).as_ref() }
}

#[inline]
fn is_same(one: Option<&'static Row>, other: Option<&'static Row>) -> bool {
    one.map(ptr::from_ref) == other.map(ptr::from_ref)
}

fn shortened(name: &str) -> &str {
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let is_boundary = |end: &usize| name.is_char_boundary(*end);
    let end = (0..=MAX_NAME_BYTES).rev().find(is_boundary).unwrap_or(0);
    &name[..end]
}

/// FNV-1a, over few bytes.
fn hash(parent: Option<&'static Row>, name: &str) -> usize {
    let seed = parent.map_or(0, |parent| parent.index as u64 + 1);
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash >> 20) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_row_below_each_parent() {
        let top = place(None, "rows: top");
        let inner = place(Some(top.row), "rows: inner");
        assert!(top.is_own && inner.is_own);
        assert!(ptr::eq(place(None, "rows: top").row, top.row));
        assert!(ptr::eq(place(Some(top.row), "rows: inner").row, inner.row));
        assert!(!ptr::eq(place(None, "rows: inner").row, inner.row));
        assert_eq!((top.row.level, inner.row.level), (0, 1));
    }

    #[test]
    fn threads_agree_on_rows() {
        let names: Vec<String> = (0..50).map(|number| format!("rows: {number}")).collect();
        let rows_of_thread = || names.iter().map(|name| place(None, name).row.index);
        let [one, other] = std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| rows_of_thread().collect::<Vec<_>>()));
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(one, other);
        let listed = all().filter(|row| one.contains(&row.index)).count();
        assert_eq!(listed, 50);
    }

    #[test]
    fn depth_ends_in_the_outermost_that_has_a_row() {
        let mut place = place(None, "rows: deep");
        for _ in 0..200 {
            place = super::place(Some(place.row), "deeper");
        }
        assert_eq!(place.row.level, MAX_LEVEL - 1);
        assert!(!place.is_own);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let name = "ä".repeat(150);
        let row = place(None, &name).row;
        assert_eq!(row.name, "ä".repeat(100));
        assert!(row.is_for(None, &name));
    }
}
