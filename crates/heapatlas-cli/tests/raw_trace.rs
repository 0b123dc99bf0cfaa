//! A program that records itself, without a launcher: this one. Each test runs it again, as one of the `programs`, and has
//! the binary read what it wrote. What it allocates is known by construction.
#![cfg(has_recorder)]

mod harness;

use std::alloc::{GlobalAlloc, Layout, System, alloc, dealloc, realloc};
use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use harness::{Answer, answer, run};
use heapatlas_record::hooks;
use heapatlas_record::local::{LocalMode, LocalStats, StartError};
use heapatlas_record::recorder::Recorder;
use serde_json::Value;
use tempfile::TempDir;

static RECORDER: Recorder = Recorder::new(0);

/// The system's allocator, recorded.
struct Recorded;

// SAFETY: hands on what the system's allocator gives.
unsafe impl GlobalAlloc for Recorded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc(layout) };
        hooks::allocated(&RECORDER, block, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        hooks::freeing(&RECORDER, block);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let begun = hooks::reallocating(&RECORDER, old);
        // SAFETY: the caller's promise.
        let new = unsafe { System.realloc(old, layout, bytes) };
        hooks::reallocated(&RECORDER, begun, [old, new], bytes);
        new
    }
}

#[global_allocator]
static ALLOCATOR: Recorded = Recorded;

/// Which program this is, and the folder that it may write to.
const PROGRAM: &str = "RAW_TRACE_PROGRAM";
const FOLDER: &str = "RAW_TRACE_FOLDER";

/// Runs a program in place of the tests. Before `main`: the runner of tests has threads that allocate.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        if let Ok(name) = env::var(PROGRAM) {
            run_program(&name);
            std::process::exit(0);
        }
    }
    before_main
};

fn run_program(name: &str) {
    match name {
        "two_threads" => programs::two_threads(),
        "sampled" => programs::sampled(),
        "several" => programs::several(),
        "churn" => programs::churn(),
        "killed" => programs::killed(),
        "killed_at_work" => programs::killed_at_work(),
        "late" => programs::late(),
        "exits_in_a_thread" => programs::exits_in_a_thread(),
        "forks" => programs::forks(),
        "limited" => programs::limited(),
        "refused" => programs::refused(),
        "flushed" => programs::flushed(),
        "closed_behind_our_back" => programs::closed_behind_our_back(),
        name => panic!("no program {name}"),
    }
}

mod programs {
    use super::*;

    fn folder() -> PathBuf {
        env::var_os(FOLDER).expect("the test's folder").into()
    }

    /// Begins a recording to a new file of this name.
    fn start(name: &str, mode: LocalMode) -> File {
        let file = File::create_new(folder().join(name)).expect("a new file");
        RECORDER
            .start_local(file.as_raw_fd(), mode)
            .expect("a start");
        file
    }

