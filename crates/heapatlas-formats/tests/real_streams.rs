//! What a real program's recorder sent, as it was gathered: the same goes to a writer and to an aggregator.
//!
//! `fixtures/record/threads.heaptrace` is of `threads.c` beside it (`gcc -g -O1 -pthread`): the segments in `events`
//! blocks, each with what one gathering found, threads and modules in between, the end but no index. 104 threads come and
//! go, three of them side by side, and free each other's blocks.

mod recording;

use heapatlas_formats::trace::{Aggregator, End, ModuleInfo, Segment, ThreadInfo, Writer};
use heapatlas_model::AllocationProfile;
use heapatlas_trace::file::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, HEADER_BYTES};
use heapatlas_trace::payload::{ProcessInfo, read_events, read_modules};
use recording::{assert_same, read_all, read_whole};

fn fixture() -> Vec<u8> {
    include_bytes!("../../../fixtures/record/threads.heaptrace").to_vec()
}

/// What stands in each block.
fn payloads(file: &[u8]) -> Vec<(BlockKind, Vec<u8>)> {
    let mut payloads = Vec::new();
    let mut rest = &file[HEADER_BYTES..];
    while let Some(header) = rest.first_chunk().and_then(BlockHeader::from_bytes) {
        let (stored, behind) = rest[BLOCK_HEADER_BYTES..].split_at(header.stored_bytes as usize);
        let payload = match Codec::from_code(header.codec) {
            Some(Codec::Plain) => stored.to_vec(),
            _ => zstd::bulk::decompress(stored, header.raw_bytes as usize).expect("whole"),
        };
        let kind = BlockKind::from_code(header.kind).expect("a known kind");
        payloads.push((kind, payload));
        rest = behind;
    }
    payloads
}

/// Tells both the same, and gives their files.
fn write(blocks: &[(BlockKind, Vec<u8>)]) -> (Vec<u8>, Vec<u8>) {
    let process = ProcessInfo::read(&blocks[0].1).expect("a process");
    let mut writer = Writer::new(Vec::new(), &process)
        .expect("memory takes everything")
        .with_exact_times();
    let mut aggregator = Aggregator::new(&process);
    let mut end = End::default();
    for (kind, payload) in &blocks[1..] {
        match kind {
            BlockKind::Thread => {
                let thread = ThreadInfo::read(payload).expect("a thread");
                writer.thread(&thread).expect("written");
                aggregator.thread(&thread);
            }
            BlockKind::Modules => {
                let (tick, modules) = read_modules(payload).expect("modules");
                let modules: Vec<ModuleInfo<'_>> = modules.map(Result::unwrap).collect();
                writer.modules(tick, &modules).expect("written");
                aggregator.modules(tick, &modules);
            }
            BlockKind::Events => {
                let (header, segments) = read_events(payload).expect("events");
                let segments: Vec<Segment<'_>> = segments.map(Result::unwrap).collect();
                let (tick, elapsed, resident) =
                    (header.tick, header.elapsed_ns, header.resident_bytes);
                let segments = segments.iter().copied();
                aggregator.events(tick, elapsed, resident, segments.clone());
                writer
                    .events(tick, elapsed, resident, segments)
                    .expect("written");
            }
            BlockKind::End => end = End::read(payload).expect("an end"),
            other => panic!("{other:?} is not in the fixture"),
        }
    }
    (
        writer.end(&end).expect("written"),
        aggregator.end(&end, Vec::new()).expect("written"),
    )
}

#[test]
fn three_ways_to_the_same_figures() {
    let file = fixture();
    // Without an index, but with its end: nothing is missing.
    let (gathered, warnings) = read_all(&file).expect("readable");
    assert!(
        warnings.iter().all(|warning| !warning.is_loss),
        "{warnings:?}"
    );
    let (events, sums) = write(&payloads(&file));
    let (events, sums): (AllocationProfile, AllocationProfile) =
        (read_whole(&events), read_whole(&sums));
    assert_same(&gathered, &events);
    assert_same(&gathered, &sums);
    // What the program does: 50 times 500 blocks that others free, 3 times 20,000 temporary ones and one that stays,
    // and what the system allocates for each thread.
    assert_eq!(sums.threads.len(), 104);
    assert!(
        (85_003..86_000).contains(&sums.total.blocks),
        "{:?}",
        sums.total
    );
    assert!((60_000..60_200).contains(&sums.temporary.blocks));
    assert!(sums.live_at_end.blocks >= 3);
}
