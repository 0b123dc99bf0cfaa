//! What a file is, by its first bytes and never by its name: `.heapsnapshot` is written by V8
//! and by Dart, and captures arrive renamed, packed and through pipes.

use std::fmt::Write;

use heapatlas_trace::file;

/// How many bytes [`detect`] wants to see; fewer do where the file is shorter.
pub const HEAD_BYTES: usize = 4096;

/// A kind of file.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FileFormat {
    /// Nothing, or nothing but white space.
    Empty,
    /// A heap snapshot of V8: `.heapsnapshot` or `.heaptimeline`.
    V8Snapshot,
    /// A sampling heap profile of V8: `.heapprofile`.
    V8SamplingProfile,
    /// A heap snapshot of the Dart VM.
    DartSnapshot,
    /// An allocation trace of our own recorder: `.heaptrace`.
    Heaptrace,
    /// Something packed by gzip; unpack and ask again.
    Gzip,
    /// Something packed by Zstandard; unpack and ask again.
    Zstd,
    /// The memory of a process.
    ElfCore,
    /// A program or shared library.
    Elf,
    /// A profile in pprof's format, unpacked.
    Pprof,
    /// What heaptrack records, unpacked.
    Heaptrack,
    /// A profile of DHAT, by valgrind or by the crate `dhat`.
    Dhat,
    /// JSON of another kind.
    OtherJson {
        /// The first key, if it is an object with one.
        first_key: Option<String>,
    },
    /// None of these.
    Unknown {
        /// The first bytes, at most eight.
        first_bytes: Vec<u8>,
    },
}

/// Tells what a file is by its first bytes; [`HEAD_BYTES`] of them are enough.
///
/// This is a guess good enough to pick a reader; only the reader can tell whether the file is
/// whole. Text may begin with a byte order mark and white space.
///
/// ```
/// use heapatlas_formats::detect::{FileFormat, detect};
/// assert_eq!(detect(b"{\"snapshot\":{\"meta\":{"), FileFormat::V8Snapshot);
/// assert_eq!(detect(b"dartheap\x05"), FileFormat::DartSnapshot);
/// assert_eq!(detect(b""), FileFormat::Empty);
/// ```
pub fn detect(head: &[u8]) -> FileFormat {
    if let Some(format) = by_magic(head) {
        return format;
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let text = text.trim_ascii_start();
    match text.first() {
        None => FileFormat::Empty,
        Some(b'{') => json_object(text),
        Some(b'[') if begins_json_array(text) => FileFormat::OtherJson { first_key: None },
        _ => FileFormat::Unknown {
            first_bytes: head[..head.len().min(8)].to_vec(),
        },
    }
}

impl FileFormat {
    /// What the file is, in words that complete the sentence "this is …".
    pub fn describe(&self) -> String {
        match self {
            Self::Empty => "an empty file".to_owned(),
            Self::V8Snapshot => "a V8 heap snapshot".to_owned(),
            Self::V8SamplingProfile => "a V8 sampling heap profile".to_owned(),
            Self::DartSnapshot => "a Dart heap snapshot".to_owned(),
            Self::Heaptrace => "an allocation trace".to_owned(),
            Self::Gzip => "a gzip file".to_owned(),
            Self::Zstd => "a Zstandard file".to_owned(),
            Self::ElfCore => "a core file".to_owned(),
            Self::Elf => "a program or shared library (ELF)".to_owned(),
            Self::Pprof => "a pprof profile".to_owned(),
            Self::Heaptrack => "a heaptrack recording".to_owned(),
            Self::Dhat => "a DHAT profile".to_owned(),
            Self::OtherJson { first_key: None } => "JSON of an unknown kind".to_owned(),
            Self::OtherJson {
                first_key: Some(key),
            } => format!("JSON of an unknown kind (its first key is `{key}`)"),
            Self::Unknown { first_bytes } => {
                format!(
                    "a file of an unknown kind (it begins with {})",
                    shown(first_bytes)
                )
            }
        }
    }
}

/// Bytes as a person can compare them: as text if they are, else in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return format!("`{}`", String::from_utf8_lossy(bytes));
    }
    let mut text = "the bytes".to_owned();
    for byte in bytes {
        let _ = write!(text, " {byte:02x}");
    }
    text
}

