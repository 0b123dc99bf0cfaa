//! Goals, and whether they were reached.

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
pub fn at_most(goal: String, limit: f64, measured: Option<f64>, unit: &str) -> Verdict {
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

/// A table of all of them.
pub fn write_table(out: &mut String, verdicts: &[Verdict]) {
    out.push_str("### Goals\n\n| goal | measured | |\n|---|---|---|\n");
    for verdict in verdicts {
        let (goal, measured) = (&verdict.goal, &verdict.measured);
        let outcome = verdict.outcome.shown();
        out.push_str(&format!("| {goal} | {measured} | {outcome} |\n"));
    }
    out.push('\n');
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