    fn stop() -> LocalStats {
        RECORDER.stop_local().expect("a recording")
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 8).expect("a layout")
    }

    #[inline(never)]
    fn make_block(bytes: usize) -> *mut u8 {
        // SAFETY: not of size 0.
        black_box(unsafe { alloc(layout(bytes)) })
    }

    #[inline(never)]
    fn drop_block(block: *mut u8, bytes: usize) {
        // SAFETY: of `make_block`, or moved since.
        unsafe { dealloc(black_box(block), layout(bytes)) }
    }

    #[inline(never)]
    fn grow_block(block: *mut u8, from: usize, to: usize) -> *mut u8 {
        // SAFETY: of `make_block`.
        black_box(unsafe { realloc(black_box(block), layout(from), to) })
    }

    #[inline(never)]
    fn keep_blocks(count: usize, bytes: usize) {
        for _ in 0..count {
            make_block(bytes);
        }
    }

    /// A thread allocates when it begins and when it ends: only what is between is recorded.
    fn be_ready(begin: &Barrier) {
        begin.wait();
        begin.wait();
    }

    fn be_done(end: &Barrier) {
        end.wait();
        end.wait();
    }

    const BLOCKS: usize = 10_000;
    static HANDED_OVER: [AtomicPtr<u8>; BLOCKS] =
        [const { AtomicPtr::new(std::ptr::null_mut()) }; BLOCKS];

    /// 10,000 blocks of 24 bytes that the other thread frees, and 100 of 1000 bytes that stay.
    fn first_thread(begin: &Barrier, end: &Barrier) {
        be_ready(begin);
        for place in &HANDED_OVER {
            place.store(make_block(24), std::sync::atomic::Ordering::Release);
        }
        keep_blocks(100, 1000);
        be_done(end);
    }

    /// 5,000 blocks that are reallocated twice: 100, 200, 300 bytes.
    fn second_thread(begin: &Barrier, end: &Barrier) {
        be_ready(begin);
        for _ in 0..5000 {
            let block = grow_block(make_block(100), 100, 200);
            drop_block(grow_block(block, 200, 300), 300);
        }
        for place in &HANDED_OVER {
            while place.load(Acquire).is_null() {
                thread::yield_now();
            }
            drop_block(place.swap(std::ptr::null_mut(), AcqRel), 24);
        }
        be_done(end);
    }

    pub fn two_threads() {
        let (begin, end) = (Barrier::new(3), Barrier::new(3));
        thread::scope(|scope| {
            let spawn = |name: &str, work: fn(&Barrier, &Barrier)| {
                let builder = thread::Builder::new().name(name.to_owned());
                let (begin, end) = (&begin, &end);
                builder
                    .spawn_scoped(scope, move || work(begin, end))
                    .expect("a thread");
            };
            spawn("first", first_thread);
            spawn("second", second_thread);
            begin.wait();
            let _file = start("trace", LocalMode::Exact);
            hooks::mark(&RECORDER, b"begin");
            begin.wait();
            end.wait();
            hooks::mark(&RECORDER, b"end");
            assert_eq!(stop().dropped_events, 0);
            end.wait();
        });
    }

    pub fn sampled() {
        let _file = start(
            "trace",
            LocalMode::Sampled {
                interval_bytes: 4096,
            },
        );
        keep_blocks(100_000, 64);
        for _ in 0..100_000 {
            let block = grow_block(make_block(64), 64, 128);
            drop_block(block, 128);
        }
        stop();
    }

    pub fn several() {
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..3 {
                    be_ready(&begin);
                    keep_blocks(100 * (round + 1), 16);
                    be_done(&end);
                }
            });
            for name in ["trace", "second", "third"] {
                begin.wait();
                let file = start(name, LocalMode::Exact);
                begin.wait();
                keep_blocks(7, 1000);
                end.wait();
                stop();
                drop(file);
                // Neither here nor there.
                keep_blocks(20_000, 8);
                end.wait();
            }
        });
    }

    /// Threads come and go, some end in the middle of a flush, and recordings follow one another.
    pub fn churn() {
        static IS_OVER: AtomicUsize = AtomicUsize::new(0);
        let flusher = thread::spawn(|| {
            while IS_OVER.load(Acquire) == 0 {
                RECORDER.flush_local();
            }
        });
        for name in CHURNED {
            let file = start(name, LocalMode::Exact);
            for _ in 0..50 {
                let churn = |round| {
                    for _ in 0..1000 {
                        drop_block(make_block(8 * round + 8), 8 * round + 8);
                    }
                };
                let threads = [0_usize, 1, 2, 3].map(|round| thread::spawn(move || churn(round)));
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().expect("no panic"));
            }
            assert_eq!(stop().dropped_events, 0);
            drop(file);
        }
        IS_OVER.store(1, std::sync::atomic::Ordering::Release);
        flusher.join().expect("no panic");
    }

    pub const CHURNED: [&str; 4] = ["trace", "second", "third", "fourth"];

    /// Tells the test that something is done, and waits for the end.
    fn be_killed() -> ! {
        File::create_new(folder().join("done")).expect("a new file");
        loop {
            thread::park();
        }
    }

    pub fn killed() {
        let _file = start("trace", LocalMode::Exact);
        keep_blocks(100_000, 48);
        be_killed();
    }

    pub fn killed_at_work() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let _file = start("trace", LocalMode::Exact);
        for _ in 0..3 {
            thread::spawn(|| {
                loop {
                    drop_block(make_block(40), 40);
                    MADE.fetch_add(1, AcqRel);
                }
            });
        }
        while MADE.load(Acquire) < 300_000 {
            thread::yield_now();
        }
        be_killed();
    }

    /// The last block but one is old enough to be written when the last one is made.
    pub fn late() {
        let _file = start("trace", LocalMode::Exact);
        keep_blocks(10, 48);
        thread::sleep(Duration::from_secs(1));
        keep_blocks(1, 48);
        RECORDER
            .switch()
            .mode
            .store(0, std::sync::atomic::Ordering::Release);
        be_killed();
    }

    pub fn exits_in_a_thread() {
        extern "C" fn at_exit() {
            assert!(RECORDER.stop_local().is_some());
        }
        static HAVE_KEPT: AtomicUsize = AtomicUsize::new(0);
        let spawn = |name: &str, work: fn()| {
            let builder = thread::Builder::new().name(name.to_owned());
            builder.spawn(work).expect("a thread");
        };
        static BEGIN: OnceLock<()> = OnceLock::new();
        static READY: AtomicUsize = AtomicUsize::new(0);
        fn be_ready() {
            READY.fetch_add(1, AcqRel);
            BEGIN.wait();
        }
        spawn("steady", || {
            be_ready();
            keep_blocks(500, 32);
            HAVE_KEPT.fetch_add(1, AcqRel);
            loop {
                thread::park();
            }
        });
        spawn("busy", || {
            be_ready();
            for round in 0.. {
                drop_block(make_block(64), 64);
                if round == 100_000 {
                    HAVE_KEPT.fetch_add(1, AcqRel);
                }
            }
        });
        spawn("exits", || {
            be_ready();
            while HAVE_KEPT.load(Acquire) < 2 {
                thread::yield_now();
            }
            std::process::exit(3);
        });
        // SAFETY: the function lives as long as the process.
        unsafe { libc::atexit(at_exit) };
        while READY.load(Acquire) < 3 {
            thread::yield_now();
        }
        let _file = start("trace", LocalMode::Exact);
        BEGIN.set(()).expect("once");
        loop {
            thread::park();
        }
    }

    /// Runs `work` in a child, forked by the library or by the bare system call.
    fn in_child(is_bare: bool, work: impl FnOnce()) {
        // SAFETY: the child has what it needs: it allocates and ends.
        let child = unsafe {
            match is_bare {
                true => libc::syscall(libc::SYS_fork) as i32,
                false => libc::fork(),
            }
        };
        assert!(child >= 0);
        if child == 0 {
            work();
            // SAFETY: ends the process.
            unsafe { libc::_exit(5) };
        }
        let mut status = 0;
        // SAFETY: a child of ours.
        let ended = unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!((ended, libc::WEXITSTATUS(status)), (child, 5));
    }

    pub fn forks() {
        let _file = start("trace", LocalMode::Exact);
        keep_blocks(10, 32);
        in_child(false, || keep_blocks(100_000, 1));
        in_child(true, || keep_blocks(100_000, 1));
        // What the thread has in its chunk is not written twice.
        in_child(false, || assert_eq!(RECORDER.stop_local(), None));
        keep_blocks(10, 32);
        in_child(false, || {
            let _file = File::create_new(folder().join("child")).expect("a new file");
            let mode = LocalMode::Exact;
            let started = RECORDER.start_local(_file.as_raw_fd(), mode);
            assert_eq!(started, Ok(()));
            keep_blocks(20_000, 2);
            stop();
        });
        in_child(true, || {
            let file = File::create_new(folder().join("bare")).expect("a new file");
            let mode = LocalMode::Exact;
            assert_eq!(RECORDER.start_local(file.as_raw_fd(), mode), Ok(()));
            keep_blocks(20_000, 3);
            stop();
        });
        keep_blocks(10, 32);
        // The names of files are allocated, and they are recorded, too.
        stop();
    }

    pub const LIMIT: u64 = 100_000;

    pub fn limited() {
        let limit = libc::rlimit {
            rlim_cur: LIMIT,
            rlim_max: LIMIT,
        };
        // SAFETY: reads one such structure.
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) };
        let _file = start("trace", LocalMode::Exact);
        keep_blocks(200_000, 8);
        let stats = stop();
        assert_eq!(stats.error, Some(libc::EFBIG));
        assert!(stats.dropped_events > 1000, "{stats:?}");
        assert!(stats.bytes_written <= LIMIT, "{stats:?}");
        // Nor does it keep the next one from beginning; that fails at once when it is told to begin at the end.
        let _file = start("second", LocalMode::Exact);
        keep_blocks(7, 9);
        assert_eq!(stop().error, None);
    }

    pub fn refused() {
        let exact = LocalMode::Exact;
        let start = |file: &File| RECORDER.start_local(file.as_raw_fd(), exact);
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("the device");
        assert_eq!(start(&full), Err(StartError::System(libc::ENOSPC)));
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let refused = RECORDER.start_local(writer.as_raw_fd(), exact);
        assert_eq!(refused, Err(StartError::NoPlaces));
        let path = folder().join("trace");
        fs::write(&path, "").expect("a file");
        let appends = File::options().append(true).open(&path).expect("a file");
        assert_eq!(start(&appends), Err(StartError::NoPlaces));
        let reads = File::open(&path).expect("a file");
        assert_eq!(start(&reads), Err(StartError::System(libc::EBADF)));
        assert_eq!(
            RECORDER.start_local(-1, exact),
            Err(StartError::System(libc::EBADF))
        );
        assert_eq!(RECORDER.stop_local(), None);
        let writes = File::create(&path).expect("a file");
        assert_eq!(start(&writes), Ok(()));
        assert_eq!(start(&writes), Err(StartError::IsOn));
        keep_blocks(3, 5);
        assert_eq!(stop().error, None);
    }

    /// What is written while the program goes on can be read at once, and goes on.
    pub fn flushed() {
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                be_ready(&begin);
                keep_blocks(1234, 16);
                be_done(&end);
                keep_blocks(30_000, 16);
                be_done(&end);
            });
            let paths = ["trace", "first"].map(|name| folder().join(name));
            begin.wait();
            let _file = start("trace", LocalMode::Exact);
            begin.wait();
            end.wait();
            let stats = RECORDER.flush_local().expect("a recording");
            assert_eq!(stats.error, None);
            RECORDER
                .switch()
                .mode
                .store(0, std::sync::atomic::Ordering::Release);
            fs::copy(&paths[0], &paths[1]).expect("a copy");
            RECORDER
                .switch()
                .mode
                .store(1, std::sync::atomic::Ordering::Release);
            end.wait();
            for _ in 0..100 {
                RECORDER.flush_local();
            }
            end.wait();
            stop();
            end.wait();
        });
    }

    pub fn closed_behind_our_back() {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let _file = start("trace", LocalMode::Exact);
        keep_blocks(20_000, 8);
        for number in 3..100 {
            // SAFETY: closes what others have opened: a daemon does so when it begins.
            unsafe { libc::close(number) };
        }
        // Takes all numbers that are free.
        let path = folder().join("of_the_program\0");
        let path = path.to_str().expect("a path").as_ptr().cast();
        while NUMBER.load(Acquire) < 100 {
            // SAFETY: the path ends with a zero.
            let file = unsafe { libc::open(path, libc::O_RDWR | libc::O_CREAT, 0o600) };
            NUMBER.store(file.cast_unsigned(), std::sync::atomic::Ordering::Release);
        }
        keep_blocks(50_000, 8);
        assert_eq!(stop().error, Some(libc::EBADF));
    }
}

