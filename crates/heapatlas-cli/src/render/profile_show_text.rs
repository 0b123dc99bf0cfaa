//! A place in an allocation profile as text for people.

use std::io::{self, Write};

use heapatlas_analysis::profile::{Neighbor, StackThrough};
use heapatlas_model::{Bytes, Count, StackFigures};

use super::profile_text::{ProfileText, amount_cells, place};
use super::shown_place::ShownPlace;
use super::text::{Table, percent, plural, printable};
use crate::commands::row_choice::remark_on_rest;

/// A heading names so many frames.
const NAMED_FRAMES: usize = 8;
/// Of a long stack these are shown: so many innermost frames, ...
const INNERMOST: usize = 6;
/// ... so many on both sides of the place, ...
const AROUND: usize = 2;
/// ... and so many outermost ones.
const OUTERMOST: usize = 2;

/// How to show a place.
pub struct ShownPlaceText<'a> {
    /// The profile.
    pub text: ProfileText<'a>,
    /// The place.
    pub shown: &'a ShownPlace<'a>,
}

impl ShownPlaceText<'_> {
    /// All of it; lists have so many rows at most.
    pub fn write(&self, out: &mut dyn Write, rows: usize, stacks: usize) -> io::Result<()> {
        self.heading(out)?;
        self.figures(out)?;
        self.neighbors(out, "callers", &self.shown.found.callers, rows)?;
        self.neighbors(out, "callees", &self.shown.found.callees, rows)?;
        self.stacks(out, stacks)
    }

    fn heading(&self, out: &mut dyn Write) -> io::Result<()> {
        let frames = &self.shown.subject.frames;
        let name = |index: usize| place(self.shown.view.frame(frames[index]));
        if frames.len() == 1 {
            return writeln!(out, "{}", self.text.paint.bold(&name(0)));
        }
        let what = printable(self.shown.what);
        let heading = format!("{what}: {} places", Count(frames.len() as u64));
        writeln!(out, "{}", self.text.paint.bold(&heading))?;
        for index in 0..frames.len().min(NAMED_FRAMES) {
            writeln!(out, "  {}", name(index))?;
        }
        match frames.len().saturating_sub(NAMED_FRAMES) {
            0 => Ok(()),
            rest => writeln!(out, "  … {} more", Count(rest as u64)),
        }
    }

    /// Its own and what it leads to, by each metric, with the shares of the whole.
    fn figures(&self, out: &mut dyn Write) -> io::Result<()> {
        let profile = self.shown.view.profile();
        let mut table = Table::new(&["self", "%", "inclusive", "%", ""]);
        let mut bytes = |name: &str, amount: fn(&StackFigures) -> u64, whole: u64| {
            let (own, inclusive) = self.own_and_inclusive(amount);
            table.row(vec![
                Bytes(own).to_string(),
                percent(own, whole),
                Bytes(inclusive).to_string(),
                percent(inclusive, whole),
                name.to_owned(),
            ]);
        };
        bytes("at the peak", |f| f.peak.bytes, profile.peak.bytes);
        bytes(
            "live at end",
            |f| f.live_at_end.bytes,
            profile.live_at_end.bytes,
        );
        bytes("bytes in all", |f| f.total.bytes, profile.total.bytes);
        let mut blocks = |name: &str, amount: fn(&StackFigures) -> u64, whole: u64| {
            let (own, inclusive) = self.own_and_inclusive(amount);
            table.row(vec![
                Count(own).to_string(),
                percent(own, whole),
                Count(inclusive).to_string(),
                percent(inclusive, whole),
                name.to_owned(),
            ]);
        };
        blocks("allocations", |f| f.total.blocks, profile.total.blocks);
        blocks(
            "temporary",
            |f| f.temporary.blocks,
            profile.temporary.blocks,
        );
        writeln!(out)?;
        table.write(out, self.text.paint)
    }

    fn own_and_inclusive(&self, amount: fn(&StackFigures) -> u64) -> (u64, u64) {
        let found = &self.shown.found;
        (amount(&found.own), amount(&found.inclusive))
    }

    fn neighbors(
        &self,
        out: &mut dyn Write,
        title: &str,
        neighbors: &[Neighbor],
        limit: usize,
    ) -> io::Result<()> {
        self.title(out, title)?;
        if neighbors.is_empty() {
            return writeln!(out, "  none");
        }
        let mut table = Table::new(&["bytes", "blocks", "%", "function"]);
        for neighbor in neighbors.iter().take(limit) {
            table.row(self.cells(
                &neighbor.figures,
                printable(&neighbor.function).into_owned(),
            ));
        }
        if let Some(rest) = remark_on_rest(neighbors.len(), limit, "function", "functions") {
            table.remark(rest);
        }
        table.write(out, self.text.paint)
    }

    fn title(&self, out: &mut dyn Write, title: &str) -> io::Result<()> {
        let title = format!("{title}, {}", self.shown.ranked_by);
        writeln!(out, "\n{}", self.text.paint.bold(&title))
    }

    /// A row whose share is that of all that passes through the place.
    fn cells(&self, figures: &StackFigures, name: String) -> Vec<String> {
        let metric = self.shown.metric;
        let whole = metric.weight(&self.shown.found.inclusive);
        amount_cells(metric, metric.amount(figures), whole, name)
    }

    fn stacks(&self, out: &mut dyn Write, limit: usize) -> io::Result<()> {
        let stacks = &self.shown.stacks;
        self.title(out, "stacks through it")?;
        if stacks.is_empty() {
            return writeln!(out, "  none");
        }
        let mut table = Table::new(&["bytes", "blocks", "%", "stack, innermost frame first"]);
        for stack in stacks.iter().take(limit) {
            let mut lines = self.lines(stack).into_iter();
            let first = lines.next().unwrap_or_default();
            table.row(self.cells(&stack.figures, first));
            for line in lines {
                table.row(vec![String::new(), String::new(), String::new(), line]);
            }
        }
        if let Some(rest) = remark_on_rest(stacks.len(), limit, "stack", "stacks") {
            table.remark(rest);
        }
        table.write(out, self.text.paint)
    }

    /// A frame on each line, those of the place marked; long stacks without what is far from it.
    fn lines(&self, stack: &StackThrough) -> Vec<String> {
        let mut lines = Vec::new();
        let mut left_out = 0;
        for (index, &frame) in stack.frames.iter().enumerate() {
            if !is_shown(stack, index) {
                left_out += 1;
                continue;
            }
            lines.extend(gap(std::mem::take(&mut left_out)));
            let mark = if stack.is_subject[index] { '>' } else { ' ' };
            lines.push(format!("{mark} {}", place(self.shown.view.frame(frame))));
        }
        if stack.is_cut_off {
            lines.push("  (outer frames are missing)".to_owned());
        }
        lines
    }
}

