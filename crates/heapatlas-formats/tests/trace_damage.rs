//! Files that are not as they were written: cut, changed, lying. Never a panic, and what is whole is read.

mod recording;

use heapatlas_formats::trace::{ProcessInfo, ReadOptions, Segment, Writer, code_maps, read};
use heapatlas_model::AllocationProfile;
use heapatlas_trace::crc32;
use heapatlas_trace::file::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, HEADER_BYTES};
use proptest::prelude::*;
use recording::{
    Recording, amount, blocks, cut_off, path, process, read_all, read_whole, repair_checksums,
};

/// Four gatherings of two threads, each of which allocates 100 bytes and frees nothing.
fn sample() -> Vec<u8> {
    let mut recording = Recording::new(2);
    recording.modules(0, &[Default::default()]);
    for gathering in 0..4 {
        let time = 100 * gathering;
        recording.allocate(
            0,
            &path(&[gathering + 1, 9]),
            40,
            16 * gathering + 8,
            time + 10,
        );
        recording.allocate(1, &cut_off(&[5]), 60, 16 * gathering + 16, time + 20);
        recording.gather(time + 30);
    }
    recording.writer.map(b"map", b"text").unwrap();
    recording.finish(1000)
}

/// The offset of the n-th block of a kind.
fn block(file: &[u8], kind: BlockKind, n: usize) -> (usize, BlockHeader) {
    let of_kind = |(_, header): &(usize, BlockHeader)| header.kind == kind as u8;
    blocks(file).into_iter().filter(of_kind).nth(n).unwrap()
}

/// What a file of one's own blocks holds: process, then these.
fn file_of(payloads: &[(u8, &[u8])]) -> Vec<u8> {
    let mut file = Writer::new(Vec::new(), &process())
        .unwrap()
        .end(&Default::default())
        .unwrap();
    file.truncate(blocks(&file)[1].0);
    for (kind, payload) in payloads {
        let header = BlockHeader::new(BlockKind::Events, Codec::Plain, payload, payload.len());
        file.extend_from_slice(
            &BlockHeader {
                kind: *kind,
                ..header
            }
            .to_bytes(),
        );
        file.extend_from_slice(payload);
    }
    file
}

#[track_caller]
fn check_error(file: &[u8], expected: &str) {
    assert_eq!(read_all(file).unwrap_err().to_string(), expected);
}

/// One warning about something that is lost; the profile of the rest.
#[track_caller]
fn check_loss(file: &[u8], expected: &str) -> AllocationProfile {
    let (profile, warnings) = read_all(file).unwrap();
    let messages: Vec<_> = warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    assert_eq!(messages, [expected]);
    assert!(warnings[0].is_loss);
    profile
}

#[test]
fn cut_at_every_byte() {
    let file = sample();
    assert_eq!(read_whole(&file).total, amount(400, 8));
    let (first, end) = (blocks(&file)[1].0, block(&file, BlockKind::End, 0));
    let end = end.0 + BLOCK_HEADER_BYTES + end.1.stored_bytes as usize;
    for length in 0..file.len() {
        let read = read_all(&file[..length]);
        if length < first {
            let error = read.unwrap_err().to_string();
            assert!(
                error.contains("the file ends here") || length == 0,
                "{error}"
            );
            continue;
        }
        let (profile, warnings) = read.unwrap();
        let whole = (0..4).filter(|&n| {
            let (offset, header) = block(&file, BlockKind::Columns, n);
            length >= offset + BLOCK_HEADER_BYTES + header.stored_bytes as usize
        });
        let whole = whole.count() as u64;
        assert_eq!(
            profile.live_at_end,
            amount(100 * whole, 2 * whole),
            "{length}"
        );
        assert_eq!(warnings.len(), 1, "{length}: {warnings:?}");
        assert_eq!(warnings[0].is_loss, length < end, "{length}: {warnings:?}");
    }
}

#[test]
fn a_killed_writer_s_warning() {
    let file = sample();
    let (offset, _) = block(&file, BlockKind::Columns, 2);
    check_loss(
        &file[..offset],
        &format!(
            "the recording was not ended in good order, what comes before was read: block at byte \
             {offset}: the file ends here, another block, or the end of the recording was expected"
        ),
    );
}

