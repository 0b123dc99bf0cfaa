//! What came of it, on the terminal and in docs/benchmarks.md.

use std::fmt::Write;

use anyhow::Context;
use serde_json::Value;

use super::WHOLE_SHARE;
use super::cases::Case;
use crate::bench::machine;

/// The heading of this part of the document.
pub const TITLE: &str = "Stacks, against full walks";

/// One program, all its runs together.
pub struct Row {
    pub case: Case,
    pub runs: u32,
    pub seconds: f64,
    pub compared: u64,
    pub differences: u64,
    /// Allocations and reallocations in the trace: each has a stack.
    captures: u64,
    cut_off: u64,
    /// Events that the recorder had no room for: the launcher did not get enough of the processor.
    pub dropped: u64,
    deepest: u64,
    /// Why there are no figures, or no more.
    pub failure: Option<String>,
}

impl Row {
    pub fn new(case: Case) -> Self {
        Row {
            case,
            runs: 0,
            seconds: 0.0,
            compared: 0,
            differences: 0,
            captures: 0,
            cut_off: 0,
            dropped: 0,
            deepest: 0,
            failure: None,
        }
    }

    /// Adds what the summary of a run's trace says. Gives the number of captures in it.
    ///
    /// # Errors
    /// When it lacks a figure.
    pub fn add(&mut self, summary: &Value) -> anyhow::Result<u64> {
        let figure = |path: &str| {
            let value = summary.pointer(path).and_then(Value::as_u64);
            value.with_context(|| format!("the summary has no {path}"))
        };
        let captures = figure("/totals/allocations")?;
        self.captures += captures;
        self.cut_off += figure("/truncated_stacks")?;
        self.deepest = self.deepest.max(figure("/deepest_stack")?);
        Ok(captures)
    }

    fn whole_share(&self) -> f64 {
        1.0 - self.cut_off as f64 / self.captures.max(1) as f64
    }

    pub fn is_good(&self) -> bool {
        self.failure.is_none()
            && self.compared > 0
            && self.differences == 0
            && self.whole_share() >= WHOLE_SHARE
    }

    pub fn print(&self) {
        match &self.failure {
            Some(failure) => println!("{}: FAILED: {failure}", self.case.title()),
            None => println!(
                "{:>12} {:>12} {:>9} {:>9} {:>9.4} {:>8} {:>7.1} s  {}",
                self.captures,
                self.compared,
                self.differences,
                self.dropped,
                100.0 * self.whole_share(),
                self.deepest,
                self.seconds,
                self.case.title()
            ),
        }
    }
}

pub fn print_heading() {
    println!(
        "{:>12} {:>12} {:>9} {:>9} {:>9} {:>8} {:>9}  program",
        "captures", "compared", "differ", "dropped", "whole %", "deepest", "time"
    );
}

pub fn markdown(rows: &[Row]) -> String {
    let mut out = String::new();
    let sum = |figure: fn(&Row) -> u64| rows.iter().map(figure).sum::<u64>();
    push_line(
        &mut out,
        format_args!(
            "Written by `cargo xtask check-stacks`, {}, on {}.\n\n\
             The recorder walks only the part of a stack that is new since its thread's last capture. Here \
             every capture was compared, frame by frame, with a walk of the whole stack (`record \
             --check-stacks 1`): {} captures, {} differences. Whole are the stacks that reach the entry of \
             the process, thread or coroutine; deeper ones than 1,024 frames are not. Captures are those in \
             the trace: fewer than were compared where the recorder had to drop events ({} in all).\n",
            machine::date(),
            machine::description(),
            grouped(sum(|row| row.compared)),
            grouped(sum(|row| row.differences)),
            grouped(sum(|row| row.dropped)),
        ),
    );
    out.push_str(
        "| program | captures | compared | differences | whole | deepest stack |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        write_row(&mut out, row);
    }
    out
}

fn write_row(out: &mut String, row: &Row) {
    let title = row.case.title();
    if let Some(failure) = &row.failure {
        let failure = failure.replace('|', "/").replace(['\n', '`'], " ");
        return push_line(out, format_args!("| {title} | fails: {failure} | | | | |"));
    }
    push_line(
        out,
        format_args!(
            "| {title} | {} | {} | {} | {:.3} % | {} |",
            grouped(row.captures),
            grouped(row.compared),
            grouped(row.differences),
            100.0 * row.whole_share(),
            grouped(row.deepest)
        ),
    );
}

fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a text takes everything");
}

/// A number with a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_groups() {
        let check = |number, expected: &str| assert_eq!(grouped(number), expected);
        check(7, "7");
        check(123, "123");
        check(1_234, "1,234");
        check(100_000_000, "100,000,000");
    }
}
