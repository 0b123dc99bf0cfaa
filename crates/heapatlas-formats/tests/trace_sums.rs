//! Aggregate recordings: the sums say what the events say; whole, unfinished, and damaged.

mod recording;

use heapatlas_formats::trace::{Aggregator, End, ModuleInfo, ReadOptions, read};
use heapatlas_model::{Amount, Mark};
use heapatlas_trace::file::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, HEADER_BYTES};
use proptest::prelude::*;
use recording::{
    Path, Recording, amount, assert_same, blocks, cut_off, figures, path, process, read_all,
    read_whole, repair_checksums,
};

/// Two threads, modules that come and go, marks, temporary blocks, a peak, a cut stack, odd frees.
fn eventful() -> Recording {
    let mut recording = Recording::new(2);
    let module = |path, start, end| ModuleInfo {
        path,
        build_id: &[1, 2, 3],
        bias: start,
        start,
        end,
    };
    recording.modules(0, &[module(b"/bin/program", 1, 50)]);
    recording.allocate(0, &path(&[10, 20]), 100, 0x1000, 10);
    recording.allocate(1, &cut_off(&[70]), 30, 0x2001, 11);
    recording.mark(1, "begun", 12);
    recording.allocate(0, &path(&[11, 20]), 7, 0x3000, 20);
    recording.free(0, 0x3000, 25);
    recording.gather(26);
    recording.modules(30, &[module(b"/lib/late.so", 60, 90)]);
    recording.allocate(1, &path(&[70]), 1000, 0x4000, 40);
    recording.free(0, 0x4000, 50);
    recording.free(0, 0x9990, 55);
    recording.begin(1, 0x1000, 60);
    recording.end(1, &path(&[30]), 200, 0x1000, 61);
    recording.mark(0, "served", 70);
    recording
}

#[test]
fn sums_say_what_events_say() {
    let (events, sums) = eventful().finish_both(100);
    let (exact, warnings) = read_all(&events).unwrap();
    let (aggregate, sums_warnings) = read_all(&sums).unwrap();
    assert_same(&exact, &aggregate);
    assert_eq!(sums_warnings, warnings);
    assert_eq!(
        sums_warnings[0].message,
        "1 frees of blocks whose allocation was not recorded; they are not counted"
    );

    assert_eq!(aggregate.total, amount(100 + 30 + 7 + 1000 + 200, 5));
    assert_eq!(
        (aggregate.peak, aggregate.peak_time_ns),
        (amount(1130, 3), 40)
    );
    assert_eq!(figures(&aggregate, &path(&[70])).peak, amount(1000, 1));
    assert_eq!(
        (aggregate.truncated_stacks, aggregate.dropped_events),
        (1, 5)
    );
    assert_eq!(aggregate.exit_status, Some(3 << 8));
    let mark = |time_ns, text: &str| Mark {
        time_ns,
        text: text.to_owned(),
    };
    assert_eq!(aggregate.marks, [mark(12, "begun"), mark(70, "served")]);
    let paths: Vec<_> = aggregate.modules.iter().map(|m| m.path.as_str()).collect();
    assert_eq!(paths, ["/bin/program", "/lib/late.so"]);
}

#[test]
fn the_mode_is_told() {
    let (_, sums) = eventful().finish_both(100);
    let (offset, header) = blocks(&sums)[0];
    let stored = &sums[offset + BLOCK_HEADER_BYTES..][..header.stored_bytes as usize];
    let payload = match Codec::from_code(header.codec).unwrap() {
        Codec::Plain => stored.to_vec(),
        Codec::Zstd => zstd::bulk::decompress(stored, header.raw_bytes as usize).unwrap(),
        streams => panic!("a process block has no {streams:?}"),
    };
    let process = heapatlas_formats::trace::ProcessInfo::read(&payload).unwrap();
    assert_eq!(process.mode, heapatlas_formats::trace::Mode::Aggregate);
}

