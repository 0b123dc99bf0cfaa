//! Profiles for tests, put together by hand.

use heapatlas_model::{
    AllocationProfile, Amount, CodeLocation, Frame, LocationId, Module, ModuleId, ProfileFormat,
    StackFigures, StackId, StackTable,
};

/// A profile in the making. Each text is a place: `function file:line`, with `function` alone
/// where there are no lines; functions inlined at one place are joined by ` < `, innermost first.
pub struct TestProfile {
    pub profile: AllocationProfile,
    places: Vec<String>,
}

impl TestProfile {
    /// All code is in one module, `/bin/app`.
    pub fn new() -> Self {
        let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
        profile.modules.push(Module {
            path: "/bin/app".to_owned(),
            ..Module::default()
        });
        Self {
            profile,
            places: Vec::new(),
        }
    }

    /// Adds blocks with a stack, outermost place first. All of them are live at the peak; none is freed.
    pub fn allocate(&mut self, stack: &[&str], bytes: u64, blocks: u64) -> StackId {
        let amount = Amount { bytes, blocks };
        self.add(
            StackTable::EMPTY,
            stack,
            StackFigures {
                total: amount,
                peak: amount,
                live_at_end: amount,
                ..StackFigures::default()
            },
        )
    }

    /// Adds figures to a stack below another one.
    pub fn add(&mut self, root: StackId, stack: &[&str], figures: StackFigures) -> StackId {
        let stack = stack
            .iter()
            .fold(root, |parent, place| self.child(parent, place));
        self.profile.figures[stack.index()] += figures;
        stack
    }

    fn child(&mut self, parent: StackId, place: &str) -> StackId {
        let location = self.location(place);
        let stacks = &mut self.profile.stacks;
        let known = (2..stacks.len()).map(StackId::from_index).find(|&stack| {
            stacks.parent(stack) == parent && stacks.location(stack) == Some(location)
        });
        known.unwrap_or_else(|| {
            self.profile.figures.push(StackFigures::default());
            stacks.push(parent, location)
        })
    }

    fn location(&mut self, place: &str) -> LocationId {
        if let Some(row) = self.places.iter().position(|known| known == place) {
            return LocationId::from_index(row);
        }
        self.places.push(place.to_owned());
        self.profile.locations.push(CodeLocation {
            address: 0x1000 + self.places.len() as u64,
            module: Some(ModuleId(0)),
        });
        self.profile
            .frames
            .push(place.split(" < ").map(frame).collect());
        LocationId::from_index(self.places.len() - 1)
    }
}

fn frame(text: &str) -> Frame {
    let with_line = text.rsplit_once(' ').and_then(|(function, place)| {
        let (file, line) = place.rsplit_once(':')?;
        Some((function, file, line.parse().ok()?))
    });
    let (function, file, line) = with_line.unwrap_or((text, "", 0));
    Frame {
        function: function.to_owned(),
        file: file.to_owned(),
        line,
    }
}
