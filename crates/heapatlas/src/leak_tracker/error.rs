//! That there are leaks, as an error.

use std::fmt;

use super::allocation::Allocation;
use super::filter::Filter;
use super::report::Style;

/// Blocks that should have been freed. Its text is the report: types, sizes and stacks, equal ones together, the largest first. (Of more
/// than a hundred kinds the rest is summed up.)
#[derive(Clone, PartialEq, Eq)]
pub struct LeakError(Box<Details>);

#[derive(Clone, PartialEq, Eq)]
struct Details {
    leaks: Vec<Allocation>,
    filter: Filter,
    scope: Option<String>,
}

impl LeakError {
    /// `Ok` if there are none.
    pub(crate) fn check(
        leaks: Vec<Allocation>,
        filter: Filter,
        scope: Option<String>,
    ) -> Result<(), Self> {
        if leaks.is_empty() {
            return Ok(());
        }
        Err(Self(Box::new(Details {
            leaks,
            filter,
            scope,
        })))
    }

    /// What leaked, in the order of allocation: one at least.
    pub fn leaks(&self) -> &[Allocation] {
        &self.0.leaks
    }

    /// What was ignored.
    pub fn filter(&self) -> &Filter {
        &self.0.filter
    }

    /// The name of the scope that was looked at: in a test, the test's.
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// How many blocks leaked.
    pub fn count(&self) -> usize {
        self.0.leaks.len()
    }

    /// How many bytes they have in all.
    pub fn total_bytes(&self) -> u64 {
        Allocation::total_bytes(&self.0.leaks)
    }
}

impl fmt::Display for LeakError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = Style {
            title: "Native memory leaks detected",
            filter: Some(self.filter()),
            scope: self.scope(),
            has_color: false,
        };
        style.write(f, self.leaks())
    }
}

/// The report as well: `unwrap` and a test that returns the error show this.
impl fmt::Debug for LeakError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LeakError {}
