//! What a profiler does over the life of a process. Each case is a run of this program by itself, since there is one
//! profiler in a process: `profiler CASE FOLDER` runs one, without arguments it runs them all and looks.
//! (Without the test harness, whose thread allocates, too.)

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, panic, process, thread};

use heapatlas::{AdHocStats, Alloc, HeapStats, Mode, Profiler, ProfilerError};
use serde_json::Value;

#[global_allocator]
static ALLOC: Alloc = Alloc::system();

fn main() {
    let mut arguments = env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(case), Some(folder)) => {
            env::set_current_dir(folder).unwrap();
            run_case(&case);
        }
        _ => look_at_all(),
    }
}

#[inline(never)]
fn block(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

/// Two blocks live at most, 1,500,000 bytes; one in the end. So large that what else a case allocates makes no peak.
#[inline(never)]
fn some_blocks() -> Vec<u8> {
    drop(block(200_000));
    let kept = block(500_000);
    drop(block(1_000_000));
    kept
}

fn run_case(case: &str) {
    match case {
        "dropped" => {
            let _profiler = Profiler::new_heap();
            black_box(some_blocks());
        }
        "exit" => {
            let _profiler = Profiler::new_heap();
            let _kept = some_blocks();
            process::exit(3);
        }
        "exit in a thread" => {
            let _profiler = Profiler::new_heap();
            let _kept = some_blocks();
            thread::spawn(|| process::exit(3)).join().unwrap();
        }
        "forgotten" => {
            std::mem::forget(Profiler::new_heap());
            std::mem::forget(some_blocks());
        }
        "exit without saving" => {
            let _profiler = Profiler::builder().save_on_exit(false).build();
            let _kept = some_blocks();
            process::exit(3);
        }
        "panic" => {
            let _profiler = Profiler::new_heap();
            let _kept = some_blocks();
            panic!("of the program");
        }
        "ad hoc" => {
            let _profiler = Profiler::new_ad_hoc();
            drop(block(10));
            // Not ten calls in a row, which would be ten places.
            for weight in black_box(1..=10) {
                event(black_box(weight));
            }
            heapatlas::ad_hoc_event(1000);
            assert_eq!(AdHocStats::get().total_events, 11);
            assert_eq!(AdHocStats::get().total_units, 1055);
            assert!(matches!(HeapStats::try_get(), Err(ProfilerError::IsAdHoc)));
        }
        "testing" => {
            let _profiler = Profiler::builder().testing().build();
            let _kept = some_blocks();
            let stats = HeapStats::get();
            heapatlas::assert_eq!((stats.total_blocks, stats.total_bytes), (3, 1_700_000));
            heapatlas::assert_eq!((stats.max_blocks, stats.max_bytes), (2, 1_500_000));
            heapatlas::assert_eq!(
                (stats.curr_blocks, stats.curr_bytes),
                (1, 500_000),
                "{stats:?}"
            );
            heapatlas::assert!(stats.total_blocks < 4, "few {}", "blocks");
            heapatlas::assert_ne!(stats.total_blocks, 4);
        }
        "assertions" => assertions(),
        "one at a time" => one_at_a_time(),
        "set mode" => {
            heapatlas::set_mode(Mode::Aggregate).unwrap();
            let kept = some_blocks();
            assert_eq!(HeapStats::get().total_blocks, 3);
            let profile = heapatlas::take_profile().unwrap();
            assert!(profile.contains("\"dhatFileVersion\":2"));
            heapatlas::set_mode(Mode::Off).unwrap();
            assert!(HeapStats::try_get().is_err());
            drop(kept);
        }
        "exact" => traced(Mode::Exact),
        "sampled" => traced(Mode::Sampled),
        #[cfg(unix)]
        "signal" => on_signal(),
        #[cfg(unix)]
        "terminated" => {
            let profiler = Profiler::builder().save_on_signal(libc::SIGTERM);
            let _profiler = profiler.build();
            let _kept = some_blocks();
            raise(libc::SIGTERM);
            loop {
                thread::park();
            }
        }
        "again and again" => {
            let profiler = Profiler::builder().save_every(Duration::from_millis(1));
            let _profiler = profiler.build();
            let _kept = some_blocks();
            wait_for(Path::new("heapatlas-heap.json"));
            // It goes on.
            fs::remove_file("heapatlas-heap.json").unwrap();
            wait_for(Path::new("heapatlas-heap.json"));
            process::abort();
        }
        #[cfg(unix)]
        "fork" => fork(),
        _ => panic!("no such case: {case}"),
    }
}

#[inline(never)]
fn event(weight: usize) {
    heapatlas::ad_hoc_event(weight);
}

fn message_of(work: impl FnOnce() + panic::UnwindSafe) -> String {
    let payload = panic::catch_unwind(work).expect_err("a panic");
    match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => payload.downcast_ref::<String>().expect("text").clone(),
    }
}

