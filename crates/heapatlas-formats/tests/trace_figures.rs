//! Every figure of a profile, on recordings whose values are known by construction.

mod recording;

use heapatlas_formats::trace::{ModuleInfo, ReadOptions, Warning, Writer, code_maps, read};
use heapatlas_model::{AllocationProfile, Amount};
use recording::{
    Recording, amount, cut_off, figures, figures_by_path, path, path_of, process, read_all,
    read_whole,
};

#[test]
fn the_process() {
    let profile = read_whole(&Recording::new(1).finish(5_000));
    assert_eq!(profile.command, ["program", "--fast"]);
    assert_eq!(
        (profile.pid, profile.start_unix_ns, profile.duration_ns),
        (42, 7, 5_000)
    );
    assert_eq!(
        (profile.exit_status, profile.dropped_events),
        (Some(768), 5)
    );
    assert_eq!(
        (profile.total, profile.peak),
        (Amount::default(), Amount::default())
    );
    assert_eq!(profile.stacks.len(), 2);
}

#[test]
fn totals_peak_and_what_is_left() {
    let (a, b) = (path(&[11, 10]), path(&[12, 10]));
    let mut recording = Recording::new(1);
    recording.allocate(0, &a, 100, 0x10, 10);
    recording.allocate(0, &b, 50, 0x20, 20);
    recording.free(0, 0x10, 30);
    recording.allocate(0, &a, 7, 0x30, 40);
    let profile = read_whole(&recording.finish(50));

    assert_eq!((profile.total, profile.frees), (amount(157, 3), 1));
    assert_eq!((profile.peak, profile.peak_time_ns), (amount(150, 2), 20));
    assert_eq!(profile.live_at_end, amount(57, 2));
    let a = figures(&profile, &a);
    assert_eq!(
        (a.total, a.peak, a.live_at_end),
        (amount(107, 2), amount(100, 1), amount(7, 1))
    );
    assert_eq!(a.lifetime_ns, 20);
    let b = figures(&profile, &b);
    assert_eq!(
        (b.total, b.peak, b.live_at_end),
        (amount(50, 1), amount(50, 1), amount(50, 1))
    );
    let thread = &profile.threads[0];
    assert_eq!(
        (thread.os_thread_id, thread.name.as_str()),
        (100, "worker 0")
    );
    assert_eq!(
        (thread.total, thread.peak, thread.live_at_end),
        (amount(157, 3), amount(150, 2), amount(57, 2))
    );
}

#[test]
fn of_equal_peaks_the_last() {
    let (a, b) = (path(&[1]), path(&[2]));
    let mut recording = Recording::new(1);
    recording.allocate(0, &a, 64, 0x10, 10);
    recording.free(0, 0x10, 20);
    recording.allocate(0, &b, 32, 0x10, 30);
    recording.allocate(0, &b, 32, 0x20, 40);
    recording.free(0, 0x20, 50);
    let profile = read_whole(&recording.finish(60));
    assert_eq!((profile.peak, profile.peak_time_ns), (amount(64, 2), 40));
    assert_eq!(figures(&profile, &a).peak, amount(0, 0));
    assert_eq!(figures(&profile, &b).peak, amount(64, 2));
}

#[test]
fn temporary_blocks() {
    let a = path(&[1]);
    let mut recording = Recording::new(2);
    recording.allocate(0, &a, 1, 0x10, 10);
    recording.free(0, 0x10, 11); // temporary
    recording.allocate(0, &a, 2, 0x10, 12);
    recording.allocate(1, &a, 4, 0x20, 13);
    recording.free(0, 0x10, 14); // temporary: another thread's allocation does not matter
    recording.free(1, 0x20, 15); // temporary
    recording.allocate(0, &a, 8, 0x10, 16);
    recording.allocate(0, &a, 16, 0x20, 17);
    recording.free(0, 0x10, 18); // another one was allocated
    recording.free(1, 0x20, 19); // another thread frees it
    recording.allocate(1, &a, 32, 0x20, 20);
    recording.free(0, 0x20, 21); // the address that thread 0 allocated last, but another block
    let profile = read_whole(&recording.finish(30));
    assert_eq!(profile.temporary, amount(1 + 2 + 4, 3));
    assert_eq!(figures(&profile, &a).temporary, amount(7, 3));
    assert_eq!(profile.threads[0].temporary, amount(3, 2));
    assert_eq!(profile.threads[1].temporary, amount(4, 1));
    assert_eq!((profile.threads[0].frees, profile.threads[1].frees), (4, 2));
}

