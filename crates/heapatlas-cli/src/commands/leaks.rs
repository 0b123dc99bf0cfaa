//! `leaks`: names what leaks or grows, who holds it, and what to do next.
//!
//! Read at three in the morning: one block a suspect, the worst first, one fact a line.

use std::io::{self, Write};
use std::path::PathBuf;

use heapatlas_analysis::{GrowthPoint, LeakOptions, Suspect, find_leaks, path_in_words};
use heapatlas_model::{Bytes, Count};

use super::thresholds::LeakThreshold;
use crate::console::Console;
use crate::exit::Outcome;
use crate::input;
use crate::options::RuleArgs;
use crate::render::json;
use crate::render::text::{
    Paint, arrows, plural, printable, shell_word, short_name, signed_count, wrapped_path,
};

/// Suspects in text when nobody said how many: what fits a screen or two.
const DEFAULT_TEXT_SUSPECTS: usize = 10;

/// A line of a path; with its indent it fits a terminal of 100 columns.
const PATH_WIDTH: usize = 86;

/// Name what leaks or grows, and who holds it
///
/// One snapshot: what looks wrong by itself. Two: what is new in the second. Three or more: what
/// is new in the second and still there in the last, which tells leaks from work in progress.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas leaks before.heapsnapshot after.heapsnapshot
  heapatlas leaks 1.heapsnapshot 2.heapsnapshot 3.heapsnapshot --top 3
  heapatlas leaks before.heapsnapshot after.heapsnapshot --fail-on 1MB --json")]
pub struct Args {
    /// The snapshots of one process, oldest first
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Show at most so many suspects, 0 for all [default: 10 in text, all in JSON]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Exit with 1 when there are suspects, or one that retains more than a size. Repeatable
    #[arg(long, value_name = "suspects|SIZE", value_parser = LeakThreshold::parse)]
    fail_on: Vec<LeakThreshold>,
    #[command(flatten)]
    rules: RuleArgs,
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    let heaps = input::open_all(&args.files, args.rules.open_options(), console)?;
    // All of them, since a threshold may be crossed by one that is not shown.
    let options = LeakOptions { limit: usize::MAX };
    let suspects = console.measure("leaks", || find_leaks(&heaps, options));
    let limit = match args.top {
        Some(0) => usize::MAX,
        Some(count) => count,
        None if console.is_json => usize::MAX,
        None => DEFAULT_TEXT_SUSPECTS,
    };
    let shown = &suspects[..suspects.len().min(limit)];
    console.print(|out| {
        if console.is_json {
            return json::leaks(out, shown);
        }
        let text = Text {
            paint: Paint {
                is_on: console.has_colors,
            },
            files: &args.files,
        };
        text.report(out, shown, suspects.len())
    })?;
    Ok(check(&args.fail_on, &suspects, console))
}

fn check(thresholds: &[LeakThreshold], suspects: &[Suspect], console: &Console) -> Outcome {
    let mut outcome = Outcome::Fine;
    for message in thresholds
        .iter()
        .filter_map(|threshold| threshold.check(suspects))
    {
        console.fail(&message);
        outcome = Outcome::CheckFailed;
    }
    outcome
}

/// The suspects as text, part by part.
struct Text<'a> {
    paint: Paint,
    files: &'a [PathBuf],
}

