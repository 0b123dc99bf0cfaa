//! The table of all regions: the lanes of all threads merged, and sums over what is nested.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::RegionStats;
use super::lanes::{self, RowSums};
use super::reading::Figures;
use super::rows::{self, Row};
use crate::alloc;

/// What regions, tasks and spans have had since the program began or since [`reset_regions`].
///
/// `println!("{table}")` shows it aligned and with units; [`to_json`](Self::to_json) is for programs.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RegionTable {
    /// Each row is followed by those nested in it; among these, what allocated most comes first (or took longest, if
    /// memory was not counted).
    pub rows: Vec<RegionRow>,
    /// Whether memory was counted, that is, whether an [`Alloc`](crate::Alloc) is the global allocator and counts.
    /// Otherwise there are times only.
    pub counts_memory: bool,
    /// How many executions have no row of their own and are part of the region around them (or of the row
    /// "(other regions)"): there are too many names, or they are nested too deep.
    pub without_row: u64,
}

/// All executions of one name below one other row.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RegionRow {
    /// The name given.
    pub name: String,
    /// 0: at the top.
    pub level: usize,
    /// The index of the row that this one is nested in.
    pub parent: Option<usize>,
    /// How many executions have ended.
    pub count: u64,
    /// The mean wall time of those, with all that ran inside of them.
    pub wall_mean: Duration,
    /// The longest.
    pub wall_max: Duration,
    /// Everything, with what is nested: the sum of [`own`](Self::own) over this row and those below it, on whatever
    /// thread they ran. Executions that have not ended are part of it up to the last start or end of a region in their
    /// thread.
    pub total: RegionStats,
    /// While this was the innermost region of its thread. (Its peak is that of `total`.)
    pub own: RegionStats,
}

/// The table of all threads. It costs nothing to the threads that are measured meanwhile.
#[must_use]
pub fn regions() -> RegionTable {
    let mut sums = HashMap::new();
    lanes::for_each(|_, row, figures| merge(&mut sums, row, &figures.sums()));
    table(&sums)
}

/// A table for each name of threads that had regions, in the order of the names. Threads without a name are
/// "(unnamed)"; after 64 names, others are "(other threads)".
#[must_use]
pub fn regions_by_thread() -> Vec<(String, RegionTable)> {
    let mut threads: BTreeMap<&str, HashMap<usize, RowSums>> = BTreeMap::new();
    lanes::for_each(|thread, row, figures| {
        merge(threads.entry(thread).or_default(), row, &figures.sums());
    });
    let tables = threads
        .into_iter()
        .map(|(thread, sums)| (thread.to_owned(), table(&sums)));
    tables.filter(|(_, table)| !table.rows.is_empty()).collect()
}

/// All figures begin at zero. Executions that are under way are not counted when they end, and what they do counts from
/// their thread's next start or end of a region on.
pub fn reset_regions() {
    lanes::reset();
    rows::reset_without_row();
}

impl RegionTable {
    /// The row of this name below rows of these names: `table.row(&["request", "parse"])`.
    #[must_use]
    pub fn row(&self, path: &[&str]) -> Option<&RegionRow> {
        let mut parent = None;
        for name in path {
            let is_wanted = |row: &RegionRow| row.parent == parent && row.name == *name;
            parent = Some(self.rows.iter().position(is_wanted)?);
        }
        self.rows.get(parent?)
    }

    /// The names from the top down to the row at `index`; empty if there is none.
    #[must_use]
    pub fn path(&self, index: usize) -> Vec<&str> {
        let rows = std::iter::successors(self.rows.get(index), |row| self.rows.get(row.parent?));
        let mut path: Vec<&str> = rows.map(|row| row.name.as_str()).collect();
        path.reverse();
        path
    }
}

fn merge(sums: &mut HashMap<usize, RowSums>, row: usize, more: &RowSums) {
    if more.own != Figures::default() || more.executions != 0 {
        sums.entry(row).or_default().merge(more);
    }
}

fn table(sums: &HashMap<usize, RowSums>) -> RegionTable {
    let nodes = Node::tree(sums);
    let has_memory = |node: &Node| node.total.allocated_blocks + node.total.freed_blocks != 0;
    let counts_memory = alloc::is_counting() || nodes.iter().any(has_memory);
    let mut table = RegionTable {
        rows: Vec::new(),
        counts_memory,
        without_row: rows::without_row(),
    };
    for node in nodes {
        table.add(node, 0, None);
    }
    table
}

impl RegionTable {
    fn add(&mut self, node: Node, level: usize, parent: Option<usize>) {
        let index = self.rows.len();
        let peak = self.counts_memory.then_some(node.sums.peak_bytes);
        let nanoseconds = node
            .sums
            .execution_wall_ns
            .checked_div(node.sums.executions);
        self.rows.push(RegionRow {
            name: node.row.name.clone().into_owned(),
            level,
            parent,
            count: node.sums.executions,
            wall_mean: Duration::from_nanos(nanoseconds.unwrap_or(0)),
            wall_max: Duration::from_nanos(node.sums.longest_wall_ns),
            total: RegionStats::new(&node.total, peak),
            own: RegionStats::new(&node.sums.own, peak),
        });
        for inner in node.inner {
            self.add(inner, level + 1, Some(index));
        }
    }
}

/// A row with those below it.
struct Node {
    row: &'static Row,
    sums: RowSums,
    total: Figures,
    inner: Vec<Node>,
}

impl Node {
    /// The rows at the top that have figures, or have rows below them that do.
    fn tree(sums: &HashMap<usize, RowSums>) -> Vec<Self> {
        let mut by_parent: HashMap<Option<usize>, Vec<&'static Row>> = HashMap::new();
        for row in rows::all() {
            let parent = row.parent.map(|parent| parent.index);
            by_parent.entry(parent).or_default().push(row);
        }
        Self::below(None, &by_parent, sums)
    }

    /// Rows are nested at most 64 deep.
    fn below(
        parent: Option<usize>,
        by_parent: &HashMap<Option<usize>, Vec<&'static Row>>,
        sums: &HashMap<usize, RowSums>,
    ) -> Vec<Self> {
        let rows = by_parent.get(&parent).into_iter().flatten();
        let node = |row: &&'static Row| {
            let inner = Self::below(Some(row.index), by_parent, sums);
            let is_used = !inner.is_empty() || sums.contains_key(&row.index);
            is_used.then(|| {
                Self::new(
                    row,
                    sums.get(&row.index).copied().unwrap_or_default(),
                    inner,
                )
            })
        };
        let mut nodes: Vec<Self> = rows.filter_map(node).collect();
        nodes.sort_by_key(Self::order);
        nodes
    }

    fn new(row: &'static Row, sums: RowSums, inner: Vec<Self>) -> Self {
        let mut total = sums.own;
        inner.iter().for_each(|inner| total.add(&inner.total));
        Self {
            row,
            sums,
            total,
            inner,
        }
    }

    /// At last by the order in which rows were first seen.
    fn order(&self) -> (Reverse<u64>, Reverse<u64>, usize) {
        let Figures {
            allocated_bytes,
            wall_ns,
            ..
        } = self.total;
        (Reverse(allocated_bytes), Reverse(wall_ns), self.row.index)
    }
}
