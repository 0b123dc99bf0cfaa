//! Leaks as JSON.
//!
//! The form is that of [`JsonEmitter`](super::JsonEmitter). The files of the Dart package `ffi_leak_tracker` are read as well: an
//! array whose elements are objects, or strings with an object in them, and whose stacks are text.
//!
//! All functions are `#[inline]`: they are compiled where a program uses them, and cost nothing in others.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::allocation::{Allocation, SourceLocation, StackFrame, ThreadLabel};
use super::json_reader::{self, Json, JsonError, Value};
use super::time_text;
use crate::json::Writer;

/// The version that is written, and the newest that is read.
const VERSION: u64 = 1;
const VERSION_FIELD: &str = "heapatlas_leaks";

/// Why a file of leaks cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakFileError {
    leak: Option<usize>,
    at: usize,
    problem: String,
}

impl LeakFileError {
    /// Which of the leaks it is, counted from 0.
    #[inline]
    pub fn leak_index(&self) -> Option<usize> {
        self.leak
    }

    /// The byte at which the problem was met; for a leak that is a string in the file, within that string.
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    #[inline]
    fn new(json: &Json<'_>, problem: String) -> Self {
        Self {
            leak: None,
            at: json.at,
            problem,
        }
    }
}

impl From<JsonError> for LeakFileError {
    #[inline]
    fn from(error: JsonError) -> Self {
        Self {
            leak: None,
            at: error.at,
            problem: format!("not well-formed JSON: {}", error.problem),
        }
    }
}

impl fmt::Display for LeakFileError {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leak, at, problem } = self;
        match leak {
            Some(index) => write!(f, "leak {index}, byte {at}: {problem}"),
            None => write!(f, "byte {at}: {problem}"),
        }
    }
}

impl std::error::Error for LeakFileError {}

/// Reads leaks that [`JsonEmitter`](super::JsonEmitter) wrote, or the Dart package `ffi_leak_tracker`.
///
/// # Errors
/// The text is not JSON, not such a file, of a newer version, or a field is missing or not what it should be; the error says which
/// and where.
#[inline]
pub fn read_leaks(text: &str) -> Result<Vec<Allocation>, LeakFileError> {
    let file = json_reader::read(text)?;
    let leaks = match &file.value {
        Value::Array(leaks) => leaks,
        Value::Object(_) => leaks_of_file(&file)?,
        _ => {
            let problem = format!("an object or an array is expected, not {}", file.kind());
            return Err(LeakFileError::new(&file, problem));
        }
    };
    let numbered = leaks.iter().enumerate();
    numbered
        .map(|(index, leak)| {
            read_element(leak).map_err(|error| LeakFileError {
                leak: Some(index),
                ..error
            })
        })
        .collect()
}

#[inline]
fn leaks_of_file<'f, 'a>(file: &'f Json<'a>) -> Result<&'f [Json<'a>], LeakFileError> {
    let version: u64 = number(required(file, VERSION_FIELD)?, VERSION_FIELD)?;
    if version == 0 || version > VERSION {
        let problem = format!(
            "version {version} of the format is not known; this heapatlas reads up to {VERSION}"
        );
        return Err(LeakFileError::new(file, problem));
    }
    let leaks = required(file, "leaks")?;
    match &leaks.value {
        Value::Array(leaks) => Ok(leaks),
        _ => Err(mismatch(leaks, "leaks", "an array")),
    }
}

/// Dart puts each leak into a string.
#[inline]
fn read_element(leak: &Json<'_>) -> Result<Allocation, LeakFileError> {
    match &leak.value {
        Value::String(text) => Allocation::from_json(text),
        _ => read_leak(leak),
    }
}

impl Allocation {
    /// The allocation as a JSON object.
    #[inline]
    pub fn to_json(&self) -> String {
        let mut out = Writer::new();
        write_leak(&mut out, self);
        out.finish()
    }

    /// Reads what [`Self::to_json`] wrote, or `Allocation.toJson` of the Dart package.
    ///
    /// # Errors
    /// As [`read_leaks`].
    #[inline]
    pub fn from_json(text: &str) -> Result<Self, LeakFileError> {
        read_leak(&json_reader::read(text)?)
    }
}

#[inline]
fn read_leak(leak: &Json<'_>) -> Result<Allocation, LeakFileError> {
    if !matches!(leak.value, Value::Object(_)) {
        let problem = format!("a leak should be an object, not {}", leak.kind());
        return Err(LeakFileError::new(leak, problem));
    }
    Ok(Allocation {
        address: address(required(leak, "address")?)?,
        type_name: string(required(leak, "type")?, "type")?.to_owned().into(),
        size_bytes: number(required(leak, "size")?, "size")?,
        timestamp: timestamp(required(leak, "timestamp")?)?,
        stack: stack(required(leak, "stack")?)?,
        thread: optional(leak, "thread").map_or(Ok(ThreadLabel::default()), thread)?,
        scope: optional_text(leak, "scope")?,
        location: match optional(leak, "location") {
            Some(location) => source_location(location)?,
            None => None,
        },
    })
}

