//! What users ask about in a profile: a function, a line, an address.

use std::cmp::Reverse;

use heapatlas_model::{LocationId, StackId};
use rustc_hash::FxHashSet;

use super::frames::{CallFrame, FrameId};
use super::view::ProfileView;

/// What to look for, as people write it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A function by its whole name, else all functions whose name contains this in any case.
    Function(String),
    /// The line of a file, which is named by the end of its path.
    Line {
        /// Whole components of a path.
        file: String,
        /// From 1.
        line: u32,
    },
    /// An address in memory: that of an instruction, or a return address.
    Address(u64),
}

/// Frames that somebody asks about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// Each once, in the order of the view's frames.
    pub frames: Vec<FrameId>,
    /// Frames count wherever they are, or only at these locations.
    locations: Option<FxHashSet<LocationId>>,
}

/// Names that are alike: so many at most.
const SIMILAR: usize = 5;

impl Place {
    /// `0x7f12ab` is an address, `src/load.c:20` a line, everything else a function.
    pub fn parse(text: &str) -> Self {
        let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        if let Some(address) = hexadecimal.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            return Self::Address(address);
        }
        let line = text
            .rsplit_once(':')
            .filter(|(file, _)| !file.is_empty() && !file.ends_with(':'))
            .and_then(|(file, line)| Some((file.to_owned(), line.parse().ok()?)));
        match line {
            Some((file, line)) => Self::Line { file, line },
            None => Self::Function(text.to_owned()),
        }
    }
}

impl Subject {
    /// The frames of a place; `None` where the profile has none.
    pub fn find(view: &ProfileView<'_>, place: &Place) -> Option<Self> {
        match place {
            Place::Function(name) => Self::named(view, name),
            Place::Line { file, line } => Self::of_frames(view, |frame| {
                frame.line == Some(*line) && is_file(frame, file)
            }),
            Place::Address(address) => Self::at(view, *address),
        }
    }

    fn named(view: &ProfileView<'_>, name: &str) -> Option<Self> {
        let wanted = name.to_lowercase();
        Self::of_frames(view, |frame| frame.function == name).or_else(|| {
            Self::of_frames(view, |frame| {
                frame.function.to_lowercase().contains(&wanted)
            })
        })
    }

    fn of_frames(view: &ProfileView<'_>, is_wanted: impl Fn(&CallFrame) -> bool) -> Option<Self> {
        let frames = view.frames().iter().enumerate();
        let frames: Vec<_> = frames
            .filter(|(_, frame)| is_wanted(frame))
            .map(|(row, _)| FrameId(row as u32))
            .collect();
        (!frames.is_empty()).then_some(Self {
            frames,
            locations: None,
        })
    }

    fn at(view: &ProfileView<'_>, address: u64) -> Option<Self> {
        let at = |address: u64| {
            let rows = view.profile().locations.iter().enumerate();
            let rows = rows.filter(|(_, location)| location.address == address);
            rows.map(|(row, _)| LocationId::from_index(row))
                .collect::<FxHashSet<_>>()
        };
        let mut locations = at(address);
        if locations.is_empty() {
            // A stack holds return addresses, and a location is the byte before.
            locations = at(address.checked_sub(1)?);
        }
        let frames = locations.iter().flat_map(|&id| view.frames_at(id));
        let mut frames: Vec<FrameId> = frames.copied().collect();
        frames.sort_unstable();
        frames.dedup();
        (!frames.is_empty()).then_some(Self {
            frames,
            locations: Some(locations),
        })
    }

    /// Whether a frame at a location is one of them.
    pub(super) fn holds(&self, (location, frame): (LocationId, FrameId)) -> bool {
        self.frames.binary_search(&frame).is_ok()
            && self
                .locations
                .as_ref()
                .is_none_or(|locations| locations.contains(&location))
    }

    /// Whether a step from one frame to the next one out stays within one of them: a function that is
    /// inlined at an address does not call that address.
    pub(super) fn is_within(&self, inner: (LocationId, FrameId), outer: LocationId) -> bool {
        self.locations.is_some() && inner.0 == outer
    }
}

/// The frames of a stack with their locations, innermost first.
pub(super) fn located_frames(view: &ProfileView<'_>, stack: StackId) -> Vec<(LocationId, FrameId)> {
    let locations = view.profile().stacks.walk(stack);
    let frames = |location| {
        view.frames_at(location)
            .iter()
            .map(move |&id| (location, id))
    };
    locations.flat_map(frames).collect()
}

/// Whether a path ends in these components.
fn is_file(frame: &CallFrame, file: &str) -> bool {
    let Some(rest) = frame
        .file
        .as_deref()
        .and_then(|path| path.strip_suffix(file))
    else {
        return false;
    };
    rest.is_empty() || rest.ends_with(['/', '\\']) || file.starts_with('/')
}

/// What the profile has that is most like a place which it does not have, as people would write it.
pub fn similar_places(view: &ProfileView<'_>, place: &Place) -> Vec<String> {
    match place {
        Place::Function(name) => similar_functions(view, name),
        Place::Line { file, line } => nearest_lines(view, file, *line),
        Place::Address(address) => nearest_addresses(view, *address),
    }
}

