//! The snapshots that are opened: made once, kept below cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::peers::Peers;
use crate::steps;

/// One snapshot file.
#[derive(Clone)]
pub struct Input {
    /// What is in it, for the tables.
    pub title: String,
    pub path: PathBuf,
    pub bytes: u64,
}

impl Input {
    fn new(folder: &Path, name: &str, title: &str) -> anyhow::Result<Self> {
        let path = folder.join(name);
        let metadata = fs::metadata(&path).with_context(|| format!("no `{}`", path.display()))?;
        Ok(Input {
            title: title.to_owned(),
            path,
            bytes: metadata.len(),
        })
    }

    pub fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }
}

/// What one benchmark opens.
pub struct Inputs {
    /// Opened by everyone.
    pub opened: Vec<Input>,
    /// One heap at three times, for compare and leaks.
    pub series: Vec<Input>,
    /// A section of strings that is too long for JavaScript; absent from the quick set.
    pub long_strings: Option<Input>,
}

pub fn make_quick(peers: &Peers, folder: &Path) -> anyhow::Result<Inputs> {
    typescript_heaps(peers, folder, 20, &["program:1", "write:ts20-quick"])?;
    let mut series = Vec::new();
    for (name, grow) in [("small-a", 0), ("small-b", 3), ("small-c", 6)] {
        generated(folder, name, 1_000_000, "node24", grow)?;
        series.push(Input::new(
            folder,
            &file_name(name),
            "generated, Node 24 layout",
        )?);
    }
    let typescript = Input::new(
        folder,
        &file_name("ts20-quick"),
        "TypeScript, 1 program, Node 20",
    )?;
    Ok(Inputs {
        opened: vec![typescript, series[0].clone()],
        series,
        long_strings: None,
    })
}

pub fn make_all(peers: &Peers, folder: &Path) -> anyhow::Result<Inputs> {
    let one_three_eleven = [
        "program:1",
        "write:ts20-1",
        "program:2",
        "write:ts20-3",
        "program:8",
        "write:ts20-11",
    ];
    typescript_heaps(peers, folder, 20, &one_three_eleven)?;
    let growing = [
        "program:3",
        "leak:6000",
        "write:ts24-3a",
        "leak:6000",
        "write:ts24-3b",
        "leak:6000",
        "write:ts24-3c",
    ];
    typescript_heaps(peers, folder, 24, &growing)?;
    generated(folder, "generated", 5_700_000, "node24", 0)?;
    generated(folder, "strings", 200_000, "strings", 0)?;

    let input = |name: &str, title| Input::new(folder, &file_name(name), title);
    let series = ["ts24-3a", "ts24-3b", "ts24-3c"]
        .map(|name| input(name, "TypeScript, 3 programs, Node 24"))
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?;
    let opened = vec![
        input("ts20-1", "TypeScript, 1 program, Node 20")?,
        input("ts20-3", "TypeScript, 3 programs, Node 20")?,
        series[0].clone(),
        input("generated", "generated, Node 24 layout")?,
        input("ts20-11", "TypeScript, 11 programs, Node 20")?,
    ];
    let long_strings = Some(input("strings", "generated, 560 MB of strings")?);
    Ok(Inputs {
        opened,
        series,
        long_strings,
    })
}

fn file_name(name: &str) -> String {
    format!("{name}.heapsnapshot")
}

/// Runs the TypeScript compiler; see its script for the steps. `write:` takes a bare name here.
fn typescript_heaps(
    peers: &Peers,
    folder: &Path,
    node: u32,
    recipe: &[&str],
) -> anyhow::Result<()> {
    let names: Vec<_> = recipe
        .iter()
        .filter_map(|step| step.strip_prefix("write:"))
        .collect();
    let script = fs::read_to_string(peers.typescript_heap())?;
    let recipe_text = format!("Node {node}: {}\n{script}", recipe.join(" "));
    make(folder, &names, &recipe_text, |unfinished| {
        let steps = recipe.iter().map(|step| match step.strip_prefix("write:") {
            Some(name) => format!("write:{}", unfinished.join(file_name(name)).display()),
            None => (*step).to_owned(),
        });
        let mut command = Command::new(peers.node(node));
        command
            .arg("--max-old-space-size=8000")
            .arg(peers.typescript_heap());
        steps::run(command.arg(peers.typescript_sources()).args(steps))
    })
}

/// In a process of its own: what this process once used would be the floor of all peaks measured.
fn generated(folder: &Path, name: &str, nodes: u32, shape: &str, grow: u32) -> anyhow::Result<()> {
    let arguments = format!("--nodes {nodes} --shape {shape} --grow {grow}");
    make(
        folder,
        &[name],
        &format!("version 1: {arguments}"),
        |unfinished| {
            let mut xtask = Command::new(std::env::current_exe()?);
            xtask.arg("generate-snapshot").args(arguments.split(' '));
            steps::run(xtask.arg("--output").arg(unfinished.join(file_name(name))))
        },
    )
}

/// Makes the named files unless they are there already and were made by the same recipe.
fn make(
    folder: &Path,
    names: &[&str],
    recipe: &str,
    work: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let recipe_file = folder.join(format!("{}.recipe", names[0]));
    let is_made = fs::read_to_string(&recipe_file).is_ok_and(|made| made == recipe)
        && names
            .iter()
            .all(|name| folder.join(file_name(name)).exists());
    if is_made {
        return Ok(());
    }
    steps::announce(&format!("making {}", names.join(", ")));
    let unfinished = folder.join("unfinished");
    fs::create_dir_all(&unfinished)?;
    work(&unfinished)?;
    for name in names {
        fs::rename(
            unfinished.join(file_name(name)),
            folder.join(file_name(name)),
        )?;
    }
    fs::remove_dir(unfinished)?;
    fs::write(recipe_file, recipe)?;
    Ok(())
}
