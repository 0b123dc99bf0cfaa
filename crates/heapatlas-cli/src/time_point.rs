//! Moments of a recording as people name them: a time since its start, or a mark.

use anyhow::anyhow;
use heapatlas_model::Mark;

use crate::duration::{duration, parse_duration};
use crate::exit::Hint;
use crate::render::text::printable;

/// What stands before the text of a mark.
const MARK_PREFIX: &str = "mark:";
/// Hints list so many marks.
const LISTED_MARKS: usize = 8;

/// A moment of a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimePoint {
    /// Nanoseconds since the recording began.
    Ns(u64),
    /// When the mark of this text was set: for an end the first after the beginning, else the first of all.
    Mark(String),
}

impl TimePoint {
    /// `mark:TEXT`, else a time as `1.5s`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix(MARK_PREFIX) {
            Some("") => Err("`mark:` needs the text of a mark behind it".to_owned()),
            Some(mark) => Ok(Self::Mark(mark.to_owned())),
            None => parse_duration(text).map(Self::Ns),
        }
    }

    /// Whether it takes the marks of the recording to know when that is.
    pub fn is_mark(&self) -> bool {
        matches!(self, Self::Mark(_))
    }

    /// When that is: the first time that is not before `earliest_ns`.
    fn resolve(&self, marks: &[Mark], earliest_ns: u64) -> anyhow::Result<u64> {
        let text = match self {
            Self::Ns(ns) => return Ok(*ns),
            Self::Mark(text) => text,
        };
        let of_text = |mark: &&Mark| mark.text == *text;
        if let Some(mark) = marks
            .iter()
            .filter(of_text)
            .find(|mark| mark.time_ns >= earliest_ns)
        {
            return Ok(mark.time_ns);
        }
        let text = printable(text);
        Err(if marks.iter().any(|mark| of_text(&mark)) {
            anyhow!("no mark `{text}` comes after {}", duration(earliest_ns)).hint(known(marks))
        } else {
            anyhow!("the recording has no mark `{text}`").hint(known(marks))
        })
    }
}

/// From when to when, in nanoseconds since the recording began.
///
/// # Errors
/// When there is no such mark.
pub fn resolve(
    from: Option<&TimePoint>,
    to: Option<&TimePoint>,
    marks: &[Mark],
) -> anyhow::Result<(Option<u64>, Option<u64>)> {
    let from_ns = from.map(|from| from.resolve(marks, 0)).transpose()?;
    // A part from a mark to one of the same text is not empty.
    let earliest_ns = from_ns.map_or(0, |ns| ns.saturating_add(1));
    let to_ns = to.map(|to| to.resolve(marks, earliest_ns)).transpose()?;
    Ok((from_ns, to_ns))
}

/// The texts of the first marks, each once.
fn known(marks: &[Mark]) -> [String; 1] {
    let mut texts: Vec<&str> = Vec::new();
    for mark in marks {
        if texts.len() == LISTED_MARKS {
            break;
        }
        if !texts.contains(&mark.text.as_str()) {
            texts.push(&mark.text);
        }
    }
    if texts.is_empty() {
        return ["no marks were set while it was recorded".to_owned()];
    }
    let quoted: Vec<String> = texts
        .iter()
        .map(|text| format!("`{}`", printable(text)))
        .collect();
    [format!("there are: {}", quoted.join(", "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Vec<Mark> {
        let mark = |time_ns, text: &str| Mark {
            time_ns,
            text: text.to_owned(),
        };
        vec![
            mark(10, "begin"),
            mark(20, "end"),
            mark(30, "begin"),
            mark(40, "end"),
        ]
    }

    #[track_caller]
    fn check(
        from: Option<&str>,
        to: Option<&str>,
        expected: Result<(Option<u64>, Option<u64>), &str>,
    ) {
        let point = |text: Option<&str>| text.map(|text| TimePoint::parse(text).unwrap());
        let (from, to) = (point(from), point(to));
        let found = resolve(from.as_ref(), to.as_ref(), &marks()).map_err(|e| e.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn times_and_marks() {
        check(None, None, Ok((None, None)));
        check(Some("2ns"), Some("1us"), Ok((Some(2), Some(1000))));
        check(
            Some("mark:begin"),
            Some("mark:end"),
            Ok((Some(10), Some(20))),
        );
        check(None, Some("mark:end"), Ok((None, Some(20))));
        check(Some("mark:end"), Some("mark:end"), Ok((Some(20), Some(40))));
        check(Some("25ns"), Some("mark:end"), Ok((Some(25), Some(40))));
        check(
            Some("mark:nowhere"),
            None,
            Err("the recording has no mark `nowhere`"),
        );
        check(
            Some("40ns"),
            Some("mark:begin"),
            Err("no mark `begin` comes after 41 ns"),
        );
    }

    #[test]
    fn what_is_none() {
        assert!(TimePoint::parse("mark:").is_err());
        assert!(TimePoint::parse("begin").is_err());
        assert_eq!(known(&marks()), ["there are: `begin`, `end`"]);
    }
}
