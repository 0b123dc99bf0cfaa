//! How paths are written and shown.

use std::path::Path;

/// A path as messages show it.
pub fn quoted(path: &Path) -> String {
    if is_stdin(path) {
        "stdin".to_owned()
    } else {
        format!("`{}`", path.display())
    }
}

/// A path as a heading shows it.
pub fn title(path: &Path) -> String {
    match path.file_name() {
        Some(name) if !is_stdin(path) => name.to_string_lossy().into_owned(),
        _ => "stdin".to_owned(),
    }
}

pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}