fn by_magic(head: &[u8]) -> Option<FileFormat> {
    Some(match head {
        [0x1F, 0x8B, ..] => FileFormat::Gzip,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => FileFormat::Zstd,
        _ if head.starts_with(b"dartheap") => FileFormat::DartSnapshot,
        _ if file::version(head).is_some() => FileFormat::Heaptrace,
        _ if head.starts_with(b"\x7FELF") => elf(head),
        _ if is_pprof(head) => FileFormat::Pprof,
        _ if is_heaptrack(head) => FileFormat::Heaptrack,
        _ => return None,
    })
}

/// ELF files tell their type in the 16-bit number at 16, in the byte order that byte 5 tells.
fn elf(head: &[u8]) -> FileFormat {
    const BIG_ENDIAN: u8 = 2;
    const CORE: u16 = 4;
    let file_type = match head.get(5..18) {
        Some(&[BIG_ENDIAN, .., high, low] | &[_, .., low, high]) => u16::from_be_bytes([high, low]),
        _ => 0,
    };
    if file_type == CORE {
        FileFormat::ElfCore
    } else {
        FileFormat::Elf
    }
}

/// A pprof profile has no magic. It is a protobuf message that begins with a sample type
/// (field 1), which is two string numbers: `0a <length> 08 <type> 10 <unit>`.
fn is_pprof(head: &[u8]) -> bool {
    matches!(head, [0x0A, 2..=12, 0x08, _, 0x10, ..])
}

/// A recording of heaptrack begins with its version and the format's, both hexadecimal:
/// `v 10400 3`.
fn is_heaptrack(head: &[u8]) -> bool {
    let Some(line) = head
        .strip_prefix(b"v ")
        .and_then(|rest| rest.split(|&b| b == b'\n').next())
    else {
        return false;
    };
    let mut numbers = line.split(|&byte| byte == b' ');
    let is_hex = |number: &[u8]| !number.is_empty() && number.iter().all(u8::is_ascii_hexdigit);
    numbers.next().is_some_and(is_hex) && numbers.all(is_hex)
}

fn json_object(text: &[u8]) -> FileFormat {
    let Some((first_key, value)) = first_member(text) else {
        return FileFormat::OtherJson { first_key: None };
    };
    let contains = |wanted: &str| memchr::memmem::find(text, wanted.as_bytes()).is_some();
    match first_key.as_str() {
        "snapshot" => FileFormat::V8Snapshot,
        _ if contains("\"callFrame\"") && contains("\"selfSize\"") => FileFormat::V8SamplingProfile,
        _ if contains("\"dhatFileVersion\"") => FileFormat::Dhat,
        // Members in another order: all of them are flat arrays. (A CPU profile has `nodes`,
        // too, but they are objects.)
        "nodes"
        | "edges"
        | "strings"
        | "locations"
        | "samples"
        | "trace_tree"
        | "trace_function_infos"
        | "scopes"
        | "scope_context_vars"
        | "scope_uses"
            if begins_flat_array(value) =>
        {
            FileFormat::V8Snapshot
        }
        _ => FileFormat::OtherJson {
            first_key: Some(first_key),
        },
    }
}

/// The first key of a JSON object, and what follows its colon.
fn first_member(text: &[u8]) -> Option<(String, &[u8])> {
    let rest = text.strip_prefix(b"{")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', rest)?;
    let (key, rest) = rest.split_at(end);
    let value = rest[1..].trim_ascii_start().strip_prefix(b":")?;
    let key = String::from_utf8_lossy(key).into_owned();
    Some((key, value.trim_ascii_start()))
}

fn begins_flat_array(value: &[u8]) -> bool {
    let inside = value.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| inside.first() != Some(&b'{'))
}

