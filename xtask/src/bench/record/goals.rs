//! The numbers to reach, and whether they were.

use super::contenders::{Contender, EXACT};
use super::programs::Key;
use super::{Results, Row, Section};
use crate::bench::verdict::{Verdict, at_most};

const OURS: Contender = Contender::Heapatlas(&EXACT);

pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let sections = &results.sections;
    let mut verdicts: Vec<_> = sections.iter().filter_map(cost_verdict).collect();
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
    }
}
