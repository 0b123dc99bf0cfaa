//! The frames of a profile, named once: equal frames get one number, however many addresses
//! they stand at.

use std::borrow::Cow;

use hashbrown::HashMap;
use heapatlas_model::{AllocationProfile, LocationId, NamedFrame};
use rustc_hash::FxBuildHasher;

use super::origin::{Origin, origin};

/// A function called at a line; a row of [`ProfileView::frames`](super::ProfileView::frames).
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

/// What stands at the locations of a profile.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    profile: &'a AllocationProfile,
    frames: Vec<CallFrame>,
    /// For each location its frames, innermost first: `ids[starts[n]..starts[n + 1]]`.
    starts: Vec<u32>,
    ids: Vec<FrameId>,
}

impl<'a> Frames<'a> {
    pub fn new(profile: &'a AllocationProfile) -> Self {
        let mut numbers: HashMap<CallFrame, FrameId, FxBuildHasher> = HashMap::default();
        let mut named_frames = Self {
            profile,
            frames: Vec::new(),
            starts: vec![0],
            ids: Vec::new(),
        };
        for location in 0..profile.locations.len() {
            for named in profile.named_frames(LocationId::from_index(location)) {
                let frame = CallFrame::new(named);
                let next = FrameId(numbers.len() as u32);
                let id = *numbers.entry_ref(&frame).or_insert(next);
                if id == next {
                    named_frames.frames.push(frame);
                }
                named_frames.ids.push(id);
            }
            named_frames.starts.push(named_frames.ids.len() as u32);
        }
        named_frames
    }

    pub fn profile(&self) -> &'a AllocationProfile {
        self.profile
    }

    /// The distinct frames, by number.
    pub fn all(&self) -> &[CallFrame] {
        &self.frames
    }

    /// The frames at a location, innermost first.
    pub fn at(&self, location: LocationId) -> &[FrameId] {
        let start = self.starts[location.index()] as usize;
        let end = self.starts[location.index() + 1] as usize;
        &self.ids[start..end]
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

    pub(super) fn origin(&self) -> Origin {
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
}
