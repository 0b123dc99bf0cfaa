//! Allocation wrappers of the program: `jv_mem_alloc`, `sqlite3Malloc`, `PyMem_Malloc`.
//!
//! Blaming them would put half of a program into one line. No list can name them all, so they are known by
//! three signs together: the name says that the function allocates; in every stack it calls nothing but
//! allocators (or other wrappers); and it, or the wrapper that calls it, is called from several places. What a program calls `alloc_node`
//! and calls from one place stays to blame; called from many, its callers are.

use hashbrown::HashMap;
use heapatlas_model::{StackId, StackTable};
use rustc_hash::FxBuildHasher;

use super::frames::{FrameId, Frames};
use super::origin::Origin;

/// The frames that are allocation wrappers; `origins` are of all frames, as their names say.
pub(super) fn wrappers(frames: &Frames<'_>, origins: &[Origin]) -> Vec<FrameId> {
    let mut candidates = Candidates::new(frames);
    // A wrapper may call another one, which may turn out to be none: so until nothing changes.
    while candidates.look_at_stacks(frames, origins) {}
    candidates.accept_callees_of_wrappers();
    candidates.frames()
}

/// A function whose name says that it allocates.
#[derive(Clone, Default)]
struct Candidate {
    /// It calls something else than allocators.
    is_other: bool,
    /// A place that calls it; none of its own.
    caller: Option<FrameId>,
    has_more_callers: bool,
    is_wrapper: bool,
}

struct Candidates {
    functions: Vec<Candidate>,
    /// For each frame its function's row.
    of_frame: Vec<Option<u32>>,
}

impl Candidates {
    fn new(frames: &Frames<'_>) -> Self {
        let mut rows: HashMap<_, u32, FxBuildHasher> = HashMap::default();
        let of_frame = frames.all().iter().map(|frame| {
            says_that_it_allocates(&frame.function).then(|| {
                let next = rows.len() as u32;
                *rows.entry((&frame.function, &frame.module)).or_insert(next)
            })
        });
        let of_frame = of_frame.collect();
        Self {
            functions: vec![Candidate::default(); rows.len()],
            of_frame,
        }
    }

    fn row(&self, frame: FrameId) -> Option<usize> {
        let row = self.of_frame[frame.0 as usize]? as usize;
        (!self.functions[row].is_other).then_some(row)
    }

    /// Looks at who calls whom, from the innermost frames out. Whether a candidate turned out to be none.
    fn look_at_stacks(&mut self, frames: &Frames<'_>, origins: &[Origin]) -> bool {
        let stacks = &frames.profile().stacks;
        let mut does_more = vec![false; stacks.len()];
        let mut has_changed = false;
        // Parents come before their children.
        for row in (StackTable::CUT_OFF.index() + 1..stacks.len()).rev() {
            let stack = StackId::from_index(row);
            let parent = stacks.parent(stack);
            let calls = frames_at(frames, stack);
            let mut is_more = does_more[row];
            for (index, &frame) in calls.iter().enumerate() {
                let caller = calls.get(index + 1).or(frames_at(frames, parent).first());
                has_changed |= self.look_at_frame(origins, frame, caller.copied(), &mut is_more);
            }
            does_more[parent.index()] |= is_more;
        }
        has_changed
    }

    /// `does_more`: whether somebody that is called here is no allocator.
    fn look_at_frame(
        &mut self,
        origins: &[Origin],
        frame: FrameId,
        caller: Option<FrameId>,
        does_more: &mut bool,
    ) -> bool {
        let Some(row) = self.row(frame) else {
            let origin = origins[frame.0 as usize];
            *does_more |= matches!(origin, Origin::Program | Origin::Dependency);
            return false;
        };
        let is_own = caller.is_some_and(|caller| self.row(caller) == Some(row));
        let function = &mut self.functions[row];
        if let Some(caller) = caller.filter(|_| !is_own) {
            let first = *function.caller.get_or_insert(caller);
            function.has_more_callers |= first != caller;
        }
        function.is_other = *does_more;
        *does_more
    }

    /// What is called from one place only is a wrapper when that place is one.
    fn accept_callees_of_wrappers(&mut self) {
        for function in &mut self.functions {
            function.is_wrapper = !function.is_other && function.has_more_callers;
        }
        let mut has_changed = true;
        while has_changed {
            has_changed = false;
            for row in 0..self.functions.len() {
                let function = &self.functions[row];
                let caller = function.caller.and_then(|caller| self.row(caller));
                let is_called_by_wrapper = caller.is_some_and(|row| self.functions[row].is_wrapper);
                if !function.is_other && !function.is_wrapper && is_called_by_wrapper {
                    self.functions[row].is_wrapper = true;
                    has_changed = true;
                }
            }
        }
    }