#[inline]
fn required<'f, 'a>(object: &'f Json<'a>, name: &str) -> Result<&'f Json<'a>, LeakFileError> {
    object
        .member(name)
        .ok_or_else(|| LeakFileError::new(object, format!("missing required field `{name}`")))
}

#[inline]
fn optional<'f, 'a>(object: &'f Json<'a>, name: &str) -> Option<&'f Json<'a>> {
    object
        .member(name)
        .filter(|json| !matches!(json.value, Value::Null))
}

#[inline]
fn optional_text(object: &Json<'_>, name: &str) -> Result<Option<String>, LeakFileError> {
    let Some(json) = optional(object, name) else {
        return Ok(None);
    };
    Ok(Some(string(json, name)?.to_owned()))
}

#[inline]
fn optional_number(object: &Json<'_>, name: &str) -> Result<u32, LeakFileError> {
    optional(object, name).map_or(Ok(0), |json| number(json, name))
}

#[inline]
fn mismatch(json: &Json<'_>, name: &str, expected: &str) -> LeakFileError {
    let problem = format!("field `{name}` must be {expected}, not {}", json.kind());
    LeakFileError::new(json, problem)
}

#[inline]
fn string<'f>(json: &'f Json<'_>, name: &str) -> Result<&'f str, LeakFileError> {
    match &json.value {
        Value::String(text) => Ok(text),
        _ => Err(mismatch(json, name, "a string")),
    }
}

#[inline]
fn number<N: std::str::FromStr>(json: &Json<'_>, name: &str) -> Result<N, LeakFileError> {
    let Value::Number(text) = json.value else {
        return Err(mismatch(json, name, "a whole number"));
    };
    text.parse().map_err(|_| {
        let problem = format!("field `{name}` must be a whole number within range, not {text}");
        LeakFileError::new(json, problem)
    })
}

/// Dart's numbers have a sign: tagged addresses are negative there.
#[inline]
fn address(json: &Json<'_>) -> Result<u64, LeakFileError> {
    number::<u64>(json, "address")
        .or_else(|error| number::<i64>(json, "address").map_or(Err(error), |n| Ok(n as u64)))
}

#[inline]
fn timestamp(json: &Json<'_>) -> Result<SystemTime, LeakFileError> {
    let text = string(json, "timestamp")?;
    time_text::from_text(text).ok_or_else(|| {
        let problem = format!("field `timestamp`: invalid ISO 8601 time {text:?}");
        LeakFileError::new(json, problem)
    })
}

#[inline]
fn thread(json: &Json<'_>) -> Result<ThreadLabel, LeakFileError> {
    if !matches!(json.value, Value::Object(_)) {
        return Err(mismatch(json, "thread", "an object"));
    }
    Ok(ThreadLabel {
        number: optional_number(json, "number")?,
        name: optional_text(json, "name")?,
    })
}

/// Of a location or a frame; none without a file.
#[inline]
fn source_location(json: &Json<'_>) -> Result<Option<SourceLocation>, LeakFileError> {
    let Some(file) = optional_text(json, "file")? else {
        return Ok(None);
    };
    Ok(Some(SourceLocation {
        file: file.into(),
        line: optional_number(json, "line")?,
        column: optional_number(json, "column")?,
    }))
}

#[inline]
fn stack(json: &Json<'_>) -> Result<Arc<[StackFrame]>, LeakFileError> {
    match &json.value {
        Value::Array(frames) => frames.iter().map(frame).collect(),
        Value::String(text) => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            Ok(lines.map(frame_of_line).collect())
        }
        _ => Err(mismatch(json, "stack", "an array or a string")),
    }
}

#[inline]
fn frame(json: &Json<'_>) -> Result<StackFrame, LeakFileError> {
    if !matches!(json.value, Value::Object(_)) {
        return Err(mismatch(json, "stack", "an array of objects"));
    }
    Ok(StackFrame {
        function: optional_text(json, "function")?,
        location: source_location(json)?,
        address: optional(json, "address").map_or(Ok(0), address)?,
        module: optional_text(json, "module")?,
    })
}

/// `#0      main (file:///a.dart:10:5)`. Lines that are no frames stay as they are.
#[inline]
fn frame_of_line(line: &str) -> StackFrame {
    let text = without_number(line);
    let parts = text
        .strip_suffix(')')
        .and_then(|text| text.rsplit_once(" ("));
    let located = parts.and_then(|(function, place)| Some((function, location_of_text(place)?)));
    let (function, location) = match located {
        Some((function, location)) => (function, Some(location)),
        None => (text, None),
    };
    StackFrame {
        function: Some(function.to_owned()),
        location,
        address: 0,
        module: None,
    }
}

