//! `export`: a heap or an allocation profile in a form that other tools read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use heapatlas_analysis::profile::ProfileView;
use heapatlas_analysis::{ClassRow, Heap, Summary, summarize};
use heapatlas_formats::v8;

use super::metric_name::MetricName;
use super::profile_export::{self, ProfileFormat};
use crate::console::Console;
use crate::exit::{Hint, Outcome};
use crate::input::{self, OpenedFile};
use crate::options::{RuleArgs, refuse};
use crate::output_file;
use crate::paths;
use crate::profile_input::PartArgs;
use crate::render::csv::csv_field;
use crate::render::json;
use crate::time_point::TimePoint;

/// Write a heap or an allocation profile for other tools
///
/// Of a heap snapshot: v8, csv, json. Of an allocation profile: flamegraph (an SVG for any browser),
/// folded (stacks for flamegraph.pl and the like), dhat (for valgrind's dh_view.html), csv, json.
///
/// A snapshot may hold secrets (strings of the program): files are readable by their owner only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas export app.heapsnapshot --to csv -o classes.csv
  heapatlas export damaged.heapsnapshot --salvage --to v8 -o whole.heapsnapshot.gz
  heapatlas export app.heaptrace --to flamegraph --by live -o live.svg")]
pub struct Args {
    /// The snapshot or profile; `-` for stdin
    file: PathBuf,
    /// What to write; csv and json are of classes or sites
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// Where to write; packed when the name ends in .gz or .zst; `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// What flame graphs and folded stacks are about [default: peak]
    #[arg(long, value_name = "METRIC")]
    by: Option<MetricName>,
    #[command(flatten)]
    part: PartArgs,
    /// Only what happened before this time
    #[arg(long, value_name = "TIME", value_parser = TimePoint::parse)]
    until: Option<TimePoint>,
    #[command(flatten)]
    rules: RuleArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    V8,
    Flamegraph,
    Folded,
    Dhat,
    Csv,
    Json,
}

impl Format {
    /// As the command line calls it.
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    let file = input::open_any(&args.file, console)?;
    if file.is_profile() {
        write_profile(file, &args, console)?;
    } else {
        write_heap(file, &args, console)?;
    }
    Ok(Outcome::Fine)
}

fn write_heap(file: OpenedFile, args: &Args, console: &Console) -> anyhow::Result<()> {
    let mut misplaced = args.part.given();
    misplaced.extend(args.until.as_ref().map(|_| "--until"));
    misplaced.extend(args.by.map(|_| "--by"));
    refuse(
        &misplaced,
        "allocation profiles",
        &args.file,
        "a heap snapshot",
    )?;
    let format = match args.to {
        Format::V8 => HeapFormat::V8,
        Format::Csv => HeapFormat::Csv,
        Format::Json => HeapFormat::Json,
        Format::Flamegraph | Format::Folded | Format::Dhat => {
            return Err(wrong_format(args, "a heap snapshot", "v8, csv or json"));
        }
    };
    let heap = file.into_heap(args.rules.open_options(), console)?;
    let content = Content::new(heap, format);
    write_to(&args.output, console, |out| content.write(out))
}

fn write_profile(file: OpenedFile, args: &Args, console: &Console) -> anyhow::Result<()> {
    refuse(
        &args.rules.given(),
        "heap snapshots",
        &args.file,
        "an allocation profile",
    )?;
    let known = "flamegraph, folded, dhat, csv or json";
    let format = match args.to {
        Format::V8 => return Err(wrong_format(args, "an allocation profile", known)),
        Format::Flamegraph => ProfileFormat::Flamegraph,
        Format::Folded => ProfileFormat::Folded,
        Format::Dhat => ProfileFormat::Dhat,
        Format::Csv => ProfileFormat::Csv,
        Format::Json => ProfileFormat::Json,
    };
    let profile = file.into_profile(&args.part.up_to(args.until.as_ref()), console)?;
    let view = ProfileView::new(&profile);
    let metric = args.by.unwrap_or_default();
    write_to(&args.output, console, |out| {
        profile_export::write(out, &view, format, metric)
    })
}

fn wrong_format(args: &Args, this_is: &str, known: &str) -> anyhow::Error {
    let path = paths::quoted(&args.file);
    anyhow!(
        "{path} is {this_is}, which cannot be written as {}",
        args.to.name()
    )
    .hint([format!("`--to` may be {known}")])
}

fn write_to(
    path: &Path,
    console: &Console,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return console.print(write);
    }
    console
        .measure("render", || output_file::write(path, write))
        .with_context(|| format!("while writing {}", paths::quoted(path)))
}
/// What a heap can be written as.
#[derive(Clone, Copy)]
enum HeapFormat {
    V8,
    Csv,
    Json,
}

enum Content {
    Graph(Box<Heap>),
    Csv(Summary),
    Json(Summary),
}

impl Content {
    fn new(heap: Heap, format: HeapFormat) -> Self {
        match format {
            HeapFormat::V8 => Self::Graph(Box::new(heap)),
            HeapFormat::Csv => Self::Csv(summarize(&heap, None)),
            HeapFormat::Json => Self::Json(summarize(&heap, None)),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Graph(heap) => v8::write(heap.graph(), out),
            Self::Csv(summary) => write_csv(out, &summary.classes),
            Self::Json(summary) => {
                let classes: Vec<_> = summary.classes.iter().collect();
                json::summary(out, summary, &classes, None)
            }
        }
    }
}

/// RFC 4180: comma, quotes doubled, CR LF.
fn write_csv(out: &mut dyn Write, classes: &[ClassRow]) -> io::Result<()> {
    write!(
        out,
        "name,key,count,distance,shallow_bytes,retained_bytes\r\n"
    )?;
    for row in classes {
        let distance = row
            .distance
            .map(|distance| distance.to_string())
            .unwrap_or_default();
        let retained = row
            .retained_bytes
            .map(|bytes| bytes.to_string())
            .unwrap_or_default();
        write!(
            out,
            "{},{},{},{distance},{},{retained}\r\n",
            csv_field(&row.name),
            csv_field(&row.key),
            row.count,
            row.shallow_bytes
        )?;
    }
    Ok(())
}
