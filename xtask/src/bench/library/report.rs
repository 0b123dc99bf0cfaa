//! The results as Markdown.

use std::fmt::Write;

use super::Results;
use super::modes::{Contender, Section};
use super::regions::Cost;
use crate::bench::machine;
use crate::bench::verdict::{self, Verdict, at_most};

/// The heading of this part of the document.
pub const TITLE: &str = "The library";

const EXACT: Contender = Contender::Heapatlas("exact");

pub fn markdown(results: &Results) -> String {
    let mut out = String::new();
    let set = if results.is_quick { " --quick" } else { "" };
    writeln!(
        out,
        "Written by `cargo xtask bench library{set}`, {}, on {}.\n\n\
         Every program is built and run in turn, {} times (dhat-rs twice). CPU is user and system time of all threads \
         and processes; shown are medians, with the lowest and highest in parentheses. Added is the CPU beyond that \
         of the program with the system's allocator; per allocation it includes the free, and what is written at the \
         end.\n",
        machine::date(),
        machine::description(),
        results.rounds,
    )
    .expect("a string takes everything");
    verdict::write_table(&mut out, &verdicts(results));
    write_builds(&mut out, results);
    for section in &results.sections {
        write_section(&mut out, section);
    }
    write_regions(&mut out, &results.regions);
    out
}

fn verdicts(results: &Results) -> Vec<Verdict> {
    let mut verdicts = build_verdicts(results);
    verdicts.extend(results.sections.iter().flat_map(section_verdicts));
    let region = results
        .regions
        .iter()
        .find(|cost| cost.what == "measure!, empty");
    verdicts.push(at_most(
        "a region: at most 200 ns".into(),
        200.0,
        region.map(|cost| cost.nanoseconds),
        " ns",
    ));
    verdicts
}

fn build_verdicts(results: &Results) -> Vec<Verdict> {
    let Some((cost, runs)) = results
        .builds
        .iter()
        .find(|(cost, _)| cost.name == "heapatlas")
    else {
        return Vec::new();
    };
    let (crates, cpu) = (cost.outside_crates as f64, runs.cpu_seconds());
    vec![
        at_most(
            "outside crates without features: at most 2".into(),
            2.0,
            Some(crates),
            "",
        ),
        at_most(
            "clean debug build: at most 4 CPU seconds".into(),
            4.0,
            cpu,
            " s",
        ),
    ]
}

fn section_verdicts(section: &Section) -> Vec<Verdict> {
    let threads = section.threads;
    let cpu = |contender| section.runs(contender)?.cpu_seconds();
    let bare = cpu(Contender::Bare);
    let ratio = |contender| Some(cpu(contender)? / bare?);
    let against_dhat = section
        .added_seconds(EXACT)
        .zip(section.added_seconds(Contender::DhatRs))
        .map(|(ours, theirs)| ours / theirs);
    let slowest = section.runs(Contender::Bare).and_then(|runs| runs.cpu());
    let slowest = slowest.map_or(0.0, |bare| bare.highest);
    let of = |goal: &str| format!("serde_json, threads: {threads}; {goal}");
    let mut verdicts = vec![
        at_most(
            of("exact: added at most 0.06 x dhat-rs"),
            0.06,
            against_dhat,
            " x",
        ),
        at_most(
            of("sampled: CPU at most 1.02 x bare"),
            1.02,
            ratio(Contender::Heapatlas("sampled")),
            " x",
        ),
        at_most(
            of(&format!(
                "off: CPU at most that of the slowest bare run, {slowest:.2} s"
            )),
            slowest,
            cpu(Contender::Heapatlas("off")),
            " s",
        ),
    ];
    if threads == 2 {
        let wall = |contender| section.runs(contender)?.wall_seconds();
        let ratio = wall(EXACT)
            .zip(wall(Contender::Bare))
            .map(|(ours, bare)| ours / bare);
        verdicts.push(at_most(
            of("exact: wall at most 1.6 x bare"),
            1.6,
            ratio,
            " x",
        ));
    }
    verdicts
}

fn write_regions(out: &mut String, costs: &[Cost]) {
    out.push_str(
        "### Regions and spans\n\nMedians in nanoseconds, by `cargo bench -p heapatlas --bench regions --all-features`. \
         stats_alloc's region has six sums of the process and no time.\n\n| | ns |\n|---|---|\n",
    );
    for Cost { what, nanoseconds } in costs {
        writeln!(out, "| {what} | {nanoseconds:.1} |").expect("a string takes everything");
    }
    out.push('\n');
}

fn write_builds(out: &mut String, results: &Results) {
    out.push_str(
        "### What it costs to build\n\nAn empty program with one dependency, clean debug build.\n\n\
         | dependency | outside crates | CPU s | wall s |\n|---|---|---|---|\n",
    );
    for (cost, runs) in &results.builds {
        let cells = match (runs.cpu(), runs.wall()) {
            (Some(cpu), Some(wall)) => format!("{} | {}", cpu.shown(), wall.shown()),
            _ => format!("{} | ", runs.failure_cell()),
        };
        let line = format!("| {} | {} | {cells} |\n", cost.name, cost.outside_crates);
        out.push_str(&line);
    }
    out.push('\n');
}

fn write_section(out: &mut String, section: &Section) {
    let heading = format!(
        "### serde_json program, threads: {}\n\n| | CPU s | wall s | peak MB | added CPU s | x dhat-rs | ns per \
         allocation |\n|---|---|---|---|---|---|---|\n",
        section.threads
    );
    out.push_str(&heading);
    for (contender, _) in &section.rows {
        out.push_str(&row(section, *contender));
    }
    match section.allocations {
        Some(allocations) => out.push_str(&format!("\n{allocations} allocations.\n\n")),
        None => out.push_str("\nThe program did not say how many allocations it makes.\n\n"),
    }
}

fn row(section: &Section, contender: Contender) -> String {
    let title = contender.title();
    let Some(runs) = section.runs(contender) else {
        return String::new();
    };
    let figures = (runs.cpu(), runs.wall(), runs.peak_megabytes());
    let (Some(cpu), Some(wall), Some(peak)) = figures else {
        return format!("| {title} | {} | | | | | |\n", runs.failure_cell());
    };
    let added = section
        .added_seconds(contender)
        .filter(|_| contender != Contender::Bare);
    let theirs = section.added_seconds(Contender::DhatRs);
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
    };
    let ratio = added.zip(theirs).map(|(ours, theirs)| ours / theirs);
    let each = added
        .zip(section.allocations)
        .map(|(added, count)| added * 1e9 / count as f64);
    format!(
        "| {title} | {} | {} | {peak:.0} | {} | {} | {} |\n",
        cpu.shown(),
        wall.shown(),
        shown(added, 2),
        shown(ratio, 3),
        shown(each, 0),
    )
}
