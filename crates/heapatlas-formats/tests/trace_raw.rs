//! Files that a process wrote of itself: chunks in any order give the profile that a launcher's file gives; and damage.

mod recording;

use heapatlas_formats::trace::{End, ModuleInfo, ReadOptions, read};
use heapatlas_model::AllocationProfile;
use heapatlas_trace::Decoder;
use heapatlas_trace::file::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, HEADER_BYTES, header, raw_header,
};
use heapatlas_trace::payload::{ProcessInfo, Put, write_modules};
use heapatlas_trace::raw::{Chunk, ChunkKind};
use proptest::prelude::*;
use recording::{
    Recording, START_TICK, amount, assert_same, blocks, cut_off, path, process, read_all,
    read_whole, repair_checksums,
};

/// When all recordings here end.
const END: u64 = 100_000;

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Put for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A raw file that is being written.
struct Raw(Vec<u8>);

impl Raw {
    fn new() -> Self {
        let mut raw = Self(raw_header().to_vec());
        let mut payload = Bytes::default();
        ProcessInfo {
            // The chunks tell.
            ticks_per_second: 0,
            ..process()
        }
        .write(&mut payload);
        raw.block(BlockKind::Process, &payload.0);
        raw
    }

    fn block(&mut self, kind: BlockKind, payload: &[u8]) {
        let header = BlockHeader::new(kind, Codec::Plain, payload, payload.len());
        self.0.extend_from_slice(&header.to_bytes());
        self.0.extend_from_slice(payload);
    }

    fn chunk(&mut self, chunk: &Chunk<'_>) {
        let mut payload = Bytes::default();
        chunk.write_head(&mut payload);
        payload.put(chunk.bytes);
        self.block(BlockKind::Chunk, &payload.0);
    }

    fn modules(&mut self, list: u64, time: u64, modules: &[ModuleInfo<'_>]) {
        let mut payload = Bytes::default();
        write_modules(&mut payload, START_TICK + time, modules);
        let (head, tail) = payload.0.split_at(payload.0.len() / 2);
        for (sequence, kind, bytes) in [
            (1, ChunkKind::Modules, head),
            (2, ChunkKind::ModulesEnd, tail),
        ] {
            self.chunk(&Chunk {
                kind,
                is_last_piece: true,
                thread: list,
                sequence,
                bytes,
                ..Chunk::default()
            });
        }
    }

    fn end(mut self) -> Vec<u8> {
        let mut payload = Bytes::default();
        End {
            tick: START_TICK + END,
            elapsed_ns: END,
            status: Some(3 << 8),
            dropped_events: 5,
            ..End::default()
        }
        .write(&mut payload);
        self.block(BlockKind::End, &payload.0);
        self.0
    }
}

/// The chunks of a recording as they would have been written, in its order, and each thread's in their order.
fn chunks(recording: &Recording) -> Vec<Chunk<'_>> {
    let mut sequences = [0; 8];
    let chunk = |(thread, base_tick, bytes): &'_ (u64, u64, Vec<u8>)| {
        let sequence = &mut sequences[*thread as usize];
        *sequence += 1;
        (*thread, *base_tick, bytes.len(), *sequence)
    };
    let heads: Vec<_> = recording.gathered.iter().map(chunk).collect();
    let names = [&b"worker 0"[..], b"worker 1", b"worker 2", b"worker 3"];
    heads
        .into_iter()
        .zip(&recording.gathered)
        .map(|((thread, base_tick, _, sequence), (_, _, bytes))| Chunk {
            kind: ChunkKind::Events,
            is_last_piece: true,
            thread,
            os_thread_id: 100 + thread,
            sequence,
            from: 0,
            base_tick,
            tick: START_TICK + END,
            elapsed_ns: END,
            resident_bytes: END << 12,
            thread_name: names[thread as usize],
            bytes,
        })
        .collect()
}

/// Cuts a chunk in two pieces, behind so many events.
fn pieces<'a>(chunk: &Chunk<'a>, events: usize) -> [Chunk<'a>; 2] {
    let mut rest = chunk.bytes;
    let mut decoder = Decoder::new();
    for _ in 0..events {
        decoder.next(&mut rest).unwrap();
    }
    let (head, tail) = chunk.bytes.split_at(chunk.bytes.len() - rest.len());
    let first = Chunk {
        is_last_piece: false,
        bytes: head,
        ..*chunk
    };
    let second = Chunk {
        from: head.len() as u64,
        bytes: tail,
        ..*chunk
    };
    [first, second]
}

