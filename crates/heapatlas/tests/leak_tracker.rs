//! The tracker outside of scopes, whose state is that of the process: one test.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heapatlas::{
    Allocation, ConsoleEmitter, Filter, JsonEmitter, LeakScope, LeakTracker, MisuseKind,
    diagnostic_free, diagnostic_malloc, diagnostic_malloc_bytes, read_leaks,
};

fn leak<T>(count: usize) -> *mut T {
    diagnostic_malloc::<T>(count).expect("memory").as_ptr()
}

fn free<T>(block: *mut T) {
    // SAFETY: the tests free what `leak` gave, once.
    unsafe { diagnostic_free(block) };
}

fn types() -> Vec<String> {
    types_of(LeakTracker::snapshot())
}

fn types_of(leaks: Vec<Allocation>) -> Vec<String> {
    let names = leaks.into_iter().map(|leak| leak.type_name.into_owned());
    names.collect()
}

#[test]
fn members() {
    enabling_and_disabling();
    reset_forgets();
    filters_when_allocating_and_when_reporting();
    scopes_are_apart();
    errors_and_emitters();
    other_threads();
}

fn enabling_and_disabling() {
    assert!(!LeakTracker::enabled());
    let before = leak::<u8>(1);
    assert!(!LeakTracker::has_leaks());

    LeakTracker::enable();
    assert!(LeakTracker::enabled() && !LeakTracker::has_leaks());
    let tracked = leak::<u16>(1);
    let kept = leak::<u32>(1);
    assert_eq!(types(), ["u16", "u32"]);

    LeakTracker::disable();
    let after = leak::<u64>(1);
    assert_eq!(types(), ["u16", "u32"], "records stay");
    free(tracked);
    assert_eq!(types(), ["u32"], "and their frees are found");

    LeakTracker::enable();
    // Neither was tracked: the tracker says that it does not know them.
    free(before);
    free(after);
    assert_eq!(LeakTracker::misuse_count(MisuseKind::ForeignPointer), 2);
    free(kept);
    assert!(!LeakTracker::has_leaks());
    assert!(LeakTracker::verify_no_leaks().is_ok());
    LeakTracker::assert_no_leaks();
}

fn reset_forgets() {
    let block = leak::<u8>(1);
    LeakTracker::reset();
    assert!(!LeakTracker::has_leaks() && LeakTracker::misuses().is_empty());
    free(block);
    assert!(
        LeakTracker::misuses().is_empty(),
        "what is forgotten is known"
    );
}

fn filters_when_allocating_and_when_reporting() {
    let block = leak::<u8>(1);
    LeakTracker::set_global_filter(Filter::ignore_types(["u8"]));
    assert!(!LeakTracker::has_leaks(), "when reporting");
    LeakTracker::clear_global_filter();
    assert!(LeakTracker::has_leaks());
    free(block);

    LeakTracker::set_global_filter(Filter::ignore_types(["u8"]));
    LeakTracker::add_global_filter(Filter::ignore_larger_than(1000));
    assert_eq!(
        LeakTracker::global_filter().to_string(),
        r#"size > 1000 B OR type is in: "u8""#
    );
    let blocks = [
        leak::<u8>(1),
        leak::<u16>(1).cast(),
        leak::<u16>(600).cast(),
    ];
    assert_eq!(types(), ["u16"]);
    LeakTracker::clear_global_filter();
    assert_eq!(types(), ["u16"], "what was ignored stays so");
    blocks.into_iter().for_each(free);
    assert!(
        LeakTracker::misuses().is_empty(),
        "and is known when it is freed"
    );

    LeakTracker::set_global_filter(Filter::ignore_stack_contains(cache()));
    let blocks = [allocates_in_a_cache(), leak::<u64>(1)];
    let found = LeakTracker::snapshot();
    assert_eq!(found.len(), 1, "{found:#?}");
    LeakTracker::clear_global_filter();
    blocks.into_iter().for_each(free);

    // Ages are looked at when they are known.
    LeakTracker::set_global_filter(Filter::ignore_younger_than(Duration::from_secs(3600)));
    let block = leak::<u8>(1);
    assert!(!LeakTracker::has_leaks());
    LeakTracker::set_global_filter(Filter::ignore_older_than(Duration::from_secs(3600)));
    assert!(LeakTracker::has_leaks());
    LeakTracker::clear_global_filter();

    // For one report only.
    let young = Filter::ignore_younger_than(Duration::from_secs(3600));
    assert!(LeakTracker::snapshot_without(young.clone()).is_empty());
    assert!(LeakTracker::verify_no_leaks_without(young).is_ok());
    let named = Filter::ignore_threads([std::thread::current().name().unwrap_or_default()]);
    assert!(LeakTracker::verify_no_leaks_without(named.clone()).is_ok());
    assert!(LeakTracker::verify_no_leaks_without(!named).is_err());
    let here = Filter::ignore_addresses([block.addr() as u64]);
    assert!(LeakTracker::verify_no_leaks_without(here).is_ok());
    free(block);
}

