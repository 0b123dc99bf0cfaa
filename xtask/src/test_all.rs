//! `cargo xtask test`: the whole check, as CI runs it.

use std::process::Command;

use anyhow::{Context, bail};

use crate::peers::{self, Peers};
use crate::steps::{self, Steps};

/// # Errors
/// At the first step that fails, with its name.
pub fn test_all() -> anyhow::Result<()> {
    let peers = Peers::locate()?;
    let mut steps = Steps::default();
    let missing_peers = install_peers(&peers, &mut steps)?;
    let result = run_checks(&peers, &mut steps);
    steps.print_times();
    if let Some(reason) = missing_peers {
        print_missing_peers(&reason);
    }
    result?;
    println!("\nall checks passed");
    Ok(())
}

/// The reasons, if peers are missing and may be.
fn install_peers(peers: &Peers, steps: &mut Steps) -> anyhow::Result<Option<String>> {
    type Install = fn(&Peers) -> anyhow::Result<()>;
    let installs: [(&str, Install); 2] = [
        (
            "peers: DevTools' heap snapshot worker",
            Peers::install_devtools,
        ),
        (
            "peers: valgrind, compilers, allocators",
            Peers::install_for_recorder,
        ),
    ];
    let mut reasons = Vec::new();
    for (name, install) in installs {
        match steps.step(name, || install(peers)) {
            Ok(()) => {}
            Err(error) if peers::are_required() => return Err(error),
            Err(error) => {
                reasons.push(format!("{error:#}"));
                print_missing_peers(&reasons.join("\n"));
            }
        }
    }
    Ok((!reasons.is_empty()).then(|| reasons.join("\n")))
}

fn print_missing_peers(reason: &str) {
    println!("\n************************************************************************");
    println!("NOT ALL PEERS ARE INSTALLED: tests that compare with them are skipped.");
    println!("{reason}");
    println!("({}=1 makes this an error.)", peers::REQUIRE_PEERS_VARIABLE);
    println!("************************************************************************");
}

fn run_checks(peers: &Peers, steps: &mut Steps) -> anyhow::Result<()> {
    steps.step("rustfmt and clippy are there", ensure_components)?;
    let checks: [(&str, &[&str]); 4] = [
        ("format", &["fmt", "--all", "--check"]),
        (
            "lints",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
        ("tests", &["test", "--workspace"]),
        ("documentation", &["doc", "--workspace", "--no-deps"]),
    ];
    for (name, arguments) in checks.into_iter().chain(LIBRARY_CHECKS) {
        let shown = format!("{name}: cargo {}", arguments.join(" "));
        steps.step(&shown, || steps::run(&mut cargo(peers, arguments)))?;
    }
    steps.step("model checks of the shared tables: loom", || {
        let tables = ["test", "--package", "heapatlas-record", "--lib"];
        let mut cargo = with_cfg(peers, "loom", &tables)?;
        steps::run(cargo.args(["--release", "--", "loom"]))
    })?;
    steps.step("the library as on other systems", || {
        let library = ["test", "--package", "heapatlas", "--all-features", "--lib"];
        let mut cargo = with_cfg(peers, "heapatlas_fallback", &library)?;
        let tests = WITHOUT_STACKS.into_iter();
        steps::run(cargo.args(tests.flat_map(|test| ["--test", test])))
    })
}

/// Tests of the library that ask for no stacks.
const WITHOUT_STACKS: [&str; 8] = [
    "counting",
    "ffi_allocators",
    "leak_stress",
    "leak_tracker",
    "region*",
    "scoped_futures",
    "tasks",
    "tracing_spans",
];

/// The library is the one crate with features, and they are off above.
const LIBRARY_CHECKS: [(&str, &[&str]); 2] = [
    (
        "lints of the library's features",
        &[
            "clippy",
            "--package",
            "heapatlas",
            "--all-features",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    (
        "the library's features",
        &["test", "--package", "heapatlas", "--all-features"],
    ),
];

/// In a folder of its own: the cfg would have everything else built anew.
fn with_cfg(peers: &Peers, cfg: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut cargo = cargo(peers, arguments);
    cargo.env("RUSTFLAGS", format!("--cfg {cfg}"));
    cargo.env("CARGO_TARGET_DIR", peers::target_folder()?.join(cfg));
    Ok(cargo)
}

fn cargo(peers: &Peers, arguments: &[&str]) -> Command {
    let mut cargo = steps::cargo();
    cargo.args(arguments);
    cargo.env(peers::PEERS_DIR_VARIABLE, &peers.folder);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    cargo
}

fn ensure_components() -> anyhow::Result<()> {
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let is_there = || steps::succeeds(steps::cargo().args([command, "--version"]));
        if is_there() {
            continue;
        }
        steps::run(Command::new("rustup").args(["component", "add", component]))
            .with_context(|| format!("`cargo {command}` is missing: install {component}"))?;
        if !is_there() {
            bail!("`cargo {command}` is missing, although rustup installed {component}");
        }
    }
    Ok(())
}
