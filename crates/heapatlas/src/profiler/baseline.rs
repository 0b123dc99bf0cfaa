//! What tests used of the heap when somebody last looked: a file that is committed, and that later runs are held
//! against.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fmt, io};

use super::file;
use super::limits::{HeapLimitError, HeapLimits, HeapUsage};
use crate::json::Writer;
use crate::leak_tracker::json_reader::{self, Json, Value};

/// Figures of tests by name, in a file.
///
/// With the environment variable `HEAPATLAS_UPDATE_BASELINE` set (and not `0`), figures are written; without it a
/// figure that is larger than the file says is an error, and so is a name that the file does not have.
///
/// ```no_run
/// # #[global_allocator]
/// # static ALLOC: heapatlas::Alloc = heapatlas::Alloc::system();
/// let (_, usage) = heapatlas::heap_usage(|| "what the test does".repeat(100));
/// heapatlas::Baseline::of_package().check("parses a request", &usage)?;
/// # Ok::<(), heapatlas::BaselineError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Baseline {
    path: PathBuf,
    allowed_percent: u64,
}

/// Why a test does not agree with its baseline.
#[derive(Debug)]
#[non_exhaustive]
pub enum BaselineError {
    /// It uses more than the file says.
    Increase {
        /// The test.
        name: String,
        /// By how much.
        error: HeapLimitError,
    },
    /// The file does not have it.
    Missing {
        /// The test.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What is in the file is no baseline.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The byte where that shows.
        at: usize,
        /// What is wrong.
        problem: String,
    },
}

const UPDATE: &str = "HEAPATLAS_UPDATE_BASELINE";

type Figures = BTreeMap<String, [u64; 5]>;

/// As they are named in the file.
const KEYS: [&str; 5] = [
    "peak_bytes",
    "live_bytes",
    "live_blocks",
    "allocated_bytes",
    "allocated_blocks",
];

impl Baseline {
    /// `heapatlas-baseline.json` beside the `Cargo.toml` of the package whose test runs; in the current folder when
    /// cargo does not say where that is.
    #[must_use]
    pub fn of_package() -> Self {
        let folder = env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from);
        Self::in_file(folder.join("heapatlas-baseline.json"))
    }

    /// A file of that name.
    #[must_use]
    pub fn in_file(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            allowed_percent: 0,
        }
    }

    /// Figures may be so much larger than the file says; 0 unless said otherwise.
    #[must_use]
    pub fn allow_percent(mut self, percent: u64) -> Self {
        self.allowed_percent = percent;
        self
    }

    /// Holds a test's usage against the file, or writes it there when that is asked for.
    ///
    /// # Errors
    ///
    /// See [`BaselineError`].
    pub fn check(&self, name: &str, usage: &HeapUsage) -> Result<(), BaselineError> {
        match env::var_os(UPDATE) {
            Some(value) if value != "0" => self.update(name, usage),
            _ => self.compare(name, usage),
        }
    }

    /// Holds a test's usage against the file.
    ///
    /// # Errors
    ///
    /// See [`BaselineError`].
    pub fn compare(&self, name: &str, usage: &HeapUsage) -> Result<(), BaselineError> {
        let figures = self.read()?;
        let Some(known) = figures.get(name) else {
            return Err(BaselineError::Missing {
                name: name.to_owned(),
                path: self.path.clone(),
            });
        };
        let allowed = known.map(|figure| {
            let more = u128::from(figure) * u128::from(self.allowed_percent) / 100;
            figure.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
        });
        let limits = HeapLimits::new()
            .peak_bytes(allowed[0])
            .live_bytes(allowed[1])
            .live_blocks(allowed[2])
            .allocated_bytes(allowed[3])
            .allocated_blocks(allowed[4]);
        limits
            .check(usage)
            .map_err(|error| BaselineError::Increase {
                name: name.to_owned(),
                error,
            })
    }

    /// Writes a test's usage to the file. Other tests may do so at the same time, in this process and in others.
    ///
    /// # Errors
    ///
    /// See [`BaselineError`].
    pub fn update(&self, name: &str, usage: &HeapUsage) -> Result<(), BaselineError> {
        let _lock = self.lock()?;
        let mut figures = match self.read() {
            Err(BaselineError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Figures::new()
            }
            read => read?,
        };
        figures.insert(name.to_owned(), figures_of(usage));
        file::write_shared(&self.path, write(&figures).as_bytes())
            .map_err(|error| self.fails(error))
    }

    fn read(&self) -> Result<Figures, BaselineError> {
        let text = fs::read_to_string(&self.path).map_err(|error| self.fails(error))?;
        read(&text).map_err(|(at, problem)| BaselineError::Damaged {
            path: self.path.clone(),
            at,
            problem,
        })
    }

    /// A lock for all who write the file: another file, in the folder for temporary ones. It is open until dropped.
    fn lock(&self) -> Result<File, BaselineError> {
        let mut hasher = DefaultHasher::new();
        let full = std::path::absolute(&self.path).map_err(|error| self.fails(error))?;
        full.hash(&mut hasher);
        let name = format!("heapatlas-baseline-{:016x}.lock", hasher.finish());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let opened = options.open(env::temp_dir().join(name));
        let locked = opened.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|error| self.fails(error))
    }

    fn fails(&self, error: io::Error) -> BaselineError {
        BaselineError::File {
            path: self.path.clone(),
            error,
        }
    }
}

