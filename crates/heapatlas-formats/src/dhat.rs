//! DHAT's profile, version 2: what `dh_view.html` of valgrind shows.
//!
//! Quirks of the format, and what a profile of ours has for them:
//! - A program point is one list of frames; the viewer refuses a file with two equal lists, so that stacks
//!   whose frames read the same become one point.
//! - `mb`, `mbk` are what a point held when *it* held the most. Our profiles do not know that; the larger of
//!   what it held at the peak of the whole process and at the end stands in, which is never too much.
//! - `tl`, the sum of lifetimes, is of freed blocks only: ours does not know when live ones began.
//! - Times are in nanoseconds.

use std::io::{self, Write};

use heapatlas_model::{AllocationProfile, NamedFrame, StackFigures, StackId};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

/// The viewer calls blocks short-lived that lived less on average: 10 µs, as the crate `dhat` does.
const SHORT_LIVED_NS: u64 = 10_000;

/// The frame of allocations whose stack is not known at all.
const NO_STACK: &str = "0x0: ??? (no stack)";

/// Writes a profile.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &AllocationProfile, out: &mut dyn Write) -> io::Result<()> {
    let mut frames = FrameTable::new();
    let points = points(profile, &mut frames);
    write!(
        out,
        "{{\"dhatFileVersion\":2,\"mode\":\"heap\",\"verb\":\"Allocated\",\"bklt\":true,\
         \"bkacc\":false,\"tu\":\"ns\",\"Mtu\":\"ms\",\"tuth\":{SHORT_LIVED_NS},\"cmd\":{},\
         \"pid\":{},\"te\":{},\"tg\":{},\n\"pps\":[",
        Value::from(profile.command.join(" ")),
        profile.pid,
        profile.duration_ns,
        profile.peak_time_ns,
    )?;
    write_list(out, points.iter().map(|(fs, figures)| point(fs, figures)))?;
    out.write_all(b"],\n\"ftbl\":[")?;
    write_list(out, frames.texts.into_iter().map(Value::from))?;
    out.write_all(b"]}\n")
}

fn write_list(out: &mut dyn Write, values: impl Iterator<Item = Value>) -> io::Result<()> {
    let mut separator = "\n";
    for value in values {
        write!(out, "{separator}{value}")?;
        separator = ",\n";
    }
    Ok(())
}

fn point(fs: &[u32], figures: &StackFigures) -> Value {
    let StackFigures {
        total,
        peak,
        live_at_end,
        lifetime_ns,
        ..
    } = *figures;
    let most = if live_at_end.bytes > peak.bytes {
        live_at_end
    } else {
        peak
    };
    json!({
        "tb": total.bytes, "tbk": total.blocks, "tl": lifetime_ns,
        "mb": most.bytes, "mbk": most.blocks,
        "gb": peak.bytes, "gbk": peak.blocks,
        "eb": live_at_end.bytes, "ebk": live_at_end.blocks,
        "fs": fs,
    })
}

/// The stacks with which something was allocated, those that read the same as one, in order of
/// their first appearance.
fn points(profile: &AllocationProfile, frames: &mut FrameTable) -> Vec<(Vec<u32>, StackFigures)> {
    let mut points: Vec<(Vec<u32>, StackFigures)> = Vec::new();
    let mut rows: FxHashMap<Vec<u32>, usize> = FxHashMap::default();
    let stacks = profile
        .figures
        .iter()
        .take(profile.stacks.len())
        .enumerate();
    for (row, figures) in stacks.filter(|(_, figures)| figures.total.blocks > 0) {
        let fs = frames.of_stack(profile, StackId::from_index(row));
        let row = *rows.entry(fs).or_insert_with_key(|fs| {
            points.push((fs.clone(), StackFigures::default()));
            points.len() - 1
        });
        points[row].1 += *figures;
    }
    points
}

/// The texts of frames, each once; the first is the viewer's root.
struct FrameTable {
    texts: Vec<String>,
    rows: FxHashMap<String, u32>,
    /// For each location its rows, once they are known.
    by_location: FxHashMap<u32, Vec<u32>>,
}

impl FrameTable {
    fn new() -> Self {
        Self {
            texts: vec!["[root]".to_owned()],
            rows: FxHashMap::default(),
            by_location: FxHashMap::default(),
        }
    }

    /// Innermost first.
    fn of_stack(&mut self, profile: &AllocationProfile, stack: StackId) -> Vec<u32> {
        let mut fs = Vec::new();
        for location in profile.stacks.walk(stack) {
            if !self.by_location.contains_key(&location.0) {
                let frames = profile.named_frames(location);
                let rows = frames.map(|frame| self.row(text(&frame))).collect();
                self.by_location.insert(location.0, rows);
            }
            fs.extend(&self.by_location[&location.0]);
        }
        if fs.is_empty() {
            fs.push(self.row(NO_STACK.to_owned()));
        }
        fs
    }

    fn row(&mut self, text: String) -> u32 {
        let next = self.texts.len() as u32;
        *self.rows.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }
}

/// `0xADDR: function (file:line)`, `0xADDR: function (in module)`, as valgrind writes it.
fn text(frame: &NamedFrame<'_>) -> String {
    let NamedFrame {
        function, address, ..
    } = frame;
    match (frame.file, frame.line, frame.module) {
        (Some(file), Some(line), _) => format!("{address:#X}: {function} ({file}:{line})"),
        (Some(file), None, _) => format!("{address:#X}: {function} ({file})"),
        (None, _, Some(module)) => format!("{address:#X}: {function} (in {module})"),
        (None, _, None) => format!("{address:#X}: {function} (???)"),
    }
    .replacen("0X", "0x", 1)
}
