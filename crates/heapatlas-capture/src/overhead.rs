//! Keeps what sampling costs below a share of the program's own time, by the interval between samples.

use std::fs;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::region::Region;

/// How often the interval may change in the end.
const LAST_PERIOD: Duration = Duration::from_secs(1);
/// How soon it may change at first: it may be far from what is right.
const FIRST_PERIOD: Duration = Duration::from_millis(100);
/// A program that has done less than this since then tells nothing.
const LEAST_CPU_SECONDS: f64 = 0.02;
/// What the interval stays within.
const LIMITS_BYTES: RangeInclusive<u64> = 1 << 10..=1 << 30;
/// What is aimed at, as a part of what is allowed: the next second may be another one.
const MARGIN: f64 = 0.8;

/// Chooses the interval.
pub(crate) struct Governor {
    /// The share of the program's time that recording may take.
    share: f64,
    interval_bytes: u64,
    least: u64,
    most: u64,
    ticks_per_second: f64,
    since: Instant,
    period: Duration,
    spent: Spent,
}

/// Seconds of processor time up to some moment.
#[derive(Clone, Copy, Default)]
struct Spent {
    /// The program's, recording included.
    program: f64,
    /// The program's for samples.
    samples: f64,
    /// This process'.
    launcher: f64,
}

impl Governor {
    pub fn new(share: f64, interval_bytes: u64, region: &Region, ticks_per_second: u64) -> Self {
        let mut governor = Self {
            share,
            interval_bytes,
            least: interval_bytes,
            most: interval_bytes,
            ticks_per_second: ticks_per_second.max(1) as f64,
            since: Instant::now(),
            period: FIRST_PERIOD,
            spent: Spent::default(),
        };
        // What the program has spent before counts as spent in the first period: it is not known here.
        governor.spent.samples = governor.sample_seconds(region);
        governor.spent.launcher = own_seconds();
        governor
    }

    /// The intervals that were used.
    pub fn intervals_bytes(&self) -> RangeInclusive<u64> {
        self.least..=self.most
    }

    /// Another interval, if it is time for it.
    pub fn next_interval(&mut self, region: &Region, pid: u32) -> Option<u64> {
        if self.since.elapsed() < self.period {
            return None;
        }
        let spent = Spent {
            program: program_seconds(pid)?,
            samples: self.sample_seconds(region),
            launcher: own_seconds(),
        };
        let program = spent.program - self.spent.program;
        if program < LEAST_CPU_SECONDS {
            return None;
        }
        let samples = (spent.samples - self.spent.samples).max(0.0);
        let launcher = (spent.launcher - self.spent.launcher).max(0.0);
        self.since = Instant::now();
        self.period = (self.period * 2).min(LAST_PERIOD);
        self.spent = spent;
        let cost = (samples + launcher) / (program - samples).max(LEAST_CPU_SECONDS / 10.0);
        let next = next_interval(self.interval_bytes, cost, self.share);
        if next == self.interval_bytes {
            return None;
        }
        self.interval_bytes = next;
        self.least = self.least.min(next);
        self.most = self.most.max(next);
        Some(next)
    }

    fn sample_seconds(&self, region: &Region) -> f64 {
        let ticks = region.header().sampling_ticks.load(Relaxed);
        ticks as f64 / self.ticks_per_second
    }
}

/// The interval for the next period. Too dear: at once as far as it takes. Too cheap: at most half as far, since what
/// a launcher costs whatever is sampled is not halved with it. Close to the goal it stays.
fn next_interval(interval_bytes: u64, cost: f64, share: f64) -> u64 {
    let factor = (cost / (MARGIN * share)).clamp(0.5, 64.0);
    if (0.8..=1.0).contains(&factor) {
        return interval_bytes;
    }
    let next = (interval_bytes as f64 * factor) as u64;
    next.clamp(*LIMITS_BYTES.start(), *LIMITS_BYTES.end())
}

/// Processor time of a process and its threads, by clock ticks of a hundredth of a second.
fn program_seconds(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // SAFETY: cannot fail.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Some(clock_ticks(&text)? as f64 / per_second.max(1) as f64)
}

/// Fields 14 and 15; the second one is a name in parentheses that may hold anything.
fn clock_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Processor time of this process.
fn own_seconds() -> f64 {
    // SAFETY: writes a usage, for which zeroes are one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_follow_the_cost() {
        let next = |cost| next_interval(1 << 20, cost, 0.02);
        // Twice the goal of 1.6 %: twice as far.
        assert_eq!(next(0.032), 1 << 21);
        assert_eq!(next(0.0), 1 << 19);
        assert_eq!(next(0.016), 1 << 20);
        assert_eq!(next(0.014), 1 << 20);
        assert_eq!(next(1e9), 1 << 26);
        assert_eq!(next_interval(1 << 30, 1.0, 0.02), 1 << 30);
        assert_eq!(next_interval(1 << 10, 0.0, 0.02), 1 << 10);
    }

    /// A program whose cost is inversely proportional to the interval comes to rest below the goal.
    #[test]
    fn it_comes_to_rest() {
        for fixed in [0.0, 0.005] {
            let mut interval = 512 << 10;
            let cost = |interval: u64| fixed + 400.0 / interval as f64;
            for _ in 0..30 {
                interval = next_interval(interval, cost(interval), 0.02);
            }
            assert!(cost(interval) <= 0.02, "{interval}");
            assert!(cost(interval) >= 0.01, "{interval}");
        }
    }

    #[test]
    fn processor_time_of_a_process() {
        let line = "17 (a) b) S 1 17 17 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(clock_ticks(line), Some(300));
        assert_eq!(clock_ticks("17 (a) S 1"), None);
        assert!(program_seconds(std::process::id()).is_some());
    }
}
