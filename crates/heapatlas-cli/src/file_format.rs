//! What kind of file this is, by its content. Stands in until `heapatlas_formats` tells.

/// A kind of file that people hand to a heap tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileFormat {
    /// A V8 heap snapshot or timeline, or anything else: the reader says what is wrong with it.
    V8Snapshot,
    /// A V8 sampling profile (`.heapprofile`).
    V8SamplingProfile,
    /// A Dart heap snapshot.
    DartSnapshot,
    /// An executable, a library or a core dump.
    Elf,
    /// Compressed once more inside of a compressed file.
    Compressed,
}

/// Looks at the head of an (unpacked) file.
pub fn detect(bytes: &[u8]) -> FileFormat {
    let head = &bytes[..bytes.len().min(512)];
    if head.starts_with(b"dartheap") {
        FileFormat::DartSnapshot
    } else if head.starts_with(b"\x7fELF") {
        FileFormat::Elf
    } else if crate::unpack::Compression::of(head).is_some() {
        FileFormat::Compressed
    } else if starts_with_json_keys(head, [b"\"head\"", b"\"callFrame\""]) {
        FileFormat::V8SamplingProfile
    } else {
        FileFormat::V8Snapshot
    }
}

/// Whether the text begins with two objects, one in the other, with these first keys.
fn starts_with_json_keys(head: &[u8], keys: [&[u8]; 2]) -> bool {
    let dense: Vec<u8> = head
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let start = [b"{", keys[0], b":{", keys[1], b":"].concat();
    dense
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&dense)
        .starts_with(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_content() {
        assert_eq!(detect(b"dartheap\x01"), FileFormat::DartSnapshot);
        assert_eq!(
            detect(b"{ \"head\": {\"callFrame\": {"),
            FileFormat::V8SamplingProfile
        );
        assert_eq!(detect(b"{\"snapshot\":{\"meta\":{"), FileFormat::V8Snapshot);
        assert_eq!(detect(b""), FileFormat::V8Snapshot);
    }
}