fn figures_of(usage: &HeapUsage) -> [u64; 5] {
    let whole = |number: i64| u64::try_from(number).unwrap_or(0);
    [
        usage.peak_bytes,
        whole(usage.live_bytes()),
        whole(usage.live_blocks()),
        usage.allocated_bytes,
        usage.allocated_blocks,
    ]
}

/// A line for each test, for whoever reads the difference.
fn write(figures: &Figures) -> String {
    let mut json = Writer::new();
    json.open('{').key("heapatlas_baseline").number(1_u8);
    json.key("tests").open('{');
    for (name, figures) in figures {
        json.line().key(name).open('{');
        for (key, &figure) in KEYS.iter().zip(figures) {
            json.key(key).number(figure);
        }
        json.close('}');
    }
    json.close('}').close('}');
    let mut text = json.finish();
    text.push('\n');
    text
}

fn read(text: &str) -> Result<Figures, (usize, String)> {
    let json = json_reader::read(text).map_err(|error| (error.at, error.problem.to_owned()))?;
    let at = json.at;
    match json.member("heapatlas_baseline").map(|json| &json.value) {
        Some(Value::Number("1")) => {}
        _ => return Err((at, "expected `\"heapatlas_baseline\":1`".to_owned())),
    }
    match json.member("tests").map(|json| &json.value) {
        Some(Value::Object(tests)) => tests
            .iter()
            .map(|(name, test)| Ok((name.to_string(), read_figures(test)?)))
            .collect(),
        _ => Err((at, "expected an object `tests`".to_owned())),
    }
}

fn read_figures(test: &Json<'_>) -> Result<[u64; 5], (usize, String)> {
    let mut figures = [0; 5];
    for (figure, key) in figures.iter_mut().zip(KEYS) {
        let number = match test.member(key).map(|json| &json.value) {
            Some(Value::Number(number)) => number.parse().ok(),
            _ => None,
        };
        *figure = number.ok_or_else(|| (test.at, format!("expected a whole number `{key}`")))?;
    }
    Ok(figures)
}

impl fmt::Display for BaselineError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Increase { name, error } => write!(
                out,
                "`{name}` uses more of the heap than its baseline: {error}; if it should, run it once with {UPDATE}=1"
            ),
            Self::Missing { name, path } => write!(
                out,
                "`{name}` has no baseline in {}: run it once with {UPDATE}=1",
                path.display()
            ),
            Self::File { path, error } => write!(
                out,
                "the baseline {}: {error}; a run with {UPDATE}=1 writes it",
                path.display()
            ),
            Self::Damaged { path, at, problem } => {
                write!(out, "the baseline {}: byte {at}: {problem}", path.display())
            }
        }
    }
}

impl Error for BaselineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Increase { error, .. } => Some(error),
            Self::File { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(peak_bytes: u64, blocks: u64) -> HeapUsage {
        HeapUsage {
            allocated_bytes: 2 * peak_bytes,
            allocated_blocks: blocks,
            freed_bytes: 2 * peak_bytes,
            freed_blocks: blocks,
            peak_bytes,
        }
    }

    fn temporary(name: &str) -> PathBuf {
        env::temp_dir().join(format!("heapatlas-{}-{name}.json", std::process::id()))
    }

    #[test]
    fn more_than_before_is_an_error() {
        let path = temporary("increase");
        let baseline = Baseline::in_file(&path);
        let missing = baseline.compare("one", &usage(1, 1)).unwrap_err();
        assert!(matches!(missing, BaselineError::File { .. }), "{missing}");
        baseline.update("one", &usage(1000, 5)).unwrap();
        baseline.update("two \"quoted\"", &usage(7, 1)).unwrap();
        baseline.compare("one", &usage(1000, 5)).unwrap();
        baseline.compare("one", &usage(900, 4)).unwrap();
        baseline.compare("two \"quoted\"", &usage(7, 1)).unwrap();
        let increase = baseline.compare("one", &usage(1001, 5)).unwrap_err();
        assert_eq!(
            increase.to_string(),
            "`one` uses more of the heap than its baseline: 1001 bytes at the peak where 1000 are allowed, \
             2002 bytes allocated where 2000 are allowed; if it should, run it once with HEAPATLAS_UPDATE_BASELINE=1"
        );
        let allowing = baseline.clone().allow_percent(10);
        allowing.compare("one", &usage(1100, 5)).unwrap();
        assert!(allowing.compare("one", &usage(1101, 5)).is_err());
        let unknown = baseline.compare("three", &usage(1, 1)).unwrap_err();
        assert!(matches!(unknown, BaselineError::Missing { .. }));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn tests_write_at_the_same_time() {
        let path = temporary("together");
        let names: Vec<String> = (0..20).map(|number| format!("test {number}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                let baseline = Baseline::in_file(&path);
                scope.spawn(move || baseline.update(name, &usage(10, 1)).unwrap());
            }
        });
        let found = Baseline::in_file(&path).read().unwrap();
        assert!(names.iter().all(|name| found.contains_key(name)));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn damaged_files_say_where() {
        for (text, expected) in [
            ("", 0),
            ("{}", 0),
            ("{\"heapatlas_baseline\":2,\"tests\":{}}", 0),
            ("{\"heapatlas_baseline\":1,\"tests\":[]}", 0),
            ("{\"heapatlas_baseline\":1,\"tests\":{\"a\":{}}}", 37),
        ] {
            let (at, problem) = read(text).unwrap_err();
            assert_eq!(at, expected, "{text}: {problem}");
        }
    }
}