#[test]
fn what_is_no_trace() {
    check_error(b"", "header at byte 0: the file is empty");
    check_error(
        b"heaptrac",
        "header at byte 0: the file ends here, the rest of the header was expected",
    );
    check_error(
        b"heaptrace\x01\0\0\0\0\0\0",
        "header at byte 0: the trace is of version 1, and this reads version 2",
    );
    check_error(
        b"v 10400 3\n",
        "header at byte 0: this is not a heapatlas trace: `heaptrace` was expected",
    );
    let mut file = sample();
    file[HEADER_BYTES] = b'X';
    check_error(
        &file,
        "block at byte 16: expected a block (`HTB1`), found `XTB1`",
    );
}

#[test]
fn the_process_comes_first() {
    let file = sample();
    let without = [&file[..HEADER_BYTES], &file[blocks(&file)[1].0..]].concat();
    check_error(
        &without,
        "block at byte 16: expected the process as first block, found Thread",
    );
}

#[test]
fn a_changed_payload() {
    let mut file = sample();
    let (offset, header) = block(&file, BlockKind::Columns, 1);
    file[offset + BLOCK_HEADER_BYTES] ^= 1;
    let stored = &file[offset + BLOCK_HEADER_BYTES..][..header.stored_bytes as usize];
    let (expected, found) = (header.crc32, crc32(stored));
    let (profile, warnings) = read_all(&file).unwrap();
    assert_eq!(profile.total, amount(100, 2));
    assert!(
        warnings[0].message.ends_with(&format!(
            "block at byte {offset}: its checksum is {found:08x}, and {expected:08x} was expected"
        )),
        "{warnings:?}"
    );
}

