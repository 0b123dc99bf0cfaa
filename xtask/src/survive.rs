//! `cargo xtask survive`: large programs and their own tests under the recorder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::peers::{Peers, target_folder};
use crate::steps;

/// A program, what is done with it, and whether it prints the same each time.
struct Case {
    name: &'static str,
    command: &'static [&'static str],
    prints_the_same: bool,
}

const CASES: [Case; 7] = [
    Case {
        name: "python's tests",
        command: &[
            "/usr/bin/python3",
            "-m",
            "test",
            "test_json",
            "test_thread",
            "test_ctypes",
            "test_fork1",
            "test_threading_local",
            "test_dict",
            "test_re",
            "test_subprocess",
        ],
        prints_the_same: false,
    },
    Case {
        name: "python, threads",
        command: &[
            "/usr/bin/python3",
            "-c",
            "import threading, json\nr = []\n\
             def f(n): r.append(len(json.dumps([{'k': [i] * 9} for i in range(3000)])))\n\
             t = [threading.Thread(target=f, args=(n,)) for n in range(64)]\n\
             [x.start() for x in t]; [x.join() for x in t]; print(sum(r))",
        ],
        prints_the_same: true,
    },
    Case {
        name: "perl",
        command: &[
            "/usr/bin/perl",
            "-MData::Dumper",
            "-MStorable=dclone",
            "-e",
            "my %h = map { $_ => [1 .. $_ % 50] } 1 .. 2000; my $c = dclone(\\%h); \
             for my $i (1 .. 20) { my $p = fork; if (!$p) { my $d = Dumper($c); exit $i } waitpid $p, 0; print $? >> 8, qq(\\n) }",
        ],
        prints_the_same: true,
    },
    Case {
        name: "git",
        command: &[
            "sh",
            "-ec",
            "d=$(mktemp -d); trap 'rm -rf $d' EXIT; cd $d; git init -q .; \
             export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e; \
             export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'; \
             for i in 1 2 3 4 5 6 7 8 9; do seq $i 5000 > f$i; git add .; git commit -qm c$i; done; \
             exec git log -p --stat",
        ],
        prints_the_same: true,
    },
    Case {
        name: "sqlite",
        command: &[
            "/usr/bin/sqlite3",
            ":memory:",
            "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) \
             insert into t select i, hex(i * 7919) from n; create index x on t(b); \
             select count(*), max(b) from t where b > '5'; select length(group_concat(b)) from t;",
        ],
        prints_the_same: true,
    },
    Case {
        name: "redis",
        command: &["sh", "-c", REDIS],
        prints_the_same: true,
    },
    Case {
        name: "cc1plus",
        command: &[
            "sh",
            "-ec",
            "printf '#include <regex>\\n#include <map>\\nstd::map<int, std::regex> m; int main() {}' > $HEAPATLAS_FOLDER/x.cpp; \
             exec $(g++ -print-prog-name=cc1plus) -quiet -imultiarch x86_64-linux-gnu -O2 $HEAPATLAS_FOLDER/x.cpp -o -",
        ],
        prints_the_same: true,
    },
];

/// The server is the process that stays; what loads it and ends it is its child.
const REDIS: &str = "cd $HEAPATLAS_FOLDER; \
    (unset LD_PRELOAD; until redis-cli -p 7397 ping; do :; done; \
     redis-benchmark -p 7397 -q -n 100000 -c 50 -t set,get,lpush,lrange_100,hset; \
     redis-cli -p 7397 bgsave; redis-cli -p 7397 shutdown nosave) > client 2>&1 & \
    exec redis-server --port 7397 --save '' --logfile server --dir $HEAPATLAS_FOLDER";

