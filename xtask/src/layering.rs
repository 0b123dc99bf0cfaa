//! The layering test: what each crate may depend on, held against `cargo metadata`.
//!
//! Data moves one way, capture -> model -> analysis -> presentation, and the crates that run inside
//! a measured program share nothing with the others but `heapatlas-trace`. A new edge between
//! crates, or a new outside crate, is a design decision: it changes this table in a commit that
//! says why.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What one crate may import.
struct Layer {
    name: &'static str,
    /// Our crates, as normal dependencies, and in tests.
    ours: &'static [&'static str],
    /// Our crates, for its tests alone: analysis is proved on real files, which formats reads.
    ours_in_tests: &'static [&'static str],
    /// Our crates, as build dependencies.
    ours_at_build: &'static [&'static str],
    /// Outside crates, as normal dependencies.
    outside: &'static [&'static str],
    /// A pure crate is handed bytes and returns values: no unsafe code, files, clocks, processes.
    is_pure: bool,
}

const fn layer(
    name: &'static str,
    ours: &'static [&'static str],
    outside: &'static [&'static str],
) -> Layer {
    Layer {
        name,
        ours,
        ours_in_tests: &[],
        ours_at_build: &[],
        outside,
        is_pure: false,
    }
}

const fn pure(
    name: &'static str,
    ours: &'static [&'static str],
    outside: &'static [&'static str],
) -> Layer {
    Layer {
        is_pure: true,
        ..layer(name, ours, outside)
    }
}

#[rustfmt::skip]
const LAYERS: &[Layer] = &[
    // In the measured process.
    layer("heapatlas", &["heapatlas-record", "heapatlas-trace", "heapatlas-usage"],
        &["libc",
            // Names for the addresses of this process: reads debug information.
            "gimli",
            // A feature: collections in tracked memory.
            "allocator-api2",
            // Feature `tracing`: a layer cannot be written without the crates that define layers and spans.
            "tracing-core", "tracing-subscriber"]),
    layer("heapatlas-record", &["heapatlas-trace"], &["libc", "gimli"]),
    layer("heapatlas-trace", &[], &[]),
    layer("heapatlas-usage", &[], &[]),
    layer("heapatlas-preload", &["heapatlas-record", "heapatlas-trace"], &["libc"]),
    // In heapatlas' own process.
    pure("heapatlas-model", &[], &["hashbrown", "rustc-hash", "foldhash"]),
    pure("heapatlas-formats", &["heapatlas-model", "heapatlas-trace"],
        &["serde", "serde_json", "flate2", "zstd", "lz4_flex", "rayon", "memchr", "thiserror",
            // Matching frees with allocations, interning stacks.
            "hashbrown", "rustc-hash", "prefetch-index",
            // Safe SIMD for the number scanner (and AVX2 where there is one): the crate itself
            // forbids unsafe code.
            "wide", "pulp"]),
    layer("heapatlas-native", &["heapatlas-model", "heapatlas-symbols"],
        &["hashbrown", "rustc-hash", "foldhash", "rayon"]),
    Layer {
        name: "heapatlas-analysis",
        ours: &["heapatlas-model"],
        ours_in_tests: &["heapatlas-formats"],
        ours_at_build: &[],
        outside: &["hashbrown", "rustc-hash", "foldhash", "rayon", "prefetch-index"],
        is_pure: true,
    },
    layer("heapatlas-symbols", &["heapatlas-model"],
        &["object", "addr2line", "gimli", "framehop", "rustc-demangle", "cpp_demangle", "thiserror",
            // Debug files are gigabytes of which few pages are wanted: they are mapped, and their
            // bytes live in an arena that the parsers borrow.
            "memmap2", "typed-arena",
            // Compressed debug sections, by the decompressors that `formats` has anyway.
            "flate2", "zstd"]),
    Layer {
        name: "heapatlas-capture",
        ours: &["heapatlas-model", "heapatlas-trace"],
        ours_in_tests: &[],
        ours_at_build: &["heapatlas-preload"],
        outside: &["libc", "rustix", "nix", "tungstenite", "serde_json", "thiserror", "zstd", "tempfile"],
        is_pure: false,
    },
    Layer {
        name: "heapatlas-cli",
        ours: &["heapatlas-model", "heapatlas-formats", "heapatlas-analysis", "heapatlas-native",
            "heapatlas-symbols", "heapatlas-capture", "heapatlas-trace", "heapatlas-usage"],
        // A test is a program that records itself, and reads what it wrote with the binary.
        ours_in_tests: &["heapatlas-record"],
        ours_at_build: &[],
        outside: &["anyhow", "clap", "clap_complete", "clap_mangen", "indicatif", "terminal_size",
            "terminal-size", "rustyline", "serde", "serde_json", "flate2", "zstd", "memmap2",
            "tempfile", "rayon", "libc", "rustix", "regex-lite", "axum", "tokio", "tower-http", "rust-embed"],
        is_pure: false,
    },
    // Chores.
    layer("xtask", &[], &["anyhow", "clap", "serde_json", "libc", "tempfile"]),
];