#[test]
fn reallocations() {
    let (a, b) = (path(&[1]), path(&[2]));
    let mut recording = Recording::new(2);
    recording.allocate(0, &a, 100, 0x10, 10);
    recording.begin(0, 0x10, 20);
    // Between begin and end the address belongs to others.
    recording.allocate(1, &a, 1, 0x10, 25);
    recording.end(0, &b, 300, 0x40, 30);
    recording.begin(0, 0x40, 40);
    recording.fail(0, 50);
    let profile = read_whole(&recording.finish(60));
    assert_eq!((profile.total, profile.frees), (amount(401, 3), 1));
    assert_eq!((profile.peak, profile.peak_time_ns), (amount(301, 2), 50));
    assert_eq!(profile.live_at_end, amount(301, 2));
    assert_eq!(profile.temporary, amount(0, 0));
    assert_eq!(figures(&profile, &a).lifetime_ns, 10);
    assert_eq!(figures(&profile, &b).live_at_end, amount(300, 1));
    assert_eq!(profile.threads[0].frees, 1);
}

#[test]
fn a_reallocated_block_can_be_temporary_once() {
    let (a, b) = (path(&[1]), path(&[2]));
    let mut recording = Recording::new(1);
    recording.allocate(0, &a, 10, 0x10, 10);
    recording.begin(0, 0x10, 20);
    recording.end(0, &b, 20, 0x10, 21);
    recording.free(0, 0x10, 30);
    let profile = read_whole(&recording.finish(60));
    assert_eq!(profile.temporary, amount(20, 1));
    assert_eq!(figures(&profile, &b).temporary, amount(20, 1));
    assert_eq!((profile.frees, profile.live_at_end), (2, amount(0, 0)));
}

#[test]
fn a_reallocation_that_never_ends_frees_nothing() {
    let a = path(&[1]);
    let mut recording = Recording::new(1);
    recording.allocate(0, &a, 10, 0x10, 10);
    recording.begin(0, 0x10, 20);
    let profile = read_whole(&recording.finish(60));
    assert_eq!((profile.frees, profile.live_at_end), (0, amount(10, 1)));
    assert_eq!(profile.lifetimes, []);
}

#[test]
fn unaligned_addresses() {
    let a = path(&[1]);
    let mut recording = Recording::new(1);
    recording.allocate(0, &a, 10, 0x11, 10);
    recording.allocate(0, &a, 20, 0x20, 15);
    recording.begin(0, 0x11, 20);
    recording.end(0, &a, 30, 0x33, 25);
    recording.free(0, 0x20, 30);
    let profile = read_whole(&recording.finish(60));
    assert_eq!((profile.total, profile.frees), (amount(60, 3), 2));
    assert_eq!(profile.live_at_end, amount(30, 1));
}

#[test]
fn histograms() {
    let a = path(&[1]);
    let mut recording = Recording::new(1);
    for (index, size) in [0, 1, 2, 3, 4, 7].into_iter().enumerate() {
        recording.allocate(0, &a, size, 0x10 * (index as u64 + 1), 10);
    }
    recording.free(0, 0x10, 10);
    recording.free(0, 0x40, 13);
    recording.free(0, 0x60, 12);
    let profile = read_whole(&recording.finish(60));
    assert_eq!(
        profile.sizes,
        [amount(0, 1), amount(1, 1), amount(5, 2), amount(11, 2)]
    );
    // The ones of 0 bytes, 3 bytes and 7 bytes lived 0, 3 and 2 ns.
    assert_eq!(
        profile.lifetimes,
        [amount(0, 1), amount(0, 0), amount(10, 2)]
    );
}

#[test]
fn stacks_are_one_tree_for_all_threads() {
    let (a, b) = (path(&[13, 12, 11]), path(&[14, 12, 11]));
    let lost = cut_off(&[13, 12]);
    let mut recording = Recording::new(2);
    recording.allocate(0, &a, 1, 0x10, 10);
    recording.allocate(1, &b, 2, 0x20, 11);
    recording.allocate(1, &a, 4, 0x30, 12);
    recording.allocate(1, &lost, 8, 0x40, 13);
    recording.allocate(0, &cut_off(&[]), 16, 0x50, 14);
    recording.allocate(0, &path(&[]), 32, 0x60, 15);
    let profile = read_whole(&recording.finish(60));
    // Two empty ones, 11, 12, 13 and 14, and the cut-off 12 and 13.
    assert_eq!((profile.stacks.len(), profile.locations.len()), (8, 4));
    assert_eq!(figures(&profile, &a).total, amount(5, 2));
    assert_eq!(figures(&profile, &b).total, amount(2, 1));
    assert_eq!(figures(&profile, &lost).total, amount(8, 1));
    assert_eq!(profile.figures[0].total, amount(32, 1));
    assert_eq!(profile.figures[1].total, amount(16, 1));
    assert_eq!(profile.truncated_stacks, 2);
    assert!(profile.frames.is_empty());
}