    fn frames(&self) -> Vec<FrameId> {
        let is_wrapper = |row: &u32| self.functions[*row as usize].is_wrapper;
        let rows = self.of_frame.iter().zip(0..);
        rows.filter(|(row, _)| row.as_ref().is_some_and(is_wrapper))
            .map(|(_, frame)| FrameId(frame))
            .collect()
    }
}

/// None for the empty stacks.
fn frames_at<'f>(frames: &'f Frames<'_>, stack: StackId) -> &'f [FrameId] {
    let location = frames.profile().stacks.location(stack);
    location.map_or(&[], |location| frames.at(location))
}

/// Whether the last part of a function's path has a word in it that stands for allocating.
fn says_that_it_allocates(function: &str) -> bool {
    const WORDS: [&str; 7] = [
        "alloc", "malloc", "calloc", "realloc", "zalloc", "strdup", "memdup",
    ];
    let name = function.split(['(', '<']).next().unwrap_or(function);
    let name = name.rsplit("::").next().unwrap_or(name);
    words(name).any(|word| {
        let word = word.to_ascii_lowercase();
        WORDS.iter().any(|known| word.ends_with(known))
    })
}

/// `sqlite3`, `Malloc` of `sqlite3Malloc`; `jv`, `mem`, `alloc` of `jv_mem_alloc`.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split('_').flat_map(|part| {
        let is_start = |&(at, c): &(usize, char)| at > 0 && c.is_ascii_uppercase();
        let starts = part.char_indices().filter(is_start).map(|(at, _)| at);
        let ends = starts.clone().chain([part.len()]);
        [0].into_iter()
            .chain(starts)
            .zip(ends)
            .map(move |(start, end)| &part[start..end])
    })
}

#[cfg(test)]
mod tests {
    use crate::profile::test_profile::TestProfile;
    use crate::profile::view::ProfileView;
    use crate::profile::{Metric, sites};

    use super::*;

    fn check(stacks: &[&[&str]], expected: &[&str]) {
        let mut test = TestProfile::new();
        for stack in stacks {
            test.allocate(stack, 1, 1);
        }
        let sites = sites(&ProfileView::new(&test.profile), Metric::Live);
        let mut found: Vec<_> = sites.iter().map(super::super::Site::function).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn callers_of_a_wrapper_are_to_blame() {
        let parse = ["main", "parse", "jv_mem_alloc", "malloc"];
        let print = ["main", "print", "jv_mem_alloc", "malloc"];
        check(&[&parse, &print], &["parse", "print"]);
    }

    #[test]
    fn wrappers_of_wrappers() {
        let inner = [
            "main",
            "load",
            "sqlite3Malloc",
            "sqlite3MemMalloc",
            "malloc",
        ];
        let outer = [
            "main",
            "save",
            "sqlite3DbMallocRaw",
            "sqlite3Malloc",
            "sqlite3MemMalloc",
            "malloc",
        ];
        let other = [
            "main",
            "sort",
            "sqlite3DbMallocRaw",
            "sqlite3Malloc",
            "sqlite3MemMalloc",
            "malloc",
        ];
        check(&[&inner, &outer, &other], &["load", "save", "sort"]);
    }

    /// It does the program's work, and allocates for that.
    #[test]
    fn a_name_is_not_enough() {
        let direct = ["main", "run", "realloc_table", "malloc"];
        let hashed = ["main", "fill", "realloc_table", "rehash", "malloc"];
        check(&[&direct, &hashed], &["realloc_table", "rehash"]);
    }

    #[test]
    fn one_caller_is_not_enough() {
        check(&[&["main", "run", "alloc_node", "malloc"]], &["alloc_node"]);
    }

    #[test]
    fn a_shape_is_not_enough() {
        let first = ["main", "parse", "new_node", "malloc"];
        let second = ["main", "fold", "new_node", "malloc"];
        check(&[&first, &second], &["new_node"]);
    }

    #[test]
    fn words_that_stand_for_allocating() {
        let check = |name, expected| assert_eq!(says_that_it_allocates(name), expected, "{name}");
        check("jv_mem_alloc", true);
        check("sqlite3DbMallocRawNN", true);
        check("PyMem_Malloc", true);
        check("CRYPTO_strdup", true);
        check("pool::Arena::realloc(unsigned long)", true);
        check("ruby_xmalloc2", false);
        check("locally", false);
        check("allocator_stats", false);
        check("alloc::vec::Vec<T>::push", false);
    }
}
