//! Writing a graph and reading it again gives an equal graph.

mod common;

use common::{micro_snapshots, read_trusted, real_snapshots, write};

#[track_caller]
fn check_identity(name: &str, bytes: &[u8]) {
    let first = common::read(bytes)
        .unwrap_or_else(|e| panic!("{name}: {e}"))
        .graph;
    let written = write(&first);
    let second = common::read(&written)
        .unwrap_or_else(|e| panic!("{name}: {e}"))
        .graph;
    assert!(first == second, "{name}: another graph after writing");
    assert_eq!(
        written,
        write(&second),
        "{name}: another text after reading"
    );
}

#[test]
fn micro_snapshots_are_written_byte_for_byte() {
    for (name, bytes) in micro_snapshots() {
        check_identity(&name, &bytes);
        let written = write(&read_trusted(&bytes).unwrap().graph);
        assert_eq!(
            String::from_utf8_lossy(&written),
            String::from_utf8_lossy(&bytes),
            "{name}"
        );
    }
}

#[test]
fn real_snapshots_keep_everything() {
    for (name, bytes) in real_snapshots() {
        check_identity(&name, &bytes);
        let written = write(&read_trusted(&bytes).unwrap().graph);
        assert!(
            comparable(&name, &written) == comparable(&name, &bytes),
            "{name}"
        );
    }
}

/// A file without what may differ in our copy of it.
fn comparable(name: &str, bytes: &[u8]) -> Vec<u8> {
    // Timelines that were taken inside of the process have a wrong `trace_function_count`, two
    // less than there are. We write the right one, on the first line.
    let is_timeline = name.contains(".heaptimeline");
    let header = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    let bytes = &bytes[if is_timeline { header } else { 0 }..];
    // Older V8 writes each row on a line of its own; we do not.
    bytes
        .iter()
        .copied()
        .filter(|&byte| byte != b'\n')
        .collect()
}