#[inline]
fn without_number(line: &str) -> &str {
    let Some(rest) = line.strip_prefix('#') else {
        return line;
    };
    let text = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if text.len() < rest.len() && text.starts_with(char::is_whitespace) {
        text.trim_start()
    } else {
        line
    }
}

/// `file:10:5` or `file:10`.
#[inline]
fn location_of_text(text: &str) -> Option<SourceLocation> {
    let (rest, last) = text.rsplit_once(':')?;
    let last = last.parse().ok()?;
    let with_column = rest
        .rsplit_once(':')
        .and_then(|(file, line)| Some((file, line.parse().ok()?, last)));
    let (file, line, column) = with_column.unwrap_or((rest, last, 0));
    Some(SourceLocation {
        file: file.to_owned().into(),
        line,
        column,
    })
}

/// All leaks as a file, each in a line.
#[inline]
pub(crate) fn write(leaks: &[Allocation]) -> String {
    let mut out = Writer::new();
    out.open('{').key(VERSION_FIELD).number(VERSION);
    out.key("leaks").open('[');
    for leak in leaks {
        write_leak(out.line(), leak);
    }
    out.close(']').close('}');
    out.finish() + "\n"
}

#[inline]
fn write_leak(out: &mut Writer, leak: &Allocation) {
    out.open('{').key("address").number(leak.address);
    out.key("type").string(&leak.type_name);
    out.key("size").number(leak.size_bytes);
    out.key("timestamp")
        .string(&time_text::to_text(leak.timestamp));
    if leak.thread != ThreadLabel::default() {
        let ThreadLabel { number, name } = &leak.thread;
        out.key("thread").open('{').key("number").number(*number);
        write_text(out, "name", name.as_deref());
        out.close('}');
    }
    write_text(out, "scope", leak.scope.as_deref());
    if let Some(location) = &leak.location {
        out.key("location").open('{');
        write_location(out, location);
        out.close('}');
    }
    out.key("stack").open('[');
    for frame in &*leak.stack {
        write_frame(out, frame);
    }
    out.close(']').close('}');
}

#[inline]
fn write_frame(out: &mut Writer, frame: &StackFrame) {
    out.open('{').key("address").number(frame.address);
    write_text(out, "function", frame.function.as_deref());
    write_text(out, "module", frame.module.as_deref());
    if let Some(location) = &frame.location {
        write_location(out, location);
    }
    out.close('}');
}

#[inline]
fn write_location(out: &mut Writer, location: &SourceLocation) {
    out.key("file").string(&location.file);
    out.key("line").number(location.line);
    out.key("column").number(location.column);
}

