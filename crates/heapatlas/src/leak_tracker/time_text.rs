//! Moments as text: ISO 8601, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: i64 = 86_400;

/// As `2026-11-25T12:30:00.123456Z`. The years 0 to 9999; what lies outside is shown as the nearest of them.
pub(crate) fn to_text(time: SystemTime) -> String {
    let microseconds = since_epoch(time).clamp(-62_167_219_200_000_000, 253_402_300_799_999_999);
    let (seconds, fraction) = (
        microseconds.div_euclid(1_000_000),
        microseconds.rem_euclid(1_000_000),
    );
    let (year, month, day) = date_of_day(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

fn since_epoch(time: SystemTime) -> i64 {
    let microseconds = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => microseconds(after),
        Err(before) => -microseconds(before.duration()),
    }
}

/// Reads what [`to_text`] writes, and what Dart writes: without a zone, which counts as UTC, or with `+02:00`.
pub(crate) fn from_text(text: &str) -> Option<SystemTime> {
    let mut reader = Reader(text.as_bytes());
    let (year, ()) = (reader.digits(4)?, reader.sign(b'-')?);
    let (month, ()) = (reader.digits(2)?, reader.sign(b'-')?);
    let day = reader.digits(2)?;
    reader.sign(b'T').or_else(|| reader.sign(b' '))?;
    let (hour, ()) = (reader.digits(2)?, reader.sign(b':')?);
    let minute = reader.digits(2)?;
    let second = match reader.sign(b':') {
        Some(()) => reader.digits(2)?,
        None => 0,
    };
    let nanoseconds = match reader.sign(b'.') {
        Some(()) => reader.fraction()?,
        None => 0,
    };
    let zone_seconds = reader.zone()?;
    let is_in_range = (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 61;
    if !is_in_range || !(1..=days_in_month(year, month)).contains(&day) || !reader.0.is_empty() {
        return None;
    }
    let days = day_of_date(year, month, day);
    let seconds =
        days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - i64::from(zone_seconds);
    at(seconds, nanoseconds)
}

fn at(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = if seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)?
    } else {
        UNIX_EPOCH.checked_add(whole)?
    };
    start.checked_add(Duration::from_nanos(nanoseconds.into()))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.0 = rest;
        Some(number)
    }

    fn sign(&mut self, sign: u8) -> Option<()> {
        let (&first, rest) = self.0.split_first()?;
        (first == sign).then(|| self.0 = rest)
    }

    /// Digits behind the point, as nanoseconds; what is finer is dropped.
    fn fraction(&mut self) -> Option<u32> {
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let mut nanoseconds = 0;
        for place in 0..9 {
            let digit = digits.get(place).map_or(0, |digit| digit - b'0');
            nanoseconds = nanoseconds * 10 + u32::from(digit);
        }
        (count > 0).then_some(nanoseconds)
    }

    /// East of Greenwich, in seconds.
    fn zone(&mut self) -> Option<i32> {
        if self.0.is_empty() || self.sign(b'Z').is_some() {
            return Some(0);
        }
        let is_west = self.sign(b'-').is_some();
        if !is_west {
            self.sign(b'+')?;
        }
        let hours = self.digits(2)?;
        let _ = self.sign(b':');
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.digits(2)?
        };
        let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
        Some(if is_west { -seconds } else { seconds })
    }
}

/// Days since 1970 as year, month, day. (Years are counted from March, so that a leap day is the last of its year.)
fn date_of_day(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn day_of_date(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds by `date -u -d TEXT +%s` of coreutils.
    const KNOWN: &[(&str, i64, u32)] = &[
        ("1970-01-01T00:00:00.000000Z", 0, 0),
        ("2000-02-29T23:59:59.000001Z", 951_868_799, 1_000),
        ("2026-11-25T12:30:00.123456Z", 1_795_609_800, 123_456_000),
        ("1969-12-31T23:59:59.500000Z", -1, 500_000_000),
        ("2100-03-01T00:00:00.000000Z", 4_107_542_400, 0),
        ("9999-12-31T23:59:59.000000Z", 253_402_300_799, 0),
    ];

    #[test]
    fn both_ways() {
        for &(text, seconds, nanoseconds) in KNOWN {
            let time = at(seconds, nanoseconds).unwrap();
            assert_eq!(to_text(time), text);
            assert_eq!(from_text(text), Some(time), "{text}");
        }
    }

    #[test]
    fn other_forms_are_read() {
        let expected = at(1_795_609_800, 123_000_000);
        for text in [
            "2026-11-25T12:30:00.123",
            "2026-11-25 12:30:00.123Z",
            "2026-11-25T14:30:00.123+02:00",
            "2026-11-25T14:30:00.1230000000009+0200",
            "2026-11-25T02:30:00.123-10",
        ] {
            assert_eq!(from_text(text), expected, "{text}");
        }
        assert_eq!(from_text("2026-11-25T12:30"), at(1_795_609_800, 0));
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in [
            "",
            "today",
            "2026-11-25",
            "2026-13-25T12:30:00Z",
            "2026-02-29T12:30:00Z",
            "2026-11-00T12:30:00Z",
            "2026-11-25T24:30:00Z",
            "2026-11-25T12:60:00Z",
            "2026-11-25T12:30:00.Z",
            "2026-11-25T12:30:00Zx",
            "2026-11-25T12:30:00+2",
            "+026-11-25T12:30:00Z",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}
