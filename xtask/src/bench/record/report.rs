//! The results as Markdown: what is printed, and what becomes a part of docs/benchmarks.md.

use std::fmt::Write;

use super::contenders::Contender;
use super::{Results, Row, Section, goals};
use crate::bench::machine;
use crate::bench::verdict;

/// The heading of this part of the document.
pub const TITLE: &str = "Recording native programs";

pub fn markdown(results: &Results) -> String {
    let mut out = String::new();
    write_introduction(&mut out, results);
    verdict::write_table(&mut out, &goals::verdicts(results));
    for section in &results.sections {
        write_section(&mut out, section);
    }
    out
}

fn write_introduction(out: &mut String, results: &Results) {
    let set = if results.is_quick { " --quick" } else { "" };
    let left_out = match results.has_valgrind || results.is_quick {
        true => "",
        false => " --no-valgrind",
    };
    push_line(
        out,
        format_args!(
            "Written by `cargo xtask bench record{set}{left_out}`, {}, on {}.\n\n\
             Every program runs under every recorder in turn, {} times (valgrind and dhat-rs once), from start \
             to exit, trace files included. CPU is the user and system time of all threads and \
             processes: of the program, of heapatlas, which compresses and writes the trace beside \
             it, and of heaptrack's interpreter and compressor. Peak is the largest resident set of \
             any one of these processes. Shown are medians, with the lowest and highest of the \
             rounds in parentheses. MB are millions of bytes.\n\n\
             Added is the CPU beyond that of the program alone (for samplers: beyond that of the \
             program with the same allocator); per allocation it includes the free, and the number \
             is that of `heapatlas summary --json`. The report is `heapatlas summary` or \
             `heaptrack_print`, with names: heapatlas looks them up then, with nothing remembered from \
             an earlier report, and heaptrack did while recording.\n\n\
             The rivals: heaptrack as its script runs it, with interpreter and compressor; its \
             preloaded library alone, writing raw events that nobody interprets; valgrind's DHAT; \
             dhat-rs, which is built into the Rust program; jemalloc's profiler, which writes a \
             profile at exit; tcmalloc of gperftools with TCMALLOC_SAMPLE_PARAMETER=524288, which \
             samples stacks but writes nothing (HEAPPROFILE does not sample).\n",
            machine::date(),
            machine::description(),
            results.rounds,
        ),
    );
}

fn write_section(out: &mut String, section: &Section) {
    push_line(out, format_args!("### {}\n", section.key.title()));
    let rows = match &section.rows {
        Ok(rows) => rows,
        Err(error) => return push_line(out, format_args!("Not measured: {error}\n")),
    };
    out.push_str(
        "| | CPU s | wall s | peak MB | added CPU s | x heaptrack | ns per allocation | \
         trace MB | x heaptrack's | report CPU s | x heaptrack_print |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        write_row(out, section, row);
    }
    push_line(out, format_args!("\n{}\n", allocations_sentence(section)));
}

fn write_row(out: &mut String, section: &Section, row: &Row) {
    let title = row.contender.title();
    let runs = &row.runs;
    let figures = (runs.cpu(), runs.wall(), runs.peak_megabytes());
    let (None, (Some(cpu), Some(wall), Some(peak))) = (&runs.failure, figures) else {
        let failure = runs.failure_cell();
        return push_line(
            out,
            format_args!("| {title} | {failure} | | | | | | | | | |"),
        );
    };
    let (cpu, wall) = (cpu.shown(), wall.shown());
    let cost = cost_cells(section, row);
    let files = file_cells(section, row);
    push_line(
        out,
        format_args!("| {title} | {cpu} | {wall} | {peak:.0} | {cost} | {files} |"),
    );
}

/// What recording adds.
fn cost_cells(section: &Section, row: &Row) -> String {
    let contender = row.contender;
    if contender == contender.baseline() || is_allocator(contender) {
        return "- | - | -".into();
    }
    let added = section.added_seconds(contender);
    let allocations = section.allocations().map(|count| count as f64);
    let each = added
        .zip(allocations)
        .map(|(added, count)| added * 1e9 / count);
    format!(
        "{} | {} | {}",
        cell(added, 2),
        cell(section.added_ratio(contender), 3),
        cell(each, 0),
    )
}

/// These do not record, they are what samplers are measured against.
fn is_allocator(contender: Contender) -> bool {
    matches!(contender, Contender::Jemalloc | Contender::Tcmalloc)
}

/// Trace and report.
fn file_cells(section: &Section, row: &Row) -> String {
    let megabytes = |row: &Row| Some(row.trace_bytes? as f64 / 1e6);
    let report = |row: &Row| row.report.cpu_seconds();
    let report_cell = match &row.report.failure {
        Some(_) => row.report.failure_cell(),
        None => row
            .report
            .cpu()
            .map_or_else(|| "-".into(), |spread| spread.shown()),
    };
    let times = |figure: &dyn Fn(&Row) -> Option<f64>| {
        figure(row).and_then(|_| section.ratio(row.contender, figure))
    };
    format!(
        "{} | {} | {report_cell} | {}",
        cell(megabytes(row), 2),
        cell(times(&megabytes), 2),
        cell(times(&report), 2),
    )
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

fn allocations_sentence(section: &Section) -> String {
    let theirs = section
        .row(Contender::Heaptrack)
        .and_then(|row| row.allocations);
    let count = |number: Option<u64>| {
        number.map_or_else(
            || "an unknown number of".into(),
            |number| number.to_string(),
        )
    };
    format!(
        "heapatlas counts {} allocations, heaptrack {}.",
        count(section.allocations()),
        count(theirs),
    )
}

fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a string takes everything");
}