/// Everything in `metadata` that the table does not allow, one sentence each.
fn violations(metadata: &Value) -> Vec<String> {
    packages(metadata).flat_map(package_violations).collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn package_violations(package: &Value) -> Vec<String> {
    let name = text(package, "name");
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
        return vec![format!(
            "`{name}` is unknown: add it to the table in xtask/src/layering.rs and to section \
             \"crates\" of ARCHITECTURE.md"
        )];
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter_map(|dependency| dependency_violation(layer, dependency))
        .collect()
}

fn dependency_violation(layer: &Layer, dependency: &Value) -> Option<String> {
    let (importer, imported) = (layer.name, text(dependency, "name"));
    let kind = dependency["kind"].as_str().unwrap_or("normal");
    let allowed = match (is_ours(imported), kind) {
        (true, "build") => layer.ours_at_build,
        (true, "dev") if layer.ours_in_tests.contains(&imported) => return None,
        (true, _) => layer.ours,
        (false, "normal") => layer.outside,
        (false, _) => return None,
    };
    (!allowed.contains(&imported)).then(|| {
        format!(
            "`{importer}` must not have `{imported}` as a {kind} dependency; allowed: {allowed:?}"
        )
    })
}

fn is_ours(name: &str) -> bool {
    name == "xtask" || name == "heapatlas" || name.starts_with("heapatlas-")
}

/// What a pure crate lacks that would keep it pure.
fn purity_violations(metadata: &Value) -> Vec<String> {
    let is_pure = |name| {
        LAYERS
            .iter()
            .any(|layer| layer.name == name && layer.is_pure)
    };
    packages(metadata)
        .filter(|package| is_pure(text(package, "name")))
        .flat_map(|package| {
            let manifest = Path::new(text(package, "manifest_path"));
            missing_guards(manifest.parent().expect("a manifest is in a folder"))
        })
        .collect()
}

fn missing_guards(folder: &Path) -> Vec<String> {
    let guards = [
        ("src/lib.rs", "#![forbid(unsafe_code)]"),
        ("clippy.toml", "disallowed-methods"),
        ("clippy.toml", "disallowed-types"),
    ];
    guards
        .into_iter()
        .filter(|(file, guard)| !read(&folder.join(file)).contains(guard))
        .map(|(file, guard)| format!("`{}` must say `{guard}`", folder.join(file).display()))
        .collect()
}

fn lint_violations(metadata: &Value) -> Vec<String> {
    packages(metadata)
        .map(|package| text(package, "manifest_path"))
        .filter(|manifest| !inherits_lints(&read(Path::new(manifest))))
        .map(|manifest| format!("`{manifest}` must say `[lints]` and `workspace = true`"))
        .collect()
}

fn inherits_lints(manifest: &str) -> bool {
    let after_header = manifest.split_once("\n[lints]\n").map(|(_, rest)| rest);
    after_header.is_some_and(|rest| rest.trim_start().starts_with("workspace = true"))
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no `{member}` in {value}"))
}

/// An absent file is an empty one.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn workspace_metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workspace_keeps_its_layers() {
        let metadata = workspace_metadata();
        assert!(
            packages(&metadata).count() >= 5,
            "cargo metadata has our packages"
        );
        assert_eq!(violations(&metadata), Vec::<String>::new());
    }

    #[test]
    fn pure_crates_are_guarded() {
        assert_eq!(
            purity_violations(&workspace_metadata()),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_crate_inherits_the_lints() {
        assert_eq!(lint_violations(&workspace_metadata()), Vec::<String>::new());
    }

    /// Checks one dependency of a made-up package; `kind` as cargo has it.
    fn check(importer: &str, imported: &str, kind: Value, is_allowed: bool) {
        let metadata = json!({"packages": [{
            "name": importer,
            "dependencies": [{"name": imported, "kind": kind}],
        }]});
        let found = violations(&metadata);
        assert_eq!(
            found.is_empty(),
            is_allowed,
            "{importer} -> {imported}: {found:?}"
        );
    }

    #[test]
    fn lower_layers_are_allowed_and_higher_ones_refused() {
        check("heapatlas-analysis", "heapatlas-model", Value::Null, true);
        check("heapatlas-model", "heapatlas-analysis", Value::Null, false);
        check(
            "heapatlas-formats",
            "heapatlas-analysis",
            Value::Null,
            false,
        );
        check(
            "heapatlas-analysis",
            "heapatlas-formats",
            Value::Null,
            false,
        );
        check(
            "heapatlas-analysis",
            "heapatlas-formats",
            json!("dev"),
            true,
        );
        check(
            "heapatlas-formats",
            "heapatlas-analysis",
            json!("dev"),
            false,
        );
        check("heapatlas-record", "heapatlas-model", Value::Null, false);
        check("heapatlas-cli", "xtask", json!("dev"), false);
    }

    #[test]
    fn preload_is_for_the_build_script_of_capture_only() {
        check(
            "heapatlas-capture",
            "heapatlas-preload",
            json!("build"),
            true,
        );
        check("heapatlas-capture", "heapatlas-preload", Value::Null, false);
    }

    #[test]
    fn outside_crates_are_limited_unless_for_tests() {
        check("heapatlas-model", "hashbrown", Value::Null, true);
        check("heapatlas-model", "serde", Value::Null, false);
        check("heapatlas-model", "proptest", json!("dev"), true);
        check("heapatlas-trace", "libc", Value::Null, false);
    }

    #[test]
    fn an_unknown_crate_is_told_where_to_go() {
        let found = violations(&json!({"packages": [{"name": "heapatlas-utils"}]}));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("add it to the table"), "{found:?}");
    }

    #[test]
    fn a_pure_crate_without_guards_is_found() {
        // This crate is not pure.
        let missing = missing_guards(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(missing.len(), 3, "{missing:?}");
    }

    #[test]
    fn lints_that_are_not_inherited_are_found() {
        assert!(inherits_lints(
            "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"
        ));
        assert!(!inherits_lints(
            "[package]\nname = \"a\"\n\n[lints]\nrust.x = \"warn\"\n"
        ));
        assert!(!inherits_lints("[package]\nname = \"a\"\n"));
    }
}
