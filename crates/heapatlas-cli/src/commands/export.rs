//! `export`: the heap in a form that other tools read.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use heapatlas_analysis::{ClassRow, Heap, Summary, summarize};
use heapatlas_formats::v8;

use crate::args::RuleArgs;
use crate::console::Console;
use crate::exit::Outcome;
use crate::input;
use crate::output_file;
use crate::render::json;

/// Write the heap for other tools
///
/// A snapshot may hold secrets (strings of the program): files are readable by their owner only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  heapatlas export app.heapsnapshot --to csv -o classes.csv
  heapatlas export damaged.heapsnapshot --salvage --to v8 -o whole.heapsnapshot.gz
  heapatlas export app.heapsnapshot --to json -o - | jq .total_bytes")]
pub struct Args {
    /// The snapshot; `-` for stdin
    file: PathBuf,
    /// What to write: a V8 heap snapshot, or the classes as CSV or JSON
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// Where to write; packed when the name ends in .gz or .zst; `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    rules: RuleArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    V8,
    Csv,
    Json,
}

pub fn run(args: Args, console: &Console) -> anyhow::Result<Outcome> {
    let content = Content::new(&args, console)?;
    if args.output.as_os_str() == "-" {
        console.print(|out| content.write(out))?;
    } else {
        console
            .measure("render", || {
                output_file::write(&args.output, |out| content.write(out))
            })
            .with_context(|| format!("while writing {}", input::quoted(&args.output)))?;
    }
    Ok(Outcome::Fine)
}

enum Content {
    Graph(Box<Heap>),
    Csv(Summary),
    Json(Summary),
}

impl Content {
    fn new(args: &Args, console: &Console) -> anyhow::Result<Self> {
        let heap = input::open(&args.file, args.rules.open_options(), console)?;
        Ok(match args.to {
            Format::V8 => Self::Graph(Box::new(heap)),
            Format::Csv => Self::Csv(summarize(&heap, None)),
            Format::Json => Self::Json(summarize(&heap, None)),
        })
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

fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_when_they_must_be() {
        let cases = [
            ("Session", "Session"),
            (",Session", "\",Session\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("two\nlines", "\"two\nlines\""),
        ];
        for (text, field) in cases {
            assert_eq!(csv_field(text), field);
        }
    }
}
