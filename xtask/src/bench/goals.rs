//! The numbers to reach, and whether they were.

use super::contenders::Contender;
use super::statistics::Spread;
use super::{Opened, Results, Runs};

/// One line of the table of goals.
pub struct Verdict {
    pub goal: String,
    pub measured: String,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Pass,
    Miss,
    /// A program failed, or the goal is for larger inputs.
    NotMeasured,
}

impl Outcome {
    pub fn shown(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Miss => "**miss**",
            Outcome::NotMeasured => "not measured",
        }
    }
}

/// Holds a measured value against the highest that is allowed.
fn at_most(goal: String, limit: f64, measured: Option<f64>, unit: &str) -> Verdict {
    let outcome = match measured {
        Some(value) if value <= limit => Outcome::Pass,
        Some(_) => Outcome::Miss,
        None => Outcome::NotMeasured,
    };
    let measured = measured.map_or_else(|| "-".into(), |value| format!("{value:.2}{unit}"));
    Verdict {
        goal,
        measured,
        outcome,
    }
}

pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let mut verdicts: Vec<_> = results.opened.iter().flat_map(opening_verdicts).collect();
    let compare = Spread::of(results.compared.heapatlas_seconds.iter().copied())
        .map(|spread| spread.median / results.compared.million_nodes);
    let goal = "compare: at most 0.3 s CPU per million nodes".to_owned();
    verdicts.push(at_most(goal, 0.3, compare, " s"));
    let megabytes: f64 = results.series.iter().map(super::Input::megabytes).sum();
    let goal = format!("leaks of three files ({megabytes:.0} MB): at most 4 s wall");
    verdicts.push(at_most(goal, 4.0, wall_seconds(&results.leaks), " s"));
    verdicts
}

fn opening_verdicts(opened: &Opened) -> Vec<Verdict> {
    let megabytes = opened.input.megabytes();
    let label = format!("{}, {megabytes:.0} MB", opened.input.title);
    let ours = opened.runs_of(Contender::HeapatlasSummary);
    let cpu_ms_per_megabyte = |runs: &Runs| Some(cpu_seconds(runs)? * 1e3 / megabytes);
    let against_devtools = cpu_seconds(opened.runs_of(Contender::DevTools))
        .and_then(|theirs| Some(cpu_seconds(ours)? / theirs));
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
            peak_megabytes(ours),
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

pub fn cpu_seconds(runs: &Runs) -> Option<f64> {
    Spread::of(runs.costs.iter().map(|cost| cost.cpu.as_secs_f64())).map(|spread| spread.median)
}

fn wall_seconds(runs: &Runs) -> Option<f64> {
    Spread::of(runs.costs.iter().map(|cost| cost.wall.as_secs_f64())).map(|spread| spread.median)
}

pub fn peak_megabytes(runs: &Runs) -> Option<f64> {
    Spread::of(runs.costs.iter().map(|cost| cost.peak_bytes as f64 / 1e6)).map(|peak| peak.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive_and_absence_is_no_pass() {
        let outcome = |measured| at_most("x".into(), 2.5, measured, "").outcome;
        assert_eq!(outcome(Some(2.5)), Outcome::Pass);
        assert_eq!(outcome(Some(2.51)), Outcome::Miss);
        assert_eq!(outcome(None), Outcome::NotMeasured);
    }
}
