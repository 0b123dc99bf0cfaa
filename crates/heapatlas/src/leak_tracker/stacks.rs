//! Stacks with names, as a reader wants them: from the line that allocated to `main` or the test.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Arc, Mutex, TryLockError};

use super::Pattern;
use super::allocation::{SourceLocation, StackFrame};
use crate::stack::{self, StackId};

/// Names, and stacks that were named before.
pub(crate) struct Names {
    known: HashMap<(StackId, Option<Place>), Arc<[StackFrame]>>,
}

/// A line of the program; equal ones may differ, which costs a little.
type Place = *const Location<'static>;

// SAFETY: places are compared, and live for ever.
unsafe impl Send for Names {}

/// What was read from debug information is kept: it takes long to read.
static NAMES: Mutex<Option<Names>> = Mutex::new(None);

/// So many stacks are kept.
const MOST_KNOWN: usize = 10_000;

/// If another thread is looking names up, or did so when this process was forked, this one begins anew.
pub(crate) fn with_names<R>(work: impl FnOnce(&mut Names) -> R) -> R {
    match NAMES.try_lock() {
        Ok(mut names) => work(names.get_or_insert_with(Names::new)),
        Err(TryLockError::Poisoned(names)) => work(names.into_inner().insert(Names::new())),
        Err(TryLockError::WouldBlock) => work(&mut Names::new()),
    }
}

/// Whether the text of a stack has a pattern.
pub(crate) fn has(
    stack: StackId,
    location: Option<&'static Location<'static>>,
    pattern: &Pattern,
) -> bool {
    let frames = with_names(|names| names.frames(stack, location));
    let lines: Vec<String> = frames.iter().map(ToString::to_string).collect();
    pattern.is_in(&lines.join("\n"))
}

impl Names {
    fn new() -> Self {
        Self {
            known: HashMap::new(),
        }
    }

    /// The frames of a stack whose innermost one that matters is at a line.
    pub(crate) fn frames(
        &mut self,
        stack: StackId,
        location: Option<&'static Location<'static>>,
    ) -> Arc<[StackFrame]> {
        let key = (stack, location.map(std::ptr::from_ref));
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
            };
            frames.insert(0, frame);
        }
        frames
    }

    fn add_frames(&mut self, address: u64, frames: &mut Vec<StackFrame>) {
        frames.push(StackFrame {
            function: None,
            location: None,
            address,
        });
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
