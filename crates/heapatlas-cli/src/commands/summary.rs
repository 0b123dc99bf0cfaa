//! `summary`: of a heap totals, statistics, classes; of an allocation profile see `profile_summary`.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
use clap::ValueEnum;
use heapatlas_analysis::{
    ClassRow, Figures, Heap, NamedFilter, NodeSet, OpenOptions, Statistics, Summary,
    max_js_object_id, select, summarize,
};
use heapatlas_model::{Bytes, Count};

use super::details::Details;
use super::profile_summary::{self, ProfileArgs};
use super::row_choice::{RowArgs, remark_on_rest};
use crate::console::Console;
use crate::exit::Outcome;
use crate::input::{self, OpenedFile};
use crate::options::{RuleArgs, given, refuse};
use crate::paths;
use crate::render::json;
use crate::render::text::{Paint, Table, bar, percent, printable, short_name};

/// Show what a heap consists of, or what a recorded program allocated
///
/// Of a heap snapshot: totals, statistics, classes. Of an allocation profile: totals, live bytes over
/// time, and the lines that allocated what was live at the end, at the peak, or temporary.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas summary app.heapsnapshot
  heapatlas summary app.heapsnapshot.gz --sort count --filter session
  heapatlas summary app.heaptrace --tree bottom-up --by peak --from 1.5s")]
pub struct Args {
    /// The snapshot or profile; `-` for stdin
    file: PathBuf,
    #[command(flatten)]
    heap: HeapArgs,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    rows: RowArgs,
}

/// What makes sense for heap snapshots alone.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options for heap snapshots")]
struct HeapArgs {
    /// Only counts and shallow sizes, in a fraction of the time
    #[arg(long, conflicts_with = "select")]
    quick: bool,
    /// Also distances, bytes by native context, duplicate strings, and what a timeline recorded
    #[arg(long, conflicts_with = "quick")]
    details: bool,
    /// Order of the classes [default: retained; shallow with --quick]
    #[arg(long, value_name = "COLUMN")]
    sort: Option<SortColumn>,
    /// Count only some objects: duplicated-strings, detached-dom (and below: kept by nothing else
    /// than), console, contexts, event-handlers, ids:A..B (allocated after id A, up to B),
    /// since:FILE (allocated after that snapshot)
    #[arg(long, value_name = "WHICH")]
    select: Option<Selection>,
    #[command(flatten)]
    rules: RuleArgs,
}

impl HeapArgs {
    /// The options that were given.
    fn given(&self) -> Vec<&'static str> {
        given(&[
            (self.quick, "--quick"),
            (self.details, "--details"),
            (self.sort.is_some(), "--sort"),
            (self.select.is_some(), "--select"),
        ])
        .into_iter()
        .chain(self.rules.given())
        .collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum SortColumn {
    Retained,
    Shallow,
    Count,
    Name,
    Distance,
}

/// A choice of objects.
#[derive(Clone, Debug)]
enum Selection {
    Named(NamedFilter),
    /// Objects with ids above all of another snapshot's.
    Since(PathBuf),
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self::Named(match text {
            "duplicated-strings" => NamedFilter::DuplicatedStrings,
            "detached-dom" => NamedFilter::RetainedByDetachedDom,
            "console" => NamedFilter::RetainedByConsole,
            "contexts" => NamedFilter::RetainedByContexts,
            "event-handlers" => NamedFilter::RetainedByEventHandlers,
            _ => return Self::with_value(text),
        }))
    }
}

impl Selection {
    fn with_value(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix("since:") {
            return Ok(Self::Since(file.into()));
        }
        let range = text
            .strip_prefix("ids:")
            .and_then(|range| range.split_once(".."));
        let (above, up_to) = range.ok_or(
            "known: duplicated-strings, detached-dom, console, contexts, event-handlers, \
             ids:A..B, since:FILE",
        )?;
        let parse = |id: &str| id.parse().map_err(|_| format!("`{id}` is no object id"));
        Ok(Self::Named(NamedFilter::IdRange(
            parse(above)?,
            parse(up_to)?,
        )))
    }
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    let file = input::open_any(&args.file, console)?;
    if file.is_profile() {
        refuse(
            &args.heap.given(),
            "heap snapshots",
            &args.file,
            "an allocation profile",
        )?;
        return profile_summary::run(file, &args.profile, &args.rows, console);
    }
    refuse(
        &args.profile.given(),
        "allocation profiles",
        &args.file,
        "a heap snapshot",
    )?;
    run_on_heap(file, &args, console)
}

fn run_on_heap(file: OpenedFile, args: &Args, console: &Console) -> anyhow::Result<Outcome> {
    let sort = sort_column(&args.heap)?;
    let figures = if args.heap.quick {
        Figures::Shallow
    } else {
        Figures::All
    };
    let options = OpenOptions {
        figures,
        ..args.heap.rules.open_options()
    };
    let heap = file.into_heap(options, console)?;
    let only = match &args.heap.select {
        Some(selection) => Some(selected(&heap, selection, console)?),
        None => None,
    };
    let summary = summarize(&heap, only.as_ref());
    let mut classes: Vec<&ClassRow> = summary
        .classes
        .iter()
        .filter(|row| args.rows.wants(&row.name))
        .collect();
    sort_classes(&mut classes, sort);
    let details = args.heap.details.then(|| Details::new(&heap));
    let limit = args.rows.limit(console);
    let shown = &classes[..classes.len().min(limit)];
    console.print(|out| {
        if console.is_json {
            return json::summary(out, &summary, shown, details.as_ref().map(|d| (d, &heap)));
        }
        let text = Text {
            paint: Paint {
                is_on: console.has_colors,
            },
            summary: &summary,
        };
        text.heading(out, &paths::title(&args.file))?;
        text.statistics(out)?;
        text.classes(out, shown, classes.len(), only.as_ref())?;
        match &details {
            Some(details) => details.write(out, &heap, limit, text.paint),
            None => Ok(()),
        }
    })?;
    Ok(Outcome::Fine)
}

