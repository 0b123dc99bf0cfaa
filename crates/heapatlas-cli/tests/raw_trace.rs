//! A program that records itself, without a launcher: this one. Each test runs it again, as one of the `programs`, and has
//! the binary read what it wrote. What it allocates is known by construction.
#![cfg(has_recorder)]

mod harness;

use std::alloc::{GlobalAlloc, Layout, System, alloc, dealloc, realloc};
use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
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

/// Not a test: what the tests run.
#[test]
fn programs() {
    let Some(name) = env::var_os(PROGRAM) else {
        return;
    };
    match name.to_str().expect("a name") {
        "two_threads" => programs::two_threads(),
        "sampled" => programs::sampled(),
        "several" => programs::several(),
        "killed" => programs::killed(),
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

    const BLOCKS: usize = 10_000;
    static HANDED_OVER: [AtomicPtr<u8>; BLOCKS] =
        [const { AtomicPtr::new(std::ptr::null_mut()) }; BLOCKS];

    /// 10,000 blocks of 24 bytes that the other thread frees, and 100 of 1000 bytes that stay.
    fn first_thread(begin: &Barrier, end: &Barrier) {
        begin.wait();
        for place in &HANDED_OVER {
            place.store(make_block(24), std::sync::atomic::Ordering::Release);
        }
        keep_blocks(100, 1000);
        end.wait();
    }

    /// 5,000 blocks that are reallocated twice: 100, 200, 300 bytes.
    fn second_thread(begin: &Barrier, end: &Barrier) {
        begin.wait();
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
        end.wait();
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
            let _file = start("trace", LocalMode::Exact);
            hooks::mark(&RECORDER, b"begin");
            begin.wait();
            end.wait();
            hooks::mark(&RECORDER, b"end");
            assert_eq!(stop().dropped_events, 0);
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
                    begin.wait();
                    keep_blocks(100 * (round + 1), 16);
                    end.wait();
                    begin.wait();
                }
            });
            for name in ["trace", "second", "third"] {
                let file = start(name, LocalMode::Exact);
                begin.wait();
                keep_blocks(7, 1000);
                end.wait();
                stop();
                drop(file);
                // Neither here nor there.
                keep_blocks(20_000, 8);
                begin.wait();
            }
        });
    }

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
        spawn("steady", || {
            BEGIN.wait();
            keep_blocks(500, 32);
            HAVE_KEPT.fetch_add(1, AcqRel);
            loop {
                thread::park();
            }
        });
        spawn("busy", || {
            BEGIN.wait();
            for round in 0.. {
                drop_block(make_block(64), 64);
                if round == 100_000 {
                    HAVE_KEPT.fetch_add(1, AcqRel);
                }
            }
        });
        spawn("exits", || {
            BEGIN.wait();
            while HAVE_KEPT.load(Acquire) < 2 {
                thread::yield_now();
            }
            std::process::exit(3);
        });
        // SAFETY: the function lives as long as the process.
        unsafe { libc::atexit(at_exit) };
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
                begin.wait();
                keep_blocks(1234, 16);
                end.wait();
                begin.wait();
                keep_blocks(30_000, 16);
                end.wait();
            });
            let paths = ["trace", "first"].map(|name| folder().join(name));
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
            begin.wait();
            for _ in 0..100 {
                RECORDER.flush_local();
            }
            end.wait();
            stop();
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
        command.args(["--exact", "programs", "--nocapture", "--test-threads=1"]);
        command.env(PROGRAM, name).env(FOLDER, self.0.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
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

#[test]
fn two_threads() {
    let workshop = Workshop::of("two_threads");
    let summary = workshop.summary("trace");
    println!("{summary:#}");
}