struct Workshop(TempDir);

impl Workshop {
    /// Runs a program to its end.
    #[track_caller]
    fn ran(name: &str) -> (Self, Answer) {
        let workshop = Self(tempfile::tempdir().expect("a temporary folder"));
        let answer = answer(&mut workshop.command(name), None);
        (workshop, answer)
    }

    /// The same, and it ended well.
    #[track_caller]
    fn of(name: &str) -> Self {
        let (workshop, answer) = Self::ran(name);
        answer.fine();
        workshop
    }

    /// Runs a program until it says that it is done, and kills it.
    #[track_caller]
    fn killed(name: &str) -> Self {
        let workshop = Self(tempfile::tempdir().expect("a temporary folder"));
        let mut child = workshop.command(name).spawn().expect("it starts");
        while !workshop.path("done").exists() {
            assert!(child.try_wait().expect("a child").is_none());
            thread::yield_now();
        }
        child.kill().expect("a child can be killed");
        let status = child.wait().expect("a child can be waited for");
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        workshop
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env::current_exe().expect("a path"));
        command.env(PROGRAM, name).env(FOLDER, self.0.path());
        command.stdout(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the summary says, and its warnings.
    #[track_caller]
    fn summary_with(&self, name: &str, args: &[&str]) -> (Value, String) {
        let path = self.path(name);
        let path = path.to_str().expect("UTF-8");
        let answer = run([&["summary", "--json", "--top", "0"], args, &[path]].concat()).fine();
        let stderr = answer.stderr.clone();
        (answer.json(), stderr)
    }

    #[track_caller]
    fn summary(&self, name: &str) -> Value {
        let (summary, warnings) = self.summary_with(name, &[]);
        assert_eq!(warnings, "");
        summary
    }
}

#[track_caller]
fn number(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no {path} in {value}"))
}

/// Allocations, bytes, frees.
#[track_caller]
fn assert_totals(summary: &Value, expected: [u64; 3]) {
    let totals =
        ["allocations", "bytes", "frees"].map(|name| number(summary, &format!("/totals/{name}")));
    assert_eq!(totals, expected);
}

/// The row of a list whose member has this text.
#[track_caller]
fn row<'v>(rows: &'v Value, member: &str, text: &str) -> &'v Value {
    let mut rows_of = rows.as_array().into_iter().flatten();
    let found = rows_of.find(|row| {
        row[member]
            .as_str()
            .is_some_and(|found| found.contains(text))
    });
    found.unwrap_or_else(|| panic!("no {member} `{text}` in {rows:#}"))
}

