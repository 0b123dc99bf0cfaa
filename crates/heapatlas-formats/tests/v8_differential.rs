//! The fast reader against the trusted one, on files damaged in every way we can think of.

mod common;

use std::sync::{Arc, LazyLock};

use common::{
    check_readers_agree, micro_snapshots, read, real_snapshots, some_real_snapshots, write,
};
use heapatlas_model::{HeapGraph, StringTable, UintColumn};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

#[test]
fn readers_agree_on_all_fixtures() {
    for (_, bytes) in micro_snapshots().into_iter().chain(some_real_snapshots()) {
        check_readers_agree(&bytes);
    }
}

#[test]
fn readers_agree_on_files_of_every_length() {
    for (_, bytes) in micro_snapshots() {
        for length in (0..bytes.len()).step_by(common::SLOWNESS as usize) {
            check_readers_agree(&bytes[..length]);
        }
    }
}

#[test]
fn readers_agree_wherever_white_space_stands() {
    for (_, bytes) in micro_snapshots() {
        for mark in [&b","[..], b"[", b"]", b":", b"{", b"}"] {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let mark = std::str::from_utf8(mark).unwrap();
            for spaced in [
                format!("\n{mark}"),
                format!("{mark}\n"),
                format!(" {mark}\r\n\t"),
            ] {
                check_readers_agree(text.replace(mark, &spaced).as_bytes());
            }
        }
    }
}

/// A way to damage a file.
#[derive(Clone, Debug)]
enum Damage {
    SetByte(Index, u8),
    FlipBit(Index, u8),
    Delete(Index, usize),
    Insert(Index, &'static str),
    /// Copies a piece to another place.
    Copy(Index, usize, Index),
    ReplaceNumber(Index, &'static str),
    Truncate(Index),
}

/// Texts that stand, or should not stand, in snapshots.
const PIECES: [&str; 44] = [
    ",",
    "[",
    "]",
    "{",
    "}",
    ":",
    "\"",
    "\\",
    "\n",
    "\r\n",
    " ",
    "\t",
    "0",
    "00",
    "-",
    "+",
    ".",
    "e",
    "null",
    "true",
    "\\u",
    "\\uD83D",
    "\\uDE00",
    "\\u0000",
    "\\x",
    "\0",
    "\u{7f}",
    "é",
    "😀",
    "\u{feff}",
    ",1,2,3",
    "[],",
    "{}",
    "\"a\":1,",
    "\"nodes\":[],",
    "\"edges\":[1,1,7],",
    "\"strings\":[\"\"],",
    "\"locations\":[7,1,2,3],",
    "\"samples\":[1,2],",
    "\"root_index\":5,",
    "\"trace_tree\":[1,0,0,0,[]],",
    "\"scopes\":[-2],",
    "\"scope_uses\":[1.5,-7],",
    "\"extra_native_bytes\":1e3,",
];

/// Numbers around the limits of the columns.
const NUMBERS: [&str; 28] = [
    "0",
    "-0",
    "00",
    "01",
    "1",
    "-1",
    "7",
    "15",
    "20",
    "21",
    "255",
    "256",
    "4294967295",
    "4294967296",
    "4294967297",
    "9007199254740993.0",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1.9",
    "-0.5",
    "1e2",
    "1.5e1",
    "1e-3",
    "1e400",
    "-1e400",
    "1.",
    "0x1",
];

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        1 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::SetByte(at, byte)),
        1 => (place(), 0..8_u8).prop_map(|(at, bit)| Damage::FlipBit(at, bit)),
        1 => (place(), 1..40_usize).prop_map(|(at, length)| Damage::Delete(at, length)),
        1 => (place(), prop::sample::select(&PIECES[..])).prop_map(|(at, text)| Damage::Insert(at, text)),
        1 => (place(), 1..200_usize, place()).prop_map(|(from, length, to)| Damage::Copy(from, length, to)),
        4 => (place(), prop::sample::select(&NUMBERS[..]))
            .prop_map(|(which, number)| Damage::ReplaceNumber(which, number)),
        1 => place().prop_map(Damage::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let size = bytes.len();
    let range = |at: &Index, length: usize| {
        let start = at.index(size);
        start..size.min(start + length)
    };
    match damage {
        Damage::SetByte(at, byte) => bytes[at.index(size)] = *byte,
        Damage::FlipBit(at, bit) => bytes[at.index(size)] ^= 1 << bit,
        Damage::Delete(at, length) => drop(bytes.drain(range(at, *length))),
        Damage::Insert(at, text) => drop(bytes.splice(range(at, 0), text.bytes())),
        Damage::Copy(from, length, to) => {
            let piece = bytes[range(from, *length)].to_vec();
            bytes.splice(range(to, 0), piece);
        }
        Damage::ReplaceNumber(which, number) => {
            let numbers = numbers(bytes);
            if !numbers.is_empty() {
                let range = which.get(&numbers).clone();
                bytes.splice(range, number.bytes());
            }
        }
        Damage::Truncate(at) => bytes.truncate(at.index(size)),
    }
}

/// Where digits stand together.
fn numbers(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut numbers: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
        match numbers.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => numbers.push(at..at + 1),
        }
    }
    numbers
}

