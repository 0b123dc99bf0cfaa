//! What `--fail-on` may say about heaps: sizes and thresholds. About allocation profiles:
//! `profile_thresholds`.

use std::fmt;

use heapatlas_analysis::{Change, ClassChange, Suspect};
use heapatlas_model::{Bytes, Count};

use crate::render::text::printable;

/// `10MB`, `1.5 GiB`, `4096`: K, M and G alone and with `iB` are binary, with `B` decimal.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no size; sizes look like 4096, 500KB, 10MiB"))?;
    let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        other => {
            return Err(format!(
                "unknown unit `{other}`; known: B, KB, KiB, MB, MiB, GB, GiB"
            ));
        }
    };
    Ok((number * unit) as u64)
}

/// A condition under which `compare` fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeThreshold {
    measure: Measure,
    class: Option<String>,
    most: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Measure {
    /// Allocated less freed bytes.
    Growth,
    /// New less deleted objects.
    Count,
    /// New objects.
    New,
}

impl ChangeThreshold {
    /// `grow=[CLASS:]SIZE`, `count=[CLASS:]N`, `new=[CLASS:]N`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (word, value) = text
            .split_once('=')
            .ok_or("use grow=SIZE, count=N or new=CLASS:N")?;
        let measure = match word {
            "grow" | "bytes" => Measure::Growth,
            "count" => Measure::Count,
            "new" => Measure::New,
            _ => return Err(format!("unknown measure `{word}`; known: grow, count, new")),
        };
        // A class's name may hold colons; a number holds none.
        let (class, most) = match value.rsplit_once(':') {
            Some((class, most)) => (Some(class.to_owned()), most),
            None => (None, value),
        };
        let most = match measure {
            Measure::Growth => parse_size(most)?,
            _ => most
                .replace([',', '_'], "")
                .parse()
                .map_err(|_| format!("`{most}` is no count"))?,
        };
        Ok(Self {
            measure,
            class,
            most,
        })
    }

    /// Says by how much it was crossed, if it was. `totals` and `classes` are those of all steps.
    pub fn check<'a>(
        &self,
        totals: impl Iterator<Item = &'a Change>,
        classes: impl Iterator<Item = &'a ClassChange>,
    ) -> Option<String> {
        let value: i64 = match &self.class {
            None => totals.map(|change| self.value(change)).sum(),
            Some(class) => classes
                .filter(|row| row.name == *class || row.key == *class)
                .map(|row| self.value(&row.change))
                .sum(),
        };
        let value = u64::try_from(value).unwrap_or(0);
        (value > self.most).then(|| self.in_words(value))
    }

    fn value(&self, change: &Change) -> i64 {
        match self.measure {
            Measure::Growth => change.delta_bytes(),
            Measure::Count => change.delta(),
            Measure::New => change.new.cast_signed(),
        }
    }

    fn in_words(&self, value: u64) -> String {
        let class = self.class.as_deref().unwrap_or("the heap");
        let most = self.most;
        match self.measure {
            Measure::Growth => format!(
                "{class} grew by {}, more than {}",
                Bytes(value),
                Bytes(most)
            ),
            Measure::Count => {
                format!(
                    "{class} has {} more objects, above {}",
                    Count(value),
                    Count(most)
                )
            }
            Measure::New => format!(
                "{class} has {} new objects, above {}",
                Count(value),
                Count(most)
            ),
        }
    }
}

/// A condition under which `leaks` fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeakThreshold {
    /// Any suspect at all.
    Suspects,
    /// A suspect that retains more bytes than this.
    RetainedBytes(u64),
}

impl LeakThreshold {
    /// `suspects` or a size.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "suspects" => Ok(Self::Suspects),
            size => parse_size(size).map(Self::RetainedBytes),
        }
    }

    /// Says by what it was crossed, if it was.
    pub fn check(self, suspects: &[Suspect]) -> Option<String> {
        let count = match self {
            Self::Suspects => suspects.len(),
            Self::RetainedBytes(most) => suspects
                .iter()
                .filter(|suspect| suspect.retained_bytes > most)
                .count(),
        };
        let largest = suspects
            .iter()
            .max_by_key(|suspect| suspect.retained_bytes)?;
        let word = crate::render::text::plural(count, "suspect", "suspects");
        let name = printable(&largest.name);
        let retained = Bytes(largest.retained_bytes);
        (count > 0)
            .then(|| format!("{count} {word}{self}; the largest, {name}, retains {retained}"))
    }
}

impl fmt::Display for LeakThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspects => Ok(()),
            Self::RetainedBytes(most) => write!(f, " above {}", Bytes(*most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1024),
            ("10MB", 10_000_000),
            ("10 MiB", 10 << 20),
            ("1.5GiB", 3 << 29),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "10XB", "-1", "1.2.3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn thresholds_on_changes() {
        let change = |new, deleted, allocated_bytes, freed_bytes| Change {
            new,
            deleted,
            allocated_bytes,
            freed_bytes,
        };
        let class = ClassChange {
            name: "a::B".to_owned(),
            key: ",a::B".to_owned(),
            change: change(10, 4, 1000, 3000),
            paths: Vec::new(),
        };
        let totals = [change(100, 50, 5000, 1000), change(7, 0, 1000, 0)];
        let cases = [
            ("grow=4999", true),
            ("grow=5000", false),
            ("bytes=4KB", true),
            ("count=56", true),
            ("count=57", false),
            ("new=106", true),
            ("new=107", false),
            ("new=a::B:9", true),
            ("new=,a::B:10", false),
            ("count=a::B:5", true),
            ("grow=a::B:0", false),
            ("new=C:0", false),
        ];
        for (text, is_crossed) in cases {
            let threshold = ChangeThreshold::parse(text).unwrap();
            let crossed = threshold.check(totals.iter(), [&class].into_iter());
            assert_eq!(crossed.is_some(), is_crossed, "{text}: {crossed:?}");
        }
        for text in ["grow", "size=1", "new=x", "count=1MB"] {
            assert!(ChangeThreshold::parse(text).is_err(), "{text}");
        }
    }
}
