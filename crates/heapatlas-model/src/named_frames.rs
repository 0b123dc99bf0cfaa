//! What the places of an allocation profile are called.

use std::borrow::Cow;

use crate::{AllocationProfile, CodeLocation, Frame, LocationId, Module};

/// A frame of a stack as people are shown it; functions that were inlined are frames as well.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NamedFrame<'a> {
    /// The demangled name. Where it is unknown, the module's file name with the address that its
    /// program headers use, such as `libz.so.1+0x1f20`; outside of modules the bare address.
    pub function: Cow<'a, str>,
    /// The source file, if it is known.
    pub file: Option<&'a str>,
    /// The line, from 1, if it is known.
    pub line: Option<u32>,
    /// The module's path; `None` for code made at run time, or gone.
    pub module: Option<&'a str>,
    /// The address in memory; frames that were inlined into one another share it.
    pub address: u64,
}

impl AllocationProfile {
    /// The frames at a location, innermost (inlined) first; one without names where they were not
    /// looked up.
    ///
    /// # Panics
    /// When the location, or the module that it names, is not in the profile.
    pub fn named_frames(&self, location: LocationId) -> impl Iterator<Item = NamedFrame<'_>> {
        let place = self.locations[location.index()];
        let module = place.module.map(|module| &self.modules[module.index()]);
        let frames = self
            .frames
            .get(location.index())
            .map_or(&[][..], Vec::as_slice);
        let nameless = frames.is_empty().then(|| nameless(place, module));
        let named = frames.iter().map(move |frame| named(frame, place, module));
        nameless.into_iter().chain(named)
    }
}

fn named<'a>(frame: &'a Frame, place: CodeLocation, module: Option<&'a Module>) -> NamedFrame<'a> {
    let mut named = nameless(place, module);
    if !frame.function.is_empty() {
        named.function = Cow::Borrowed(&frame.function);
    }
    named.file = (!frame.file.is_empty()).then_some(frame.file.as_str());
    named.line = (frame.line > 0).then_some(frame.line);
    named
}

fn nameless(place: CodeLocation, module: Option<&Module>) -> NamedFrame<'_> {
    let function = match module {
        Some(module) => {
            let address = place.address.wrapping_sub(module.bias);
            format!("{}+{address:#x}", file_name(&module.path))
        }
        None => format!("{:#x}", place.address),
    };
    NamedFrame {
        function: Cow::Owned(function),
        file: None,
        line: None,
        module: module.map(|module| module.path.as_str()),
        address: place.address,
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ModuleId, ProfileFormat};

    fn profile() -> AllocationProfile {
        let module = Module {
            path: "/usr/lib/libz.so.1".to_owned(),
            bias: 0x7000_0000,
            ..Module::default()
        };
        let frame = |function: &str, line| Frame {
            function: function.to_owned(),
            file: "inflate.c".to_owned(),
            line,
        };
        let place = |address, module| CodeLocation { address, module };
        AllocationProfile {
            modules: vec![module],
            locations: vec![
                place(0x7000_1f20, Some(ModuleId(0))),
                place(0x10, None),
                place(0x7000_2000, Some(ModuleId(0))),
            ],
            frames: vec![
                Vec::new(),
                Vec::new(),
                vec![frame("inner", 7), frame("", 0)],
            ],
            ..AllocationProfile::new(ProfileFormat::Heaptrace)
        }
    }

    #[track_caller]
    fn check(location: u32, expected: &[(&str, Option<u32>, Option<&str>)]) {
        let profile = profile();
        let frames: Vec<_> = profile.named_frames(LocationId(location)).collect();
        let found: Vec<_> = frames
            .iter()
            .map(|frame| (frame.function.as_ref(), frame.line, frame.module))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_location_has_a_name() {
        let zlib = Some("/usr/lib/libz.so.1");
        check(0, &[("libz.so.1+0x1f20", None, zlib)]);
        check(1, &[("0x10", None, None)]);
        check(
            2,
            &[("inner", Some(7), zlib), ("libz.so.1+0x2000", None, zlib)],
        );
    }

    #[test]
    fn names_need_not_have_been_looked_up() {
        let profile = AllocationProfile {
            frames: Vec::new(),
            ..profile()
        };
        let frame = profile
            .named_frames(LocationId(2))
            .next()
            .expect("one frame");
        assert_eq!(
            (frame.function.as_ref(), frame.file),
            ("libz.so.1+0x2000", None)
        );
    }
}
