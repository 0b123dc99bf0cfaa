//! Numbers and strings as JSON text, appended to a byte vector.

use heapatlas_model::{StringEncoding, StringId, StringTable, decode_json};

/// Appends a number. The formatter of `std` goes through a trait object and a padding check for
/// each number, which is most of the time of writing a big file.
#[inline]
pub(super) fn push_number(text: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        text.push(b'0' + value as u8);
        return;
    }
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    while value >= 10 {
        start -= 2;
        let pair = (value % 100) as u8;
        value /= 100;
        digits[start] = b'0' + pair / 10;
        digits[start + 1] = b'0' + pair % 10;
    }
    if value > 0 {
        start -= 1;
        digits[start] = b'0' + value as u8;
    }
    text.extend_from_slice(&digits[start..]);
}

/// Appends a number that may be negative.
pub(super) fn push_signed(text: &mut Vec<u8>, value: i64) {
    if value < 0 {
        text.push(b'-');
    }
    push_number(text, value.unsigned_abs());
}

/// Appends an entry of a table in quotes: as the file spelled it where that is JSON, else escaped.
pub(super) fn push_table_entry(text: &mut Vec<u8>, strings: &StringTable, id: StringId) {
    let raw = strings.raw(id).unwrap_or_default();
    let is_json = strings.encoding() == StringEncoding::Json;
    if raw.iter().all(|&byte| is_plain(byte)) || (is_json && is_inside_of_json_string(raw)) {
        text.push(b'"');
        text.extend_from_slice(raw);
        text.push(b'"');
    } else if is_json {
        push_string(text, &decode_json(raw));
    } else {
        push_string(text, &String::from_utf8_lossy(raw));
    }
}

/// Appends a string in quotes, escaped as V8 does: ASCII only, DEL as it is. Unlike V8, which
/// cuts them to 16 bits, characters above U+FFFF become a pair of surrogates.
pub(super) fn push_string(text: &mut Vec<u8>, string: &str) {
    text.push(b'"');
    for unit in string.encode_utf16() {
        match unit {
            0x08 => text.extend_from_slice(b"\\b"),
            0x09 => text.extend_from_slice(b"\\t"),
            0x0A => text.extend_from_slice(b"\\n"),
            0x0C => text.extend_from_slice(b"\\f"),
            0x0D => text.extend_from_slice(b"\\r"),
            0x22 => text.extend_from_slice(b"\\\""),
            0x5C => text.extend_from_slice(b"\\\\"),
            0x20..0x80 => text.push(unit as u8),
            _ => text.extend_from_slice(format!("\\u{unit:04X}").as_bytes()),
        }
    }
    text.push(b'"');
}

/// Whether a byte stands for itself in a JSON string and is ASCII.
#[inline]
fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// Whether the bytes, put in quotes, are a JSON string. A reader that decodes late lets broken
/// escapes and stray bytes pass; they must not get into a file of ours.
fn is_inside_of_json_string(raw: &[u8]) -> bool {
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'\\' => match after.split_first() {
                Some((b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', after)) => after,
                Some((b'u', after)) => match after.split_at_checked(4) {
                    Some((digits, after)) if digits.iter().all(u8::is_ascii_hexdigit) => after,
                    _ => return false,
                },
                _ => return false,
            },
            b'"' | 0..0x20 => return false,
            _ => after,
        };
    }
    raw.is_ascii() || std::str::from_utf8(raw).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapatlas_model::UintColumn;
    use std::sync::Arc;

    #[test]
    fn numbers_read_as_std_writes_them() {
        let mut values = vec![0, u64::MAX, u64::from(u32::MAX)];
        for exponent in 0..20 {
            let power = 10_u64.pow(exponent);
            values.extend([power - 1, power, power + 1, power.saturating_mul(9)]);
        }
        for value in values {
            let mut text = Vec::new();
            push_number(&mut text, value);
            assert_eq!(text, value.to_string().as_bytes());
        }
        for value in [0, -1, 7, -10, i64::MIN, i64::MAX] {
            let mut text = Vec::new();
            push_signed(&mut text, value);
            assert_eq!(text, value.to_string().as_bytes());
        }
    }

    #[track_caller]
    fn check_string(string: &str, expected: &str) {
        let mut text = Vec::new();
        push_string(&mut text, string);
        assert_eq!(String::from_utf8_lossy(&text), expected);
        // Another JSON reader sees the same string.
        assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), string);
    }

    #[test]
    fn strings_are_escaped_as_v8_does() {
        check_string("plain /", r#""plain /""#);
        check_string("\u{8}\u{c}\n\r\t\"\\", r#""\b\f\n\r\t\"\\""#);
        check_string("\0\u{1f}\u{7f}", "\"\\u0000\\u001F\u{7f}\"");
        check_string("é\u{ffff}😀", r#""\u00E9\uFFFF\uD83D\uDE00""#);
    }

    #[track_caller]
    fn check_entry(raw: &[u8], encoding: StringEncoding, expected: &str) {
        let starts: UintColumn = [0].into_iter().collect();
        let lengths: UintColumn = [raw.len() as u64].into_iter().collect();
        let table = StringTable::new(Arc::new(raw.to_vec()), encoding, starts, lengths);
        let mut text = Vec::new();
        push_table_entry(&mut text, &table, StringId(0));
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }

    #[test]
    fn entries_of_a_json_file_keep_their_spelling_where_it_is_json() {
        let json = StringEncoding::Json;
        check_entry(br"a\u00e9\/\n", json, r#""a\u00e9\/\n""#);
        check_entry(br"\uD83D", json, r#""\uD83D""#);
        check_entry("é".as_bytes(), json, "\"é\"");
        check_entry(br"\q", json, r#""\\q""#);
        check_entry(br"\u12", json, r#""\\u12""#);
        check_entry(b"\\", json, r#""\\""#);
        check_entry(b"a\nb", json, r#""a\nb""#);
        check_entry(b"\xff", json, r#""\uFFFD""#);
        check_entry(br"\n", StringEncoding::Utf8, r#""\\n""#);
    }
}