/// A million allocations on 50 stacks, a thousand of them each millisecond.
#[test]
fn the_file_grows_with_stacks_not_with_events() {
    let mut recording = Recording::new(1);
    let stacks: Vec<_> = (0..50).map(|n| path(&[1000 + n, 500, 400])).collect();
    for round in 0..1000_u64 {
        for event in 0..1000_u64 {
            let time = 1_000_000 * round + 1000 * event;
            let stack = &stacks[(event % 50) as usize];
            recording.allocate(0, stack, 64, 0x1000 + 64 * (event % 8), time);
            recording.free(0, 0x1000 + 64 * (event % 8), time + 100);
        }
        recording.gather(1_000_000 * (round + 1));
    }
    let (events, sums) = recording.finish_both(1_000_000_000);
    assert_same(&read_whole(&events), &read_whole(&sums));
    assert!(sums.len() < 4000, "{}", sums.len());
}

/// Found by fuzzing: a file may claim any total.
#[test]
fn sums_that_do_not_add_up_are_told_of() {
    let (_, sums) = eventful().finish_both(100);
    let (whole, _) = read_all(&sums).unwrap();
    let sums_blocks = blocks(&sums)
        .into_iter()
        .filter(|(_, header)| header.kind == BlockKind::Sums as u8);
    let mut told = 0;
    for (offset, header) in sums_blocks {
        let end = offset + BLOCK_HEADER_BYTES + header.stored_bytes as usize;
        let without = [&sums[..offset], &sums[end..]].concat();
        let (profile, warnings) = read_all(&without).unwrap();
        let of_stacks = profile.figures.iter().map(|figures| figures.total.blocks);
        let of_sizes = profile.sizes.iter().map(|amount| amount.blocks);
        let adds_up = profile.total == whole.total
            && of_stacks.sum::<u64>() == whole.total.blocks
            && of_sizes.sum::<u64>() == whole.total.blocks;
        let is_told = warnings
            .iter()
            .any(|warning| warning.is_loss && warning.message.starts_with("the sums "));
        assert!(adds_up || is_told, "{warnings:?}");
        told += usize::from(is_told);
    }
    // Without the totals, the stacks, the threads, the sizes, the lifetimes.
    assert!(told >= 5, "{told}");
}

#[test]
fn more_rows_than_fit_a_block() {
    let mut recording = Recording::new(1);
    for stack in 0..200_000_u64 {
        let stack_path = path(&[(stack + 1) << 20]);
        recording.allocate(0, &stack_path, 1 << 40, 16 * stack, 10 + stack);
        if stack % 1000 == 0 {
            recording.gather(10 + stack);
        }
    }
    let (events, sums) = recording.finish_both(300_000);
    let count = blocks(&sums)
        .into_iter()
        .filter(|(_, header)| header.kind == BlockKind::Sums as u8);
    assert!(count.count() > 8);
    assert_same(&read_whole(&events), &read_whole(&sums));
}

