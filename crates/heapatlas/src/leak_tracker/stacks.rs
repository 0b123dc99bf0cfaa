//! Stacks with names, as a reader wants them: from the line that allocated to `main` or the test.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

use super::Pattern;
use super::allocation::{SourceLocation, StackFrame};
use super::locked::Locked;
use super::sorted::joined;
use crate::names::{Frame, Resolver};
use crate::stack::{self, StackId};

/// Names, and stacks that were named before.
pub(crate) struct Names {
    resolver: Resolver,
    known: HashMap<Key, Arc<[StackFrame]>>,
    texts: HashMap<Key, Arc<str>>,
}

/// A stack and the line of the program at its top. Places are compared as such; equal lines may have several, which
/// costs a little.
type Key = (StackId, Option<usize>);

/// What was read from debug information is kept: it takes long to read.
static NAMES: Locked<Option<Names>> = Locked::new(None);

/// So many stacks are kept.
const MOST_KNOWN: usize = 10_000;

/// Where the names are not to be had (see [`Locked`]), this call begins anew.
pub(crate) fn with_names<R>(mut work: impl FnMut(&mut Names) -> R) -> R {
    let result = NAMES.with(|names| work(names.get_or_insert_with(Names::new)));
    result.unwrap_or_else(|| work(&mut Names::new()))
}

/// Whether the text of a stack has a pattern.
pub(crate) fn has(
    stack: StackId,
    location: Option<&'static Location<'static>>,
    pattern: &Pattern,
) -> bool {
    let text = with_names(|names| names.text(stack, location));
    pattern.is_in(&text)
}

fn key(stack: StackId, location: Option<&'static Location<'static>>) -> Key {
    let place = location.map(|location| std::ptr::from_ref(location).addr());
    (stack, place)
}

impl Names {
    fn new() -> Self {
        Self {
            resolver: Resolver::new(),
            known: HashMap::new(),
            texts: HashMap::new(),
        }
    }

    /// The frames of a stack whose innermost one that matters is at a line.
    pub(crate) fn frames(
        &mut self,
        stack: StackId,
        location: Option<&'static Location<'static>>,
    ) -> Arc<[StackFrame]> {
        let key = key(stack, location);
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        let frames: Arc<[StackFrame]> = self.look_up(stack, location.map(Into::into)).into();
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(key, Arc::clone(&frames));
        frames
    }

    /// The same as text, a line each.
    fn text(&mut self, stack: StackId, location: Option<&'static Location<'static>>) -> Arc<str> {
        let key = key(stack, location);
        if let Some(text) = self.texts.get(&key) {
            return Arc::clone(text);
        }
        let frames = self.frames(stack, location);
        let lines: Vec<String> = frames.iter().map(ToString::to_string).collect();
        let text: Arc<str> = joined(&lines, "\n").into();
        if self.texts.len() >= MOST_KNOWN {
            self.texts.clear();
        }
        self.texts.insert(key, Arc::clone(&text));
        text
    }

    fn look_up(&mut self, stack: StackId, location: Option<SourceLocation>) -> Vec<StackFrame> {
        let mut frames = Vec::new();
        for address in stack::addresses(stack) {
            self.add_frames(address, &mut frames);
        }
        let mut frames = trimmed(frames, location.as_ref());
        // Without debug information, or without stacks, the compiler still tells the line.
        let has_place = frames.first().is_some_and(|frame| frame.location.is_some());
        if location.is_some() && !has_place {
            let frame = StackFrame {
                function: None,
                location,
                address: 0,
                module: None,
            };
            frames.insert(0, frame);
        }
        frames
    }

    /// The innermost of those that were inlined into each other comes first.
    fn add_frames(&mut self, return_address: u64, frames: &mut Vec<StackFrame>) {
        for frame in self.resolver.frames(return_address) {
            frames.push(to_stack_frame(frame));
        }
    }
}

fn to_stack_frame(frame: &Frame) -> StackFrame {
    let location = frame.file.as_ref().map(|file| SourceLocation {
        file: file.clone().into(),
        line: frame.line.unwrap_or(0),
        column: frame.column.unwrap_or(0),
    });
    // Where there is no name, what other tools need to find one.
    let module = frame.module.as_ref().filter(|_| frame.function.is_none());
    StackFrame {
        function: frame.function.clone(),
        location,
        address: frame.address,
        module: module.map(|module| format!("{module}+0x{:x}", frame.offset)),
    }
}

/// Without what lies above the line that allocated, and below the function that the runtime calls.
fn trimmed(mut frames: Vec<StackFrame>, location: Option<&SourceLocation>) -> Vec<StackFrame> {
    let outermost = frames.iter().position(is_runtime).unwrap_or(frames.len());
    frames.truncate(outermost);
    while frames.last().is_some_and(is_call_of_closure) {
        frames.pop();
    }
    let by_line = location.and_then(|line| frames.iter().position(|frame| is_at(frame, line)));
    let innermost = by_line.or_else(|| frames.iter().position(|frame| !is_of_an_allocator(frame)));
    frames.drain(..innermost.unwrap_or(0));
    frames
}

fn is_at(frame: &StackFrame, line: &SourceLocation) -> bool {
    frame
        .location
        .as_ref()
        .is_some_and(|place| place.line == line.line && is_same_file(&place.file, &line.file))
}

/// Debug information has whole paths, the compiler's locations those that it was given.
fn is_same_file(one: &str, other: &str) -> bool {
    let (longer, shorter) = if one.len() < other.len() {
        (other, one)
    } else {
        (one, other)
    };
    let rest = longer.strip_suffix(shorter);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(['/', '\\']))
}

fn is_of_an_allocator(frame: &StackFrame) -> bool {
    const CRATES: [&str; 2] = ["heapatlas::", "allocator_api2::"];
    let function = frame.function.as_deref().unwrap_or_default();
    let path = function.trim_start_matches('<');
    CRATES.iter().any(|name| path.starts_with(name))
}

/// The standard library begins a thread, `main` and each test by a function of this name.
fn is_runtime(frame: &StackFrame) -> bool {
    has_in_name(frame, "__rust_begin_short_backtrace")
}

fn is_call_of_closure(frame: &StackFrame) -> bool {
    has_in_name(frame, "core::ops::function::FnOnce")
}

fn has_in_name(frame: &StackFrame, part: &str) -> bool {
    let function = frame.function.as_deref();
    function.is_some_and(|function| function.contains(part))
}

pub(crate) fn hold_for_fork() {
    NAMES.hold_for_fork();
}

pub(crate) fn open_after_fork() {
    NAMES.open_after_fork();
}