fn assertions() {
    let none = message_of(|| heapatlas::assert!(true));
    assert_eq!(none, "heapatlas: asserting: no profiler is running");
    let not_testing = Profiler::builder().save_on_exit(false).build();
    let refused = message_of(|| heapatlas::assert!(true));
    assert!(refused.contains("not in testing mode"), "{refused}");
    fs::write("heapatlas-heap.json", "").unwrap();
    drop(not_testing);
    fs::remove_file("heapatlas-heap.json").unwrap();

    let check = |fails: fn(), expected: &str| {
        let name = "failed.json";
        let profiler = Profiler::builder().testing().file_name(name).build();
        let kept = some_blocks();
        assert_eq!(message_of(fails), expected);
        assert!(fs::read_to_string(name).unwrap().contains("\"tb\":500000"));
        fs::remove_file(name).unwrap();
        // It has ended: nothing is saved any more, and nothing is answered.
        assert!(matches!(
            HeapStats::try_get(),
            Err(ProfilerError::HasAsserted)
        ));
        let again = message_of(fails);
        assert!(
            again.contains("has ended with a failed assertion"),
            "{again}"
        );
        drop(profiler);
        assert!(!Path::new(name).exists());
        drop(kept);
    };
    check(
        || heapatlas::assert!(1 + 1 == 3),
        "heapatlas: assertion failed: 1 + 1 == 3",
    );
    check(
        || heapatlas::assert!(false, "with {}", 7),
        "heapatlas: assertion failed: false: with 7",
    );
    check(
        || heapatlas::assert_eq!(1 + 1, 3),
        "heapatlas: assertion failed: `(left == right)`\n  left: `2`,\n right: `3`",
    );
    check(
        || heapatlas::assert_eq!(2, 3, "with {}", 7),
        "heapatlas: assertion failed: `(left == right)`\n  left: `2`,\n right: `3`: with 7",
    );
    check(
        || heapatlas::assert_ne!(3, 3),
        "heapatlas: assertion failed: `(left != right)`\n  left: `3`,\n right: `3`",
    );
    check(
        || heapatlas::assert_ne!(3, 3, "with {}", 7),
        "heapatlas: assertion failed: `(left != right)`\n  left: `3`,\n right: `3`: with 7",
    );
}

fn one_at_a_time() {
    assert!(matches!(
        HeapStats::try_get(),
        Err(ProfilerError::NotRunning)
    ));
    assert!(heapatlas::take_profile().is_err());
    for _ in 0..3 {
        let mut profiler = Profiler::new_heap();
        let kept = some_blocks();
        let second = Profiler::builder().try_build();
        assert!(matches!(second, Err(ProfilerError::AlreadyRunning)));
        let message = message_of(|| drop(Profiler::new_ad_hoc()));
        assert!(message.contains("already running"), "{message}");
        drop(message);
        assert!(heapatlas::set_mode(Mode::Aggregate).is_err());
        assert!(matches!(AdHocStats::try_get(), Err(ProfilerError::IsHeap)));
        heapatlas::ad_hoc_event(5);
        assert_eq!(HeapStats::get().curr_blocks, 1);
        assert!(
            profiler
                .drop_and_get_memory_output()
                .contains("\"tb\":500000")
        );
        assert_eq!(profiler.drop_and_get_memory_output(), "");
        drop(kept);
    }
}

fn traced(mode: Mode) {
    let builder = Profiler::builder().mode(mode);
    let _profiler = builder.sample_interval(1.try_into().unwrap()).build();
    heapatlas::mark("begins");
    let _kept = some_blocks();
    let mut grown = block(10);
    grown.reserve_exact(2000);
    let zeroed = black_box(vec![0_u8; 300]);
    drop((grown, zeroed));
    assert!(matches!(HeapStats::try_get(), Err(ProfilerError::NoSums)));
    assert!(heapatlas::take_profile().is_err());
    thread::spawn(|| drop(some_blocks())).join().unwrap();
    process::exit(0);
}

#[cfg(unix)]
fn raise(signal: i32) {
    // SAFETY: to this process.
    unsafe { libc::kill(libc::getpid(), signal) };
}

