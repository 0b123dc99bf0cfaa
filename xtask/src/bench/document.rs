//! docs/benchmarks.md: one part for each suite, a part being a heading `## TITLE` and what follows.

use std::fs;
use std::path::Path;

use anyhow::Context;

const HEADING: &str = "# Benchmarks\n";

/// Writes a suite's part anew and leaves those of others as they are.
///
/// # Errors
/// When the document cannot be read or written.
pub fn replace_part(title: &str, text: &str) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let document = if path.exists() {
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?
    } else {
        HEADING.to_owned()
    };
    fs::write(&path, with_part(&document, title, text))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// `document` with the part of that title replaced, or added at the end.
fn with_part(document: &str, title: &str, text: &str) -> String {
    let heading = format!("## {title}");
    let mut lines = document.lines();
    let mut before: Vec<&str> = Vec::new();
    before.extend(lines.by_ref().take_while(|line| *line != heading));
    let after: Vec<&str> = lines.skip_while(|line| !line.starts_with("## ")).collect();
    let parts = [
        before.join("\n"),
        format!("{heading}\n\n{text}"),
        after.join("\n"),
    ];
    let parts = parts.iter().map(|part| part.trim());
    let filled: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    filled.join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_the_others_stay() {
        let check = |document: &str, title, expected: &str| {
            assert_eq!(with_part(document, title, "new\n\n### inner\n"), expected);
        };
        let both = "# B\n\nsaid\n\n## one\n\n1\n\n### more\n\n## two\n\n2\n";
        check(
            both,
            "one",
            "# B\n\nsaid\n\n## one\n\nnew\n\n### inner\n\n## two\n\n2\n",
        );
        check(
            both,
            "two",
            "# B\n\nsaid\n\n## one\n\n1\n\n### more\n\n## two\n\nnew\n\n### inner\n",
        );
        check("# B\n", "one", "# B\n\n## one\n\nnew\n\n### inner\n");
        check(
            "# B\n\n## one\n\n1\n",
            "two",
            "# B\n\n## one\n\n1\n\n## two\n\nnew\n\n### inner\n",
        );
    }
}