#[test]
fn threads_that_ended_become_one_row() {
    const THREADS: usize = 5000;
    let stack = path(&[7]);
    let mut recording = Recording::new(THREADS);
    for thread in 0..THREADS {
        let time = 100 * thread as u64;
        let address = 0x1000 + 32 * thread as u64;
        recording.allocate(thread, &stack, 10, address, time + 1);
        recording.allocate(thread, &stack, 5, 0x80_0000, time + 2);
        recording.mark(thread, "x", time + 3);
        recording.free(thread, 0x80_0000, time + 4);
        // Each fifth leaves a block; each seventh's block is freed by its successor.
        match thread % 35 {
            0 => {}
            n if n % 5 == 0 => {}
            n if n % 7 == 0 => {}
            _ => recording.free(thread, address, time + 5),
        }
        if thread % 7 == 1 && (thread - 1) % 5 != 0 {
            recording.free(thread, address - 32, time + 6);
        }
        recording.event(thread, time + 7, |e, out, tick| e.thread_ends(out, tick));
        recording.gather(time + 8);
    }
    let (events, sums) = recording.finish_both(1_000_000);
    let (exact, aggregate) = (read_whole(&events), read_whole(&sums));
    assert_eq!(exact.threads.len(), THREADS);
    // A fifth has something live; at most as many again wait for the next sweep.
    assert!(
        aggregate.threads.len() < 2100,
        "{}",
        aggregate.threads.len()
    );
    let retired = aggregate.threads.last().unwrap();
    assert_eq!(
        retired.name,
        format!("({} ended threads)", THREADS + 1 - aggregate.threads.len())
    );
    let sum = |figure: fn(&heapatlas_model::ThreadFigures) -> Amount| {
        let sums = [&exact, &aggregate].map(|profile| {
            let figures = profile.threads.iter().map(figure);
            figures.fold(Amount::default(), |sum, amount| Amount {
                bytes: sum.bytes + amount.bytes,
                blocks: sum.blocks + amount.blocks,
            })
        });
        assert_eq!(sums[0], sums[1]);
        sums[0]
    };
    assert_eq!(sum(|thread| thread.total), exact.total);
    assert_eq!(sum(|thread| thread.peak), exact.peak);
    assert_eq!(sum(|thread| thread.live_at_end), exact.live_at_end);
    assert_eq!(sum(|thread| thread.temporary), exact.temporary);
    let frees = aggregate.threads.iter().map(|thread| thread.frees);
    assert_eq!(frees.sum::<u64>(), exact.frees);
    assert_eq!(aggregate.marks, exact.marks);
    // Those that are left have their own names and figures.
    for thread in &aggregate.threads[..aggregate.threads.len() - 1] {
        let own = exact.threads.iter().find(|row| row.name == thread.name);
        assert_eq!(own, Some(thread));
    }
}

#[test]
fn what_is_known_so_far() {
    let mut recording = eventful();
    recording.gather(80);
    // In the hands of `realloc` when the file is written.
    recording.begin(0, 0x2001, 85);
    recording.gather(90);
    let so_far = recording.aggregator.write_so_far(Vec::new()).unwrap();
    let (profile, warnings) = read_all(&so_far).unwrap();
    assert_eq!(profile.total, amount(1337, 5));
    assert_eq!(profile.live_at_end, amount(200, 1));
    assert_eq!((profile.duration_ns, profile.exit_status), (90, None));
    let last = warnings.last().unwrap();
    assert!(last.is_loss);
    assert_eq!(
        last.message,
        "the recording was not ended in good order: these are its sums as they were last written"
    );
    // Writing changes nothing.
    recording.fail(0, 95);
    let (events, sums) = recording.finish_both(100);
    assert_same(&read_all(&events).unwrap().0, &read_all(&sums).unwrap().0);
}

#[test]
fn nothing_can_be_chosen() {
    let (_, sums) = eventful().finish_both(100);
    for options in [
        ReadOptions {
            from_ns: Some(1),
            ..ReadOptions::default()
        },
        ReadOptions {
            to_ns: Some(1),
            ..ReadOptions::default()
        },
        ReadOptions {
            thread: Some(100),
            ..ReadOptions::default()
        },
    ] {
        assert_eq!(
            read(&sums, &options).unwrap_err().to_string(),
            "block at byte 16: the recording holds sums in place of events (`--mode aggregate`): \
             nothing can be chosen from it by time or thread"
        );
    }
}

#[test]
fn what_a_jit_compiler_told_is_kept() {
    let mut aggregator = Aggregator::new(&process());
    aggregator.map(b"/tmp/perf-1.map", b"1000 10 f\n");
    let file = aggregator.end(&End::default(), Vec::new()).unwrap();
    let maps = heapatlas_formats::trace::code_maps(&file).unwrap();
    assert_eq!(maps[0].path, "/tmp/perf-1.map");
    assert_eq!(maps[0].contents, b"1000 10 f\n");
}

#[test]
fn cut_at_every_byte() {
    let (_, sums) = eventful().finish_both(100);
    let whole = read_all(&sums).unwrap();
    let process_end = blocks(&sums)[1].0;
    for length in 0..sums.len() {
        match read_all(&sums[..length]) {
            Err(error) => assert!(length < process_end, "{length}: {error}"),
            Ok((profile, warnings)) => {
                assert!(length >= process_end);
                assert!(warnings.len() <= whole.1.len() + 1, "{warnings:?}");
                let last = &warnings.last().expect("one says what is missing").message;
                assert!(
                    last.contains("not ended in good order") || last.contains("is not whole"),
                    "{length}: {last}"
                );
                assert_eq!(profile.figures.len(), profile.stacks.len());
            }
        }
    }
}