const FIRST: [u64; 3] = [10_100, 340_000, 0];
const SECOND: [u64; 3] = [15_000, 3_000_000, 25_000];

#[test]
fn two_threads_to_the_byte_and_with_names() {
    let workshop = Workshop::of("two_threads");
    let (summary, warnings) = workshop.summary_with("trace", &["--threads"]);
    assert_eq!(warnings, "");
    assert_totals(&summary, [25_100, 3_340_000, 25_000]);
    assert_eq!(summary["mode"], "exact");
    assert_eq!(summary["truncated_stacks"], 0);
    let live = ["blocks", "bytes"].map(|name| number(&summary["live_at_end"], &format!("/{name}")));
    assert_eq!(live, [100, 100_000]);
    assert_eq!(number(&summary, "/temporary/allocations"), 5000);

    let threads = ["first", "second"].map(|name| row(&summary["threads"], "name", name));
    let totals = |thread: &Value| {
        ["allocations", "bytes", "frees"].map(|name| number(thread, &format!("/{name}")))
    };
    assert_eq!(threads.map(totals), [FIRST, SECOND]);
    let id = threads[0]["id"].to_string();
    let (of_first, _) = workshop.summary_with("trace", &["--thread", &id]);
    assert_eq!(number(&of_first, "/totals/allocations"), FIRST[0]);

    let sites = &summary["sites"];
    let made = row(sites, "function", "make_block");
    assert_eq!(number(made, "/allocations"), 15_100);
    let grown = row(sites, "function", "grow_block");
    assert_eq!(number(grown, "/bytes"), 2_500_000);
    let file = made["file"].as_str().expect("a file");
    assert!(file.ends_with("tests/raw_trace.rs"), "{file}");
}