/// Small files: the hand-made ones, and beginnings of real ones in each layout.
static SMALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut files: Vec<Vec<u8>> = micro_snapshots().into_iter().map(|(_, b)| b).collect();
    for (name, bytes) in real_snapshots() {
        let is_wanted = [
            "node20-features.heaptimeline",
            "node24-features.heaps",
            "page-1",
        ];
        if is_wanted.iter().any(|wanted| name.contains(wanted)) {
            let head = write(&head_of(read(&bytes).unwrap().graph));
            files.push(one_row_a_line(&head));
            files.push(head);
        }
    }
    files
});

/// The first nodes of a graph, with what fits them.
fn head_of(graph: HeapGraph) -> HeapGraph {
    const NODES: usize = 150;
    const STRINGS: usize = 120;
    let mut columns = graph.into_columns();
    let texts: Vec<String> = columns
        .strings
        .iter()
        .take(STRINGS)
        .map(Into::into)
        .collect();
    columns.strings = StringTable::from_texts(texts);
    let mut kept = Vec::new();
    let mut first_edge = vec![0];
    for node in 0..NODES {
        let edges = columns.first_edge[node]..columns.first_edge[node + 1];
        let edges = edges.map(|edge| edge as usize);
        kept.extend(edges.filter(|&edge| columns.edge_target[edge].index() < NODES));
        first_edge.push(kept.len() as u32);
    }
    columns.first_edge = first_edge;
    columns.edge_type = kept.iter().map(|&edge| columns.edge_type[edge]).collect();
    columns.edge_label = kept.iter().map(|&edge| columns.edge_label[edge]).collect();
    columns.edge_target = kept.iter().map(|&edge| columns.edge_target[edge]).collect();
    columns.node_type.truncate(NODES);
    columns.node_name.truncate(NODES);
    columns.object_id.truncate(NODES);
    columns.self_size = UintColumn::from_iter(columns.self_size.iter().take(NODES));
    columns.traces.trace_of_node.truncate(NODES);
    columns.traces.functions.truncate(20);
    columns.traces.nodes.truncate(40);
    columns.traces.samples.truncate(10);
    columns
        .locations
        .retain(|location| location.node.index() < NODES);
    let facts = columns.v8.as_mut().unwrap();
    if let Some(detachedness) = &mut facts.detachedness {
        detachedness.marked.retain(|(node, _)| node.index() < NODES);
    }
    HeapGraph::from_columns(columns).unwrap()
}

/// Rows of nodes and edges as older V8 lays them out: a line feed, then the comma.
fn one_row_a_line(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let fields = text[..text.find(']').unwrap()].matches(',').count() + 1;
    let lines = text.split('\n').map(|line| match line {
        _ if line.starts_with("\"nodes\"") => break_rows(line, fields),
        _ if line.starts_with("\"edges\"") => break_rows(line, 3),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

fn break_rows(line: &str, fields: usize) -> String {
    let (array, _) = line.rsplit_once("],").unwrap();
    let cells: Vec<&str> = array.split(',').collect();
    let rows: Vec<String> = cells.chunks(fields).map(|row| row.join(",")).collect();
    rows.join("\n,") + "\n],"
}

#[test]
fn rows_on_lines_are_the_same_graph() {
    for files in SMALL.chunks(2).skip(6) {
        let [on_lines, flat] = files else {
            panic!("two of each")
        };
        assert!(read(on_lines).unwrap().graph == read(flat).unwrap().graph);
    }
}

proptest! {
    #![proptest_config(common::cases(4096))]

    #[test]
    fn readers_agree_on_damaged_files(which in any::<Index>(), damages in vec(damage(), 1..3)) {
        let mut bytes = which.get(&SMALL).clone();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        check_readers_agree(&bytes);
    }
}

/// Big enough for several pieces, which are read in parallel.
static LARGE: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| {
    let mut files = real_snapshots();
    let (_, bytes) = files
        .find(|(name, _)| name.contains("node20-features.heaps"))
        .unwrap();
    Arc::new(bytes)
});

proptest! {
    #![proptest_config(common::cases(16))]

    #[test]
    fn readers_agree_on_a_damaged_large_file(damages in vec(damage(), 1..3)) {
        let mut bytes = LARGE.to_vec();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        check_readers_agree(&bytes);
    }
}