#[cfg(unix)]
fn on_signal() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static IS_CALLED: AtomicBool = AtomicBool::new(false);
    extern "C" fn handler(_: i32) {
        IS_CALLED.store(true, Ordering::Relaxed);
    }
    let handler = handler as extern "C" fn(i32) as usize;
    // SAFETY: the handler stores a flag.
    unsafe { libc::signal(libc::SIGTERM, handler) };
    let builder = Profiler::builder().save_on_signal(libc::SIGUSR1);
    let profiler = builder.save_on_signal(libc::SIGTERM).build();
    let kept = some_blocks();
    for signal in [libc::SIGUSR1, libc::SIGTERM, libc::SIGUSR1] {
        raise(signal);
        wait_for(Path::new("heapatlas-heap.json"));
        fs::remove_file("heapatlas-heap.json").unwrap();
    }
    assert!(IS_CALLED.load(Ordering::Relaxed), "the program's handler");
    drop((profiler, kept));
    fs::remove_file("heapatlas-heap.json").unwrap();
    // Its handler is as it was, and ours is gone.
    // SAFETY: as above.
    let before = unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    assert_eq!(before, handler);
    let refused = Profiler::builder()
        .save_on_signal(libc::SIGKILL)
        .try_build();
    assert!(matches!(refused, Err(ProfilerError::System(_))));
    drop(Profiler::new_heap());
}

/// Children of a process whose threads allocate: no lock of ours is left locked, nothing of theirs is saved.
#[cfg(unix)]
fn fork() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    let builder = Profiler::builder().save_every(Duration::from_millis(2));
    let profiler = builder.build();
    let allocate = || {
        while !IS_DONE.load(Ordering::Relaxed) {
            drop(some_blocks());
        }
    };
    let threads: Vec<_> = (0..3).map(|_| thread::spawn(allocate)).collect();
    for round in 0..100 {
        // SAFETY: the child does what a child of a process with threads may not do by the letter, but what ours do with
        // glibc's and our allocator.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let begun = Instant::now();
            drop(some_blocks());
            assert!(HeapStats::get().total_blocks >= 3);
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "a lock was locked"
            );
            match round % 2 {
                0 => drop(profiler),
                _ => process::exit(0),
            }
            process::exit(0);
        }
        let mut status = 0;
        // SAFETY: our child.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!(status, 0);
    }
    IS_DONE.store(true, Ordering::Relaxed);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// Files appear whole: when one is there it can be read.
fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{path:?}");
        thread::yield_now();
    }
    let text = fs::read_to_string(path).unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_ok());
}

/// What a case left.
struct Run {
    folder: PathBuf,
    output: Output,
}

impl Run {
    fn of(case: &str) -> Self {
        let name = format!(
            "heapatlas-profiler-{}-{}",
            process::id(),
            case.replace(' ', "-")
        );
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args([case.as_ref(), folder.as_os_str()])
            // With it, the standard library keeps the names of a panic's stack: blocks that nobody expects.
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Self { folder, output }
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    fn exits_with(&self, code: i32) -> &Self {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.stderr());
        self
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap_or_else(|_| panic!("{name}: {}", self.stderr()))
    }

    fn profile(&self, name: &str) -> Value {
        serde_json::from_slice(&self.file(name)).unwrap()
    }

    /// The names of its files.
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(&self.folder).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The profile of [`some_blocks`].
    fn has_some_blocks(&self) {
        let profile = self.profile("heapatlas-heap.json");
        let points = profile["pps"].as_array().unwrap();
        let mut found: Vec<[u64; 8]> = points
            .iter()
            .map(|point| {
                let figures = ["tb", "tbk", "mb", "mbk", "gb", "gbk", "eb", "ebk"];
                figures.map(|key| point[key].as_u64().unwrap())
            })
            // A panic has blocks of its own.
            .filter(|figures| [200_000, 500_000, 1_000_000].contains(&figures[0]))
            .collect();
        found.sort_unstable();
        let expected = [
            [200_000, 1, 200_000, 1, 0, 0, 0, 0],
            [500_000, 1, 500_000, 1, 500_000, 1, 500_000, 1],
            [1_000_000, 1, 1_000_000, 1, 1_000_000, 1, 0, 0],
        ];
        assert_eq!(found, expected, "{profile}");
        assert_eq!(profile["ftbl"][0], "[root]");
        if HAS_STACKS {
            points
                .iter()
                .for_each(|point| look_at_frames(&profile, point));
        }
    }

    fn done(self) {
        fs::remove_dir_all(self.folder).unwrap();
    }
}

const HAS_STACKS: bool = cfg!(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
));

