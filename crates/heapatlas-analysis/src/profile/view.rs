//! A profile with its frames named once: equal frames get one number, however many addresses
//! they stand at.

use std::borrow::Cow;

use hashbrown::HashMap;
use heapatlas_model::{AllocationProfile, LocationId, NamedFrame, StackFigures, StackId};
use rustc_hash::FxBuildHasher;

use super::origin::{Origin, origin};
use super::wrappers::wrappers;

/// A function called at a line; a row of [`ProfileView::frames`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameId(pub u32);

/// A function called at a line.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CallFrame {
    /// The function without the hash that compilers append; see
    /// [`NamedFrame::function`](heapatlas_model::NamedFrame::function) for functions without a name.
    pub function: String,
    /// The source file, if it is known.
    pub file: Option<String>,
    /// The line, from 1, if it is known.
    pub line: Option<u32>,
    /// The path of the module, if it is known.
    pub module: Option<String>,
}

/// A profile whose frames have names.
#[derive(Debug)]
pub struct ProfileView<'a> {
    profile: &'a AllocationProfile,
    frames: Vec<CallFrame>,
    origins: Vec<Origin>,
    /// For each location its frames, innermost first: `ids[starts[n]..starts[n + 1]]`.
    starts: Vec<u32>,
    ids: Vec<FrameId>,
}

impl<'a> ProfileView<'a> {
    /// Names the frames of a profile.
    pub fn new(profile: &'a AllocationProfile) -> Self {
        let mut numbers: HashMap<CallFrame, FrameId, FxBuildHasher> = HashMap::default();
        let mut view = Self {
            profile,
            frames: Vec::new(),
            origins: Vec::new(),
            starts: vec![0],
            ids: Vec::new(),
        };
        for location in 0..profile.locations.len() {
            for named in profile.named_frames(LocationId::from_index(location)) {
                let frame = CallFrame::new(named);
                let next = FrameId(numbers.len() as u32);
                let id = *numbers.entry_ref(&frame).or_insert(next);
                if id == next {
                    view.origins.push(frame.origin());
                    view.frames.push(frame);
                }
                view.ids.push(id);
            }
            view.starts.push(view.ids.len() as u32);
        }
        let wrappers = wrappers(&view);
        for wrapper in wrappers {
            view.origins[wrapper.0 as usize] = Origin::Allocator;
        }
        view
    }

    /// The profile.
    pub fn profile(&self) -> &'a AllocationProfile {
        self.profile
    }

    /// The distinct frames.
    pub fn frames(&self) -> &[CallFrame] {
        &self.frames
    }

    /// One frame.
    ///
    /// # Panics
    /// When it is not of this profile.
    pub fn frame(&self, id: FrameId) -> &CallFrame {
        &self.frames[id.0 as usize]
    }

    /// Whose code a frame is.
    ///
    /// # Panics
    /// When it is not of this profile.
    pub fn origin(&self, id: FrameId) -> Origin {
        self.origins[id.0 as usize]
    }

    /// The frames at a location, innermost first.
    pub(super) fn frames_at(&self, location: LocationId) -> &[FrameId] {
        let start = self.starts[location.index()] as usize;
        let end = self.starts[location.index() + 1] as usize;
        &self.ids[start..end]
    }

    /// The frames of a stack, innermost first.
    pub(super) fn frames_of(&self, stack: StackId) -> impl Iterator<Item = FrameId> + '_ {
        let locations = self.profile.stacks.walk(stack);
        locations.flat_map(|location| self.frames_at(location).iter().copied())
    }

    /// The stacks with which something was allocated.
    pub(super) fn allocating_stacks(&self) -> impl Iterator<Item = (StackId, &'a StackFigures)> {
        let stacks = self.profile.figures.iter().take(self.profile.stacks.len());
        stacks
            .enumerate()
            .filter(|(_, figures)| **figures != StackFigures::default())
            .map(|(row, figures)| (StackId::from_index(row), figures))
    }

    /// How many frames of a stack, from the innermost on, are not to blame: the blamed one is the
    /// first of the program. Where there is none it is the first of a dependency, or else the first that
    /// does more than allocate; where all allocate, the innermost.
    pub(super) fn frames_before_blame(&self, stack: StackId) -> usize {
        let first = |is_wanted: fn(Origin) -> bool| {
            self.frames_of(stack)
                .position(|frame| is_wanted(self.origin(frame)))
        };
        first(|origin| origin == Origin::Program)
            .or_else(|| first(|origin| origin == Origin::Dependency))
            .or_else(|| first(|origin| origin != Origin::Allocator))
            .unwrap_or(0)
    }
}

impl CallFrame {
    fn new(frame: NamedFrame<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            file: owned(frame.file),
            line: frame.line,
            module: owned(frame.module),
            function: match frame.function {
                Cow::Borrowed(name) => without_hash(name).to_owned(),
                Cow::Owned(name) => name,
            },
        }
    }

    fn origin(&self) -> Origin {
        origin(&self.function, self.file.as_deref(), self.module.as_deref())
    }
}

/// `a::b` of `a::b::h0123456789abcdef`: the hash changes with every build.
fn without_hash(function: &str) -> &str {
    match function.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name
        }
        _ => function,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::test_profile::TestProfile;

    #[test]
    fn hashes_go() {
        let cases = [
            ("a::b::h0123456789abcdef", "a::b"),
            ("a::hello", "a::hello"),
            ("a::h0123456789abcdeg", "a::h0123456789abcdeg"),
            ("::h0123456789abcdef", ""),
        ];
        for (name, expected) in cases {
            assert_eq!(without_hash(name), expected);
        }
    }

    #[test]
    fn equal_frames_are_one() {
        let mut test = TestProfile::new();
        test.allocate(&["main a.c:1", "f a.c:5"], 8, 1);
        test.allocate(&["main a.c:1", "f a.c:6"], 8, 1);
        let view = ProfileView::new(&test.profile);
        let names: Vec<_> = view
            .frames()
            .iter()
            .map(|f| (f.function.as_str(), f.line))
            .collect();
        assert_eq!(names, [("main", Some(1)), ("f", Some(5)), ("f", Some(6))]);
    }
}
