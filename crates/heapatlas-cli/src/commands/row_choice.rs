//! Which rows of a list to show: `--top`, `--filter`.

use regex_lite::Regex;

use crate::console::Console;

/// Rows of text when nobody said how many.
const DEFAULT_TEXT_ROWS: usize = 20;

/// Options of verbs that list classes or sites.
#[derive(Debug, Default, clap::Args)]
pub struct RowArgs {
    /// Show at most so many rows, 0 for all [default: 20 in text, all in JSON]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Only classes (of a profile: functions) whose name contains TEXT (in any case), or matches /REGEX/
    #[arg(long, value_name = "TEXT", value_parser = Filter::parse)]
    pub filter: Option<Filter>,
}

impl RowArgs {
    /// How many rows to show at most.
    pub fn limit(&self, console: &Console) -> usize {
        limit(self.top, console)
    }

    /// Whether a class is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.matches(name))
    }
}

/// How many rows `--top` asks for.
pub fn limit(top: Option<usize>, console: &Console) -> usize {
    limit_or(top, DEFAULT_TEXT_ROWS, console)
}

/// How many rows `--top` asks for, where text has another number of rows by default.
pub fn limit_or(top: Option<usize>, text_rows: usize, console: &Console) -> usize {
    match top {
        Some(0) => usize::MAX,
        Some(rows) => rows,
        None if console.is_json => usize::MAX,
        None => text_rows,
    }
}

/// `… 12 more classes (--top 0 shows all)`; nothing when all are shown.
pub fn remark_on_rest(total: usize, shown: usize, one: &str, many: &str) -> Option<String> {
    let rest = total.saturating_sub(shown);
    let word = crate::render::text::plural(rest, one, many);
    let count = heapatlas_model::Count(rest as u64);
    (rest > 0).then(|| format!("… {count} more {word} (--top 0 shows all)"))
}

/// A condition on a class's name.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Contains this text, which is in lower case, in any case.
    Contains(String),
    /// Matches.
    Matches(Regex),
}

impl Filter {
    /// `/REGEX/`, else a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'))
        {
            Some(pattern) => Regex::new(pattern)
                .map(Self::Matches)
                .map_err(|e| e.to_string()),
            None => Ok(Self::Contains(text.to_lowercase())),
        }
    }

    /// Whether a name fulfills it.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Contains(text) => name.to_lowercase().contains(text),
            Self::Matches(pattern) => pattern.is_match(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, name: &str, expected: bool) {
        assert_eq!(
            Filter::parse(filter).unwrap().matches(name),
            expected,
            "{filter} on {name}"
        );
    }

    #[test]
    fn filters() {
        check("session", "HttpSession", true);
        check("SESSION", "session", true);
        check("ä", "Ähre", true);
        check("sessions", "session", false);
        check("/^Http.*n$/", "HttpSession", true);
        check("/^http/", "HttpSession", false);
        check("/(?i)^http/", "HttpSession", true);
        check("/", "a/b", true);
        assert!(Filter::parse("/(/").is_err());
    }
}
