//! What the documentation shows is what the program prints.
//!
//! A `console` block is run in the repository's root: `$ ` begins a command, what follows is its
//! output, in which a line `…` stands for any lines. A `json` block right after it is the same
//! output with line breaks. `UPDATE_DOCS=1 cargo test -p heapatlas-cli --test documentation`
//! writes the output of today (but into blocks with `…`); read the difference before you commit it.

mod harness;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::answer;
use regex_lite::Regex;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// README, CONTRIBUTING, and all that lies in docs/guide and docs/reference.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in ["docs/guide", "docs/reference"] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        pages.extend(entries.map(|entry| entry.expect("readable").path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages
}

/// A fenced block: its language and its lines.
struct Block {
    language: String,
    lines: Vec<String>,
    /// Index of the line after the opening fence.
    start: usize,
}

fn blocks(lines: &[String]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if let Some(language) = lines[at].strip_prefix("```") {
            let start = at + 1;
            let length = lines[start..]
                .iter()
                .position(|line| line == "```")
                .expect("closed");
            blocks.push(Block {
                language: language.to_owned(),
                lines: lines[start..start + length].to_vec(),
                start,
            });
            at = start + length;
        }
        at += 1;
    }
    blocks
}

/// What a command prints; `None` for commands that build or install something.
fn output_of(command: &str) -> Option<String> {
    let command = command.replace("cargo run --release -- ", "heapatlas ");
    if command.starts_with("cargo ") || command.starts_with("git ") {
        return None;
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_heapatlas"));
    let old_path = env::var_os("PATH").unwrap_or_default();
    let folders = [binary.parent().expect("in a folder").to_owned()];
    let path = env::join_paths(folders.into_iter().chain(env::split_paths(&old_path))).unwrap();
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &command])
        .env("PATH", path)
        .current_dir(root());
    shell.env_remove("NO_COLOR").env_remove("HEAPATLAS_TIMINGS");
    let answer = answer(&mut shell, None);
    assert!(
        matches!(answer.code, Some(0 | 1)),
        "{command}: {}",
        answer.stderr
    );
    Some(answer.stdout)
}

/// Whether the lines are these, where `…` stands for any.
fn matches(expected: &[String], found: &[&str]) -> bool {
    match expected {
        [] => found.is_empty(),
        [line, rest @ ..] if line == "…" => {
            (0..=found.len()).any(|skipped| matches(rest, &found[skipped..]))
        }
        [line, rest @ ..] => found.first() == Some(&line.as_str()) && matches(rest, &found[1..]),
    }
}

/// The commands of a block, each with the lines that follow it.
fn commands(block: &Block) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in &block.lines {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, output))) => output.push(line.clone()),
            (None, None) => panic!("a console block begins with `$ `, not with {line}"),
        }
    }
    commands
}

/// The block as it should be, and the last command's output.
fn run_block(block: &Block) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    let mut last = String::new();
    for (command, expected) in commands(block) {
        lines.push(format!("$ {command}"));
        let Some(output) = output_of(&command) else {
            continue;
        };
        let found: Vec<&str> = output.lines().collect();
        // A block without output shows the command only.
        if expected.is_empty() || matches(&expected, &found) {
            lines.extend(expected);
        } else {
            lines.extend(found.iter().map(|&line| line.to_owned()));
        }
        last = output;
    }
    (lines, last)
}

#[test]
fn console_blocks() {
    let is_update = env::var_os("UPDATE_DOCS").is_some();
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("the page is there");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let blocks = blocks(&lines);
        // From the end, so that line numbers before it stay right.
        for (at, block) in blocks.iter().enumerate().rev() {
            if block.language != "console" {
                continue;
            }
            count += 1;
            let (expected, output) = run_block(block);
            if let Some(json) = blocks.get(at + 1).filter(|next| next.language == "json") {
                let found: Value = serde_json::from_str(&output).expect("output is JSON");
                let shown = serde_json::from_str::<Value>(&json.lines.join("\n")).ok();
                if shown != Some(found) {
                    assert!(
                        is_update,
                        "{}: JSON after {:?}",
                        page.display(),
                        block.lines
                    );
                    let range = json.start..json.start + json.lines.len();
                    lines.splice(range, with_line_breaks(&output));
                }
            }
            if expected != block.lines {
                assert!(is_update, "{}: {:?}", page.display(), block.lines);
                lines.splice(block.start..block.start + block.lines.len(), expected);
            }
        }
        if is_update {
            fs::write(&page, lines.join("\n") + "\n").expect("the page can be written");
        }
    }
    assert!(count >= 10, "only {count} console blocks");
}

