//! Lengths of time as people write and read them.

/// `1.5s`, `200ms`, `3us`, `7ns`, `2m`; a bare number is seconds. In nanoseconds.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no time; times look like 1.5s, 200ms, 3"))?;
    let nanoseconds = match unit.trim() {
        "" | "s" => 1e9,
        "ms" => 1e6,
        "us" | "µs" => 1e3,
        "ns" => 1.0,
        "m" | "min" => 60e9,
        other => return Err(format!("unknown unit `{other}`; known: ns, us, ms, s, min")),
    };
    Ok((number * nanoseconds).round() as u64)
}

/// `2.35 s`, `45.6 ms`, `3.2 µs`, `17 ns`, `5 min 3 s`.
pub fn duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{nanoseconds} ns"),
        1_000..999_950 => format!("{:.1} µs", value / 1e3),
        999_950..999_950_000 => format!("{:.1} ms", value / 1e6),
        999_950_000..120_000_000_000 => format!("{:.2} s", value / 1e9),
        _ => {
            let seconds = nanoseconds / 1_000_000_000;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let cases = [
            ("3", 3_000_000_000),
            ("1.5s", 1_500_000_000),
            ("200ms", 200_000_000),
            ("2 us", 2_000),
            ("7ns", 7),
            ("2min", 120_000_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "-1s", "1h", "1.2.3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown() {
        let cases = [
            (0, "0 s"),
            (999, "999 ns"),
            (3_200, "3.2 µs"),
            (999_999, "1.0 ms"),
            (45_600_000, "45.6 ms"),
            (999_990_000, "1.00 s"),
            (2_350_000_000, "2.35 s"),
            (303_000_000_000, "5 min 3 s"),
        ];
        for (nanoseconds, expected) in cases {
            assert_eq!(duration(nanoseconds), expected);
        }
    }
}
