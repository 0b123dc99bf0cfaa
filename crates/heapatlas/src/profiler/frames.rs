//! From stacks to the frames of a profile: names, and what is left out since it is the same everywhere.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::names::{Frame, Resolver};
use crate::stack::{self, StackId};

/// The texts of all frames, each once.
pub(super) struct FrameTable {
    /// The first is `[root]`.
    texts: Vec<String>,
    numbers: HashMap<String, usize>,
    /// By return address: its frames, the innermost first.
    named: HashMap<u64, Vec<Named>>,
    resolver: Resolver,
    leaves_out_allocator: bool,
}

#[derive(Clone)]
struct Named {
    text: String,
    is_of_allocator: bool,
}

impl FrameTable {
    /// Leaves out the frames between a program and its allocator, if that is asked for, but for the outermost.
    pub(super) fn new(leaves_out_allocator: bool) -> Self {
        let root = "[root]".to_owned();
        Self {
            numbers: HashMap::from([(root.clone(), 0)]),
            texts: vec![root],
            named: HashMap::new(),
            resolver: Resolver::new(),
            leaves_out_allocator,
        }
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The numbers of a stack's frames, the innermost first. Never empty.
    pub(super) fn frames(&mut self, stack: StackId) -> Vec<usize> {
        let mut frames = Vec::new();
        for address in stack::addresses(stack) {
            frames.extend_from_slice(self.name(address));
        }
        if self.leaves_out_allocator {
            let last = frames.iter().rposition(|frame| frame.is_of_allocator);
            frames.drain(..last.unwrap_or(0));
        }
        if frames.is_empty() {
            return vec![self.number("0x0: ??? (???:0:0)".to_owned())];
        }
        let texts = frames.into_iter().map(|frame| frame.text);
        texts.map(|text| self.number(text)).collect()
    }

    fn name(&mut self, address: u64) -> &[Named] {
        let resolver = &mut self.resolver;
        let name = || resolver.frames(address).iter().map(named).collect();
        self.named.entry(address).or_insert_with(name)
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

/// As dhat writes it.
fn named(frame: &Frame) -> Named {
    let function = frame.function.as_deref();
    let is_of_allocator = function.is_some_and(is_of_allocator);
    let unnamed = || match &frame.module {
        Some(module) => format!("{}+{:#x}", file_name(module), frame.offset),
        None => "???".to_owned(),
    };
    let function = function.map_or_else(unnamed, str::to_owned);
    let file = frame.file.as_deref().map_or_else(|| "???".into(), short);
    let (line, column) = (frame.line.unwrap_or(0), frame.column.unwrap_or(0));
    let (address, file) = (frame.address, file.display());
    Named {
        text: format!("{address:#x}: {function} ({file}:{line}:{column})"),
        is_of_allocator,
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
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
