//! From the bytes of a file to an allocation profile with names: the one place that knows the
//! formats of profiles.

use std::path::PathBuf;
use std::{env, fs};

use heapatlas_formats::trace;
use heapatlas_model::{AllocationProfile, Mark};
use heapatlas_symbols as symbols;

use crate::console::Console;
use crate::exit::Hint;
use crate::options::given;
use crate::time_point::{self, TimePoint};

/// Which part of a recording to read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProfileOptions {
    /// Only allocations from this time on.
    pub from: Option<TimePoint>,
    /// Only what happened before this time.
    pub to: Option<TimePoint>,
    /// Only allocations of the thread with this number of the system.
    pub thread: Option<u64>,
}

/// The options of verbs that choose a part, but for its end: `--to` is the format of exports.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PartArgs {
    /// Only what was allocated from this time on: 1.5s, 200ms, 3 (seconds); or from a mark on: mark:TEXT
    #[arg(long, value_name = "TIME", value_parser = TimePoint::parse)]
    pub from: Option<TimePoint>,
    /// Only what the thread with this number of the system allocated
    #[arg(long, value_name = "ID")]
    pub thread: Option<u64>,
}

impl PartArgs {
    /// The options that were given.
    pub fn given(&self) -> Vec<&'static str> {
        given(&[
            (self.from.is_some(), "--from"),
            (self.thread.is_some(), "--thread"),
        ])
    }

    /// The part up to a time.
    pub fn up_to(&self, to: Option<&TimePoint>) -> ProfileOptions {
        ProfileOptions {
            from: self.from.clone(),
            to: to.cloned(),
            thread: self.thread,
        }
    }
}

impl ProfileOptions {
    /// For the reader. Marks have their times from the recording itself, so it is read twice where they are
    /// asked for.
    fn resolve(&self, bytes: &[u8]) -> anyhow::Result<trace::ReadOptions> {
        let mut points = self.from.iter().chain(&self.to);
        let marks = match points.any(TimePoint::is_mark) {
            true => trace::read(bytes, &trace::ReadOptions::default())?.0.marks,
            false => Vec::new(),
        };
        let (from_ns, to_ns) = self.range(&marks)?;
        Ok(trace::ReadOptions {
            from_ns,
            to_ns,
            thread: self.thread,
        })
    }

    /// From when to when that is, in nanoseconds since the recording began, which has these marks.
    ///
    /// # Errors
    /// When there is no such mark.
    pub fn range(&self, marks: &[Mark]) -> anyhow::Result<(Option<u64>, Option<u64>)> {
        time_point::resolve(self.from.as_ref(), self.to.as_ref(), marks)
    }
}

/// Reads a profile, looks up its names, and says what is odd or missing.
///
/// # Errors
/// When the file cannot be read.
pub fn read(
    bytes: &[u8],
    options: &ProfileOptions,
    console: &Console,
) -> anyhow::Result<(AllocationProfile, Vec<String>)> {
    let options = options.resolve(bytes)?;
    let (mut profile, warnings) = console
        .measure("read", || trace::read(bytes, &options))
        .map_err(with_hint)?;
    let mut warnings: Vec<_> = warnings
        .into_iter()
        .map(|warning| warning.message)
        .collect();
    let maps = code_maps(bytes, profile.pid)?;
    let options = symbols::Options {
        cache: cache_folder(),
        perf_maps: &maps,
        ..symbols::Options::default()
    };
    let missing = console.measure("symbols", || symbols::resolve(&mut profile, &options));
    warnings.extend(missing.iter().map(ToString::to_string));
    Ok((profile, warnings))
}

fn with_hint(error: trace::ReadError) -> anyhow::Error {
    match error.problem {
        trace::Problem::NoEvents => error.hint([
            "record with `--mode exact` to choose afterwards",
            "leave out what chooses: the file answers for the whole recording",
        ]),
        _ => error.into(),
    }
}

/// What JIT compilers told of their code: as recorded, else as they left it.
fn code_maps(bytes: &[u8], pid: u64) -> anyhow::Result<Vec<(String, String)>> {
    let text = |contents: Vec<u8>| String::from_utf8_lossy(&contents).into_owned();
    let recorded = trace::code_maps(bytes)?;
    if !recorded.is_empty() {
        let maps = recorded
            .into_iter()
            .map(|map| (map.path, text(map.contents)));
        return Ok(maps.collect());
    }
    let path = format!("/tmp/perf-{pid}.map");
    let left = fs::read(&path).ok();
    Ok(left
        .map(|contents| (path, text(contents)))
        .into_iter()
        .collect())
}

/// Where looked up names are kept for the next time.
fn cache_folder() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    base.is_absolute().then(|| base.join("heapatlas"))
}