#[inline(never)]
fn allocates_in_a_cache() -> *mut u64 {
    diagnostic_malloc(1).expect("memory").as_ptr()
}
const CACHE_LINE: u32 = line!() - 2;

/// What stacks of the function have: its name, or where there are no stacks the line.
fn cache() -> String {
    let has_stacks = cfg!(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu",
        not(heapatlas_fallback)
    ));
    if has_stacks {
        "leak_tracker::allocates_in_a_cache".to_owned()
    } else {
        format!("leak_tracker.rs:{CACHE_LINE}:")
    }
}

fn scopes_are_apart() {
    let outside = leak::<u8>(1);
    LeakTracker::disable();
    let (inside, inner) = LeakTracker::run_scoped(|| {
        assert!(LeakTracker::enabled(), "whatever holds outside");
        assert!(!LeakTracker::has_leaks(), "it starts afresh");
        let inside = leak::<u16>(1);
        let inner = LeakTracker::run_scoped(|| {
            assert!(!LeakTracker::has_leaks());
            free(outside);
            leak::<u32>(1)
        });
        assert_eq!(types(), ["u16"]);
        (inside, inner)
    });
    assert!(!LeakTracker::enabled());
    assert!(
        !LeakTracker::has_leaks(),
        "freed within, found all the same"
    );
    let mut all = types_of(LeakTracker::snapshot_of_all_scopes());
    all.sort();
    assert_eq!(all, ["u16", "u32"]);
    free(inner);
    free(inside);
    assert!(LeakTracker::snapshot_of_all_scopes().is_empty());
    LeakTracker::enable();

    // The scope's filter, or the global one: not that of the scope around it.
    LeakTracker::set_global_filter(Filter::ignore_types(["u8"]));
    let scope = LeakScope::named("outer").with_filter(Filter::ignore_types(["u16"]));
    scope.run(|| {
        let blocks = [leak::<u8>(1), leak::<u16>(1).cast()];
        assert_eq!(types(), ["u8"]);
        blocks.into_iter().for_each(free);
        LeakTracker::run_scoped(|| {
            let blocks = [leak::<u8>(1), leak::<u16>(1).cast()];
            assert_eq!(types(), ["u16"]);
            blocks.into_iter().for_each(free);
        });
        assert_eq!(LeakScope::current().unwrap().name(), Some("outer"));
    });
    assert!(LeakScope::current().is_none());
    LeakTracker::clear_global_filter();

    // A panic leaves the scope.
    let panic = std::panic::catch_unwind(|| LeakTracker::run_scoped(|| panic!("on purpose")));
    assert!(panic.is_err() && LeakScope::current().is_none());

    // Entries that end in another order than they began.
    let [one, other] = ["one", "other"].map(LeakScope::named);
    let first = one.enter();
    let second = other.enter();
    drop(first);
    assert_eq!(LeakScope::current().unwrap().name(), Some("other"));
    drop(one);
    drop(second);
    assert!(LeakScope::current().is_none());
    assert!(!LeakTracker::has_leaks() && LeakTracker::misuses().is_empty());
}

