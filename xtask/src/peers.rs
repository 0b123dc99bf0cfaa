//! Peers: other people's programs that our tests and benchmarks compare with.
//!
//! Everything is installed below one folder, `$HEAPATLAS_PEERS_DIR`, which defaults to `peers` in
//! cargo's target folder. Tests look for peers in the same place, by the same rule. A test whose
//! peer is missing says so loudly and passes, unless `HEAPATLAS_REQUIRE_PEERS=1` is set, as CI
//! does: then it fails.
//!
//! | path below the folder | what | installed by |
//! |---|---|---|
//! | `devtools/oracle.mjs` | Chrome DevTools' heap snapshot worker | `cargo xtask test` |
//! | (the system's) | compilers, valgrind, jemalloc, tcmalloc | `cargo xtask test` |
//! | (the system's) | Python's tests, Perl, git, redis | `cargo xtask survive` |
//! | `bench/` | memlab, TypeScript, Node 20 and 24 | `cargo xtask bench v8` |
//! | `v8-heap-parser/` | the crate, with a driver | `cargo xtask bench v8` |
//!
//! Versions are pinned by the lock files in `xtask/peers/`, where our own scripts are, too.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::steps;

pub const PEERS_DIR_VARIABLE: &str = "HEAPATLAS_PEERS_DIR";
pub const REQUIRE_PEERS_VARIABLE: &str = "HEAPATLAS_REQUIRE_PEERS";

/// Older ones lack what the DevTools worker needs.
const OLDEST_NODE: u32 = 18;

/// Where peers are or will be.
pub struct Peers {
    pub folder: PathBuf,
}

impl Peers {
    pub fn locate() -> anyhow::Result<Self> {
        let folder = match env::var_os(PEERS_DIR_VARIABLE) {
            Some(folder) => PathBuf::from(folder),
            None => target_folder()?.join("peers"),
        };
        Ok(Peers {
            folder: std::path::absolute(folder)?,
        })
    }

    /// Chrome DevTools' heap snapshot worker, ready to be asked.
    pub fn install_devtools(&self) -> anyhow::Result<()> {
        ensure_node()?;
        let installed = NpmFolder::new("devtools", &self.folder);
        installed.install(|folder| {
            steps::run(Command::new("node").arg("bundle.mjs").current_dir(folder))
        })
    }

    /// What records and judges programs: compilers, valgrind, other allocators.
    pub fn install_for_recorder(&self) -> anyhow::Result<()> {
        ensure_apt_packages(&[
            ("/usr/bin/gcc", "gcc"),
            ("/usr/bin/g++", "g++"),
            ("/usr/bin/ld", "binutils"),
            ("/usr/include/stdlib.h", "libc6-dev"),
            ("/usr/bin/valgrind", "valgrind"),
            ("/usr/bin/dwz", "dwz"),
            ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "libjemalloc2"),
            (
                "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
                "libtcmalloc-minimal4",
            ),
        ])
    }

    /// Large programs that are run under the recorder.
    pub fn install_for_survival(&self) -> anyhow::Result<()> {
        ensure_apt_packages(&[
            ("/usr/bin/python3", "python3"),
            ("/usr/bin/perl", "perl"),
            ("/usr/bin/git", "git"),
            ("/usr/bin/redis-server", "redis-server"),
            ("/usr/bin/redis-benchmark", "redis-tools"),
            ("/usr/bin/sqlite3", "sqlite3"),
        ])?;
        let mut python = Command::new("/usr/bin/python3");
        if !steps::succeeds(python.args(["-c", "import test.test_json"])) {
            let version = "import sys; print('libpython3.%d-testsuite' % sys.version_info.minor)";
            let package = steps::output_of(Command::new("/usr/bin/python3").args(["-c", version]))?;
            install_apt_packages(&[package.trim()])
                .context("Python's own tests are missing: install Debian's package of them")?;
        }
        Ok(())
    }

    /// The rivals of the benchmark, and what makes its inputs.
    pub fn install_for_bench(&self) -> anyhow::Result<()> {
        ensure_node()?;
        NpmFolder::new("bench", &self.folder).install(|_| Ok(()))?;
        self.build_v8_heap_parser()
    }

    fn build_v8_heap_parser(&self) -> anyhow::Result<()> {
        let mut cargo = steps::cargo();
        cargo.args(["build", "--quiet", "--release", "--locked", "--target-dir"]);
        cargo.arg(self.folder.join("v8-heap-parser"));
        steps::run(cargo.current_dir(sources().join("v8-heap-parser")))
    }

    pub fn devtools_oracle(&self) -> PathBuf {
        self.folder.join("devtools/oracle.mjs")
    }

    pub fn memlab(&self) -> PathBuf {
        self.folder.join("bench/memlab.mjs")
    }

    pub fn v8_heap_parser(&self) -> PathBuf {
        self.folder
            .join("v8-heap-parser/release/v8-heap-parser-driver")
    }

    pub fn typescript_heap(&self) -> PathBuf {
        self.folder.join("bench/typescript-heap.mjs")
    }

    /// A folder with many `.ts` files.
    pub fn typescript_sources(&self) -> PathBuf {
        self.folder
            .join("devtools/node_modules/chrome-devtools-frontend/front_end")
    }

    /// The Node of that major version that npm has as a package.
    pub fn node(&self, major: u32) -> PathBuf {
        self.folder
            .join(format!("bench/node_modules/node{major}/bin/node"))
    }
}