fn sort_column(args: &HeapArgs) -> anyhow::Result<SortColumn> {
    match args.sort {
        Some(SortColumn::Retained | SortColumn::Distance) if args.quick => {
            bail!("with `--quick` there are no retained sizes and no distances to sort by")
        }
        Some(column) => Ok(column),
        None if args.quick => Ok(SortColumn::Shallow),
        None => Ok(SortColumn::Retained),
    }
}

fn selected(heap: &Heap, selection: &Selection, console: &Console) -> anyhow::Result<NodeSet> {
    let filter = match selection {
        Selection::Named(filter) => *filter,
        Selection::Since(path) => {
            let options = OpenOptions {
                figures: Figures::Shallow,
                ..Default::default()
            };
            let other = input::open(path, options, console)?;
            NamedFilter::IdRange(max_js_object_id(&other), max_js_object_id(heap))
        }
    };
    Ok(select(heap, filter))
}

/// Largest first, names from A on; equal ones stay as the analysis orders them.
fn sort_classes(classes: &mut [&ClassRow], column: SortColumn) {
    match column {
        SortColumn::Retained => classes.sort_by_key(|row| Reverse(row.retained_bytes)),
        SortColumn::Shallow => classes.sort_by_key(|row| Reverse(row.shallow_bytes)),
        SortColumn::Count => classes.sort_by_key(|row| Reverse(row.count)),
        SortColumn::Name => classes.sort_by(|a, b| a.name.cmp(&b.name)),
        SortColumn::Distance => classes.sort_by_key(|row| row.distance.unwrap_or(u32::MAX)),
    }
}

/// The summary as text, part by part.
struct Text<'a> {
    paint: Paint,
    summary: &'a Summary,
}

impl Text<'_> {
    fn heading(&self, out: &mut dyn Write, title: &str) -> io::Result<()> {
        let Summary {
            format,
            nodes,
            edges,
            total_bytes,
            ..
        } = *self.summary;
        writeln!(
            out,
            "{}  {format}, {} nodes, {} edges, {} in all",
            self.paint.bold(&printable(title)),
            Count(nodes),
            Count(edges),
            Bytes(total_bytes)
        )
    }

    fn statistics(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(statistics) = self.summary.statistics else {
            return Ok(());
        };
        let mut table = Table::new(&["", "", "", ""]);
        for (name, bytes) in groups(&statistics) {
            table.row(vec![
                format!("  {name:<12}"),
                Bytes(bytes).to_string(),
                percent(bytes, statistics.total),
                bar(bytes, statistics.total),
            ]);
        }
        writeln!(out)?;
        table.write(out, self.paint)
    }

    fn classes(
        &self,
        out: &mut dyn Write,
        classes: &[&ClassRow],
        total: usize,
        only: Option<&NodeSet>,
    ) -> io::Result<()> {
        writeln!(out)?;
        if let Some(set) = only {
            writeln!(
                out,
                "only the {} objects selected:",
                Count(set.count() as u64)
            )?;
        }
        if classes.is_empty() {
            return writeln!(out, "no class to show");
        }
        // The first table alone has no retained sizes.
        let has_retained = classes.iter().any(|row| row.retained_bytes.is_some());
        let mut table = if has_retained {
            Table::new(&[
                "count", "shallow", "%", "retained", "%", "distance", "class",
            ])
        } else {
            Table::new(&["count", "shallow", "%", "class"])
        };
        for row in classes {
            table.row(self.cells(row, has_retained));
        }
        if let Some(rest) = remark_on_rest(total, classes.len(), "class", "classes") {
            table.remark(rest);
        }
        table.write(out, self.paint)
    }

    fn cells(&self, row: &ClassRow, has_retained: bool) -> Vec<String> {
        let total = self.summary.total_bytes;
        let mut cells = vec![
            Count(row.count).to_string(),
            Bytes(row.shallow_bytes).to_string(),
            percent(row.shallow_bytes, total),
        ];
        if has_retained {
            let retained = row.retained_bytes.unwrap_or(0);
            cells.push(Bytes(retained).to_string());
            cells.push(percent(retained, total));
            cells.push(
                row.distance
                    .map_or("-".to_owned(), |distance| distance.to_string()),
            );
        }
        cells.push(short_name(&row.name));
        cells
    }
}

/// The groups of the statistics with what is left over, none counted twice.
fn groups(statistics: &Statistics) -> [(&'static str, u64); 7] {
    let named = [
        ("code", statistics.code),
        ("strings", statistics.strings),
        ("JS arrays", statistics.js_arrays),
        ("typed arrays", statistics.typed_arrays),
        (
            "other native",
            statistics.native.saturating_sub(statistics.typed_arrays),
        ),
        ("system", statistics.system),
    ];
    let sum: u64 = named.iter().map(|(_, bytes)| bytes).sum();
    let [code, strings, arrays, typed, native, system] = named;
    [
        code,
        strings,
        arrays,
        typed,
        native,
        system,
        ("other", statistics.total.saturating_sub(sum)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections() {
        for text in [
            "duplicated-strings",
            "detached-dom",
            "ids:5..9",
            "since:a.heapsnapshot",
        ] {
            assert!(text.parse::<Selection>().is_ok(), "{text}");
        }
        for text in ["", "ids:5", "ids:a..b", "dom"] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
    }
}