#[test]
fn modules_hold_from_their_tick_on() {
    let module = |path, start, end| ModuleInfo {
        path,
        start,
        end,
        bias: start,
        build_id: &[7],
    };
    let (program, old) = (
        module(b"program", 0x100, 0x200),
        module(b"old.so", 0x200, 0x300),
    );
    let mut recording = Recording::new(1);
    recording.modules(0, &[program, old]);
    recording.modules(50, &[module(b"new.so", 0x200, 0x300), program]);
    recording.allocate(0, &path(&[0x210, 0x110]), 1, 0x10, 49);
    recording.allocate(0, &path(&[0x220, 0x110]), 1, 0x20, 50);
    recording.allocate(0, &path(&[0x400]), 1, 0x30, 51);
    let profile = read_whole(&recording.finish(60));
    let module_of = |address: u64| {
        let location = profile
            .locations
            .iter()
            .find(|location| location.address == address - 1);
        let module = location
            .unwrap()
            .module
            .map(|module| &profile.modules[module.index()]);
        module.map(|module| module.path.as_str())
    };
    assert_eq!(module_of(0x210), Some("old.so"));
    assert_eq!(module_of(0x220), Some("new.so"));
    assert_eq!(module_of(0x110), Some("program"));
    assert_eq!(module_of(0x400), None);
    assert_eq!(profile.modules.len(), 3);
    let old = &profile.modules[1];
    assert_eq!(
        (old.bias, &old.range, &old.build_id[..]),
        (0x200, &(0x200..0x300), &[7][..])
    );
}

#[test]
fn events_after_a_block_s_tick_wait_for_their_predecessors() {
    let a = path(&[1]);
    let mut recording = Recording::new(2);
    // Thread 1 frees what thread 0 allocated, but was gathered first.
    recording.free(1, 0x10, 30);
    recording.gather(5);
    recording.allocate(0, &a, 10, 0x10, 20);
    let profile = read_whole(&recording.finish(60));
    assert_eq!((profile.frees, profile.live_at_end), (1, amount(0, 0)));
}

#[test]
fn a_late_event_is_applied_when_it_comes() {
    let a = path(&[1]);
    let mut recording = Recording::new(2);
    recording.allocate(0, &a, 10, 0x10, 20);
    recording.gather(40);
    recording.allocate(1, &a, 30, 0x20, 30);
    let profile = read_whole(&recording.finish(60));
    assert_eq!(
        (profile.total, profile.peak),
        (amount(40, 2), amount(40, 2))
    );
}

#[test]
fn frees_that_do_not_fit() {
    let a = path(&[1]);
    let mut recording = Recording::new(1);
    recording.free(0, 0x80, 1);
    recording.begin(0, 0x88, 2);
    recording.end(0, &a, 5, 0x90, 3);
    recording.allocate(0, &a, 7, 0x90, 4);
    let (profile, warnings) = read_all(&recording.finish(60)).unwrap();
    assert_eq!(
        (profile.total, profile.frees, profile.live_at_end),
        (amount(12, 2), 0, amount(7, 1))
    );
    let is_loss: Vec<_> = warnings.iter().map(|warning| warning.is_loss).collect();
    assert_eq!(is_loss, [false, true]);
    assert!(
        warnings[0].message.starts_with("2 frees of blocks"),
        "{warnings:?}"
    );
    assert!(
        warnings[1]
            .message
            .starts_with("1 blocks were allocated where"),
        "{warnings:?}"
    );
}

/// What a part of this recording comes to: total, peak, live at the end, frees.
#[track_caller]
fn check_part(
    options: ReadOptions,
    expected: (Amount, Amount, Amount, u64),
) -> (AllocationProfile, Vec<Warning>) {
    let a = path(&[1]);
    let mut recording = Recording::new(2);
    recording.allocate(0, &a, 1, 0x10, 10);
    recording.allocate(1, &a, 2, 0x20, 20);
    recording.allocate(0, &a, 4, 0x30, 30);
    recording.free(1, 0x10, 40);
    recording.free(0, 0x20, 50);
    recording.allocate(0, &a, 8, 0x40, 60);
    recording.begin(0, 0x40, 70);
    recording.end(0, &a, 16, 0x50, 90);
    let (profile, warnings) = read(&recording.finish(100), &options).unwrap();
    let found = (
        profile.total,
        profile.peak,
        profile.live_at_end,
        profile.frees,
    );
    assert_eq!(found, expected, "{options:?}");
    (profile, warnings)
}

