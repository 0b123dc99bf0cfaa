//! A flame graph: one SVG file that needs nothing else.
//!
//! Callers are below what they call; the width of a box is its share. Without its script it is a
//! picture with tooltips; with it, a click zooms, and names are searched by regular expression.

use std::fmt::Write as _;
use std::io::{self, Write};

use heapatlas_model::{Bytes, Count};

/// The script, which knows the picture by its classes and ids.
const SCRIPT: &str = include_str!("flamegraph/script.js");
const STYLE: &str = include_str!("flamegraph/style.css");

const WIDTH: f64 = 1200.0;
/// Space on both sides.
const MARGIN: f64 = 10.0;
const ROW: usize = 17;
/// Space above for the title, and below for the line that tells about a box.
const HEAD: usize = 56;
const FOOT: usize = 34;
/// The width of a character of the boxes' font.
const CHARACTER: f64 = 6.65;
/// Boxes narrower than one of so many parts of the whole are left out.
const PARTS: u64 = 1000;

/// A box of a flame graph, or a frame of folded stacks. Each stands before what it calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlameFrame<'a> {
    /// Steps from everything: 1 for where a thread begins.
    pub depth: usize,
    /// The function.
    pub name: &'a str,
    /// What the graph is about, of all stacks that pass through it.
    pub inclusive: u64,
    /// The same, of the stacks that end in it.
    pub own: u64,
    /// For the tooltip: bytes of all stacks that pass through it.
    pub bytes: u64,
    /// For the tooltip: their blocks.
    pub blocks: u64,
    /// Whether it is library code, which is painted in another color.
    pub is_library: bool,
}

/// Writes a flame graph of these frames. Its whole is the sum of the frames of depth 1.
///
/// # Errors
/// Those of the writer.
pub fn write(title: &str, frames: &[FlameFrame<'_>], out: &mut dyn Write) -> io::Result<()> {
    let whole = Whole::of(frames);
    let boxes = boxes(frames, whole.weight);
    let depth = boxes
        .iter()
        .map(|placed| placed.frame.depth)
        .max()
        .unwrap_or(0);
    let height = HEAD + (depth + 1) * ROW + FOOT;
    begin(out, title, height)?;
    let all = FlameFrame {
        name: "all",
        inclusive: whole.weight,
        bytes: whole.bytes,
        blocks: whole.blocks,
        is_library: true,
        ..FlameFrame::default()
    };
    let bottom = HEAD + depth * ROW;
    let root = Placed {
        frame: &all,
        start: 0,
    };
    for placed in std::iter::once(&root).chain(&boxes) {
        write_box(out, placed, &whole, bottom - placed.frame.depth * ROW)?;
    }
    write!(
        out,
        "</g>\n<text id=\"details\" x=\"{MARGIN}\" y=\"{}\"> </text>\n\
         <text id=\"matched\" x=\"{}\" y=\"{0}\" text-anchor=\"end\"> </text>\n\
         <script><![CDATA[\n{SCRIPT}]]></script>\n</svg>\n",
        height - 12,
        WIDTH - MARGIN,
    )
}

/// What shares are shares of.
struct Whole {
    weight: u64,
    bytes: u64,
    blocks: u64,
}

impl Whole {
    fn of(frames: &[FlameFrame<'_>]) -> Self {
        let sum = |part: fn(&FlameFrame<'_>) -> u64| {
            let outermost = frames.iter().filter(|frame| frame.depth == 1);
            outermost.map(part).fold(0, u64::saturating_add)
        };
        Self {
            weight: sum(|frame| frame.inclusive),
            bytes: sum(|frame| frame.bytes),
            blocks: sum(|frame| frame.blocks),
        }
    }

    /// A part of the weight as a length.
    fn length(&self, weight: u64) -> f64 {
        (WIDTH - 2.0 * MARGIN) * weight as f64 / self.weight.max(1) as f64
    }
}

/// A frame and how much stands left of it.
struct Placed<'a> {
    frame: &'a FlameFrame<'a>,
    start: u64,
}

/// The frames that are wide enough: each begins where its caller does, or its neighbor ends.
fn boxes<'a>(frames: &'a [FlameFrame<'a>], whole: u64) -> Vec<Placed<'a>> {
    let mut boxes = Vec::new();
    // For each depth where the next box begins.
    let mut starts: Vec<u64> = vec![0; 2];
    for frame in frames {
        let start = starts.get(frame.depth).copied().unwrap_or(0);
        starts.truncate(frame.depth);
        starts.extend([start.saturating_add(frame.inclusive), start]);
        if frame.inclusive > 0 && frame.inclusive >= whole.div_ceil(PARTS) {
            boxes.push(Placed { frame, start });
        }
    }
    boxes
}

fn begin(out: &mut dyn Write, title: &str, height: usize) -> io::Result<()> {
    let title = escaped(title);
    let middle = WIDTH / 2.0;
    let right = WIDTH - MARGIN;
    write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{WIDTH}\" \
         height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <!-- Boxes below 0.1 % of the whole are left out. -->\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"background\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{middle}\" y=\"26\" text-anchor=\"middle\">{title}</text>\n\
         <text id=\"reset\" class=\"button hidden\" x=\"{MARGIN}\" y=\"26\">reset zoom</text>\n\
         <text id=\"search\" class=\"button\" x=\"{right}\" y=\"26\" text-anchor=\"end\">search</text>\n\
         <g id=\"frames\">\n"
    )
}

fn write_box(out: &mut dyn Write, placed: &Placed<'_>, whole: &Whole, y: usize) -> io::Result<()> {
    let FlameFrame {
        name,
        inclusive,
        bytes,
        blocks,
        ..
    } = *placed.frame;
    let (x, width) = (MARGIN + whole.length(placed.start), whole.length(inclusive));
    let share = 100.0 * inclusive as f64 / whole.weight.max(1) as f64;
    let name = escaped(name);
    let word = if blocks == 1 { "block" } else { "blocks" };
    write!(
        out,
        "<g class=\"frame\"><title>{name}: {}, {} {word}, {share:.2} %</title>\
         <rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\" fill=\"{}\"/>",
        Bytes(bytes),
        Count(blocks),
        ROW - 1,
        color(placed.frame)
    )?;
    let text = escaped(&fitting(placed.frame.name, width));
    let (x, y) = (x + 3.0, y + 12);
    writeln!(out, "<text x=\"{x:.2}\" y=\"{y}\">{text}</text></g>")
}

/// As much of a name as a box has room for.
fn fitting(name: &str, width: f64) -> String {
    let room = ((width - 6.0) / CHARACTER).max(0.0) as usize;
    if name.chars().count() <= room {
        return name.to_owned();
    }
    if room < 3 {
        return String::new();
    }
    name.chars().take(room - 1).chain(['…']).collect()
}

/// The same name has the same color, in all graphs: warm ones for the program, cool ones for libraries.
fn color(frame: &FlameFrame<'_>) -> String {
    // FNV-1a.
    let hash = frame.name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let (shade, tone) = (hash % 50, (hash >> 8) % 40);
    if frame.is_library {
        format!("#{:02x}{:02x}{:02x}", 150 + tone, 180 + shade, 200 + tone)
    } else {
        format!(
            "#{:02x}{:02x}{:02x}",
            205 + shade,
            120 + 2 * tone,
            60 + tone
        )
    }
}

/// Text as XML takes it; what XML has no way to say is U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            '\x7f'..='\u{9f}' => {
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}
