//! `record --pid`: a recording of a process that runs under heapatlas already, or a mark in the one that is on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use heapatlas_capture::control::{Client, NoLauncher, catch_interrupts, start_request};
use heapatlas_capture::{Counts, How};
use serde_json::Value;

use crate::commands::profile_summary;
use crate::console::Console;
use crate::exit::{Hint, Outcome};
use crate::paths;
use crate::render::counts;
use crate::render::text::shell_word;

/// What is asked of the launcher of a process.
pub struct Asked {
    pub pid: u32,
    pub how: How,
    pub duration: Option<Duration>,
    pub output: Option<PathBuf>,
    pub has_summary: bool,
}

/// A launcher answers at once, but for a pause of the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives this moment a name in the recording that is on.
pub fn mark(pid: u32, text: &str) -> anyhow::Result<Outcome> {
    if text.trim().is_empty() || text.contains(['\n', '\r']) {
        return Err(anyhow!("a mark is a line of text").hint(["for example `--mark 'after load'`"]));
    }
    let mut launcher = Launcher::of(pid)?;
    let marked = launcher.answer_to(&format!("mark {text}"));
    marked.with_context(|| format!("process {pid} got no mark"))?;
    Ok(Outcome::Fine)
}

impl Asked {
    /// Has the process recorded, and shows what came of it.
    pub fn run(self, console: &Console) -> anyhow::Result<Outcome> {
        let mut launcher = Launcher::of(self.pid)?;
        let status = launcher.answer_to("status")?;
        let pid = number(&status, "pid") as u32;
        let output = match self.how {
            How::Counting => None,
            _ => Some(self.output(pid)?),
        };
        catch_interrupts();
        let request = start_request(self.how, true, output.as_deref());
        launcher
            .answer_to(&request)
            .with_context(|| format!("process {pid} cannot be recorded now"))?;
        let until = self.duration.map(|duration| Instant::now() + duration);
        console.tell(&format!("recording process {pid}{}", ending(self.duration)));
        let line = launcher.client.next_line(until);
        let ended = match line.context("the launcher of the process is gone")? {
            Some(line) => understood(&line)?,
            None => launcher.answer_to("stop")?,
        };
        self.show(&ended, console)
    }

    /// An absolute path: the launcher has another folder.
    fn output(&self, pid: u32) -> anyhow::Result<PathBuf> {
        let path = match &self.output {
            Some(path) => PathBuf::from(path.to_string_lossy().replace("%p", &pid.to_string())),
            None => free_name(&program_name(pid), pid),
        };
        let path = std::path::absolute(&path)
            .with_context(|| format!("cannot find the folder of {}", paths::quoted(&path)))?;
        if path.to_str().is_none_or(|path| path.contains(['\n', '\r'])) {
            return Err(
                anyhow!("{} cannot be told to the launcher", paths::quoted(&path))
                    .hint(["give a name of UTF-8 without line breaks"]),
            );
        }
        Ok(path)
    }

    fn show(&self, ended: &Value, console: &Console) -> anyhow::Result<Outcome> {
        if ended["stopped_by_another"] == true {
            return Err(anyhow!("somebody else ended the recording")
                .hint(["what was recorded is in the file that they were told of"]));
        }
        let dropped = number(ended, "dropped_events");
        if dropped > 0 {
            console.warn(&format!(
                "{dropped} events could not be recorded; figures are too small by so many"
            ));
        }
        if let Some(counts) = ended.get("counts") {
            let elapsed_ns = number(ended, "elapsed_ns");
            counts::show(&counts_of(counts), elapsed_ns, console)?;
        }
        if let Some(path) = ended["path"].as_str().map(Path::new) {
            if self.has_summary {
                profile_summary::of_trace(path, console)?;
            }
            console.tell(&format!("wrote {}", paths::quoted(path)));
        }
        Ok(Outcome::Fine)
    }
}

fn ending(duration: Option<Duration>) -> String {
    match duration {
        Some(duration) => format!(
            " for {}; Ctrl-C ends it sooner",
            crate::duration::duration(duration.as_nanos() as u64)
        ),
        None => "; Ctrl-C ends it".to_owned(),
    }
}

struct Launcher {
    client: Client,
}

impl Launcher {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let client = Client::connect(pid).map_err(|why| no_launcher(pid, why))?;
        Ok(Self { client })
    }

    fn answer_to(&mut self, request: &str) -> anyhow::Result<Value> {
        let gone = "the launcher of the process does not answer";
        self.client.ask(request).context(gone)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            // A signal that comes now ends the recording later.
            if let Some(line) = self.client.next_line(Some(until)).context(gone)? {
                return understood(&line);
            }
        }
        Err(anyhow!(gone))
    }
}

/// A line of the launcher, which may say that something went wrong.
fn understood(line: &str) -> anyhow::Result<Value> {
    let answer: Value =
        serde_json::from_str(line).context("the launcher of the process says no JSON")?;
    if answer["ok"] == true {
        return Ok(answer);
    }
    let error = anyhow!(
        "{}",
        answer["error"].as_str().unwrap_or("the launcher refuses")
    );
    Err(match answer["busy"] == true {
        true => error.hint(["end the other recording first, or wait for it"]),
        false => error,
    })
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn counts_of(value: &Value) -> Counts {
    let signed = |name: &str| value[name].as_i64().unwrap_or(0);
    Counts {
        allocations: number(value, "allocations"),
        frees: number(value, "frees"),
        bytes: number(value, "bytes"),
        live_bytes: signed("live_bytes"),
        peak_bytes: signed("peak_bytes"),
        peak_error_bytes: number(value, "peak_error_bytes"),
    }
}

fn no_launcher(pid: u32, why: NoLauncher) -> anyhow::Error {
    match why {
        NoLauncher::NoProcess => {
            anyhow!("there is no process {pid}").hint(["`ps` lists those that there are"])
        }
        NoLauncher::NotPermitted => anyhow!("process {pid} belongs to another user")
            .hint(["record it as that user, or as root"]),
        NoLauncher::NoRecorder => anyhow!("process {pid} has no recorder").hint([
            format!("start it anew by `{}`", idle_command(pid)),
            "then `heapatlas record --pid PID` records it whenever you like".to_owned(),
        ]),
    }
}

/// The command that would have worked.
fn idle_command(pid: u32) -> String {
    let words = command_line(pid);
    let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    let program = if words.is_empty() {
        "PROGRAM".to_owned()
    } else {
        words.join(" ")
    };
    format!("heapatlas record --idle -- {program}")
}

/// What a process was started with; empty where nobody tells.
fn command_line(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if words.is_empty() {
        return Vec::new();
    }
    let words = words.split(|&byte| byte == 0);
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn program_name(pid: u32) -> String {
    let words = command_line(pid);
    let name = words.first().and_then(|word| Path::new(word).file_name());
    name.map_or_else(
        || "program".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The name that `record` would give, or one with a number where that is taken.
fn free_name(program: &str, pid: u32) -> PathBuf {
    let first = PathBuf::from(format!("heapatlas.{program}.{pid}.heaptrace"));
    let later =
        (2..).map(|number| PathBuf::from(format!("heapatlas.{program}.{pid}.{number}.heaptrace")));
    std::iter::once(first)
        .chain(later)
        .find(|path| !path.exists())
        .expect("there are more numbers than files")
}