#[test]
fn parts() {
    let all = ReadOptions::default();
    check_part(all, (amount(31, 5), amount(20, 2), amount(20, 2), 3));
    // From 20 on: the first block is not counted, nor is its free.
    let later = ReadOptions {
        from_ns: Some(20),
        ..all
    };
    check_part(later, (amount(30, 4), amount(20, 2), amount(20, 2), 2));
    let middle = ReadOptions {
        from_ns: Some(20),
        to_ns: Some(50),
        ..all
    };
    let (profile, _) = check_part(middle, (amount(6, 2), amount(6, 2), amount(6, 2), 0));
    assert_eq!(profile.timeline.last().unwrap().time_ns, 50);
    assert_eq!(profile.duration_ns, 100);
    // Within a reallocation the old block is still there.
    let early = ReadOptions {
        to_ns: Some(80),
        ..all
    };
    check_part(early, (amount(15, 4), amount(12, 2), amount(12, 2), 2));
    let thread = ReadOptions {
        thread: Some(101),
        ..all
    };
    let (profile, _) = check_part(thread, (amount(2, 1), amount(2, 1), amount(0, 0), 1));
    assert_eq!(profile.threads[0].frees, 1);
    let none = ReadOptions {
        thread: Some(5),
        ..all
    };
    let (_, warnings) = check_part(none, (amount(0, 0), amount(0, 0), amount(0, 0), 0));
    assert_eq!(
        warnings[0].message,
        "no thread of the recording has the number 5"
    );
}

#[test]
fn the_timeline_ends_with_the_recording() {
    let a = path(&[1]);
    let mut recording = Recording::new(1);
    recording.allocate(0, &a, 100, 0x10, 10);
    recording.gather(1500);
    recording.free(0, 0x10, 2000);
    let profile = read_whole(&recording.finish(2500));
    let points: Vec<_> = profile
        .timeline
        .iter()
        .map(|p| (p.time_ns, p.most, p.resident_bytes))
        .collect();
    let live = amount(100, 1);
    assert_eq!(
        points,
        [
            (1024, live, 0),
            (2048, live, 1500 << 12),
            (2500, amount(0, 0), 2500 << 12)
        ]
    );
}

#[test]
fn code_maps_come_in_pieces() {
    let mut writer = Writer::new(Vec::new(), &process())
        .unwrap()
        .with_exact_times();
    let line = b"1000 20 function\n";
    let long = line.repeat((9 << 20) / line.len());
    writer.map(b"/tmp/perf-1.map", &long).unwrap();
    writer.map(b"/tmp/perf-2.map", b"").unwrap();
    let maps = code_maps(&writer.end(&Default::default()).unwrap()).unwrap();
    let found: Vec<_> = maps
        .iter()
        .map(|map| (map.path.as_str(), &map.contents[..]))
        .collect();
    assert!(found == [("/tmp/perf-1.map", &long[..]), ("/tmp/perf-2.map", b"")]);
}

/// Both chunks are gathered at time 10. What is after it waits for its time, but a thread's nodes are numbered in the order
/// in which they came, whatever event they came with.
#[test]
fn nodes_keep_their_order_over_late_events() {
    let (early, late, later) = (path(&[1]), path(&[2, 1]), path(&[3, 1]));
    let mut recording = Recording::new(1);
    recording.allocate(0, &early, 1, 0x1000, 5);
    recording.allocate(0, &late, 10, 0x2000, 20);
    recording.next_chunk(0);
    recording.allocate(0, &later, 100, 0x3000, 30);
    recording.gather(10);
    let figures = figures_by_path(&read_whole(&recording.finish(40)));
    for (path, bytes) in [(early, 1), (late, 10), (later, 100)] {
        assert_eq!(figures[&path].total, amount(bytes, 1), "{path:?}");
    }
}

#[test]
fn a_large_gathering_is_still_one() {
    let (a, count) = (path(&[1]), 600_000);
    let mut recording = Recording::new(2);
    // Thread 0 allocates and thread 1 frees; each takes more than one block.
    for index in 0..count {
        recording.allocate(0, &a, 1 << 20, (index % 50 + 1) * 8, 20 * index);
        recording.free(1, (index % 50 + 1) * 8, 20 * index + 10);
    }
    let profile = read_whole(&recording.finish(20 * count));
    assert_eq!(profile.peak, amount(1 << 20, 1));
    assert_eq!(profile.frees, count);
    assert_eq!(path_of(&profile, heapatlas_model::StackId(2)), a);
}
