//! The numbers to reach, and whether they were.

use super::contenders::Contender;
use super::{Opened, Results};
use crate::bench::measure::Runs;
use crate::bench::statistics::Spread;
use crate::bench::verdict::{Verdict, at_most};

pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let mut verdicts: Vec<_> = results.opened.iter().flat_map(opening_verdicts).collect();
    let compare = Spread::of(results.compared.heapatlas_seconds.iter().copied())
        .map(|spread| spread.median / results.compared.million_nodes);
    let goal = "compare: at most 0.3 s CPU per million nodes".to_owned();
    verdicts.push(at_most(goal, 0.3, compare, " s"));
    let megabytes: f64 = results.series.iter().map(super::Input::megabytes).sum();
    let goal = format!("leaks of three files ({megabytes:.0} MB): at most 4 s wall");
    verdicts.push(at_most(goal, 4.0, results.leaks.wall_seconds(), " s"));
    verdicts
}

fn opening_verdicts(opened: &Opened) -> Vec<Verdict> {
    let megabytes = opened.input.megabytes();
    let label = format!("{}, {megabytes:.0} MB", opened.input.title);
    let ours = opened.runs_of(Contender::HeapatlasSummary);
    let cpu_ms_per_megabyte = |runs: &Runs| Some(runs.cpu_seconds()? * 1e3 / megabytes);
    let against_devtools = opened
        .runs_of(Contender::DevTools)
        .cpu_seconds()
        .and_then(|theirs| Some(ours.cpu_seconds()? / theirs));
    let limit = 1.5 * megabytes + 50.0;
    vec![
        at_most(
            format!("{label}: at most 0.16 x DevTools' CPU"),
            0.16,
            against_devtools,
            " x",
        ),
        at_most(
            format!("{label}: at most 6 ms CPU per MB"),
            6.0,
            cpu_ms_per_megabyte(ours),
            " ms",
        ),
        at_most(
            format!("{label}: peak at most 1.5 x the file + 50 MB ({limit:.0} MB)"),
            limit,
            ours.peak_megabytes(),
            " MB",
        ),
        at_most(
            format!("{label}: first table at most 2.5 ms CPU per MB"),
            2.5,
            cpu_ms_per_megabyte(opened.runs_of(Contender::HeapatlasQuick)),
            " ms",
        ),
    ]
}

impl Opened {
    pub fn runs_of(&self, wanted: Contender) -> &Runs {
        let found = self.runs.iter().find(|(contender, _)| *contender == wanted);
        &found.expect("every contender opens every input").1
    }
}
