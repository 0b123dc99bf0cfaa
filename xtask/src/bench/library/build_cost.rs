//! What one more dependency costs whoever builds: a clean debug build of an empty program that depends on it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::bench::measure::{self, Runs, print_run};
use crate::steps;

/// One dependency.
pub struct BuildCost {
    pub name: &'static str,
    /// Other people's crates that it brings, in the graph of a normal build.
    pub outside_crates: usize,
}

/// Ours, the rival, and what the rival's cost is made of.
const DEPENDENCIES: [(&str, &str); 4] = [
    ("none", ""),
    ("heapatlas", "heapatlas = { path = \"HEAPATLAS\" }"),
    ("dhat", "dhat = \"0.3\""),
    ("backtrace", "backtrace = \"0.3\""),
];

/// Builds a program with each, in turn.
pub fn measure_all(folder: &Path, rounds: usize) -> anyhow::Result<Vec<(BuildCost, Runs)>> {
    steps::announce("clean debug builds");
    let mut costs = Vec::new();
    for (name, dependency) in DEPENDENCIES {
        let package = folder.join("builds").join(name);
        write_package(&package, name, dependency)?;
        let outside_crates = outside_crates(&package)?;
        let cost = BuildCost {
            name,
            outside_crates,
        };
        costs.push((cost, Runs::default()));
    }
    for round in 1..=rounds {
        for (cost, runs) in &mut costs {
            let package = folder.join("builds").join(cost.name);
            let target = package.join("target");
            if target.exists() {
                fs::remove_dir_all(&target)?;
            }
            let mut cargo = steps::cargo();
            cargo.args(["build", "--quiet", "--offline", "--target-dir"]);
            cargo
                .arg(&target)
                .env_remove("RUSTFLAGS")
                .current_dir(&package);
            let run = measure::measure(&mut cargo)?;
            print_run(round, &format!("build with {}", cost.name), &run);
            runs.add(&run);
        }
    }
    Ok(costs)
}

fn write_package(package: &Path, name: &str, dependency: &str) -> anyhow::Result<()> {
    fs::create_dir_all(package.join("src"))?;
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/heapatlas");
    let dependency = dependency.replace("HEAPATLAS", &ours.display().to_string());
    let manifest = format!(
        "[package]\nname = \"with-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{dependency}\n"
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    fs::write(package.join("src/main.rs"), "fn main() {}\n")?;
    // What is downloaded is not measured.
    steps::run(
        steps::cargo()
            .args(["fetch", "--quiet"])
            .current_dir(package),
    )
    .with_context(|| format!("cannot fetch what `{name}` needs"))
}

/// Names in the tree of what is built, less the program itself and our own.
fn outside_crates(package: &Path) -> anyhow::Result<usize> {
    let mut cargo = steps::cargo();
    cargo.args([
        "tree",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]);
    let tree = steps::output_of(cargo.current_dir(package))?;
    Ok(count_outside(&tree))
}

fn count_outside(tree: &str) -> usize {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let outside: HashSet<&str> = names
        .filter(|name| {
            !name.is_empty() && !name.starts_with("heapatlas") && !name.starts_with("with-")
        })
        .collect();
    outside.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_and_ours_do_not() {
        let tree = "with-heapatlas v0.0.0 (/x)\nheapatlas v0.1.0 (/y)\nheapatlas-record v0.1.0 (/z)\n\
                    gimli v0.34.0\nlibc v0.2.191\nlibc v0.2.191 (*)\n";
        assert_eq!(count_outside(tree), 2);
    }
}