/// An aggregate file with blocks of sums of one's own before its end.
fn file_with(payloads: &[&[u8]]) -> Vec<u8> {
    let file = Aggregator::new(&process())
        .end(&End::default(), Vec::new())
        .unwrap();
    let blocks = blocks(&file);
    let end = blocks
        .iter()
        .find(|(_, header)| header.kind == BlockKind::End as u8);
    let (before, after) = file.split_at(end.unwrap().0);
    let mut file = before.to_vec();
    for payload in payloads {
        let header = BlockHeader::new(BlockKind::Sums, Codec::Plain, payload, payload.len());
        file.extend_from_slice(&header.to_bytes());
        file.extend_from_slice(payload);
    }
    [&file[..], after].concat()
}

#[test]
fn rows_that_cannot_be() {
    #[track_caller]
    fn check(payload: &[u8], expected: &str) {
        let (profile, warnings) = read_all(&file_with(&[payload])).unwrap();
        let last = warnings.last().expect("it says what is wrong");
        assert!(last.is_loss);
        assert!(
            last.message
                .starts_with("the sums are not whole, what comes before was read: block at byte")
                && last.message.ends_with(expected),
            "{last:?}"
        );
        assert_eq!(profile.figures.len(), profile.stacks.len());
    }
    let row = |parent: u8, location: u8| [&[parent, location][..], &[0; 9]].concat();
    check(&[], "its payload is malformed: it ends too early");
    check(&[0, 1, 2], "its payload is malformed: it ends too early");
    check(&[1, 1, 5], "found module 0");
    check(&[2, 0, 0], "its payload is malformed: it ends too early");
    // The two empty stacks are there; a third has no location, or no parent.
    check(&[&[2][..], &row(0, 0)].concat(), "found location 0");
    check(&[&[2][..], &row(2, 0)].concat(), "found stack 2");
    check(&[&[4][..], &[1; 140]].concat(), "found more than 65 rows");
    check(
        // 9 ns, then 1 less.
        &[6, 18, 0, 0, 0, 1, 0, 0, 0],
        "expected times in their order, found 8 ns after a later one",
    );
    // A text of nearly 2^64 bytes.
    let long = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
    check(
        &[&[7, 0][..], &long].concat(),
        "its payload is malformed: it ends too early",
    );
    check(&[&[3, 0][..], &long].concat(), "it ends too early");
    check(&[8, 0, 0x80], "it ends too early");
}

#[test]
fn parts_of_later_versions_are_skipped() {
    let file = file_with(&[&[200, 1, 2, 3], &[7, 5, 1, b'a']]);
    let (profile, _) = read_all(&file).unwrap();
    assert_eq!(profile.marks[0].text, "a");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        repairs: bool,
    ) {
        let (_, mut file) = eventful().finish_both(100);
        for (index, byte) in changes {
            let at = index.index(file.len());
            file[at] = byte;
        }
        if repairs && file.len() > HEADER_BYTES {
            repair_checksums(&mut file);
        }
        if let Ok((profile, _)) = read_all(&file) {
            prop_assert_eq!(profile.figures.len(), profile.stacks.len());
        }
    }

    #[test]
    fn any_rows_never_panic(rows in prop::collection::vec(any::<u8>(), 0..200), part in 0_u8..10) {
        let payload = [&[part][..], &rows].concat();
        let (profile, _) = read_all(&file_with(&[&payload, &payload])).unwrap();
        prop_assert_eq!(profile.figures.len(), profile.stacks.len());
    }
}

#[test]
fn stacks_keep_their_shape() {
    let deep: Path = path(&(1..300).collect::<Vec<_>>());
    let mut recording = Recording::new(1);
    recording.allocate(0, &deep, 8, 16, 5);
    let (events, sums) = recording.finish_both(10);
    assert_same(&read_whole(&events), &read_whole(&sums));
}
