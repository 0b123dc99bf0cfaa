//! Live bytes over time: a fixed number of intervals that become wider as time goes by.

use heapatlas_model::{Amount, TimelinePoint};

use super::clock::Clock;

/// Intervals at most; there are more than half as many once there were that many events.
const MAX_INTERVALS: usize = 2000;

/// Samples of resident memory at most: many more than intervals, so that each has its own.
const MAX_RESIDENTS: usize = 1 << 16;

/// The most that was live in each interval.
#[derive(Clone)]
pub(super) struct Timeline {
    start_tick: u64,
    /// An interval is two to the power of this many ticks wide.
    width_bits: u32,
    most: Vec<Amount>,
    /// How many ticks after the start the last interval ends.
    end: u64,
    residents: Vec<Resident>,
    /// Each row of `residents` stands for so many samples, but for the last, which may stand for fewer.
    samples_per_resident: u32,
    samples_of_last: u32,
}

#[derive(Clone, Copy)]
struct Resident {
    time_ns: u64,
    bytes: u64,
}

impl Timeline {
    pub fn new(start_tick: u64) -> Self {
        let mut timeline = Self {
            start_tick,
            width_bits: 10,
            most: vec![Amount::default()],
            end: 0,
            residents: Vec::new(),
            samples_per_resident: 1,
            samples_of_last: 1,
        };
        timeline.set_end();
        timeline
    }

    /// Goes on to a tick, up to which so much was live.
    #[inline]
    pub fn advance(&mut self, tick: u64, live: Amount) {
        if tick.saturating_sub(self.start_tick) >= self.end {
            self.extend(tick, live);
        }
    }

    /// Notes what is live now.
    #[inline]
    pub fn note(&mut self, live: Amount) {
        let most = self
            .most
            .last_mut()
            .expect("there is an interval from the start on");
        if live.bytes >= most.bytes {
            *most = live;
        }
    }

    /// Notes resident memory. Samples come in order of time.
    pub fn note_resident(&mut self, time_ns: u64, bytes: u64) {
        let sample = Resident { time_ns, bytes };
        match self.residents.last_mut() {
            Some(last) if self.samples_of_last < self.samples_per_resident => {
                *last = last.joined_with(sample);
                self.samples_of_last += 1;
            }
            _ => {
                if self.residents.len() == MAX_RESIDENTS {
                    self.join_residents();
                }
                self.residents.push(sample);
                self.samples_of_last = 1;
            }
        }
    }

    /// A recording may take weeks.
    #[cold]
    fn join_residents(&mut self) {
        let pairs = self.residents.chunks(2);
        let joined = pairs.map(|pair| pair.iter().copied().reduce(Resident::joined_with));
        self.residents = joined.flatten().collect();
        self.samples_per_resident *= 2;
    }

    /// The points up to the last tick that was measured.
    pub fn points(mut self, clock: &Clock, end_tick: u64, live: Amount) -> Vec<TimelinePoint> {
        self.advance(end_tick, live);
        let mut residents = self.residents.iter().peekable();
        let mut resident_bytes = 0;
        let ends = (1..=self.most.len() as u64).map(|intervals| self.end_of(intervals));
        let points = ends.zip(&self.most).map(|(end, &most)| {
            let time_ns = clock.ns_at(self.start_tick.saturating_add(end).min(end_tick));
            // Where there is no sample, the one before holds.
            let mut seen = std::iter::from_fn(|| residents.next_if(|r| r.time_ns <= time_ns));
            let first = seen.next().map(|resident| resident.bytes);
            resident_bytes = seen
                .map(|r| r.bytes)
                .chain(first)
                .max()
                .unwrap_or(resident_bytes);
            TimelinePoint {
                time_ns,
                most,
                resident_bytes,
            }
        });
        points.collect()
    }

    #[cold]
    fn extend(&mut self, tick: u64, live: Amount) {
        let elapsed = tick - self.start_tick;
        while elapsed >> self.width_bits >= self.most.len() as u64 {
            if self.most.len() == MAX_INTERVALS {
                self.double_width();
            } else {
                self.most.push(live);
            }
        }
        self.set_end();
    }

    fn double_width(&mut self) {
        let larger = |pair: &[Amount]| pair.iter().copied().max_by_key(|most| most.bytes);
        self.most = self.most.chunks(2).filter_map(larger).collect();
        self.width_bits += 1;
    }

    fn set_end(&mut self) {
        self.end = self.end_of(self.most.len() as u64);
    }

    fn end_of(&self, intervals: u64) -> u64 {
        let end = u128::from(intervals) << self.width_bits;
        u64::try_from(end).unwrap_or(u64::MAX)
    }
}

impl Resident {
    /// One row for two that follow one another.
    fn joined_with(self, later: Self) -> Self {
        Self {
            time_ns: later.time_ns,
            bytes: self.bytes.max(later.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(bytes: u64) -> Amount {
        Amount { bytes, blocks: 1 }
    }

    #[test]
    fn holds_the_most_of_each_interval() {
        let mut timeline = Timeline::new(100);
        timeline.note(amount(5));
        timeline.advance(100 + 1023, amount(5));
        timeline.note(amount(9));
        timeline.advance(100 + 1024, amount(3));
        timeline.note(amount(2));
        // Nothing happened in the third.
        timeline.advance(100 + 3 * 1024, amount(1));
        timeline.note_resident(1000, 40);
        timeline.note_resident(1010, 30);
        timeline.note_resident(3000, 50);
        let points = timeline.points(&Clock::new(100, 0), 100 + 3 * 1024 + 7, amount(1));
        let expected = [(1024, 9, 40), (2048, 3, 40), (3072, 1, 50), (3079, 1, 50)];
        let found = points
            .iter()
            .map(|p| (p.time_ns, p.most.bytes, p.resident_bytes));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn never_holds_many_samples() {
        let mut timeline = Timeline::new(0);
        let samples = 5 * MAX_RESIDENTS as u64 + 3;
        for time in 1..=samples {
            timeline.note_resident(time << 10, if time == 70_000 { 9 } else { 4 });
            assert!(timeline.residents.len() <= MAX_RESIDENTS);
        }
        let end_tick = samples << 10;
        let points = timeline.points(&Clock::new(0, 0), end_tick, amount(0));
        let high = points.iter().filter(|point| point.resident_bytes == 9);
        assert_eq!(high.count(), 1);
        assert!(points.iter().all(|point| point.resident_bytes >= 4));
    }

    #[test]
    fn never_has_many_points() {
        for last_tick in [1 << 21, 1 << 40, u64::MAX] {
            let mut timeline = Timeline::new(0);
            timeline.advance(1 << 12, amount(1));
            timeline.note(amount(7));
            timeline.advance(last_tick, amount(2));
            let points = timeline.points(&Clock::new(0, 0), last_tick, amount(2));
            assert!(
                (MAX_INTERVALS / 2..=MAX_INTERVALS).contains(&points.len()),
                "{}",
                points.len()
            );
            assert_eq!(points.iter().map(|point| point.most.bytes).max(), Some(7));
            assert_eq!(points.last().map(|point| point.time_ns), Some(last_tick));
        }
    }
}