/// From the allocator to `main`, with names and lines, and nothing of heapatlas in between.
fn look_at_frames(profile: &Value, point: &Value) {
    let frames: Vec<&str> = (point["fs"].as_array().unwrap().iter())
        .map(|number| {
            let text = profile["ftbl"][number.as_u64().unwrap() as usize].as_str();
            text.unwrap().split_once(": ").unwrap().1
        })
        .collect();
    if frames
        .iter()
        .any(|frame| frame.starts_with("profiler::some_blocks"))
    {
        let [first, .., last] = frames[..] else {
            panic!("{frames:?}");
        };
        assert!(first.contains("alloc::alloc::"), "{frames:?}");
        assert!(
            last.starts_with("profiler::main (heapatlas/tests/profiler.rs:"),
            "{frames:?}"
        );
        let own = |frame: &&str| frame.contains("heapatlas::alloc") || frame.contains("::stack::");
        assert!(!frames.iter().any(own), "{frames:?}");
        let line = "profiler::some_blocks (heapatlas/tests/profiler.rs:";
        assert_eq!(
            frames
                .iter()
                .filter(|frame| frame.starts_with(line))
                .count(),
            1
        );
    }
}

fn look_at_all() {
    let run = Run::of("dropped");
    run.exits_with(0);
    let expected = "heapatlas: Total:     1,700,000 bytes in 3 blocks\n\
                    heapatlas: At t-gmax: 1,500,000 bytes in 2 blocks\n\
                    heapatlas: At t-end:  0 bytes in 0 blocks\n\
                    heapatlas: The data has been saved to heapatlas-heap.json, \
                    and is viewable with dhat/dh_view.html\n";
    assert_eq!(run.stderr(), expected);
    run.done();

    for (case, code) in [("exit", 3), ("exit in a thread", 3), ("forgotten", 0)] {
        let run = Run::of(case);
        run.exits_with(code).has_some_blocks();
        assert_eq!(run.files().len(), 1, "{case}");
        run.done();
    }
    let run = Run::of("exit without saving");
    run.exits_with(3);
    assert_eq!(run.files().len(), 0);
    run.done();

    let run = Run::of("panic");
    assert!(run.exits_with(101).stderr().contains("of the program"));
    run.profile("heapatlas-heap.json");
    run.done();

    look_at_ad_hoc(Run::of("ad hoc"));
    for case in ["testing", "assertions", "one at a time"] {
        let run = Run::of(case);
        run.exits_with(0);
        assert_eq!(run.files().len(), 0, "{case}: {:?}", run.files());
        run.done();
    }
    let run = Run::of("set mode");
    // The profile that was given out is in it, too.
    let points = run.exits_with(0).profile("heapatlas-heap.json");
    assert_eq!(points["pps"].as_array().unwrap().len(), 4);
    run.done();

    let run = Run::of("again and again");
    run.has_some_blocks();
    run.done();
    #[cfg(unix)]
    look_at_unix();
    for case in ["exact", "sampled"] {
        look_at_trace(Run::of(case));
    }
}

fn look_at_ad_hoc(run: Run) {
    run.exits_with(0);
    let profile = run.profile("heapatlas-ad-hoc.json");
    for (key, expected) in [
        ("mode", "rust-ad-hoc"),
        ("bu", "unit"),
        ("bsu", "units"),
        ("bksu", "events"),
    ] {
        assert_eq!(profile[key], expected);
    }
    assert_eq!(profile["bklt"], false);
    let points = profile["pps"].as_array().unwrap();
    let mut found: Vec<_> = points
        .iter()
        .map(|point| (point["tb"].as_u64(), point["tbk"].as_u64()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(Some(55), Some(10)), (Some(1000), Some(1))]);
    assert!(points.iter().all(|point| point.get("tl").is_none()));
    assert!(
        run.stderr()
            .starts_with("heapatlas: Total:     1,055 units in 11 events\n")
    );
    run.done();
}

#[cfg(unix)]
fn look_at_unix() {
    use std::os::unix::process::ExitStatusExt;
    let run = Run::of("terminated");
    assert_eq!(
        run.output.status.signal(),
        Some(libc::SIGTERM),
        "{}",
        run.stderr()
    );
    run.has_some_blocks();
    run.done();
    let run = Run::of("signal");
    run.exits_with(0);
    run.done();
    let run = Run::of("fork");
    run.exits_with(0);
    let profile = run.profile("heapatlas-heap.json");
    assert!(profile["pps"].as_array().unwrap().len() >= 3);
    assert_eq!(run.files().len(), 1);
    run.done();
}

/// On systems without a recorder it is refused.
fn look_at_trace(run: Run) {
    if cfg!(not(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    ))) {
        assert_ne!(run.output.status.code(), Some(0));
        return run.done();
    }
    run.exits_with(0);
    let file = run.file("heapatlas-heap.heaptrace");
    let bytes = file.len().to_string();
    assert!(file.len() > 1000, "{bytes}");
    assert!(
        run.stderr()
            .contains("`heapatlas summary heapatlas-heap.heaptrace` shows them")
    );
    run.done();
}
