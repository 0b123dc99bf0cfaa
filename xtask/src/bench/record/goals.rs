//! The numbers to reach, and whether they were.

use super::contenders::{Contender, EXACT, IDLE, SAMPLED};
use super::programs::Key;
use super::{Results, Row, Section};
use crate::bench::verdict::{Verdict, at_most};

const OURS: Contender = Contender::Heapatlas(&EXACT);

pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let sections = &results.sections;
    let mut verdicts: Vec<_> = sections.iter().filter_map(cost_verdict).collect();
    verdicts.extend(sections.iter().map(sampled_verdict));
    verdicts.extend(sections.iter().map(idle_verdict));
    verdicts.extend(sections.iter().map(trace_verdict));
    verdicts.extend(sections.iter().map(report_verdict));
    verdicts
}

/// Added CPU against heaptrack's; for threads, whether they wait for each other.
fn cost_verdict(section: &Section) -> Option<Verdict> {
    let name = section.key.name();
    let limit = match section.key {
        Key::Sqlite | Key::Jq | Key::Rust1 => 0.2,
        Key::Cc1plus => 0.5,
        Key::Rust2 => {
            let goal = format!("{name}: wall time at most 1.6 x bare");
            return Some(at_most(goal, 1.6, section.wall_ratio(OURS), " x"));
        }
        _ => return None,
    };
    let goal = format!("{name}: added CPU at most {limit} x heaptrack's");
    Some(at_most(goal, limit, section.added_ratio(OURS), " x"))
}

fn sampled_verdict(section: &Section) -> Verdict {
    let goal = format!("{}, sampled: CPU at most 1.02 x bare", section.key.name());
    let ratio = section.cpu_ratio(Contender::Heapatlas(&SAMPLED));
    let mut verdict = at_most(goal, 1.02, ratio, " x");
    // Two digits would show a miss as the limit.
    if let Some(ratio) = ratio {
        verdict.measured = format!("{ratio:.3} x");
    }
    verdict
}

/// As much as the program alone took in its slowest round.
fn idle_verdict(section: &Section) -> Verdict {
    let bare = section.row(Contender::Bare).and_then(|row| row.runs.cpu());
    let idle = section.row(Contender::Heapatlas(&IDLE));
    let idle = idle.and_then(|row| row.runs.cpu_seconds());
    let limit = bare.map_or(0.0, |bare| bare.highest);
    let goal = format!(
        "{}, idle: CPU at most that of the slowest bare run, {limit:.2} s",
        section.key.name()
    );
    at_most(goal, limit, idle.filter(|_| bare.is_some()), " s")
}

fn trace_verdict(section: &Section) -> Verdict {
    let goal = format!("{}: trace at most 2 x heaptrack's file", section.key.name());
    let bytes = |row: &Row| row.trace_bytes.map(|bytes| bytes as f64);
    at_most(goal, 2.0, section.ratio(OURS, bytes), " x")
}

fn report_verdict(section: &Section) -> Verdict {
    let goal = format!(
        "{}: summary at most 1.5 x heaptrack_print's CPU",
        section.key.name()
    );
    let cpu = |row: &Row| row.report.cpu_seconds();
    at_most(goal, 1.5, section.ratio(OURS, cpu), " x")
}

impl Section {
    pub fn row(&self, contender: Contender) -> Option<&Row> {
        let rows = self.rows.as_ref().ok()?;
        rows.iter().find(|row| row.contender == contender)
    }

    /// CPU seconds beyond those of the program without a recorder.
    pub fn added_seconds(&self, contender: Contender) -> Option<f64> {
        let baseline = self.row(contender.baseline())?.runs.cpu_seconds()?;
        Some(self.row(contender)?.runs.cpu_seconds()? - baseline)
    }

    /// Added CPU as a multiple of what heaptrack adds.
    pub fn added_ratio(&self, contender: Contender) -> Option<f64> {
        Some(self.added_seconds(contender)? / self.added_seconds(Contender::Heaptrack)?)
    }

    /// How many allocations the program makes, as we counted.
    pub fn allocations(&self) -> Option<u64> {
        self.row(OURS)?.allocations
    }

    fn cpu_ratio(&self, contender: Contender) -> Option<f64> {
        let bare = self.row(contender.baseline())?.runs.cpu_seconds()?;
        Some(self.row(contender)?.runs.cpu_seconds()? / bare)
    }

    fn wall_ratio(&self, contender: Contender) -> Option<f64> {
        let bare = self.row(contender.baseline())?.runs.wall_seconds()?;
        Some(self.row(contender)?.runs.wall_seconds()? / bare)
    }

    /// A figure of a contender as a multiple of heaptrack's.
    pub fn ratio(&self, contender: Contender, figure: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        Some(figure(self.row(contender)?)? / figure(self.row(Contender::Heaptrack)?)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::measure::Cost;
    use crate::bench::verdict::Outcome;

    fn row(contender: Contender, cpu: u64, trace_bytes: u64) -> Row {
        let mut row = Row::new(contender);
        row.trace_bytes = Some(trace_bytes);
        row.runs.costs.push(Cost {
            cpu: Duration::from_secs(cpu),
            wall: Duration::from_secs(cpu),
            peak_bytes: 0,
        });
        row
    }

    #[test]
    fn costs_are_what_is_added_to_the_program() {
        let rows = vec![
            row(Contender::Bare, 10, 0),
            row(OURS, 11, 250),
            row(Contender::Heaptrack, 20, 100),
            row(Contender::Jemalloc, 8, 0),
            row(Contender::JemallocSampling, 9, 0),
        ];
        let section = Section {
            key: Key::Sqlite,
            rows: Ok(rows),
        };
        assert_eq!(section.added_ratio(OURS), Some(0.1));
        assert_eq!(
            section.added_seconds(Contender::JemallocSampling),
            Some(1.0)
        );
        assert_eq!(cost_verdict(&section).unwrap().outcome, Outcome::Pass);
        assert_eq!(trace_verdict(&section).outcome, Outcome::Miss);
        assert_eq!(report_verdict(&section).outcome, Outcome::NotMeasured);
        assert_eq!(idle_verdict(&section).outcome, Outcome::NotMeasured);
    }

    #[test]
    fn sampled_and_idle_are_held_against_the_program_alone() {
        let section = |sampled, idle| {
            let mut bare = row(Contender::Bare, 100, 0);
            bare.runs.costs.push(Cost {
                cpu: Duration::from_secs(104),
                ..bare.runs.costs[0]
            });
            let rows = vec![
                bare,
                row(Contender::Heapatlas(&SAMPLED), sampled, 0),
                row(Contender::Heapatlas(&IDLE), idle, 0),
            ];
            Section {
                key: Key::Jq,
                rows: Ok(rows),
            }
        };
        let outcomes = |section: &Section| {
            (
                sampled_verdict(section).outcome,
                idle_verdict(section).outcome,
            )
        };
        // Of 102 seconds, the median, and 104, the slowest.
        let within = section(104, 104);
        assert_eq!(outcomes(&within), (Outcome::Pass, Outcome::Pass));
        let beyond = section(105, 105);
        assert_eq!(outcomes(&beyond), (Outcome::Miss, Outcome::Miss));
    }
}