/// # Errors
/// When a program did not do what it does without the recorder, after all were run.
pub fn survive() -> anyhow::Result<()> {
    Peers::locate()?.install_for_survival()?;
    let mut build = steps::cargo();
    steps::run(build.args(["build", "--release", "--package", "heapatlas-cli"]))?;
    let heapatlas = target_folder()?.join("release/heapatlas");
    println!(
        "{:<16} {:>8} {:>9} {:>12} {:>12} {:>9} {:>8} {:>8}  ends",
        "program", "bare", "recorded", "allocations", "frees", "trace", "differ", "cut off"
    );
    let mut failures = Vec::new();
    for case in &CASES {
        if let Err(error) = case.run(&heapatlas) {
            println!("{:<16} FAILED: {error:#}", case.name);
            failures.push(case.name);
        }
    }
    if !failures.is_empty() {
        bail!("not the same under the recorder: {}", failures.join(", "));
    }
    Ok(())
}

impl Case {
    fn run(&self, heapatlas: &Path) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let trace = folder.path().join("trace");
        let mut bare = Command::new(self.command[0]);
        bare.args(&self.command[1..]);
        let (bare, bare_time) = run(bare.env("HEAPATLAS_FOLDER", folder.path()))?;
        if !bare.status.success() {
            let said = String::from_utf8_lossy(&bare.stderr);
            bail!("it fails without the recorder: {}", said.trim());
        }
        let mut recorder = Command::new(heapatlas);
        recorder.args(["record", "--no-summary", "--check-stacks", "100", "-o"]);
        recorder.arg(&trace).arg("--").args(self.command);
        let (recorded, time) = run(recorder.env("HEAPATLAS_FOLDER", folder.path()))?;
        self.compare(&bare, &recorded)?;
        let row = Row::new(heapatlas, trace, &recorded)?;
        println!(
            "{:<16} {:>6.2} s {:>7.2} s {row}  {}",
            self.name,
            bare_time.as_secs_f64(),
            time.as_secs_f64(),
            recorded.status
        );
        Ok(())
    }

    fn compare(&self, bare: &Output, recorded: &Output) -> anyhow::Result<()> {
        let said = String::from_utf8_lossy(&recorded.stderr);
        same_end(bare.status, recorded.status).with_context(|| said.trim().to_owned())?;
        if self.prints_the_same && bare.stdout != recorded.stdout {
            bail!("it prints something else");
        }
        Ok(())
    }
}

fn same_end(bare: ExitStatus, recorded: ExitStatus) -> anyhow::Result<()> {
    if bare != recorded {
        bail!("it ends with {bare} bare and with {recorded} recorded");
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<(Output, Duration)> {
    let start = Instant::now();
    let output = command.output().context("cannot start it")?;
    Ok((output, start.elapsed()))
}

/// What a trace says.
struct Row {
    allocations: u64,
    frees: u64,
    trace_bytes: u64,
    cut_off: u64,
    differences: String,
}

impl Row {
    fn new(heapatlas: &Path, trace: PathBuf, recorded: &Output) -> anyhow::Result<Self> {
        let mut summary = Command::new(heapatlas);
        let text = steps::output_of(summary.args(["summary", "--json"]).arg(&trace))?;
        let profile: Value = serde_json::from_str(&text)?;
        let figure = |path: &str| profile.pointer(path).and_then(Value::as_u64);
        let figure = |path: &str| figure(path).with_context(|| format!("no {path}"));
        let said = String::from_utf8_lossy(&recorded.stderr);
        let differences = said
            .lines()
            .find_map(|line| line.split_once("full walks: ")?.1.strip_suffix(" differed"));
        Ok(Self {
            allocations: figure("/totals/allocations")?,
            frees: figure("/totals/frees")?,
            trace_bytes: fs::metadata(&trace)?.len(),
            cut_off: figure("/truncated_stacks")?,
            differences: differences.unwrap_or("?").to_owned(),
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.trace_bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:>12} {:>12} {mib:>5.1} MiB {:>8} {:>8}",
            self.allocations, self.frees, self.differences, self.cut_off
        )
    }
}