#[inline]
fn write_text(out: &mut Writer, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        out.key(name).string(text);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn allocation() -> Allocation {
        Allocation {
            address: 0x7fff_1234_5678,
            size_bytes: 64,
            type_name: "a::Packet<\"quoted\">".into(),
            timestamp: UNIX_EPOCH + Duration::from_micros(1_795_609_800_123_456),
            thread: ThreadLabel {
                number: 3,
                name: Some("tests::näme\n\u{1}".into()),
            },
            scope: Some("tests::näme".into()),
            location: Some(SourceLocation {
                file: "src\\main.rs".into(),
                line: 7,
                column: 5,
            }),
            stack: Arc::new([
                StackFrame {
                    function: Some("a::make::{{closure}}".into()),
                    location: Some(SourceLocation {
                        file: "src/main.rs".into(),
                        line: 7,
                        column: 0,
                    }),
                    address: 77,
                    module: None,
                },
                StackFrame {
                    function: None,
                    location: None,
                    address: u64::MAX,
                    module: Some("/lib/libc.so.6+0x1234".into()),
                },
            ]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let known = allocation();
        let unknown = Allocation {
            thread: ThreadLabel::default(),
            scope: None,
            location: None,
            stack: Arc::new([]),
            ..allocation()
        };
        for leaks in [vec![], vec![known.clone()], vec![unknown.clone(), known]] {
            assert_eq!(read_leaks(&write(&leaks)), Ok(leaks));
        }
        assert_eq!(Allocation::from_json(&unknown.to_json()), Ok(unknown));
    }

    /// As the Dart package writes it: strings with indented objects in an indented array.
    const DART: &str = r##"[
  "{\n  \"address\": 94230812345,\n  \"type\": \"Utf8\",\n  \"size\": 24,\n  \"timestamp\": \"2026-11-25T12:30:00.123456\",\n  \"stack\": \"#0      main (file:///home/me/bin/demo.dart:10:17)\\n#1      _delayEntrypointInvocation.<anonymous closure> (dart:isolate-patch/isolate_patch.dart:314:19)\\n<asynchronous suspension>\\n\"\n}",
  {"address": -5, "type": "Pointer<Int32>", "size": 0, "timestamp": "2026-11-25T12:30:00.123456Z", "stack": ""}
]"##;

    #[test]
    fn files_of_the_dart_package_are_read() {
        let leaks = read_leaks(DART).unwrap();
        assert_eq!(leaks.len(), 2);
        let first = &leaks[0];
        assert_eq!(
            (first.address, &*first.type_name, first.size_bytes),
            (94_230_812_345, "Utf8", 24)
        );
        assert_eq!(
            first.timestamp,
            UNIX_EPOCH + Duration::from_micros(1_795_609_800_123_456)
        );
        let lines: Vec<String> = first.stack.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "main (file:///home/me/bin/demo.dart:10:17)",
                "_delayEntrypointInvocation.<anonymous closure> (dart:isolate-patch/isolate_patch.dart:314:19)",
                "<asynchronous suspension>",
            ]
        );
        let place = first.stack[0].location.as_ref().unwrap();
        assert_eq!(
            (&*place.file, place.line, place.column),
            ("file:///home/me/bin/demo.dart", 10, 17)
        );
        assert_eq!(leaks[1].address, u64::MAX - 4);
    }

    #[test]
    fn errors_name_field_and_place() {
        let good = r#"{"address": 1, "type": "T", "size": 2, "timestamp": "2026-11-25T12:30:00Z", "stack": []}"#;
        assert!(read_leaks(&format!("[{good}]")).is_ok());
        for (from, to, message) in [
            (
                "\"size\": 2, ",
                "",
                "leak 1, byte 91: missing required field `size`",
            ),
            (
                "\"size\": 2",
                "\"size\": \"2\"",
                "leak 1, byte 127: field `size` must be a whole number, not a string",
            ),
            (
                "\"size\": 2",
                "\"size\": 2.5",
                "leak 1, byte 127: field `size` must be a whole number within range, not 2.5",
            ),
            (
                "\"size\": 2",
                "\"size\": -2",
                "leak 1, byte 127: field `size` must be a whole number within range, not -2",
            ),
            (
                "\"T\"",
                "null",
                "leak 1, byte 114: field `type` must be a string, not null",
            ),
            (
                "11-25",
                "13-25",
                "leak 1, byte 143: field `timestamp`: invalid ISO 8601 time \"2026-13-25T12:30:00Z\"",
            ),
            (
                "[]",
                "7",
                "leak 1, byte 176: field `stack` must be an array or a string, not a number",
            ),
            (
                "[]",
                "[7]",
                "leak 1, byte 177: field `stack` must be an array of objects, not a number",
            ),
            (
                "{",
                "{\"thread\": 4,",
                "leak 1, byte 102: field `thread` must be an object, not a number",
            ),
        ] {
            let text = format!("[{good}, {}]", good.replacen(from, to, 1));
            let error = read_leaks(&text).expect_err(&text);
            assert_eq!(error.to_string(), message);
            assert_eq!(error.leak_index(), Some(1));
        }
        for (text, message) in [
            (
                "7",
                "byte 0: an object or an array is expected, not a number",
            ),
            ("{}", "byte 0: missing required field `heapatlas_leaks`"),
            (
                "{\"heapatlas_leaks\": 1}",
                "byte 0: missing required field `leaks`",
            ),
            (
                "{\"heapatlas_leaks\": 2, \"leaks\": []}",
                "byte 0: version 2 of the format is not known; this heapatlas reads up to 1",
            ),
            (
                "{\"heapatlas_leaks\": 1, \"leaks\": 5}",
                "byte 32: field `leaks` must be an array, not a number",
            ),
            (
                "[5]",
                "leak 0, byte 1: a leak should be an object, not a number",
            ),
            (
                r#"["{\"address\": 1}"]"#,
                "leak 0, byte 0: missing required field `type`",
            ),
            (
                r#"["{"]"#,
                "leak 0, byte 1: not well-formed JSON: the name of a field is expected, in quotes",
            ),
            ("[", "byte 1: not well-formed JSON: a value is expected"),
        ] {
            assert_eq!(read_leaks(text).expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn cut_or_changed_anywhere_it_does_not_panic() {
        let text = write(&[allocation(), allocation()]);
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            if end + 1 < text.len() {
                assert!(read_leaks(&text[..end]).is_err());
            }
            for sign in ['"', '{', ']', '9', '\\', ':'] {
                let rest = text[end..].chars().skip(1).collect::<String>();
                let _ = read_leaks(&format!("{}{sign}{rest}", &text[..end]));
            }
        }
    }
}