fn is_shown(stack: &StackThrough, index: usize) -> bool {
    let around = index.saturating_sub(AROUND)..stack.frames.len().min(index + AROUND + 1);
    index < INNERMOST
        || index + OUTERMOST >= stack.frames.len()
        || stack.is_subject[around].contains(&true)
}

fn gap(frames: usize) -> Option<String> {
    let word = plural(frames, "frame", "frames");
    (frames > 0).then(|| format!("  … {} {word}", Count(frames as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::sample_profile::sample_profile;
    use crate::render::text::Paint;
    use heapatlas_analysis::profile::{Metric, Place, ProfileView, Subject};

    #[track_caller]
    fn check(what: &str, by: (Metric, &'static str), expected: &[&str]) {
        let profile = sample_profile();
        let view = ProfileView::new(&profile);
        let subject = Subject::find(&view, &Place::parse(what)).expect("it is there");
        let shown = ShownPlace::new(&view, what, subject, by);
        let text = ShownPlaceText {
            text: ProfileText {
                view: &view,
                paint: Paint { is_on: false },
                width: 80,
                is_unicode: true,
            },
            shown: &shown,
        };
        let mut out = Vec::new();
        text.write(&mut out, 20, 1)
            .expect("memory takes everything");
        let found = String::from_utf8(out).expect("text");
        assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_function() {
        check(
            "load",
            (Metric::Peak, "at the peak"),
            &[
                "load  app.c:20",
                "",
                "   self        %  inclusive        %",
                "4.0 KiB   33.3 %    4.0 KiB   33.3 %  at the peak",
                "4.0 KiB  100.0 %    4.0 KiB  100.0 %  live at end",
                "4.0 KiB   31.7 %    4.0 KiB   31.7 %  bytes in all",
                "      4   25.0 %          4   25.0 %  allocations",
                "      0    0.0 %          0    0.0 %  temporary",
                "",
                "callers, at the peak",
                "  bytes  blocks       %  function",
                "3.0 KiB       3  75.0 %  main",
                "",
                "callees, at the peak",
                "  bytes  blocks        %  function",
                "4.0 KiB       4  100.0 %  malloc",
                "",
                "stacks through it, at the peak",
                "  bytes  blocks       %  stack, innermost frame first",
                "3.0 KiB       3  75.0 %    malloc  (libc.so.6)",
                "                         > load  app.c:20",
                "                           main  app.c:10",
                "… 1 more stack (--top 0 shows all)",
            ],
        );
    }

    #[test]
    fn a_line() {
        check(
            "app.c:30",
            (Metric::Bytes, "all bytes"),
            &[
                "log  app.c:30",
                "",
                " self        %  inclusive        %",
                "  0 B    0.0 %        0 B    0.0 %  at the peak",
                "  0 B    0.0 %        0 B    0.0 %  live at end",
                "640 B    5.0 %      640 B    5.0 %  bytes in all",
                "   10   62.5 %         10   62.5 %  allocations",
                "   10  100.0 %         10  100.0 %  temporary",
                "",
                "callers, all bytes",
                "bytes  blocks        %  function",
                "640 B      10  100.0 %  main",
                "",
                "callees, all bytes",
                "bytes  blocks        %  function",
                "640 B      10  100.0 %  std::string::string<>(char const*)",
                "",
                "stacks through it, all bytes",
                "bytes  blocks        %  stack, innermost frame first",
                "640 B      10  100.0 %    std::string::string<>(char const*)  /usr/include/c++/12/bits/basic_string.h:90",
                "                        > log  app.c:30",
                "                          main  app.c:11",
            ],
        );
    }

    #[test]
    fn long_stacks_lose_what_is_far_from_the_place() {
        let stack = StackThrough {
            frames: Vec::new(),
            is_subject: (0..40).map(|index| index == 20).collect(),
            is_cut_off: false,
            figures: StackFigures::default(),
        };
        let stack = StackThrough {
            frames: vec![heapatlas_analysis::profile::FrameId(0); 40],
            ..stack
        };
        let shown: Vec<usize> = (0..40).filter(|&index| is_shown(&stack, index)).collect();
        assert_eq!(shown, [0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 38, 39]);
        assert_eq!(gap(12).as_deref(), Some("  … 12 frames"));
        assert_eq!(gap(0), None);
    }
}
