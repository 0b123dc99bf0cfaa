//! Folded stacks, one a line: `main;load;malloc 4096`. What flamegraph.pl, inferno, speedscope
//! and others read.

use std::io::{self, Write};

use crate::flamegraph::FlameFrame;

/// Writes the frames of a tree that have something of their own, each with all of its callers,
/// outermost first. Frames stand before what they call, as in [`flamegraph`](crate::flamegraph).
///
/// The line's parts are separated by `;`, which names hold, too: there `:` stands for it, and a
/// space for a line break.
///
/// ```
/// use heapatlas_formats::{flamegraph::FlameFrame, folded};
/// let frame = |depth, name, own| FlameFrame { depth, name, own, ..FlameFrame::default() };
/// let mut out = Vec::new();
/// folded::write(&[frame(1, "main", 0), frame(2, "load", 8), frame(1, "a;b", 5)], &mut out)?;
/// assert_eq!(out, b"main;load 8\na:b 5\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of the writer.
pub fn write(frames: &[FlameFrame<'_>], out: &mut dyn Write) -> io::Result<()> {
    let mut path: Vec<String> = Vec::new();
    for frame in frames {
        path.truncate(frame.depth.saturating_sub(1));
        path.push(plain(frame.name));
        if frame.own > 0 {
            writeln!(out, "{} {}", path.join(";"), frame.own)?;
        }
    }
    Ok(())
}

fn plain(name: &str) -> String {
    let plain = |c: char| match c {
        ';' => ':',
        c if c.is_control() => ' ',
        c => c,
    };
    name.chars().map(plain).collect()
}
