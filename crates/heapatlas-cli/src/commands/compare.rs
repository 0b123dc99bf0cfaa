//! `compare`: what is new, gone and grown between snapshots of one process.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use heapatlas_analysis::{
    Change, ClassChange, ClassSeries, CompareOptions, Comparison, Series, compare, compare_series,
};
use heapatlas_model::{Bytes, Count};

use super::row_choice::{RowArgs, remark_on_rest};
use super::thresholds::ChangeThreshold;
use crate::console::Console;
use crate::exit::Outcome;
use crate::input;
use crate::options::RuleArgs;
use crate::paths;
use crate::render::json;
use crate::render::text::{
    Paint, Table, arrows, printable, short_name, signed_bytes, signed_count, wrapped_path,
};

/// Where a path begins in its line, and how long it may be there.
const PATH_INDENT: usize = 14;
const PATH_WIDTH: usize = 84;

/// Show what is new, gone and grown between snapshots of one process
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas compare before.heapsnapshot after.heapsnapshot
  heapatlas compare 1.heapsnapshot 2.heapsnapshot 3.heapsnapshot --sort delta
  heapatlas compare 1.heapsnapshot 2.heapsnapshot --fail-on grow=10MB --fail-on new=Session:100")]
pub struct Args {
    /// The snapshots, oldest first
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// Order of the classes
    #[arg(long, value_name = "COLUMN", default_value = "allocated")]
    sort: SortColumn,
    /// For each class, at most so many of the paths that hold its new objects [default: 1 in text,
    /// 3 in JSON]
    #[arg(long, value_name = "N")]
    paths: Option<usize>,
    /// Exit with 1 when grown by more than grow=[CLASS:]SIZE bytes or count=[CLASS:]N objects, or
    /// when more than new=[CLASS:]N objects are new; of a series, the steps together. Repeatable
    #[arg(long, value_name = "LIMIT", value_parser = ChangeThreshold::parse)]
    fail_on: Vec<ChangeThreshold>,
    #[command(flatten)]
    rows: RowArgs,
    #[command(flatten)]
    rules: RuleArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum SortColumn {
    /// Bytes of new objects
    Allocated,
    /// Bytes of deleted objects
    Freed,
    /// Allocated less freed bytes
    Bytes,
    New,
    Deleted,
    /// New less deleted objects
    Delta,
    Name,
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    let heaps = input::open_all(&args.files, args.rules.open_options(), console)?;
    let paths = args.paths.unwrap_or(if console.is_json { 3 } else { 1 });
    let options = CompareOptions { paths };
    let view = View {
        args: &args,
        console,
    };
    if let [base, current] = &heaps[..] {
        let comparison = console.measure("compare", || compare(base, current, options));
        console.print(|out| view.comparison(out, &comparison))?;
        Ok(view.check(&[&comparison]))
    } else {
        let series = console.measure("compare", || compare_series(&heaps, options));
        console.print(|out| view.series(out, &series))?;
        Ok(view.check(&series.steps.iter().collect::<Vec<_>>()))
    }
}

/// How the answer is shown.
struct View<'a> {
    args: &'a Args,
    console: &'a Console,
}