/// Other text may begin with a bracket, too: log lines and INI files do.
fn begins_json_array(text: &[u8]) -> bool {
    let inside = text[1..].trim_ascii_start();
    match inside.first() {
        None | Some(b'[' | b'{' | b'"' | b']' | b'-' | b'0'..=b'9') => true,
        _ => [&b"null"[..], b"true", b"false"]
            .iter()
            .any(|word| inside.starts_with(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &[u8], expected: FileFormat) {
        assert_eq!(detect(head), expected);
    }

    fn other_json(key: &str) -> FileFormat {
        FileFormat::OtherJson {
            first_key: Some(key.to_owned()),
        }
    }

    #[test]
    fn v8_snapshots_however_they_are_laid_out() {
        check(b"{\"snapshot\":{\"meta\":", FileFormat::V8Snapshot);
        check(
            b"\xEF\xBB\xBF\r\n {\r\n  \"snapshot\" : {",
            FileFormat::V8Snapshot,
        );
        check(b"{\"nodes\":[9,1,1", FileFormat::V8Snapshot);
        check(b"{\"strings\" : [ \"<dummy>\"", FileFormat::V8Snapshot);
        check(b"{\"edges\":[]", FileFormat::V8Snapshot);
    }

    #[test]
    fn other_json_files() {
        check(
            br#"{"head":{"callFrame":{"functionName":"(root)"},"selfSize":0"#,
            FileFormat::V8SamplingProfile,
        );
        check(br#"{"dhatFileVersion":2,"mode":"heap""#, FileFormat::Dhat);
        check(br#"{"nodes":[{"id":1,"callFrame":{}"#, other_json("nodes"));
        check(br#"{"name":"x"}"#, other_json("name"));
        check(b"{}", FileFormat::OtherJson { first_key: None });
        check(b"[{\"a\":1}]", FileFormat::OtherJson { first_key: None });
    }

    #[test]
    fn files_with_a_magic() {
        check(b"dartheap\x05", FileFormat::DartSnapshot);
        check(b"heaptrace\x01\0\0\0\0\0\0", FileFormat::Heaptrace);
        check(b"\x1f\x8b\x08\0", FileFormat::Gzip);
        check(b"\x28\xb5\x2f\xfd\x04", FileFormat::Zstd);
        check(
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0",
            FileFormat::ElfCore,
        );
        check(
            b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x04\0\x15",
            FileFormat::ElfCore,
        );
        check(
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0",
            FileFormat::Elf,
        );
        check(b"\x7fELF\x02", FileFormat::Elf);
        check(b"\x0a\x04\x08\x01\x10\x02\x0a\x04", FileFormat::Pprof);
        check(b"v 10400 3\nx /bin/ls\n", FileFormat::Heaptrack);
        // Of a later version: the reader says so.
        check(b"heaptrace\x02", FileFormat::Heaptrace);
    }

    #[test]
    fn everything_else() {
        let unknown = |bytes: &[u8]| FileFormat::Unknown {
            first_bytes: bytes.to_vec(),
        };
        check(b"", FileFormat::Empty);
        check(b"\xEF\xBB\xBF \r\n\t", FileFormat::Empty);
        check(b"hello, world", unknown(b"hello, w"));
        check(b"[section]\nkey=1", unknown(b"[section"));
        check(b"v is for vendetta", unknown(b"v is for"));
        check(&[0; 20], unknown(&[0; 8]));
    }

    #[test]
    fn descriptions_complete_a_sentence() {
        assert_eq!(detect(b"").describe(), "an empty file");
        assert_eq!(
            detect(b"hello").describe(),
            "a file of an unknown kind (it begins with `hello`)"
        );
        assert_eq!(
            detect(&[0, 0xFF]).describe(),
            "a file of an unknown kind (it begins with the bytes 00 ff)"
        );
        assert_eq!(
            detect(b"{\"a\":1}").describe(),
            "JSON of an unknown kind (its first key is `a`)"
        );
    }
}
