//! `show --json` of an allocation profile: a part of the contract, see [`json`](super::json).

use std::io::{self, Write};

use heapatlas_analysis::profile::{CallFrame, Neighbor, StackThrough};
use serde::Serialize;

use super::json::{Rows, VERSION, write};
use super::profile_json::FiguresObject;
use super::shown_place::ShownPlace;

/// A place; lists have so many rows at most.
pub fn place(out: &mut dyn Write, shown: &ShownPlace<'_>, limit: usize) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<'a, F, N, S> {
        version: u32,
        format: &'static str,
        what: &'a str,
        frames: F,
        own: FiguresObject,
        inclusive: FiguresObject,
        callers: N,
        callees: N,
        stacks: S,
    }
    let frames = shown.subject.frames.iter();
    let frames = frames.map(|&id| FrameObject::new(shown.view.frame(id)));
    let found = &shown.found;
    let object = Object {
        version: VERSION,
        format: shown.view.profile().format.name(),
        what: shown.what,
        frames: Rows(frames),
        own: FiguresObject::new(&found.own),
        inclusive: FiguresObject::new(&found.inclusive),
        callers: neighbors(&found.callers, limit),
        callees: neighbors(&found.callees, limit),
        stacks: Rows(
            shown
                .stacks
                .iter()
                .take(limit)
                .map(|stack| StackObject::new(shown, stack)),
        ),
    };
    write(out, &object)
}

#[derive(Serialize)]
struct FrameObject<'a> {
    function: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
}

impl<'a> FrameObject<'a> {
    fn new(frame: &'a CallFrame) -> Self {
        Self {
            function: &frame.function,
            file: frame.file.as_deref(),
            line: frame.line,
            module: frame.module.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct NeighborObject<'a> {
    function: &'a str,
    #[serde(flatten)]
    figures: FiguresObject,
}

impl<'a> NeighborObject<'a> {
    fn new(neighbor: &'a Neighbor) -> Self {
        Self {
            function: &neighbor.function,
            figures: FiguresObject::new(&neighbor.figures),
        }
    }
}

fn neighbors(neighbors: &[Neighbor], limit: usize) -> Vec<NeighborObject<'_>> {
    let shown = neighbors.iter().take(limit);
    shown.map(NeighborObject::new).collect()
}

#[derive(Serialize)]
struct StackObject<'a> {
    frames: Vec<FrameObject<'a>>,
    is_cut_off: bool,
    #[serde(flatten)]
    figures: FiguresObject,
}

impl<'a> StackObject<'a> {
    fn new(shown: &'a ShownPlace<'_>, stack: &'a StackThrough) -> Self {
        let frames = stack.frames.iter();
        Self {
            frames: frames
                .map(|&id| FrameObject::new(shown.view.frame(id)))
                .collect(),
            is_cut_off: stack.is_cut_off,
            figures: FiguresObject::new(&stack.figures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::sample_profile::sample_profile;
    use heapatlas_analysis::profile::{Metric, Place, ProfileView, Subject};

    /// The contract, field by field and in order.
    #[test]
    fn the_contract() {
        let profile = sample_profile();
        let view = ProfileView::new(&profile);
        let mut out = Vec::new();
        let subject = Subject::find(&view, &Place::parse("load")).expect("it is there");
        let shown = ShownPlace::new(&view, "load", subject, (Metric::Peak, "at the peak"));
        place(&mut out, &shown, 1).expect("memory takes everything");
        let four = concat!(
            r#""allocations":4,"bytes":4096,"peak_bytes":4096,"live_bytes":4096,"live_blocks":4,"#,
            r#""temporary":0}"#
        );
        let three = concat!(
            r#""allocations":3,"bytes":3072,"peak_bytes":3072,"live_bytes":3072,"live_blocks":3,"#,
            r#""temporary":0}"#
        );
        let frame = r#"{"function":"load","file":"app.c","line":20,"module":"/opt/app/app"}"#;
        let malloc =
            r#"{"function":"malloc","file":null,"line":null,"module":"/usr/lib/libc.so.6"}"#;
        let main = r#"{"function":"main","file":"app.c","line":10,"module":"/opt/app/app"}"#;
        let expected = format!(
            concat!(
                r#"{{"version":1,"format":"heaptrace","what":"load","frames":[{frame}],"#,
                r#""own":{{{four},"inclusive":{{{four},"#,
                r#""callers":[{{"function":"main",{three}],"callees":[{{"function":"malloc",{four}],"#,
                r#""stacks":[{{"frames":[{malloc},{frame},{main}],"is_cut_off":false,{three}]}}"#,
                "\n"
            ),
            frame = frame,
            four = four,
            three = three,
            malloc = malloc,
            main = main,
        );
        assert_eq!(String::from_utf8(out).expect("JSON is text"), expected);
    }
}
