//! What a region and a span cost, by the library's own benchmark.

use anyhow::Context;

use crate::steps;

/// A line of the benchmark.
pub struct Cost {
    pub what: String,
    pub nanoseconds: f64,
}

/// Builds and runs the benchmark.
pub fn measure_all() -> anyhow::Result<Vec<Cost>> {
    let mut cargo = steps::cargo();
    cargo.args(["bench", "--package", "heapatlas", "--all-features"]);
    let output = cargo.args(["--bench", "regions"]).output();
    let output = output.context("starting cargo")?;
    anyhow::ensure!(
        output.status.success(),
        "the benchmark of regions failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(costs(&String::from_utf8_lossy(&output.stdout)))
}

/// A name, a number, and in parentheses how far it goes.
fn costs(output: &str) -> Vec<Cost> {
    let cost = |line: &str| {
        let (line, _) = line.rsplit_once(" (")?;
        let (what, nanoseconds) = line.trim_end().rsplit_once(' ')?;
        Some(Cost {
            what: what.trim_end().to_owned(),
            nanoseconds: nanoseconds.parse().ok()?,
        })
    };
    output.lines().filter_map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_benchmark() {
        let output = "\n\
            a Region (no time)              48.4   (48.2 to 53.4)\n\
            measure!, empty               111.3   (110.0 to 318.2)\n";
        let costs: Vec<_> = costs(output)
            .into_iter()
            .map(|cost| (cost.what, cost.nanoseconds))
            .collect();
        let expected = [("a Region (no time)", 48.4), ("measure!, empty", 111.3)];
        assert_eq!(costs, expected.map(|(what, cost)| (what.to_owned(), cost)));
    }
}
