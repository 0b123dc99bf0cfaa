//! What `--fail-on` may say about an allocation profile.

use heapatlas_model::{AllocationProfile, Bytes, Count};

use super::thresholds::parse_size;

/// A condition under which `summary` of an allocation profile fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProfileThreshold {
    measure: Measure,
    most: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Measure {
    /// Bytes live at the end.
    Live,
    /// Bytes live at the peak.
    Peak,
    /// Blocks ever allocated.
    Allocations,
    /// Temporary blocks.
    Temporary,
}

impl ProfileThreshold {
    /// `live=SIZE`, `peak=SIZE`, `allocations=N`, `temporary=N`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (word, most) = text
            .split_once('=')
            .ok_or("use live=SIZE, peak=SIZE, allocations=N or temporary=N")?;
        let measure = match word {
            "live" => Measure::Live,
            "peak" => Measure::Peak,
            "allocations" => Measure::Allocations,
            "temporary" => Measure::Temporary,
            _ => {
                return Err(format!(
                    "unknown measure `{word}`; known: live, peak, allocations, temporary"
                ));
            }
        };
        let most = match measure {
            Measure::Live | Measure::Peak => parse_size(most)?,
            Measure::Allocations | Measure::Temporary => parse_count(most)?,
        };
        Ok(Self { measure, most })
    }

    /// Says by how much it was crossed, if it was.
    pub fn check(self, profile: &AllocationProfile) -> Option<String> {
        let value = match self.measure {
            Measure::Live => profile.live_at_end.bytes,
            Measure::Peak => profile.peak.bytes,
            Measure::Allocations => profile.total.blocks,
            Measure::Temporary => profile.temporary.blocks,
        };
        (value > self.most).then(|| self.in_words(value))
    }

    fn in_words(self, value: u64) -> String {
        let most = self.most;
        let (value_bytes, most_bytes) = (Bytes(value), Bytes(most));
        let (value_count, most_count) = (Count(value), Count(most));
        match self.measure {
            Measure::Live => format!("{value_bytes} are live at end, more than {most_bytes}"),
            Measure::Peak => format!("the peak is {value_bytes}, more than {most_bytes}"),
            Measure::Allocations => format!("{value_count} allocations, more than {most_count}"),
            Measure::Temporary => {
                format!("{value_count} temporary allocations, more than {most_count}")
            }
        }
    }
}

fn parse_count(text: &str) -> Result<u64, String> {
    let digits = text.replace([',', '_'], "");
    digits.parse().map_err(|_| format!("`{text}` is no count"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapatlas_model::{Amount, ProfileFormat};

    #[test]
    fn thresholds_on_profiles() {
        let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
        let amount = |bytes, blocks| Amount { bytes, blocks };
        profile.total = amount(1 << 30, 5_000);
        profile.peak = amount(20 << 20, 300);
        profile.live_at_end = amount(4096, 3);
        profile.temporary = amount(999, 1_000);
        let cases = [
            ("live=4KiB", None),
            (
                "live=4095",
                Some("4.0 KiB are live at end, more than 4.0 KiB"),
            ),
            (
                "peak=10MiB",
                Some("the peak is 20.0 MiB, more than 10.0 MiB"),
            ),
            ("peak=20MiB", None),
            (
                "allocations=4,999",
                Some("5,000 allocations, more than 4,999"),
            ),
            ("allocations=5000", None),
            (
                "temporary=0",
                Some("1,000 temporary allocations, more than 0"),
            ),
        ];
        for (text, expected) in cases {
            let threshold = ProfileThreshold::parse(text).unwrap();
            assert_eq!(threshold.check(&profile).as_deref(), expected, "{text}");
        }
        for text in [
            "live",
            "leaked=1",
            "live=x",
            "allocations=1MB",
            "temporary=",
        ] {
            assert!(ProfileThreshold::parse(text).is_err(), "{text}");
        }
    }
}