/// JSON with its fields in their order, two levels of it on lines of their own.
fn with_line_breaks(json: &str) -> Vec<String> {
    let (mut text, mut depth, mut in_string, mut is_escaped) =
        (String::new(), 0_usize, false, false);
    for character in json.trim_end().chars() {
        let is_plain = in_string || depth > 2;
        if in_string {
            in_string = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
            text.push(character);
            continue;
        }
        in_string = character == '"';
        match character {
            '{' | '[' => {
                depth += 1;
                text.push(character);
                if depth <= 2 {
                    text.push_str(&format!("\n{:1$}", "", depth * 2));
                }
            }
            '}' | ']' => {
                depth -= 1;
                if depth < 2 {
                    text.push_str(&format!("\n{:1$}", "", depth * 2));
                }
                text.push(character);
            }
            ',' if !is_plain => text.push_str(&format!(",\n{:1$}", "", depth * 2)),
            ',' | ':' => text.extend([character, ' ']),
            _ => text.push(character),
        }
    }
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// Each field that stands in an example of docs/reference/json.md is described there.
#[test]
fn every_json_field_is_documented() {
    let page = fs::read_to_string(root().join("docs/reference/json.md")).unwrap();
    let lines: Vec<String> = page.lines().map(str::to_owned).collect();
    let mut keys = BTreeSet::new();
    for block in blocks(&lines)
        .iter()
        .filter(|block| block.language == "json")
    {
        collect_keys(
            &serde_json::from_str(&block.lines.join("\n")).unwrap(),
            &mut keys,
        );
    }
    assert!(keys.len() > 50, "{keys:?}");
    let described = Regex::new("`([a-z_]+)`").unwrap();
    let described: BTreeSet<String> = described
        .captures_iter(&page)
        .map(|found| found[1].to_owned())
        .collect();
    keys.remove("version");
    let missing: Vec<_> = keys.difference(&described).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                keys.insert(key.clone());
                collect_keys(value, keys);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

/// The fields and their order are the contract of docs/reference/json.md.
#[test]
fn fields_stand_in_the_promised_order() {
    const CLASS: &str = r#"\{"name":"[^"]*","key":"[^"]*","count":\d+,"distance":(\d+|null),"shallow_bytes":\d+,"retained_bytes":(\d+|null)\}"#;
    const CHANGE: &str = r#""new":\d+,"deleted":\d+,"delta":-?\d+,"allocated_bytes":\d+,"freed_bytes":\d+,"delta_bytes":-?\d+"#;
    let change_row = format!(
        r#"\{{"name":"[^"]*","key":"[^"]*",{CHANGE},"paths":\[(\{{"path":"[^"]*","count":\d+\}},?)*\]\}}"#
    );
    let step = format!(r#""totals":\{{{CHANGE}\}},"classes":\[({change_row},?)+\]"#);
    let features = harness::fixture("node20-features.heapsnapshot.gz");
    let [one, two, three] =
        [1, 2, 3].map(|n| harness::fixture(&format!("node20-leak-{n}.heapsnapshot.gz")));
    let check = |args: &[&str], pattern: &str| {
        let output = harness::run(args.iter().chain(&["--json", "--top", "3"]))
            .fine()
            .stdout;
        let pattern = Regex::new(&format!("^{pattern}\n$")).unwrap();
        assert!(pattern.is_match(&output), "{args:?}: {output}");
    };
    check(
        &["summary", &features],
        &format!(
            r#"\{{"version":1,"format":"v8","nodes":\d+,"edges":\d+,"total_bytes":\d+,"statistics":\{{"total":\d+,"code":\d+,"strings":\d+,"js_arrays":\d+,"typed_arrays":\d+,"native":\d+,"system":\d+\}},"classes":\[({CLASS},?){{3}}\]\}}"#
        ),
    );
    check(
        &["compare", &one, &two],
        &format!(r#"\{{"version":1,{step}\}}"#),
    );
    let list = r"\[\d+,\d+,\d+\]";
    check(
        &["compare", &one, &two, &three],
        &format!(
            r#"\{{"version":1,"steps":\[(\{{{step}\}},?){{2}}\],"classes":\[(\{{"name":"[^"]*","key":"[^"]*","count":{list},"shallow_bytes":{list},"retained_bytes":{list}\}},?){{3}}\]\}}"#
        ),
    );
    check(
        &["leaks", &one, &two, &three],
        r#"\{"version":1,"suspects":\[(\{"id":"[^"]+","kind":"[^"]+","detector":"[^"]+","name":"[^"]+","growth":\[(\{"count":\d+,"bytes":\d+\},?){3}\],"retained_bytes":\d+,"path":\[\{"edge":null,"node":"[^"]*"\}(,\{"edge":"[^"]*","node":"[^"]*"\})*\],"why":"[^"]+"\},?){3}\]\}"#,
    );
}