/// Two threads. Each allocates 100 bytes four times, in a chunk each; nothing is freed.
fn sample() -> Vec<u8> {
    let mut recording = Recording::new(2);
    for round in 0..4 {
        let time = 100 * round;
        let stack = path(&[round + 1, 9]);
        recording.allocate(0, &stack, 100, 16 * round + 8, time + 10);
        recording.allocate(1, &cut_off(&[5]), 100, 16 * round + 16, time + 20);
        recording.next_chunk(0);
        recording.next_chunk(1);
    }
    recording.gather(END);
    let mut raw = Raw::new();
    raw.modules(50, 0, &[Default::default()]);
    for chunk in chunks(&recording) {
        raw.chunk(&chunk);
    }
    raw.end()
}

fn of_threads(profile: &AllocationProfile) -> [u64; 2] {
    let blocks = |id| {
        let thread = profile
            .threads
            .iter()
            .find(|thread| thread.os_thread_id == id);
        thread.map_or(0, |thread| thread.total.blocks)
    };
    [blocks(100), blocks(101)]
}

#[test]
fn what_is_written_late_comes_in_its_place() {
    let mut recording = Recording::new(3);
    recording.modules(
        0,
        &[ModuleInfo {
            path: b"/bin/a",
            start: 0,
            end: 1000,
            ..Default::default()
        }],
    );
    recording.modules(
        500,
        &[ModuleInfo {
            path: b"/lib/b",
            start: 0,
            end: 1000,
            ..Default::default()
        }],
    );
    // Thread 0 makes a block and is silent for long; thread 1 frees it, and thread 2 gets its address.
    recording.allocate(0, &path(&[1, 2]), 10, 64, 100);
    recording.free(1, 64, 200);
    recording.allocate(2, &path(&[3]), 20, 64, 300);
    recording.next_chunk(2);
    recording.begin(2, 64, 400);
    recording.end(2, &path(&[4]), 30, 128, 450);
    recording.mark(1, "here", 600);
    recording.allocate(0, &path(&[1, 2]), 40, 64, 700);
    recording.allocate(0, &path(&[7, 2]), 50, 256, 800);
    recording.gather(END);
    let mut raw = Raw::new();
    for chunk in chunks(&recording).iter().rev() {
        raw.chunk(chunk);
    }
    raw.modules(
        61,
        500,
        &[ModuleInfo {
            path: b"/lib/b",
            start: 0,
            end: 1000,
            ..Default::default()
        }],
    );
    raw.modules(
        60,
        0,
        &[ModuleInfo {
            path: b"/bin/a",
            start: 0,
            end: 1000,
            ..Default::default()
        }],
    );
    let found = read_whole(&raw.end());
    assert_eq!(found.total, amount(150, 5));
    assert_eq!(found.frees, 2);
    assert_eq!(found.dropped_events, 5);
    assert_same(&found, &read_whole(&recording.finish(END)));
}

#[derive(Clone, Debug)]
struct Step {
    thread: usize,
    action: u8,
    block: u64,
    size: u64,
    apart: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..4_usize, 0..12_u8, 0..24_u64, 0..5000_u64, 1..9_u64);
    let step = step.prop_map(|(thread, action, block, size, apart)| Step {
        thread,
        action,
        block,
        size,
        apart,
    });
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// Threads that free and reallocate each other's blocks, with chunks that end anywhere, some in pieces, written
    /// in any order.
    #[test]
    fn as_a_launcher_s_file(steps in steps(), order: Vec<u16>, cuts: Vec<u8>) {
        let mut recording = Recording::new(4);
        let mut live = [false; 24];
        let mut time = 0;
        recording.allocate(0, &path(&[1]), 1, 8, 0);
        for Step { thread, action, block, size, apart } in steps {
            time += apart;
            let address = 64 * (block + 1);
            let stack = path(&[size % 7 + 1, block % 3 + 20, 99]);
            let is_live = &mut live[block as usize];
            match action {
                0..=7 if !*is_live => {
                    recording.allocate(thread, &stack, size, address, time);
                    *is_live = true;
                }
                0..=4 => {
                    recording.free(thread, address, time);
                    *is_live = false;
                }
                5..=7 => {
                    recording.begin(thread, address, time);
                    recording.end(thread, &stack, size, address, time);
                }
                8 => recording.mark(thread, "mark", time),
                _ => recording.next_chunk(thread),
            }
        }
        recording.gather(END);
        let mut written = Vec::new();
        for (index, chunk) in chunks(&recording).into_iter().enumerate() {
            match cuts.get(index) {
                Some(&cut) => written.extend(pieces(&chunk, usize::from(cut % 8) + 1)),
                None => written.push(chunk),
            }
        }
        for (index, &other) in order.iter().enumerate() {
            let count = written.len().max(1);
            written.swap(index % count, usize::from(other) % count);
        }
        let mut raw = Raw::new();
        for chunk in &written {
            raw.chunk(chunk);
        }
        assert_same(&read_whole(&raw.end()), &read_whole(&recording.finish(END)));
    }

    /// Any bytes in any places, with right sums, too.
    #[test]
    fn changed_bytes(changes: Vec<(u16, u8)>, has_right_sums: bool) {
        let mut file = sample();
        for (at, byte) in changes {
            let at = usize::from(at) % file.len();
            file[at] = byte;
        }
        if has_right_sums {
            repair_checksums(&mut file);
        }
        let part = ReadOptions { from_ns: Some(100), to_ns: Some(1 << 40), thread: Some(101) };
        let _ = (read_all(&file), read(&file, &part));
    }
}