#[test]
fn parts_by_time() {
    let workshop = Workshop::of("two_threads");
    let part = |args: &[&str]| {
        let (summary, _) = workshop.summary_with("trace", args);
        number(&summary, "/totals/allocations")
    };
    assert_eq!(part(&["--from", "mark:begin", "--to", "mark:end"]), 25_100);
    assert_eq!(part(&["--from", "mark:end"]), 0);
    let middle = part(&["--to", "1ms"]);
    assert_eq!(middle + part(&["--from", "1ms"]), 25_100);
}

#[test]
fn the_other_verbs() {
    let workshop = Workshop::of("two_threads");
    let trace = workshop.path("trace");
    let trace = trace.to_str().expect("UTF-8");
    let shown = run(["show", trace, "make_block", "--json"]).json();
    let callers = ["keep_blocks", "first_thread", "second_thread"];
    let allocations =
        callers.map(|name| number(row(&shown["callers"], "function", name), "/allocations"));
    assert_eq!(allocations, [100, 10_000, 5000]);
    let folded = run(["export", trace, "--to", "folded", "--by", "live"])
        .fine()
        .stdout;
    assert!(folded.contains("keep_blocks"), "{folded}");
}

#[test]
fn samples_are_without_bias() {
    let workshop = Workshop::of("sampled");
    let summary = workshop.summary("trace");
    assert_eq!(summary["mode"], "sampled");
    assert_eq!(number(&summary, "/sample_interval_bytes"), 4096);
    // 100,000 blocks of 64 bytes that stay: about 1550 samples.
    let live = number(&summary, "/live_at_end/bytes") as f64;
    let samples = 100_000.0 * (1.0 - (-64.0_f64 / 4096.0).exp());
    let deviation = 6_400_000.0 / samples.sqrt();
    assert!((live - 6_400_000.0).abs() < 5.0 * deviation, "{live}");
    let total = number(&summary, "/totals/bytes") as f64;
    assert!((total - 25_600_000.0).abs() < 2_500_000.0, "{total}");
}

