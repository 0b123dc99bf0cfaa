use super::*;
use crate::jit::tests::names;

/// A file of records as (id, body).
fn dump(records: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [MAGIC, 1, 40, 62, 0, 1, 0, 0, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    for (id, body) in records {
        let size = (RECORD_HEADER_BYTES + body.len()) as u32;
        bytes.extend([id.to_le_bytes(), size.to_le_bytes()].concat());
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(body);
    }
    bytes
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

fn load(start: u64, size: u64, index: u64, name: &str) -> (u32, Vec<u8>) {
    let mut body = numbers(&[0, start, start, size, index]);
    body.extend(name.bytes().chain([0, 0x90, 0x90]));
    (0, body)
}

fn moved(from: u64, to: u64, size: u64, index: u64) -> (u32, Vec<u8>) {
    (1, numbers(&[0, from, from, to, size, index]))
}

fn lines(start: u64, entries: &[(u64, u32, &[u8])]) -> (u32, Vec<u8>) {
    let mut body = numbers(&[start, entries.len() as u64]);
    for (address, line, file) in entries {
        body.extend(address.to_le_bytes());
        body.extend([line.to_le_bytes(), [0; 4]].concat());
        body.extend(file.iter().chain(&[0]));
    }
    body.resize(body.len().next_multiple_of(8), 0);
    (2, body)
}

/// Checks addresses against `function file line`.
fn check(records: &[(u32, Vec<u8>)], expected: &[(u64, &str)]) {
    check_bytes(&dump(records), expected, None);
}

fn check_bytes(bytes: &[u8], expected: &[(u64, &str)], damage: Option<usize>) {
    let (warning, found) = names(expected, |unnamed| resolve("x.dump", bytes, unnamed));
    let expected: Vec<_> = expected.iter().map(|(_, name)| *name).collect();
    assert_eq!(found, expected);
    let offset = warning.map(|warning| match warning {
        Warning::DamagedJitFile { offset, .. } => offset,
        other => panic!("{other}"),
    });
    assert_eq!(offset, damage);
}

#[test]
fn the_last_function_at_an_address_is_right() {
    let records = [load(0x100, 0x20, 1, "old"), load(0x110, 0x20, 2, "new")];
    let expected = [
        (0xff, ""),
        (0x100, "old  0"),
        (0x110, "new  0"),
        (0x12f, "new  0"),
        (0x130, ""),
    ];
    check(&records, &expected);
}

#[test]
fn lines_belong_to_the_load_after_them() {
    let entries = [
        (0x100, 3, &b"a.js"[..]),
        (0x108, 5, &[255]),
        (0x110, 9, b"b.js"),
    ];
    let records = [
        lines(0x100, &entries),
        load(0x100, 0x20, 1, "f"),
        load(0x100, 4, 2, "g"),
    ];
    check(
        &records,
        &[
            (0x100, "g  0"),
            (0x107, "f a.js 3"),
            (0x108, "f a.js 5"),
            (0x11f, "f b.js 9"),
        ],
    );
}

#[test]
fn a_function_takes_its_lines_along() {
    let entries = [(0x100, 3, &b"a.js"[..]), (0x108, 5, b"a.js")];
    let records = [
        lines(0x100, &entries),
        load(0x100, 0x20, 1, "f"),
        moved(0x100, 0x900, 0x20, 1),
    ];
    check(&records, &[(0x90f, "f a.js 5"), (0x100, "f a.js 3")]);
}

#[test]
fn lines_of_v8_are_shifted() {
    let records = [
        lines(0x100, &[(0x140, 3, b"a.js"), (0x148, 4, b"a.js")]),
        load(0x100, 0x10, 1, "f"),
    ];
    check(&records, &[(0x100, "f a.js 3"), (0x109, "f a.js 4")]);
}

#[test]
fn lines_outside_of_the_code_are_not_believed() {
    let records = [
        lines(0x100, &[(0x100, 3, b"a.js"), (0x900, 4, b"a.js")]),
        load(0x100, 0x10, 1, "f"),
    ];
    check(&records, &[(0x100, "f  0")]);
}

#[test]
fn a_damaged_file_counts_up_to_there() {
    let whole = dump(&[load(0x100, 0x20, 1, "f"), load(0x200, 0x20, 2, "g")]);
    let second = 40 + (whole.len() - 40) / 2;
    check_bytes(
        &whole[..whole.len() - 1],
        &[(0x100, "f  0"), (0x200, "")],
        Some(second),
    );
    check_bytes(&whole[..second + 3], &[(0x100, "f  0")], Some(second));
    check_bytes(&whole[..30], &[(0x100, "")], Some(8));
    check_bytes(b"", &[(0x100, "")], Some(0));
    check_bytes(b"perf map?", &[(0x100, "")], Some(0));
    for length in 0..whole.len() {
        names(&[(0x100, "")], |unnamed| {
            resolve("x.dump", &whole[..length], unnamed)
        });
    }
}
