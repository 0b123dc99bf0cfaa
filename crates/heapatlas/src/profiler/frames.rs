//! From stacks to the frames of a profile: names, and what is left out since it is the same everywhere.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::stack::{self, StackId};

/// The texts of all frames, each once.
pub(super) struct FrameTable {
    /// The first is `[root]`.
    texts: Vec<String>,
    numbers: HashMap<String, usize>,
    /// By return address: its frames, the innermost first.
    named: HashMap<u64, Vec<Named>>,
    trim: Trim,
}

#[derive(Clone, Copy)]
struct Named {
    text: usize,
    is_of_allocator: bool,
}

/// What is left out.
pub(super) enum Trim {
    Nothing,
    /// The frames at the outer end that are those of this stack, too, and at the inner end the allocator's.
    Heap(StackId),
    /// The frames at the outer end.
    AdHoc(StackId),
}

impl FrameTable {
    pub(super) fn new(trim: Trim) -> Self {
        let root = "[root]".to_owned();
        Self {
            numbers: HashMap::from([(root.clone(), 0)]),
            texts: vec![root],
            named: HashMap::new(),
            trim,
        }
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The numbers of a stack's frames, the innermost first. Never empty.
    pub(super) fn frames(&mut self, stack: StackId) -> Vec<usize> {
        let mut addresses = stack::addresses(stack);
        if let Trim::Heap(start) | Trim::AdHoc(start) = self.trim {
            cut_common_end(&mut addresses, &stack::addresses(start));
        }
        let mut frames = Vec::new();
        for address in addresses {
            frames.extend_from_slice(self.name(address));
        }
        if matches!(self.trim, Trim::Heap(_)) {
            let last = frames.iter().rposition(|frame| frame.is_of_allocator);
            frames.drain(..last.unwrap_or(0));
        }
        if frames.is_empty() {
            return vec![self.number("0x0: ??? (???:0:0)".to_owned())];
        }
        frames.into_iter().map(|frame| frame.text).collect()
    }

    fn name(&mut self, address: u64) -> &[Named] {
        if !self.named.contains_key(&address) {
            let named = self.named_frames(address);
            self.named.insert(address, named);
        }
        &self.named[&address]
    }

    fn named_frames(&mut self, address: u64) -> Vec<Named> {
        vec![Named {
            text: self.number(format!("{address:#x}: ??? (???:0:0)")),
            is_of_allocator: false,
        }]
    }

    fn number(&mut self, text: String) -> usize {
        if let Some(&number) = self.numbers.get(&text) {
            return number;
        }
        let number = self.texts.len();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }
}

/// Takes off the outermost frames that both have; one is left.
fn cut_common_end(addresses: &mut Vec<u64>, start: &[u64]) {
    let pairs = addresses.iter().rev().zip(start.iter().rev());
    let common = pairs.take_while(|(one, other)| one == other).count();
    let kept = (addresses.len() - common).max(1);
    addresses.truncate(kept);
}

/// Whether a function is one of those between a program's code and its allocator.
fn is_of_allocator(function: &str) -> bool {
    const STARTS: [&str; 7] = [
        "alloc::alloc::",
        "<alloc::alloc::",
        "<heapatlas::alloc::Alloc",
        "heapatlas::alloc::",
        "__rg_",
        "__rust_alloc",
        "__rust_realloc",
    ];
    // The symbols between a program and its allocator are in a crate of the compiler's own since Rust 1.87.
    let function = function.strip_prefix("__rustc::").unwrap_or(function);
    STARTS.iter().any(|start| function.starts_with(start))
}

/// The last three parts of a path.
fn short(path: &str) -> PathBuf {
    let path = Path::new(path);
    let parts: Vec<Component<'_>> = path.components().collect();
    parts[parts.len().saturating_sub(3)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_to_three_parts() {
        for (path, expected) in [
            ("", ""),
            ("/", "/"),
            ("/aa.rs", "/aa.rs"),
            ("bb/aa.rs", "bb/aa.rs"),
            ("/bb/aa.rs", "/bb/aa.rs"),
            ("cc/bb/aa.rs", "cc/bb/aa.rs"),
            ("/cc/bb/aa.rs", "cc/bb/aa.rs"),
            ("dd/cc/bb/aa.rs", "cc/bb/aa.rs"),
        ] {
            assert_eq!(short(path), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn the_common_end_is_cut() {
        let cut = |addresses: &[u64], start: &[u64]| {
            let mut addresses = addresses.to_vec();
            cut_common_end(&mut addresses, start);
            addresses
        };
        assert_eq!(cut(&[1, 2, 3, 4], &[9, 3, 4]), [1, 2]);
        assert_eq!(cut(&[1, 2], &[1, 2]), [1]);
        assert_eq!(cut(&[1, 2], &[]), [1, 2]);
        assert_eq!(cut(&[], &[1]), [0_u64; 0]);
        assert_eq!(cut(&[4], &[3, 4]), [4]);
    }

    #[test]
    fn functions_of_the_allocator() {
        for function in [
            "alloc::alloc::exchange_malloc",
            "<alloc::alloc::Global as core::alloc::Allocator>::grow",
            "<heapatlas::alloc::Alloc<A> as core::alloc::global::GlobalAlloc>::alloc",
            "heapatlas::alloc::events::allocated",
            "__rustc::__rust_alloc",
            "__rustc::__rg_alloc",
            "__rust_realloc",
        ] {
            assert!(is_of_allocator(function), "{function}");
        }
        for function in [
            "alloc::vec::Vec<T>::push",
            "heapatlas::expect_heap",
            "my::alloc::alloc::f",
            "heapatlas::profiler::ad_hoc_event",
        ] {
            assert!(!is_of_allocator(function), "{function}");
        }
    }
}
