//! A profile with its frames named, and whose code each of them is.

use heapatlas_model::{AllocationProfile, LocationId, StackFigures, StackId};

use super::frames::{CallFrame, FrameId, Frames};
use super::origin::Origin;
use super::wrappers::wrappers;

/// A profile whose frames have names.
#[derive(Debug)]
pub struct ProfileView<'a> {
    frames: Frames<'a>,
    origins: Vec<Origin>,
}

impl<'a> ProfileView<'a> {
    /// Names the frames of a profile.
    pub fn new(profile: &'a AllocationProfile) -> Self {
        let frames = Frames::new(profile);
        let mut origins: Vec<_> = frames.all().iter().map(CallFrame::origin).collect();
        for wrapper in wrappers(&frames, &origins) {
            origins[wrapper.0 as usize] = Origin::Allocator;
        }
        Self { frames, origins }
    }

    /// The profile.
    pub fn profile(&self) -> &'a AllocationProfile {
        self.frames.profile()
    }

    /// The distinct frames.
    pub fn frames(&self) -> &[CallFrame] {
        self.frames.all()
    }

    /// One frame.
    ///
    /// # Panics
    /// When it is not of this profile.
    pub fn frame(&self, id: FrameId) -> &CallFrame {
        &self.frames.all()[id.0 as usize]
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
        self.frames.at(location)
    }

    /// The frames of a stack, innermost first.
    pub(super) fn frames_of(&self, stack: StackId) -> impl Iterator<Item = FrameId> + '_ {
        let locations = self.profile().stacks.walk(stack);
        locations.flat_map(|location| self.frames_at(location).iter().copied())
    }

    /// The stacks with which something was allocated.
    pub(super) fn allocating_stacks(&self) -> impl Iterator<Item = (StackId, &'a StackFigures)> {
        let stacks = self
            .profile()
            .figures
            .iter()
            .take(self.profile().stacks.len());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::test_profile::TestProfile;

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
