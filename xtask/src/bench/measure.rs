//! Runs one program and says what it cost.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::statistics::Spread;

/// A rival that hangs must not stop the benchmark.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// What one run took, the processes it started and waited for included.
#[derive(Clone, Copy)]
pub struct Cost {
    /// User and system time of all threads.
    pub cpu: Duration,
    pub wall: Duration,
    /// Largest resident set, as the kernel saw it: pages of a mapped file count, too.
    pub peak_bytes: u64,
}

pub struct Run {
    pub cost: Cost,
    pub stdout: String,
    pub stderr: String,
    /// Why the run does not count, if it failed.
    pub failure: Option<String>,
}

/// The runs of one program on one input.
#[derive(Default)]
pub struct Runs {
    pub costs: Vec<Cost>,
    pub failure: Option<String>,
}

impl Runs {
    pub fn add(&mut self, run: &Run) {
        match &run.failure {
            None => self.costs.push(run.cost),
            Some(failure) => self.failure = Some(failure.clone()),
        }
    }

    pub fn cpu(&self) -> Option<Spread> {
        Spread::of(self.costs.iter().map(|cost| cost.cpu.as_secs_f64()))
    }

    pub fn wall(&self) -> Option<Spread> {
        Spread::of(self.costs.iter().map(|cost| cost.wall.as_secs_f64()))
    }

    /// The median.
    pub fn cpu_seconds(&self) -> Option<f64> {
        self.cpu().map(|spread| spread.median)
    }

    /// The median.
    pub fn wall_seconds(&self) -> Option<f64> {
        self.wall().map(|spread| spread.median)
    }

    /// The median.
    pub fn peak_megabytes(&self) -> Option<f64> {
        let peaks = self.costs.iter().map(|cost| cost.peak_bytes as f64 / 1e6);
        Spread::of(peaks).map(|spread| spread.median)
    }

    /// Why there are no figures, fit for a cell of a table.
    pub fn failure_cell(&self) -> String {
        let failure = self.failure.as_deref().unwrap_or("was not run");
        format!("fails: `{}`", failure.replace('|', "/").replace('`', "'"))
    }
}

/// Runs `command` to its end. The peak of a child begins with what we ourselves once used, because
/// it starts as a copy of us: this process must stay small.
///
/// As for failures: a program that prints anything but JSON did not do its work, either.
///
/// # Errors
/// When the program cannot be started; one that fails gives a `Run` that says so.
pub fn measure_json(command: &mut Command) -> anyhow::Result<Run> {
    let mut run = measure(command)?;
    let is_json = serde_json::from_str::<serde_json::Value>(&run.stdout).is_ok();
    if run.failure.is_none() && !is_json {
        run.failure = Some("printed no JSON".to_owned());
    }
    Ok(run)
}

/// Runs `command` to its end.
///
/// # Errors
/// When the program cannot be started; one that fails gives a `Run` that says so.
pub fn measure(command: &mut Command) -> anyhow::Result<Run> {
    measure_while(command, || Ok(()))
}

/// The same for a server, which `meanwhile` uses and then ends. If that fails the server is killed.
///
/// # Errors
/// As for `measure`.
pub fn measure_while(
    command: &mut Command,
    meanwhile: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let start = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    let pid = child.id() as libc::pid_t;
    let used = meanwhile();
    if used.is_err() {
        kill(pid);
    }
    let end = wait(pid, start)?;
    let wall = start.elapsed();
    let (stdout, stderr) = (read_back(&mut stdout)?, read_back(&mut stderr)?);
    let failure = match used {
        Ok(()) => failure_of(&end, &stderr),
        Err(error) => Some(format!("{error:#}")),
    };
    let cost = Cost {
        cpu: duration_of(end.usage.ru_utime) + duration_of(end.usage.ru_stime),
        wall,
        peak_bytes: end.usage.ru_maxrss as u64 * 1024,
    };
    Ok(Run {
        cost,
        stdout,
        stderr,
        failure,
    })
}

struct End {
    status: libc::c_int,
    usage: libc::rusage,
    was_too_slow: bool,
}

/// The standard library does not tell what a child used, so we wait for it ourselves.
fn wait(pid: libc::pid_t, start: Instant) -> io::Result<End> {
    let mut was_too_slow = false;
    loop {
        let mut status = 0;
        // SAFETY: all zeroes is a valid `rusage`: it is made of integers only.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to locals that live through the call. `pid` is our child, which
        // nobody else waits for: the `Child` of the caller is only asked for its id.
        let waited = unsafe { libc::wait4(pid, &mut status, libc::WNOHANG, &mut usage) };
        match waited {
            0 => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => {
                return Ok(End {
                    status,
                    usage,
                    was_too_slow,
                });
            }
        }
        if start.elapsed() > TIME_LIMIT && !was_too_slow {
            was_too_slow = true;
            kill(pid);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// For a child of ours that was not waited for yet.
fn kill(pid: libc::pid_t) {
    // SAFETY: no memory is involved, and the id of a child that was not waited for is not reused.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

fn failure_of(end: &End, stderr: &str) -> Option<String> {
    if end.was_too_slow {
        return Some(format!("stopped after {} s", TIME_LIMIT.as_secs()));
    }
    if end.status == 0 {
        return None;
    }
    let said = stderr
        .lines()
        .find(|line| line.to_lowercase().contains("error"));
    let said = said.or_else(|| stderr.lines().find(|line| line.contains("panicked")));
    let said = said
        .or_else(|| stderr.lines().next_back())
        .unwrap_or("no message");
    Some(said.trim().to_owned())
}

fn duration_of(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

fn read_back(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub fn print_run(round: usize, title: &str, run: &Run) {
    let Cost {
        cpu,
        wall,
        peak_bytes,
    } = run.cost;
    let (cpu, wall) = (cpu.as_secs_f64(), wall.as_secs_f64());
    let peak = peak_bytes as f64 / 1e6;
    let failure = run
        .failure
        .as_deref()
        .map(|text| format!("  FAILED: {text}"));
    let failure = failure.unwrap_or_default();
    println!("{round}  {title:<30} {cpu:>7.2} s CPU {wall:>7.2} s {peak:>7.0} MB{failure}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Run {
        measure(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn cpu_time_of_grandchildren_counts() {
        let run = shell("sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; echo done");
        assert_eq!(run.stdout, "done\n");
        assert!(run.failure.is_none());
        assert!(
            run.cost.cpu > Duration::from_millis(20),
            "{:?}",
            run.cost.cpu
        );
        assert!(run.cost.wall >= run.cost.cpu / 2);
        // A shell is small, and so is what it inherits from us.
        let peak = run.cost.peak_bytes;
        assert!((500_000..60_000_000).contains(&peak), "{peak}");
    }

    #[test]
    fn who_cannot_be_used_is_ended() {
        let mut sleeper = Command::new("sleep");
        let run = measure_while(sleeper.arg("100"), || anyhow::bail!("no answer")).unwrap();
        assert_eq!(run.failure.as_deref(), Some("no answer"));
    }

    #[test]
    fn only_json_counts_as_work_done() {
        let of = |script| {
            measure_json(Command::new("sh").args(["-c", script]))
                .unwrap()
                .failure
        };
        assert_eq!(of("echo '{}'"), None);
        assert_eq!(of("true").as_deref(), Some("printed no JSON"));
    }

    #[test]
    fn the_message_of_a_failure_is_kept() {
        let run = shell("echo working >&2; echo 'RangeError: too long' >&2; echo bye >&2; exit 3");
        assert_eq!(run.failure.as_deref(), Some("RangeError: too long"));
    }
}