#[test]
fn several_recordings_have_each_their_own_events() {
    let workshop = Workshop::of("several");
    for (name, round) in [("trace", 1), ("second", 2), ("third", 3)] {
        let summary = workshop.summary(name);
        assert_totals(&summary, [100 * round + 7, 1600 * round + 7000, 0]);
    }
}

#[test]
fn threads_that_come_and_go_while_others_flush() {
    let workshop = Workshop::of("churn");
    for name in programs::CHURNED {
        let (summary, warnings) = workshop.summary_with(name, &[]);
        assert!(!warnings.contains("left out"), "{warnings}");
        let made = row(&summary["sites"], "function", "make_block");
        assert_eq!(number(made, "/allocations"), 200_000);
        assert_eq!(number(made, "/bytes"), 50_000 * (8 + 16 + 24 + 32));
        assert_eq!(number(made, "/live_blocks"), 0);
    }
}

/// All chunks but the last one are in the file. An event has three bytes at least, and a chunk 32 KiB.
#[test]
fn a_killed_program_leaves_what_it_has_written() {
    let workshop = Workshop::killed("killed");
    let (summary, warnings) = workshop.summary_with("trace", &[]);
    let allocations = number(&summary, "/totals/allocations");
    assert!((89_000..=100_000).contains(&allocations), "{allocations}");
    assert_eq!(number(&summary, "/totals/bytes"), 48 * allocations);
    assert!(
        warnings.contains("was not ended in good order"),
        "{warnings}"
    );
}