fn errors_and_emitters() {
    let blocks = [
        leak::<[u64; 2]>(1).cast(),
        leak::<u64>(1),
        allocates_in_a_cache(),
    ];
    let text = diagnostic_malloc_bytes(3000, 1).unwrap().as_ptr();
    let error = LeakTracker::verify_no_leaks().unwrap_err();
    assert_eq!((error.count(), error.total_bytes()), (4, 16 + 8 + 8 + 3000));
    assert!(error.filter().is_none() && error.scope().is_none());
    let sizes = error.leaks().iter().map(|leak| leak.size_bytes);
    assert!(sizes.eq([16, 8, 8, 3000]), "in the order of allocation");
    let report = error.to_string();
    for expected in [
        "Native memory leaks detected\nLeaks   : 4\nTotal   : 3.0 KiB\nLargest : 2.9 KiB\n",
        "Leak #1 - untyped (2.9 KiB)\n",
        "- [u64; 2] (16 B)",
        "tests/leak_tracker.rs:",
    ] {
        assert!(report.contains(expected), "{expected:?} in\n{report}");
    }
    assert_eq!(format!("{error:?}"), report);

    let shared = SharedText::default();
    LeakTracker::emit(&mut ConsoleEmitter::new(shared.clone())).unwrap();
    assert!(
        shared
            .text()
            .contains("✗ Native memory leaks detected\nLeaks   : 4\n")
    );

    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("leaks.json");
    LeakTracker::emit(&mut JsonEmitter::to_file(&file)).unwrap();
    let read = read_leaks(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(read.len(), 4);
    for (read, leak) in read.iter().zip(error.leaks()) {
        assert_eq!((read.address, &read.stack), (leak.address, &leak.stack));
        assert_eq!(
            (&read.location, &read.thread),
            (&leak.location, &leak.thread)
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let nowhere = file.join("no_folder/leaks.json");
    let error = LeakTracker::emit(&mut JsonEmitter::to_file(&nowhere)).unwrap_err();
    assert!(error.to_string().contains("leaks.json"), "{error}");

    let mut seen = 0;
    LeakTracker::emit(&mut |leaks: &[Allocation]| {
        seen = leaks.len();
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 4);

    blocks.into_iter().for_each(free);
    free(text);
    let shared = SharedText::default();
    LeakTracker::emit(&mut ConsoleEmitter::new(shared.clone())).unwrap();
    assert_eq!(shared.text(), "✓ No native memory leaks detected\n");
    let shared = SharedText::default();
    LeakTracker::emit(&mut JsonEmitter::to_writer(shared.clone())).unwrap();
    assert_eq!(read_leaks(&shared.text()), Ok(vec![]));
}

#[derive(Clone, Default)]
struct SharedText(Arc<Mutex<Vec<u8>>>);

impl SharedText {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for SharedText {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn other_threads() {
    let named = std::thread::Builder::new().name("the worker".into());
    let block = named.spawn(|| leak::<u8>(1) as usize).unwrap();
    let block = block.join().unwrap() as *mut u8;
    let found = LeakTracker::snapshot().remove(0);
    assert_eq!(found.thread.name.as_deref(), Some("the worker"));
    free(block);

    // A scope that a thread is handed.
    let scope = LeakScope::new();
    let handed = scope.clone();
    let block = std::thread::spawn(move || handed.run(|| leak::<u8>(1) as usize));
    let block = block.join().unwrap() as *mut u8;
    assert!(scope.has_leaks() && !LeakTracker::has_leaks());
    scope.reset();
    assert!(scope.verify_no_leaks().is_ok());
    free(block);
    assert!(scope.misuses().is_empty());
}