impl Text<'_> {
    fn report(&self, out: &mut dyn Write, shown: &[Suspect], total: usize) -> io::Result<()> {
        if shown.is_empty() {
            return self.nothing_found(out);
        }
        writeln!(
            out,
            "{total} {} in {} {}",
            plural(total, "suspect", "suspects"),
            self.files.len(),
            plural(self.files.len(), "snapshot", "snapshots")
        )?;
        for (rank, suspect) in (1..).zip(shown) {
            self.suspect(out, rank, suspect)?;
        }
        if total > shown.len() {
            writeln!(out, "\n… {} more (--top 0 shows all)", total - shown.len())?;
        }
        self.next_steps(out, &shown[0])
    }

    fn nothing_found(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "no suspects")?;
        if self.files.len() < 3 {
            writeln!(
                out,
                "\nnext: take snapshots before, between and after two equal rounds of work, and \
                 give all three:\n  heapatlas leaks 1.heapsnapshot 2.heapsnapshot 3.heapsnapshot"
            )?;
        }
        Ok(())
    }

    fn suspect(&self, out: &mut dyn Write, rank: usize, suspect: &Suspect) -> io::Result<()> {
        let Suspect {
            kind,
            detector,
            retained_bytes,
            ..
        } = *suspect;
        let name = self.paint.bold(&short_name(&suspect.name));
        let detail = if kind == detector {
            kind.to_owned()
        } else {
            format!("{kind}, {detector}")
        };
        writeln!(
            out,
            "\n{rank}. {name}  retains {} ({detail})",
            Bytes(retained_bytes)
        )?;
        if suspect.growth.len() > 1 {
            writeln!(out, "   objects  {}", objects_in_words(&suspect.growth))?;
            let bytes = suspect.growth.iter().map(|point| Bytes(point.bytes));
            writeln!(out, "   bytes    {}", arrows(bytes))?;
        } else if let [point] = suspect.growth[..] {
            writeln!(
                out,
                "   objects  {}, {}",
                Count(point.count),
                Bytes(point.bytes)
            )?;
        }
        if !suspect.path.is_empty() {
            let path = wrapped_path(&path_in_words(&suspect.path), 12, PATH_WIDTH);
            writeln!(out, "   held by  {path}")?;
        }
        writeln!(out, "   why      {}", printable(&suspect.why))
    }

    fn next_steps(&self, out: &mut dyn Write, worst: &Suspect) -> io::Result<()> {
        let word = |file: &PathBuf| shell_word(&file.to_string_lossy());
        let last = self.files.last().map(word).unwrap_or_default();
        let Suspect {
            holder_id,
            example_id,
            ..
        } = worst;
        writeln!(out, "\nnext:")?;
        writeln!(
            out,
            "  heapatlas show {last} @{holder_id}  # what holds the worst of them"
        )?;
        writeln!(
            out,
            "  heapatlas show {last} @{example_id}  # one of what it holds: fields, retainers"
        )?;
        if self.files.len() > 1 {
            let files: Vec<String> = self.files.iter().map(word).collect();
            writeln!(
                out,
                "  heapatlas compare {}  # every class that changed",
                files.join(" ")
            )?;
        }
        Ok(())
    }
}

/// `200 → 1,200 → 2,200 (+1,000 each)`.
fn objects_in_words(growth: &[GrowthPoint]) -> String {
    let steps: Vec<i64> = growth
        .windows(2)
        .map(|pair| {
            pair[1]
                .count
                .cast_signed()
                .wrapping_sub(pair[0].count.cast_signed())
        })
        .collect();
    let counts = arrows(growth.iter().map(|point| Count(point.count)));
    match steps[..] {
        [] => counts,
        [step] => format!("{counts} ({})", signed_count(step)),
        [first, ..] if steps.iter().all(|&step| step == first) => {
            format!("{counts} ({} each)", signed_count(first))
        }
        _ => {
            let steps: Vec<String> = steps.into_iter().map(signed_count).collect();
            format!("{counts} ({})", steps.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(counts: &[u64], expected: &str) {
        let growth: Vec<GrowthPoint> = counts
            .iter()
            .map(|&count| GrowthPoint { count, bytes: 0 })
            .collect();
        assert_eq!(objects_in_words(&growth), expected);
    }

    #[test]
    fn growth_in_words() {
        check(&[7], "7");
        check(&[200, 1200], "200 → 1,200 (+1,000)");
        check(&[200, 1200, 2200], "200 → 1,200 → 2,200 (+1,000 each)");
        check(&[5, 4, 9], "5 → 4 → 9 (-1, +5)");
    }
}
