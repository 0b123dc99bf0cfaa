//! Makes the insides of strings valid JSON, for comparing a reader that does not look at them
//! with one that does. Also a part of the fuzz target `v8_differential`.

/// The same bytes, but in strings bad escapes, control characters and bytes that are not UTF-8
/// became `x`, and halves of surrogate pairs U+FFFD.
pub fn repair_strings(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    let mut at = 0;
    while let Some(quote) = find(&repaired, at, b'"') {
        let end = end_of_string(&repaired, quote + 1);
        repair_inside(&mut repaired[quote + 1..end]);
        at = end + 1;
    }
    repaired
}

fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.iter()
        .position(|&byte| byte == wanted)
        .map(|at| from + at)
}

/// The position of the closing quote, or the end of the bytes.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() && bytes[at] != b'"' {
        at += 1 + usize::from(bytes[at] == b'\\');
    }
    at.min(bytes.len())
}

fn repair_inside(inside: &mut [u8]) {
    let mut at = 0;
    while at < inside.len() {
        at += match inside[at] {
            b'\\' => repair_escape(&mut inside[at..]),
            0..0x20 => blank(&mut inside[at..], 1),
            _ => 1,
        };
    }
    while let Err(error) = std::str::from_utf8(inside) {
        let bad = error.valid_up_to();
        inside[bad] = b'x';
    }
}

/// Repairs the escape at the head; gives the bytes it takes.
fn repair_escape(text: &mut [u8]) -> usize {
    match text.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
        Some(b'u') => match text.get(2..6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                let is_surrogate = matches!(digits[0], b'd' | b'D') && digits[1] >= b'8';
                if is_surrogate {
                    text[2..6].copy_from_slice(b"FFFD");
                }
                6
            }
            _ => blank(text, 2),
        },
        Some(_) => blank(text, 2),
        None => blank(text, 1),
    }
}

fn blank(text: &mut [u8], count: usize) -> usize {
    text[..count].fill(b'x');
    count
}