/// Our scripts and the lock files.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Cargo's target folder, wherever its configuration puts it.
pub fn target_folder() -> anyhow::Result<PathBuf> {
    let mut cargo = steps::cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps"]);
    let metadata = steps::output_of(cargo.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("cargo knows no target folder")?;
    Ok(PathBuf::from(folder))
}

/// Whether a missing peer is an error.
pub fn are_required() -> bool {
    env::var_os(REQUIRE_PEERS_VARIABLE).is_some_and(|value| value == "1")
}

/// A folder of npm packages and our scripts beside them.
struct NpmFolder {
    from: PathBuf,
    to: PathBuf,
}

impl NpmFolder {
    fn new(name: &str, peers: &Path) -> Self {
        NpmFolder {
            from: sources().join(name),
            to: peers.join(name),
        }
    }

    /// Copies our files and installs exactly the locked packages, unless that was done already.
    fn install(&self, prepare: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let files = self.files()?;
        let stamp_file = self.to.join("installed");
        let stamp = stamp_of(&files);
        if fs::read(&stamp_file).is_ok_and(|installed| installed == stamp) {
            return Ok(());
        }
        fs::create_dir_all(&self.to)
            .with_context(|| format!("cannot make `{}`", self.to.display()))?;
        for (name, contents) in &files {
            fs::write(self.to.join(name), contents)?;
        }
        steps::run(
            Command::new("npm")
                .args(["ci", "--loglevel=error"])
                .current_dir(&self.to),
        )?;
        prepare(&self.to)?;
        // Last, so that an interrupted installation starts again.
        fs::write(stamp_file, stamp)?;
        Ok(())
    }

    fn files(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push((name, fs::read(entry.path())?));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// All names and contents: small enough to be kept as they are, so no hash is needed.
fn stamp_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut stamp = Vec::new();
    for (name, contents) in files {
        stamp.extend_from_slice(name.as_bytes());
        stamp.push(b'\n');
        stamp.extend_from_slice(contents);
    }
    stamp
}

/// Makes sure that `node` and `npm` can be called; installs Debian's when we may.
fn ensure_node() -> anyhow::Result<()> {
    if node_major().is_none() || !steps::succeeds(Command::new("npm").arg("--version")) {
        install_apt_packages(&["nodejs", "npm"])
            .context("`node` and `npm` are missing: install Node 18 or later")?;
    }
    match node_major() {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        Some(major) => bail!("Node {major} is too old: install Node {OLDEST_NODE} or later"),
        None => bail!("`node` does not start: install Node {OLDEST_NODE} or later"),
    }
}

fn node_major() -> Option<u32> {
    let version = steps::output_of(Command::new("node").arg("--version")).ok()?;
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Installs the packages of those files that are not there.
fn ensure_apt_packages(files: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<&str> = files
        .iter()
        .filter(|(path, _)| !Path::new(path).exists())
        .map(|&(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let shown = missing.join(" ");
    install_apt_packages(&missing)
        .with_context(|| format!("these are missing: install Debian's {shown}, or alike"))
}

/// Installs Debian packages, as root or by `sudo` if that asks for nothing.
///
/// # Errors
/// When we may not, or when one of them is not to be had.
pub fn install_apt_packages(packages: &[&str]) -> anyhow::Result<()> {
    if !steps::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("no `apt-get` here");
    }
    steps::run(as_root("apt-get").arg("update").arg("-qq"))?;
    let mut install = as_root("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages);
    steps::run(install.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// `sudo` may not ask for a password: this also runs where nobody is looking.
fn as_root(program: &str) -> Command {
    let is_root = steps::output_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if is_root {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--non-interactive", program]);
    sudo
}