impl View<'_> {
    fn check(&self, steps: &[&Comparison]) -> Outcome {
        let mut outcome = Outcome::Fine;
        for threshold in &self.args.fail_on {
            let totals = steps.iter().map(|step| &step.totals);
            let classes = steps.iter().flat_map(|step| &step.classes);
            if let Some(message) = threshold.check(totals, classes) {
                self.console.fail(&message);
                outcome = Outcome::CheckFailed;
            }
        }
        outcome
    }

    fn comparison(&self, out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
        let classes = self.wanted_changes(&comparison.classes);
        let shown = self.cut(&classes);
        if self.console.is_json {
            return json::comparison(out, comparison, shown);
        }
        let files: Vec<String> = self
            .args
            .files
            .iter()
            .map(|file| paths::title(file))
            .collect();
        writeln!(out, "{}", self.paint().bold(&printable(&arrows(&files))))?;
        self.totals(out, &comparison.totals)?;
        self.changes(out, shown, classes.len())
    }

    fn series(&self, out: &mut dyn Write, series: &Series) -> io::Result<()> {
        let classes = self.wanted_series(&series.classes);
        let shown = self.cut(&classes);
        if self.console.is_json {
            let steps: Vec<_> = series
                .steps
                .iter()
                .map(|step| self.cut(&self.wanted_changes(&step.classes)).to_vec())
                .collect();
            return json::series(out, series, &steps, shown);
        }
        for (files, step) in self.args.files.windows(2).zip(&series.steps) {
            let files = arrows(files.iter().map(|file| paths::title(file)));
            writeln!(out, "{}", self.paint().bold(&printable(&files)))?;
            self.totals(out, &step.totals)?;
        }
        self.trends(out, shown, classes.len())
    }

    fn totals(&self, out: &mut dyn Write, change: &Change) -> io::Result<()> {
        writeln!(
            out,
            "  objects {} new, {} deleted: {}; bytes {} allocated, {} freed: {}",
            Count(change.new),
            Count(change.deleted),
            signed_count(change.delta()),
            Bytes(change.allocated_bytes),
            Bytes(change.freed_bytes),
            signed_bytes(change.delta_bytes())
        )
    }

    fn changes(
        &self,
        out: &mut dyn Write,
        classes: &[&ClassChange],
        total: usize,
    ) -> io::Result<()> {
        let mut table = Table::new(&[
            "new",
            "deleted",
            "delta",
            "allocated",
            "freed",
            "delta",
            "class",
        ]);
        for class in classes {
            let change = &class.change;
            table.row(vec![
                Count(change.new).to_string(),
                Count(change.deleted).to_string(),
                signed_count(change.delta()),
                Bytes(change.allocated_bytes).to_string(),
                Bytes(change.freed_bytes).to_string(),
                signed_bytes(change.delta_bytes()),
                short_name(&class.name),
            ]);
            for share in &class.paths {
                let path = wrapped_path(&share.path, PATH_INDENT, PATH_WIDTH);
                let indent = PATH_INDENT - 4;
                table.remark(format!("{:>indent$} by {path}", Count(share.count)));
            }
        }
        if let Some(rest) = remark_on_rest(total, classes.len(), "class", "classes") {
            table.remark(rest);
        }
        writeln!(out)?;
        table.write(out, self.paint())
    }

    fn trends(
        &self,
        out: &mut dyn Write,
        classes: &[&ClassSeries],
        total: usize,
    ) -> io::Result<()> {
        let mut table = Table::new(&["count", "shallow", "retained", "class"]);
        for class in classes {
            table.row(vec![
                arrows(class.count.iter().map(|&count| Count(count))),
                arrows(class.shallow_bytes.iter().map(|&bytes| Bytes(bytes))),
                arrows(class.retained_bytes.iter().map(|&bytes| Bytes(bytes))),
                short_name(&class.name),
            ]);
        }
        if let Some(rest) = remark_on_rest(total, classes.len(), "class", "classes") {
            table.remark(rest);
        }
        writeln!(out)?;
        table.write(out, self.paint())
    }

    fn wanted_changes<'c>(&self, classes: &'c [ClassChange]) -> Vec<&'c ClassChange> {
        let mut wanted: Vec<_> = classes
            .iter()
            .filter(|class| self.args.rows.wants(&class.name))
            .collect();
        match self.args.sort {
            SortColumn::Allocated => wanted.sort_by_key(|c| Reverse(c.change.allocated_bytes)),
            SortColumn::Freed => wanted.sort_by_key(|c| Reverse(c.change.freed_bytes)),
            SortColumn::Bytes => wanted.sort_by_key(|c| Reverse(c.change.delta_bytes())),
            SortColumn::New => wanted.sort_by_key(|c| Reverse(c.change.new)),
            SortColumn::Deleted => wanted.sort_by_key(|c| Reverse(c.change.deleted)),
            SortColumn::Delta => wanted.sort_by_key(|c| Reverse(c.change.delta())),
            SortColumn::Name => wanted.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        wanted
    }

    /// Of a series there is only growth to sort by: of objects or of bytes.
    fn wanted_series<'c>(&self, classes: &'c [ClassSeries]) -> Vec<&'c ClassSeries> {
        let mut wanted: Vec<_> = classes
            .iter()
            .filter(|class| self.args.rows.wants(&class.name))
            .collect();
        match self.args.sort {
            SortColumn::Name => wanted.sort_by(|a, b| a.name.cmp(&b.name)),
            SortColumn::New | SortColumn::Deleted | SortColumn::Delta => {
                wanted.sort_by_key(|class| Reverse(growth(&class.count)));
            }
            SortColumn::Allocated | SortColumn::Freed | SortColumn::Bytes => {
                wanted.sort_by_key(|class| Reverse(growth(&class.shallow_bytes)));
            }
        }
        wanted
    }

    fn cut<'r, T>(&self, rows: &'r [T]) -> &'r [T] {
        &rows[..rows.len().min(self.args.rows.limit(self.console))]
    }

    fn paint(&self) -> Paint {
        Paint {
            is_on: self.console.has_colors,
        }
    }
}

/// The last value less the first.
fn growth(values: &[u64]) -> i64 {
    match values {
        [first, .., last] => last.cast_signed().wrapping_sub(first.cast_signed()),
        _ => 0,
    }
}