#[test]
fn killed_while_its_threads_record() {
    let workshop = Workshop::killed("killed_at_work");
    let (summary, warnings) = workshop.summary_with("trace", &[]);
    assert!(
        warnings.contains("was not ended in good order"),
        "{warnings}"
    );
    let made = row(&summary["sites"], "function", "make_block");
    let allocations = number(made, "/allocations");
    // Three threads have a chunk each that is not written.
    assert!(allocations >= 300_000 - 3 * 11_000, "{allocations}");
    assert_eq!(number(made, "/bytes"), 40 * allocations);
    assert!(number(made, "/live_blocks") <= 3, "{made}");
}

#[test]
fn old_events_are_written_with_the_next_one() {
    let workshop = Workshop::killed("late");
    let (summary, _) = workshop.summary_with("trace", &[]);
    assert_totals(&summary, [10, 480, 0]);
}

#[test]
fn exit_in_a_thread_while_others_go_on() {
    let (workshop, answer) = Workshop::ran("exits_in_a_thread");
    assert_eq!(answer.code, Some(3));
    let (summary, warnings) = workshop.summary_with("trace", &["--threads"]);
    assert!(
        !warnings.contains("missing") && !warnings.contains("left out"),
        "{warnings}"
    );
    let steady = row(&summary["threads"], "name", "steady");
    assert_eq!(number(steady, "/allocations"), 500);
    let busy = row(&summary["threads"], "name", "busy");
    assert!(number(busy, "/allocations") >= 100_000, "{busy}");
}

#[test]
fn forked_children_write_to_their_own_files_only() {
    let workshop = Workshop::of("forks");
    assert_totals(&workshop.summary("trace"), [30, 960, 0]);
    assert_totals(&workshop.summary("child"), [20_000, 40_000, 0]);
    assert_totals(&workshop.summary("bare"), [20_000, 60_000, 0]);
}

#[test]
fn a_file_that_may_not_grow_ends_the_recording_and_not_the_program() {
    let workshop = Workshop::of("limited");
    let length = fs::metadata(workshop.path("trace")).expect("a file").len();
    assert!(length <= programs::LIMIT, "{length}");
    let (summary, warnings) = workshop.summary_with("trace", &[]);
    let allocations = number(&summary, "/totals/allocations");
    assert!((10_000..100_000).contains(&allocations), "{allocations}");
    assert!(
        warnings.contains("dropped") || warnings.contains("not ended"),
        "{warnings}"
    );
    assert_totals(&workshop.summary("second"), [7, 63, 0]);
}

#[test]
fn files_that_cannot_be_written_are_refused() {
    let workshop = Workshop::of("refused");
    assert_totals(&workshop.summary("trace"), [3, 15, 0]);
}

#[test]
fn what_is_flushed_can_be_read_and_goes_on() {
    let workshop = Workshop::of("flushed");
    let (first, warnings) = workshop.summary_with("first", &[]);
    assert_totals(&first, [1234, 16 * 1234, 0]);
    assert!(
        warnings.contains("was not ended in good order"),
        "{warnings}"
    );
    assert_totals(&workshop.summary("trace"), [31_234, 16 * 31_234, 0]);
}

#[test]
fn a_descriptor_that_is_closed_is_not_written_to() {
    let workshop = Workshop::of("closed_behind_our_back");
    let other = fs::metadata(workshop.path("of_the_program")).expect("a file");
    assert_eq!(other.len(), 0);
    let (summary, _) = workshop.summary_with("trace", &[]);
    let allocations = number(&summary, "/totals/allocations");
    assert!((9_000..=20_000).contains(&allocations), "{allocations}");
}
