//! What the writer hands to its output, and when.

mod recording;

use std::io;

use heapatlas_formats::trace::{End, Segment, Writer};
use heapatlas_trace::file::{self, BlockHeader, BlockKind};
use heapatlas_trace::payload;
use heapatlas_trace::{Encoder, MAX_EVENT_BYTES};
use recording::process;

/// An output that remembers each write.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl io::Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn segment(bytes: &[u8]) -> Segment<'_> {
    Segment {
        thread: 0,
        base_tick: None,
        bytes,
        is_exclusive: false,
    }
}

/// Kind and raw payload of each block, which is one write; the file's header and tail left out.
fn blocks(writes: &Writes) -> Vec<(u8, u32)> {
    let blocks = writes
        .0
        .iter()
        .filter_map(|bytes| BlockHeader::from_bytes(bytes.first_chunk()?));
    blocks
        .map(|header| (header.kind, header.raw_bytes))
        .collect()
}

#[test]
fn each_block_is_one_write() {
    let mut writer = Writer::new(Writes::default(), &process()).unwrap();
    let (first, second) = (frees(1), frees(2));
    let segments = [segment(&first), segment(&second)];
    writer.events(10, 20, 30, segments.into_iter()).unwrap();
    let so_far = writer.bytes_written();
    let writes = writer.end(&End::default()).unwrap();
    let kinds: Vec<_> = blocks(&writes).into_iter().map(|(kind, _)| kind).collect();
    let expected = [
        BlockKind::Process,
        BlockKind::Columns,
        BlockKind::End,
        BlockKind::Index,
    ];
    assert_eq!(kinds, expected.map(|kind| kind as u8));
    // Header, four blocks, tail.
    assert_eq!(writes.0.len(), 6);
    assert_eq!(
        so_far,
        writes.0[..3]
            .iter()
            .map(|bytes| bytes.len() as u64)
            .sum::<u64>()
    );
}

#[test]
fn the_index_says_where_blocks_are() {
    let writer = Writer::new(Vec::new(), &process()).unwrap();
    let file = writer.end(&End::default()).unwrap();
    let index_offset = file::index_offset(&file).unwrap() as usize;
    let index = &file[index_offset + file::BLOCK_HEADER_BYTES..];
    let entries: Vec<_> = payload::read_index(index)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let header = file[entry.offset as usize..].first_chunk().unwrap();
        let header = BlockHeader::from_bytes(header).unwrap();
        assert_eq!(
            (header.kind, u64::from(header.raw_bytes)),
            (entry.kind, entry.raw_bytes)
        );
    }
}

#[test]
fn large_gatherings_are_split_and_large_segments_refused() {
    let chunk = frees(200_000);
    let mut writer = Writer::new(Writes::default(), &process()).unwrap();
    writer
        .events(10, 0, 0, (0..9).map(|_| segment(&chunk)))
        .unwrap();
    let too_large = vec![0; 13 << 20];
    let error = writer
        .events(20, 0, 0, [segment(&too_large)].into_iter())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let writes = writer.end(&End::default()).unwrap();
    let of_events = |&(kind, _): &(u8, u32)| kind == BlockKind::Columns as u8;
    let sizes: Vec<_> = blocks(&writes).into_iter().filter(of_events).collect();
    assert!(sizes.len() > 1, "{sizes:?}");
    assert!(sizes.iter().all(|(_, bytes)| bytes >> 20 < 8), "{sizes:?}");
}

/// A stream that makes no sense from some place on goes to the file as it is.
#[test]
fn damaged_segments_are_kept() {
    let mut writer = Writer::new(Writes::default(), &process()).unwrap();
    let mut bytes = frees(3);
    bytes.extend([6, 6, 6]);
    writer
        .events(10, 20, 30, [segment(&bytes)].into_iter())
        .unwrap();
    let writes = writer.end(&End::default()).unwrap();
    let kinds: Vec<_> = blocks(&writes).into_iter().map(|(kind, _)| kind).collect();
    let expected = [
        BlockKind::Process,
        BlockKind::Columns,
        BlockKind::Events,
        BlockKind::End,
        BlockKind::Index,
    ];
    assert_eq!(kinds, expected.map(|kind| kind as u8));
}

/// A stream of so many events.
fn frees(count: u64) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut stream = Vec::new();
    for number in 0..count {
        let mut out = [0; MAX_EVENT_BYTES];
        let address = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17 << 4;
        let length = encoder.free(&mut out, address, number);
        stream.extend_from_slice(&out[..length]);
    }
    stream
}
