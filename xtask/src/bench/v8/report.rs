//! The results as Markdown: what is printed, and what becomes a part of docs/benchmarks.md.

use std::fmt::Write;

use super::contenders::Contender;
use super::goals;
use super::{Compared, Opened, Results};
use crate::bench::machine;
use crate::bench::measure::Runs;
use crate::bench::statistics::Spread;
use crate::bench::verdict;

/// The heading of this part of the document.
pub const TITLE: &str = "V8 heap snapshots";

pub fn markdown(results: &Results) -> String {
    let mut out = String::new();
    write_introduction(&mut out, results);
    verdict::write_table(&mut out, &goals::verdicts(results));
    out.push_str("### Opening a snapshot\n\n");
    for opened in &results.opened {
        write_opened(&mut out, opened);
    }
    write_compared(&mut out, &results.compared);
    write_leaks(&mut out, results);
    out
}

fn write_introduction(out: &mut String, results: &Results) {
    let set = if results.is_quick { "--quick" } else { "" };
    let text = format!(
        "Written by `cargo xtask bench v8 {set}`, {}, on {}.\n\n\
         Every program opens the same files in turn, {} times (a file above 1 GB twice at \
         most), from start to exit, with the files \
         in the page cache. CPU is the user and system time of all threads and child processes; \
         peak is the largest resident set, to which pages of a mapped file count, too. Shown are \
         medians, with the lowest and highest of the rounds in parentheses. MB are millions of \
         bytes.\n\n\
         The rivals: Chrome DevTools' own heap snapshot worker under Node 20, memlab, and the \
         crate v8-heap-parser; `xtask/peers/` pins their versions. Each gets to the same point: \
         classes with their retained sizes.\n\n",
        machine::date(),
        machine::description(),
        results.rounds,
    );
    out.push_str(&text.replace(" `,", "`,"));
}

fn write_opened(out: &mut String, opened: &Opened) {
    let (title, megabytes) = (&opened.input.title, opened.input.megabytes());
    push_line(out, format_args!("#### {title}, {megabytes:.0} MB\n"));
    out.push_str(
        "| | CPU s | wall s | CPU ms per MB | x DevTools' CPU | peak MB | peak / file |\n",
    );
    out.push_str("|---|---|---|---|---|---|---|\n");
    let devtools = opened.runs_of(Contender::DevTools).cpu_seconds();
    for (contender, runs) in &opened.runs {
        write_opened_row(out, contender.title(), runs, megabytes, devtools);
    }
    push_line(out, format_args!("\n{}\n", figures_sentence(opened)));
}

fn write_opened_row(
    out: &mut String,
    title: &str,
    runs: &Runs,
    megabytes: f64,
    devtools: Option<f64>,
) {
    let (Some(cpu), Some(wall), Some(peak)) = (runs.cpu(), runs.wall(), runs.peak_megabytes())
    else {
        let failure = runs.failure_cell();
        push_line(out, format_args!("| {title} | {failure} | | | | | |"));
        return;
    };
    let per_megabyte = cpu.median * 1e3 / megabytes;
    let ratio = devtools.map_or_else(
        || "-".into(),
        |theirs| format!("{:.3}", cpu.median / theirs),
    );
    let (cpu, wall, of_file) = (cpu.shown(), wall.shown(), peak / megabytes);
    let cells = format_args!("{per_megabyte:.2} | {ratio} | {peak:.0} | {of_file:.2}");
    push_line(out, format_args!("| {title} | {cpu} | {wall} | {cells} |"));
}

fn figures_sentence(opened: &Opened) -> String {
    match opened.differences.as_deref() {
        Some([]) => "heapatlas and DevTools agree on nodes, edges, total and statistics.".into(),
        Some(differences) => format!(
            "**heapatlas differs from DevTools**: {}",
            differences.join("; ")
        ),
        None => "Not compared: heapatlas or DevTools did not open it.".into(),
    }
}

fn write_compared(out: &mut String, compared: &Compared) {
    out.push_str("### Comparing two opened snapshots\n\n");
    out.push_str("CPU seconds of the comparison alone, and per million nodes of both files.\n\n");
    out.push_str("| | CPU s | s per million nodes |\n|---|---|---|\n");
    let rows = [
        ("heapatlas", &compared.heapatlas_seconds),
        ("DevTools worker", &compared.devtools_seconds),
    ];
    for (title, seconds) in rows {
        match Spread::of(seconds.iter().copied()) {
            Some(spread) => {
                let per_million = spread.median / compared.million_nodes;
                push_line(
                    out,
                    format_args!("| {title} | {} | {per_million:.3} |", spread.shown()),
                );
            }
            None => push_line(out, format_args!("| {title} | fails | |")),
        }
    }
    let mut failures = compared.failures.clone();
    failures.dedup();
    for failure in failures {
        push_line(out, format_args!("\nFailed: {failure}"));
    }
    out.push('\n');
}

fn write_leaks(out: &mut String, results: &Results) {
    out.push_str("### Leaks in three snapshots of a growing process\n\n");
    let sizes: Vec<_> = results
        .series
        .iter()
        .map(|i| format!("{:.0}", i.megabytes()))
        .collect();
    push_line(
        out,
        format_args!(
            "Files of {} MB: {}.\n",
            sizes.join(", "),
            results.series[0].title
        ),
    );
    let leaks = &results.leaks;
    match (leaks.wall(), leaks.cpu(), leaks.peak_megabytes()) {
        (Some(wall), Some(cpu), Some(peak)) => push_line(
            out,
            format_args!(
                "{} s wall, {} s CPU, peak {peak:.0} MB.",
                wall.shown(),
                cpu.shown()
            ),
        ),
        _ => push_line(
            out,
            format_args!(
                "Failed: {}",
                results.leaks.failure.as_deref().unwrap_or("was not run")
            ),
        ),
    }
}

fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a string takes everything");
}
