//! What a span's row is called.

use std::fmt::{self, Debug, Write};

use tracing_core::field::{Field, Visit};
use tracing_core::span::Attributes;

/// The span's name; of a task of tokio its name or the line that spawned it, since all have the same span.
pub(super) fn with_name(attributes: &Attributes<'_>, work: impl FnOnce(&str)) {
    let metadata = attributes.metadata();
    if metadata.name() != "runtime.spawn" || !metadata.target().starts_with("tokio::task") {
        return work(metadata.name());
    }
    let mut task = TaskFields::default();
    attributes.record(&mut task);
    work(task.label().unwrap_or(metadata.name()));
}

/// The fields of tokio's span that tell tasks apart; on the stack, because the span's creator is measured.
#[derive(Default)]
struct TaskFields {
    name: Text,
    location: Text,
    line: u64,
    column: u64,
}

impl TaskFields {
    fn label(&mut self) -> Option<&str> {
        if !self.name.as_str().is_empty() {
            return Some(self.name.as_str());
        }
        if self.location.as_str().is_empty() {
            return None;
        }
        // What does not fit is cut.
        let _ = write!(self.location, ":{}:{}", self.line, self.column);
        Some(self.location.as_str())
    }
}

impl Visit for TaskFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        // What does not fit is cut.
        let _ = match field.name() {
            "task.name" => self.name.write_str(value),
            "loc.file" => self.location.write_str(value),
            _ => Ok(()),
        };
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "loc.line" => self.line = value,
            "loc.col" => self.column = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "task.name" {
            // What does not fit is cut.
            let _ = write!(self.name, "{value:?}");
        }
    }
}

const CAPACITY: usize = 160;

/// A short text without an allocation.
struct Text {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; CAPACITY],
            length: 0,
        }
    }
}

impl Text {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = CAPACITY - self.length;
        let fits = |end: &usize| *end <= room && text.is_char_boundary(*end);
        let end = (0..=text.len().min(room)).rev().find(fits).unwrap_or(0);
        self.bytes[self.length..self.length + end].copy_from_slice(&text.as_bytes()[..end]);
        self.length += end;
        if end < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut text = Text::default();
        assert!(text.write_str(&"x".repeat(CAPACITY - 1)).is_ok());
        assert!(text.write_str("ä").is_err());
        assert_eq!(text.as_str().len(), CAPACITY - 1);
        assert!(text.write_str("y").is_ok());
        assert!(text.as_str().ends_with("xy"));
    }
}