#[test]
fn cut_at_every_byte() {
    let file = sample();
    assert_eq!(read_whole(&file).total, amount(800, 8));
    let blocks = blocks(&file);
    for length in 0..file.len() {
        let found = read_all(&file[..length]);
        if length < blocks[1].0 {
            assert!(found.is_err(), "{length}");
            continue;
        }
        let (profile, warnings) = found.unwrap();
        let is_whole = |(offset, header): &&(usize, BlockHeader)| {
            header.kind == BlockKind::Chunk as u8
                && offset + BLOCK_HEADER_BYTES + header.stored_bytes as usize <= length
        };
        // Two of them are the list of modules.
        let whole = blocks.iter().filter(is_whole).count().saturating_sub(2) as u64;
        assert_eq!(profile.total, amount(100 * whole, whole), "{length}");
        assert!(warnings.iter().any(|warning| warning.is_loss), "{length}");
    }
}

#[test]
fn flipped_at_every_byte() {
    let file = sample();
    let first = blocks(&file)[1].0;
    for at in HEADER_BYTES..file.len() {
        for bit in [1, 0x80] {
            let mut changed = file.clone();
            changed[at] ^= bit;
            let found = read_all(&changed);
            let Ok((profile, warnings)) = found else {
                assert!(at < first, "{at}");
                continue;
            };
            // Two bytes of a block's header mean nothing.
            let is_harmless = warnings.is_empty() && profile.total == amount(800, 8);
            let is_loss = warnings.iter().any(|warning| warning.is_loss);
            assert!(is_harmless || is_loss && at >= first, "{at}");
            // One thread may miss one of its chunks, with what comes behind it.
            let counts = of_threads(&profile);
            assert!(counts.contains(&4), "{at}: {counts:?}");
        }
    }
}

#[test]
fn a_flag_that_is_lost_does_not_lose_the_file() {
    let mut file = sample();
    file[..HEADER_BYTES].copy_from_slice(&header());
    assert_eq!(read_whole(&file).total, amount(800, 8));
}

#[test]
fn one_thread_s_missing_chunk_is_nobody_else_s() {
    let file = sample();
    let all = blocks(&file);
    // The second chunk of thread 0: process, two of modules, four of each thread, end.
    let (from, header) = all[3 + 1];
    let end = from + BLOCK_HEADER_BYTES + header.stored_bytes as usize;
    let mut cut = file.clone();
    // A hole, as it is left by a write that failed.
    cut[from..end].fill(0);
    let (profile, warnings) = read_all(&cut).unwrap();
    assert_eq!(of_threads(&profile), [1, 4]);
    let messages: Vec<_> = warnings
        .iter()
        .map(|warning| warning.message.as_str())
        .collect();
    let next = all[3 + 2].0;
    assert_eq!(
        messages,
        [
            format!(
                "what comes before byte {next} is left out: block at byte {from}: expected a block (`HTB1`), \
                 found `\\x00\\x00\\x00\\x00`"
            ),
            format!(
                "the events of thread 0 are left out from the block at byte {next} on: what comes before them \
                 is missing"
            ),
        ]
    );
    assert!(warnings.iter().all(|warning| warning.is_loss));
}

#[test]
fn lists_of_modules_that_are_not_whole() {
    let mut file = sample();
    let (from, header) = blocks(&file)[2];
    let end = from + BLOCK_HEADER_BYTES + header.stored_bytes as usize;
    file.drain(from..end);
    let (profile, warnings) = read_all(&file).unwrap();
    assert_eq!(profile.total, amount(800, 8));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.starts_with("1 lists of loaded files"));
}

/// Marks of blocks everywhere, each of which would have to be summed up.
#[test]
fn a_file_of_nothing_but_marks_is_given_up() {
    let mut file = Raw::new().0;
    let fake = BlockHeader {
        kind: BlockKind::Chunk as u8,
        codec: 0,
        stored_bytes: 60_000,
        raw_bytes: 60_000,
        crc32: 1,
    };
    for _ in 0..100_000 {
        file.extend_from_slice(&fake.to_bytes());
    }
    let (profile, warnings) = read_all(&file).unwrap();
    assert_eq!(profile.total, amount(0, 0));
    assert!(warnings.len() < 30);
}

/// The file that the fuzzer begins with is of this version.
#[test]
fn the_seed_is_the_sample() {
    assert_eq!(
        include_bytes!("../../../fixtures/record/raw.heaptrace"),
        &sample()[..]
    );
}