fn similar_functions(view: &ProfileView<'_>, name: &str) -> Vec<String> {
    let wanted = bare_name(name).to_lowercase();
    let limit = (wanted.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = view
        .frames()
        .iter()
        .map(|frame| frame.function.as_str())
        .map(|name| (distance(&bare_name(name).to_lowercase(), &wanted), name))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    near.dedup();
    let names = near.into_iter().take(SIMILAR);
    names.map(|(_, name)| name.to_owned()).collect()
}

/// `push` of `alloc::vec::Vec<T>::push(int)`.
fn bare_name(function: &str) -> &str {
    let without_arguments = function.split(['(', '<']).next().unwrap_or(function);
    let name = without_arguments.rsplit("::").next().unwrap_or(function);
    if name.is_empty() { function } else { name }
}

/// How many letters are to be changed, put in or taken out to make one word of another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, &wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

fn nearest_lines(view: &ProfileView<'_>, file: &str, line: u32) -> Vec<String> {
    let of_file = view.frames().iter().filter(|frame| is_file(frame, file));
    let mut lines: Vec<u32> = of_file.filter_map(|frame| frame.line).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.sort_by_key(|&near| near.abs_diff(line));
    let nearest = lines.into_iter().take(SIMILAR);
    nearest.map(|line| format!("{file}:{line}")).collect()
}

fn nearest_addresses(view: &ProfileView<'_>, address: u64) -> Vec<String> {
    let locations = &view.profile().locations;
    let mut addresses: Vec<u64> = locations.iter().map(|location| location.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.sort_by_key(|&near| (near.abs_diff(address), Reverse(near)));
    let nearest = addresses.into_iter().take(SIMILAR);
    nearest.map(|address| format!("{address:#x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::test_profile::TestProfile;

    #[test]
    fn places() {
        let line = |file: &str, line| Place::Line {
            file: file.to_owned(),
            line,
        };
        let function = |name: &str| Place::Function(name.to_owned());
        let cases = [
            ("0x7f", Place::Address(0x7f)),
            ("0xzz", function("0xzz")),
            ("load.c:20", line("load.c", 20)),
            ("/a b/load.c:20", line("/a b/load.c", 20)),
            ("load", function("load")),
            ("a::b", function("a::b")),
            ("a::7", function("a::7")),
            (":7", function(":7")),
            ("load.c:", function("load.c:")),
        ];
        for (text, expected) in cases {
            assert_eq!(Place::parse(text), expected, "{text}");
        }
    }

    fn program() -> TestProfile {
        let mut test = TestProfile::new();
        test.allocate(
            &["main src/a.c:1", "load src/a.c:5", "parse_line src/b.c:7"],
            8,
            1,
        );
        test.allocate(&["main src/a.c:2", "load_all src/xa.c:5"], 8, 1);
        test
    }

    /// The functions and lines that a text stands for.
    fn found(text: &str) -> Option<Vec<String>> {
        let test = program();
        let view = ProfileView::new(&test.profile);
        let subject = Subject::find(&view, &Place::parse(text))?;
        let word = |&id: &FrameId| {
            let frame = view.frame(id);
            format!("{}:{}", frame.function, frame.line.unwrap_or(0))
        };
        Some(subject.frames.iter().map(word).collect())
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let expected =
            (!expected.is_empty()).then(|| expected.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(found(text), expected, "{text}");
    }

    #[test]
    fn whole_names_come_before_parts() {
        check("load", &["load:5"]);
        check("main", &["main:1", "main:2"]);
        check("LOAD", &["load:5", "load_all:5"]);
        check("parse", &["parse_line:7"]);
        check("nobody", &[]);
    }

    #[test]
    fn files_are_named_by_their_end() {
        check("a.c:5", &["load:5"]);
        check("src/a.c:5", &["load:5"]);
        check("xa.c:5", &["load_all:5"]);
        check("a.c:6", &[]);
    }

    #[test]
    fn addresses_are_as_stacks_have_them_or_one_before() {
        // The test profile counts locations from 0x1001.
        check("0x1001", &["main:1"]);
        check("0x1004", &["main:2"]);
        check("0x1006", &["load_all:5"]);
        check("0x1fff", &[]);
    }

    #[test]
    fn what_is_alike() {
        let test = program();
        let view = ProfileView::new(&test.profile);
        let similar = |text: &str| similar_places(&view, &Place::parse(text));
        assert_eq!(similar("loda"), Vec::<String>::new());
        assert_eq!(similar("paser_line"), ["parse_line"]);
        assert_eq!(similar("x::lod(int)"), ["load"]);
        assert_eq!(similar("a.c:4"), ["a.c:5", "a.c:2", "a.c:1"]);
        assert_eq!(similar("0x1000")[..2], ["0x1001", "0x1002"]);
        assert_eq!(similar("quite different"), Vec::<String>::new());
    }

    #[test]
    fn distances() {
        let cases = [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ];
        for (one, other, expected) in cases {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