#[test]
fn sizes_that_cannot_be() {
    let file = sample();
    let (offset, header) = block(&file, BlockKind::Columns, 1);
    let check = |header: BlockHeader, expected: &str| {
        let mut file = file.clone();
        file[offset..offset + BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let (profile, warnings) = read_all(&file).unwrap();
        assert_eq!(profile.total.blocks, 2);
        let text = &warnings[0].message;
        assert!(
            text.ends_with(&format!("block at byte {offset}: {expected}")),
            "{text}"
        );
    };
    let limit = 16 << 20;
    check(
        BlockHeader {
            stored_bytes: u32::MAX,
            ..header
        },
        &format!(
            "its payload should have {} bytes, and none has more than {limit}",
            u32::MAX
        ),
    );
    check(
        BlockHeader {
            raw_bytes: limit + 1,
            ..header
        },
        &format!(
            "its payload should have {} bytes, and none has more than {limit}",
            limit + 1
        ),
    );
    check(
        BlockHeader {
            stored_bytes: limit,
            ..header
        },
        "the file ends here, the rest of a block was expected",
    );
    check(
        BlockHeader { codec: 9, ..header },
        "its payload cannot be unpacked: codec 9 is unknown",
    );
    check(
        BlockHeader {
            codec: 0,
            raw_bytes: 5,
            ..header
        },
        &format!(
            "its payload cannot be unpacked: it has {} bytes, and its header says 5",
            header.stored_bytes
        ),
    );
}

#[test]
fn unknown_kinds_are_skipped() {
    let events = [
        0, 0, 0, /* thread 0, anew from tick 0 */ 0, 1, 0, /* 4 bytes */ 4, 1, 9, 2, 7,
    ];
    let file = file_of(&[(99, b"anything"), (3, &events), (200, b"")]);
    assert_eq!(read_all(&file).unwrap().0.total, amount(9, 1));
}

#[test]
fn a_stream_that_makes_no_sense_ends_there() {
    // An allocation of 9 bytes on stack 0 at address 8; then what is in question; then the same at 16.
    let check = |questionable: &[u8], expected: &str| {
        let stream = [&[1, 9, 2, 7], questionable, &[1, 9, 2, 1]].concat();
        let mut payload = vec![0, 0, 0, 7, 1, 0, stream.len() as u8];
        payload.extend_from_slice(&stream);
        // Another thread, which is not harmed.
        payload.extend_from_slice(&[8, 1, 0, 4, 1, 20, 8, 9]);
        let file = file_of(&[(3, &payload), (3, &payload)]);
        let (profile, warnings) = read_all(&file).unwrap();
        assert_eq!(profile.total, amount(9 + 40, 3), "{questionable:?}");
        assert_eq!(profile.figures.len(), profile.stacks.len());
        let text = &warnings[0].message;
        assert!(
            text.ends_with(&format!("left out from here on: {expected}")),
            "{warnings:?}"
        );
        assert!(text.contains("the events of thread 7"), "{text}");
    };
    check(
        &[6],
        "an event is malformed: an event is of the reserved kind 6",
    );
    // Stack 2, and no node; parent 3 of the first node; and more than 32 bits.
    check(&[2 << 3 | 1, 1, 1, 1], "there is no stack 2");
    check(&[3 << 3, 1], "there is no stack 3");
    check(&[0, 1, 4 << 3, 1], "there is no stack 4");
    check(
        &[0x81, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 1, 1],
        "an event is malformed: a stack number has more than 32 bits",
    );
    check(&[7, 99], "an event is malformed: it ends too early");
    check(
        &[0xFF; 11],
        "an event is malformed: a number has more than 64 bits",
    );
}

/// A payload of columns with one run of thread 7; empty ones are left out at the end.
fn columns(unit_bits: u8, columns: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![0, 0, 0, unit_bits, 1, 7, 0];
    let lengths = (0..9).map(|index| columns.get(index).map_or(0, |column| column.len() as u8));
    payload.extend(lengths);
    payload.extend(columns.concat());
    payload
}

#[test]
fn columns_that_make_no_sense_end_there() {
    let check = |payload: &[u8], expected: &str| {
        let (profile, warnings) = read_all(&file_of(&[(8, payload)])).unwrap();
        assert_eq!(profile.total.blocks, 1, "{payload:?}");
        let text = &warnings[0].message;
        let expected = format!(
            "the events of thread 7 are left out from here on: an event is malformed: {expected}"
        );
        assert!(text.ends_with(&expected), "{text}");
    };
    let cut = "it ends too early";
    let line = "a line of times has no event or rises too high";
    // Allocations of 9 bytes on stack 0, of which the first one is whole.
    let two = |lines: &[u8]| columns(0, &[&[1, 1], &[0, 0], &[], &[9, 9], &[2, 0], &[], lines]);
    check(&two(&[1, 0]), cut);
    check(&two(&[1, 0, 0, 5]), line);
    check(
        &two(&[1, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
        line,
    );
    check(
        &columns(0, &[&[1, 1], &[0], &[], &[9, 9], &[2, 0], &[], &[2, 0]]),
        cut,
    );
    check(
        &columns(0, &[&[1, 2], &[0], &[], &[9], &[2], &[], &[2, 0]]),
        cut,
    );
    check(
        &columns(0, &[&[1, 10], &[0], &[], &[9], &[2, 0], &[], &[1, 0]]),
        cut,
    );
    check(
        &columns(
            0,
            &[&[1, 6], &[0], &[], &[9], &[2], &[], &[1, 0], &[], &[9]],
        ),
        cut,
    );
    check(
        &columns(0, &[&[1, 7], &[0], &[], &[9], &[2], &[], &[1, 0]]),
        "an event is of the reserved kind 6",
    );
    check(
        &columns(
            99,
            &[&[1, 1], &[0, 0], &[], &[9, 9], &[2, 0], &[], &[1, 0, 1, 1]],
        ),
        line,
    );
}

#[test]
fn columns_that_lie_about_their_size() {
    let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
    let many_runs = [&[0, 0, 0, 0][..], &most].concat();
    let long_column = [&[0, 0, 0, 0, 1, 7, 0][..], &most, &[0; 8], &[1, 2, 3]].concat();
    let long_sum = [
        &[0, 0, 0, 0, 2, 7, 0][..],
        &most,
        &[0; 8],
        &[8, 0],
        &most,
        &[0; 8],
    ]
    .concat();
    let too_long = columns(0, &[&[1, 1]]);
    for payload in [
        &many_runs,
        &long_column,
        &long_sum,
        &too_long[..too_long.len() - 1].to_vec(),
    ] {
        let (profile, warnings) = read_all(&file_of(&[(8, payload)])).unwrap();
        assert_eq!(profile.total.blocks, 0);
        let text = &warnings[0].message;
        assert!(
            text.contains("its payload is malformed: it ends too early"),
            "{text}"
        );
    }
}

#[test]
fn parts_that_do_not_fit() {
    let file = sample();
    let (offset, header) = block(&file, BlockKind::Columns, 0);
    assert_eq!(header.codec, Codec::Streams as u8);
    let stored = &file[offset + BLOCK_HEADER_BYTES..][..header.stored_bytes as usize];
    let check = |codec: Codec, raw_bytes: u32, stored: &[u8], expected: &str| {
        let header = BlockHeader {
            raw_bytes,
            ..BlockHeader::new(BlockKind::Columns, codec, stored, 0)
        };
        let file = [&file_of(&[])[..], &header.to_bytes(), stored].concat();
        let (profile, warnings) = read_all(&file).unwrap();
        assert_eq!(profile.total.blocks, 0, "{expected}");
        let text = &warnings[0].message;
        assert!(
            text.contains(&format!("its payload cannot be unpacked: {expected}")),
            "{text}"
        );
    };
    let (raw_bytes, length) = (
        header.raw_bytes,
        "its parts do not have the length that its header says",
    );
    check(
        Codec::StreamsContinued,
        raw_bytes,
        stored,
        "it continues a block that is not there",
    );
    check(Codec::Streams, raw_bytes + 1, stored, length);
    check(Codec::Streams, raw_bytes - 1, stored, length);
    check(
        Codec::Streams,
        raw_bytes,
        &stored[..stored.len() - 1],
        "it ends too early",
    );
    check(Codec::Streams, raw_bytes, &[stored, &[0]].concat(), length);
    check(
        Codec::Streams,
        raw_bytes,
        &[0xFF; 11],
        "a number has more than 64 bits",
    );
    // A frame that unpacks to less than its part says, and one that is none.
    check(Codec::Streams, 5, &[5, 0], length);
    check(
        Codec::Streams,
        5,
        &[5, 4, 1, 2, 3, 4],
        "Unknown frame descriptor",
    );
}

/// Only the first block of a group is packed alone; all are read.
#[test]
fn small_blocks_go_on_where_the_one_before_ended() {
    let file = sample();
    let codecs = (0..4).map(|n| block(&file, BlockKind::Columns, n).1.codec);
    assert_eq!(codecs.collect::<Vec<_>>(), [2, 3, 3, 3]);
    assert_eq!(read_whole(&file).total, amount(400, 8));
}

#[test]
fn counts_are_not_believed() {
    let many = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    // Modules from tick 0 on; a segment of thread 0; a thread's name.
    let modules = [&[0][..], &many].concat();
    let segment = [&[0, 0, 0, 0, 0][..], &many].concat();
    let thread = [&[0, 0][..], &many].concat();
    for (kind, payload) in [(2, modules), (3, segment), (4, thread)] {
        let (profile, warnings) = read_all(&file_of(&[(kind, &payload)])).unwrap();
        assert_eq!(profile.total.blocks, 0);
        assert!(
            warnings[0]
                .message
                .contains("its payload is malformed: it ends too early")
        );
    }
}

#[test]
fn numbers_at_their_limits() {
    let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
    let allocation = [&[7, 31, 0][..], &most, &most, &most[..]].concat();
    let allocation = [&allocation[..1], &[31], &allocation[2..]].concat();
    let stream = [&allocation[..], &allocation, &[1 << 3 | 7, 11], &most, &[0]].concat();
    let payload = [
        &most[..],
        &most,
        &most,
        &[0, 1],
        &most,
        &[stream.len() as u8],
        &stream,
    ]
    .concat();
    let file = file_of(&[(3, &payload)]);
    for options in [
        ReadOptions::default(),
        ReadOptions {
            from_ns: Some(u64::MAX),
            to_ns: Some(u64::MAX),
            thread: None,
        },
        ReadOptions {
            from_ns: Some(5),
            to_ns: Some(0),
            thread: Some(0),
        },
    ] {
        read(&file, &options).unwrap();
    }
}

#[test]
fn a_clock_that_does_not_tick() {
    let process = ProcessInfo {
        arguments: [""; 0],
        ..ProcessInfo::default()
    };
    let mut writer = Writer::new(Vec::new(), &process).unwrap();
    let segment = Segment {
        thread: 0,
        base_tick: Some(0),
        bytes: &[1, 9, 2, 7],
        is_exclusive: false,
    };
    writer.events(10, 0, 0, [segment].into_iter()).unwrap();
    let (profile, warnings) = read_all(&writer.end(&Default::default()).unwrap()).unwrap();
    assert_eq!(profile.peak_time_ns, 7);
    assert!(
        warnings[0]
            .message
            .ends_with("ticks are taken as nanoseconds"),
        "{warnings:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        repairs: bool,
    ) {
        let mut file = sample();
        for (index, byte) in changes {
            let at = index.index(file.len());
            file[at] = byte;
        }
        if repairs && file.len() > HEADER_BYTES {
            repair_checksums(&mut file);
        }
        for thread in [None, Some(100)] {
            let options = ReadOptions { from_ns: Some(50), to_ns: Some(300), thread };
            if let (Ok((profile, _)), Ok(_)) = (read(&file, &options), read_all(&file)) {
                prop_assert_eq!(profile.figures.len(), profile.stacks.len());
            }
            let _ = code_maps(&file);
        }
    }
}
