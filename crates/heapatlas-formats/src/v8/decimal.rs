//! The whole part of a JSON number, exactly. Both readers use it, for numbers that are no
//! plain integers.

/// The whole part of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whole {
    /// Whether the number is below zero. (`-0.5` is, although its whole part is not.)
    pub is_negative: bool,
    /// Without its sign; `None` when 64 bits do not hold it.
    pub magnitude: Option<u64>,
}

/// Truncates toward zero. `text` is a number by JSON's grammar. Done in decimal, since the way
/// over a float would change numbers above 2^53.
pub(super) fn truncate(text: &str) -> Whole {
    let (has_sign, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let is_zero = digits.bytes().all(|digit| digit == b'0');
    let magnitude = if is_zero {
        Some(0)
    } else {
        shift(&digits, whole.len() as i64, exponent)
    };
    Whole {
        is_negative: has_sign && !is_zero,
        magnitude,
    }
}

/// The digits before the point, which stands after `point` digits and moves by the exponent.
fn shift(digits: &str, point: i64, exponent: &str) -> Option<u64> {
    let exponent: i64 = match exponent.strip_prefix('-') {
        // An exponent that no integer holds is as good as infinite.
        Some(below_one) => below_one.parse().map_or(i64::MIN, |size: i64| -size),
        None => exponent.parse().unwrap_or(i64::MAX),
    };
    let point = point.saturating_add(exponent);
    if point <= 0 {
        return Some(0);
    }
    let length = usize::try_from(point).ok()?;
    let leading_zeros = digits.len() - digits.trim_start_matches('0').len();
    // 2^64 has 20 digits.
    if length > leading_zeros + 20 {
        return None;
    }
    let mut before_point = digits[..length.min(digits.len())].to_owned();
    before_point.extend((digits.len()..length).map(|_| '0'));
    before_point.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, magnitude: Option<u64>) {
        assert_eq!(truncate(text).magnitude, magnitude, "{text}");
    }

    #[test]
    fn truncates_toward_zero() {
        check("0", Some(0));
        check("1.9", Some(1));
        check("-1.9", Some(1));
        check("0.99", Some(0));
        check("12.5e1", Some(125));
        check("12.5E+3", Some(12500));
        check("125e-1", Some(12));
        check("125e-4", Some(0));
        check("0.00125e5", Some(125));
        assert!(truncate("-1").is_negative);
        assert!(truncate("-0.5").is_negative);
        assert!(!truncate("-0").is_negative);
    }

    #[test]
    fn is_exact_up_to_the_last_number_of_64_bits() {
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551615.9", Some(u64::MAX));
        check("1844674407370955161.59e1", Some(u64::MAX));
        check("18446744073709551616", None);
        check("9007199254740993.0", Some(9007199254740993));
    }

    #[test]
    fn takes_exponents_of_any_size() {
        check("1e400", None);
        check("1e99999999999999999999", None);
        check("1e-99999999999999999999", Some(0));
        check("0e99999999999999999999", Some(0));
        check("0.0e5", Some(0));
    }
}
