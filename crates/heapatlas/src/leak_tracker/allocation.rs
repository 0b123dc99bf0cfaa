//! What the tracker tells of one block.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::time_text;

/// A block that was allocated while it was tracked, and not freed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allocation {
    /// Where the block lies.
    pub address: u64,
    /// Bytes asked for.
    pub size_bytes: u64,
    /// The type that was asked for, with its path; `untyped` if none was.
    pub type_name: Cow<'static, str>,
    /// When it was allocated (on Linux to some milliseconds).
    pub timestamp: SystemTime,
    /// Who allocated it.
    pub thread: ThreadLabel,
    /// The scope in which it was allocated; none outside of scopes, or if the scope has no name.
    pub scope: Option<String>,
    /// The line that allocated it, by the compiler: there without debug information, and on every system.
    pub location: Option<SourceLocation>,
    /// The stack, the innermost frame first, without heapatlas' own frames and those below `main` or a test. Where there
    /// are no stacks, the allocating line alone.
    pub stack: Arc<[StackFrame]>,
}

/// A thread of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ThreadLabel {
    /// Numbers are given from 1 on, as threads use the tracker. 0: not known.
    pub number: u32,
    /// Its name. That of a test's thread is the test's.
    pub name: Option<String>,
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceLocation {
    /// The path as the compiler was given it.
    pub file: Cow<'static, str>,
    /// From 1 on.
    pub line: u32,
    /// From 1 on; 0 if not known.
    pub column: u32,
}

/// One entry of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StackFrame {
    /// The function, if it has a name.
    pub function: Option<String>,
    /// The line within it that was being executed.
    pub location: Option<SourceLocation>,
    /// The return address; 0 if not known. Functions that were inlined into each other share it.
    pub address: u64,
    /// For code without a name: its file, and the offset in it, as `/usr/lib/libx.so+0x1234`.
    pub module: Option<String>,
}

impl Allocation {
    pub(crate) fn total_bytes(leaks: &[Self]) -> u64 {
        leaks
            .iter()
            .fold(0, |sum, leak| sum.saturating_add(leak.size_bytes))
    }
}

impl From<&'static std::panic::Location<'static>> for SourceLocation {
    fn from(location: &'static std::panic::Location<'static>) -> Self {
        Self {
            file: Cow::Borrowed(location.file()),
            line: location.line(),
            column: location.column(),
        }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

impl fmt::Display for ThreadLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.number) {
            (Some(name), _) => f.write_str(name),
            (None, 0) => f.write_str("unknown"),
            (None, number) => write!(f, "thread {number}"),
        }
    }
}

impl fmt::Display for StackFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.function, &self.location) {
            (Some(function), Some(location)) => write!(f, "{function} ({location})"),
            (Some(function), None) => f.write_str(function),
            (None, Some(location)) => write!(f, "{location}"),
            (None, None) => match &self.module {
                Some(module) => f.write_str(module),
                None => write!(f, "0x{:x}", self.address),
            },
        }
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Allocation(")?;
        writeln!(f, "  address   : 0x{:08x}", self.address)?;
        writeln!(f, "  type      : {}", self.type_name)?;
        writeln!(f, "  size      : {}", bytes_text(self.size_bytes))?;
        self.write_origin(f, None, "  ")?;
        f.write_str(")")
    }
}

impl Allocation {
    /// Lines for when, who, and from where. `shown_scope` was told already.
    pub(crate) fn write_origin(
        &self,
        out: &mut dyn fmt::Write,
        shown_scope: Option<&str>,
        indent: &str,
    ) -> fmt::Result {
        let timestamp = time_text::to_text(self.timestamp);
        writeln!(out, "{indent}timestamp : {timestamp}")?;
        if self.thread != ThreadLabel::default() {
            writeln!(out, "{indent}thread    : {}", self.thread)?;
        }
        if let Some(scope) = &self.scope
            && shown_scope != Some(scope)
        {
            writeln!(out, "{indent}scope     : {scope}")?;
        }
        if let Some(location) = &self.location {
            writeln!(out, "{indent}allocated : {location}")?;
        }
        write_stack(out, &self.stack, indent)
    }
}

pub(crate) fn write_stack(
    out: &mut dyn fmt::Write,
    stack: &[StackFrame],
    indent: &str,
) -> fmt::Result {
    if stack.is_empty() {
        return Ok(());
    }
    writeln!(out, "{indent}stack     :")?;
    for (number, frame) in stack.iter().enumerate() {
        writeln!(out, "{indent}  #{number:<3} {frame}")?;
    }
    Ok(())
}

/// `96 B`, `1.5 KiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024.0 is shown in the next unit.
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_text() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes_text(bytes), expected);
        }
    }
}
