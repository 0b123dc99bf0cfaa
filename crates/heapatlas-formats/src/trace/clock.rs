//! Ticks and nanoseconds.

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The clock that ticks are from.
///
/// Ticks are multiplied by a fraction with 64 valid bits, since every freed block asks and a division takes as
/// long as all the rest: exact for whole nanoseconds, and else rounded down, to within one nanosecond.
pub(super) struct Clock {
    start_tick: u64,
    ticks_per_second: u64,
    multiplier: u64,
    shift: u32,
}

impl Clock {
    /// A clock that showed `start_tick` when the recording began. One that does not tick counts
    /// nanoseconds.
    pub fn new(start_tick: u64, ticks_per_second: u64) -> Self {
        let ticks_per_second = match ticks_per_second {
            0 => NS_PER_SECOND,
            ticks => ticks,
        };
        let fraction = |shift: u32| {
            let scaled = u128::from(NS_PER_SECOND) << shift;
            u64::try_from(scaled.div_ceil(u128::from(ticks_per_second))).ok()
        };
        let (shift, multiplier) = (0..=97)
            .rev()
            .find_map(|shift| Some((shift, fraction(shift)?)))
            .expect("a second has fewer nanoseconds than 64 bits count");
        Self {
            start_tick,
            ticks_per_second,
            multiplier,
            shift,
        }
    }

    pub fn start_tick(&self) -> u64 {
        self.start_tick
    }

    /// How long so many ticks are, in nanoseconds, saturating.
    #[inline]
    pub fn ns(&self, ticks: u64) -> u64 {
        let product = u128::from(ticks) * u128::from(self.multiplier);
        u64::try_from(product >> self.shift).unwrap_or(u64::MAX)
    }

    /// When a tick was, in nanoseconds since the recording began; 0 for those before.
    pub fn ns_at(&self, tick: u64) -> u64 {
        self.ns(tick.saturating_sub(self.start_tick))
    }

    /// The first tick that is so many nanoseconds after the recording began, or more.
    pub fn tick_at(&self, ns: u64) -> u64 {
        let ticks = u128::from(ns) * u128::from(self.ticks_per_second);
        let ticks = ticks.div_ceil(u128::from(NS_PER_SECOND));
        self.start_tick
            .saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(ticks_per_second: u64, ticks: u64, expected_ns: u64) {
        assert_eq!(Clock::new(0, ticks_per_second).ns(ticks), expected_ns);
    }

    #[test]
    fn ticks_to_ns() {
        check(NS_PER_SECOND, 12_345, 12_345);
        check(NS_PER_SECOND, u64::MAX, u64::MAX);
        check(0, 7, 7);
        check(3_000_000_000, 3_000_000_000, 1_000_000_000);
        check(3_000_000_000, 2, 0);
        check(24_000_000, 24_000_000 * 3600, 3600 * NS_PER_SECOND);
        check(1, 5, 5 * NS_PER_SECOND);
        check(1, u64::MAX, u64::MAX);
        check(u64::MAX, u64::MAX, NS_PER_SECOND);
    }

    proptest! {
        #[test]
        fn as_division_says(per_second in 1..u64::MAX, ticks: u64, zeros in 0_u32..64) {
            let (per_second, ticks) = ((per_second >> zeros).max(1), ticks >> zeros);
            let exact = u128::from(ticks) * u128::from(NS_PER_SECOND) / u128::from(per_second);
            let exact = u64::try_from(exact).unwrap_or(u64::MAX);
            let ns = Clock::new(0, per_second).ns(ticks);
            prop_assert!(ns.abs_diff(exact) <= 1, "{ns} for {exact}");
        }

        #[test]
        fn the_first_tick_of_a_time(per_second in 1_u64..10_000_000_000, ns in 0_u64..1 << 40) {
            let clock = Clock::new(50, per_second);
            let tick = clock.tick_at(ns);
            prop_assert!(clock.ns_at(tick) >= ns);
            prop_assert!(tick == 50 || clock.ns_at(tick - 1) < ns);
        }
    }
}
