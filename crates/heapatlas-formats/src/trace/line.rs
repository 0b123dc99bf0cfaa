//! Times as a broken line over events: a point where it bends, nothing for the events between.
//!
//! A program that allocates steadily for a while needs two numbers for that while. The line is never later than the
//! events, and earlier by a tolerance at most: so what happened before a time is told as before it, and an event whose
//! exact time is told is never before the ones that its thread did first.

use heapatlas_trace::{Malformed, varint};

/// Slopes are ticks an event, with so many bits behind the point.
const FRACTION_BITS: u32 = 16;

/// A line rises by less than this: with its fraction it fits a number. At 4 GHz that is nine hours.
const MAX_RISE: u64 = 1 << 47;

/// Finds few lines that are as close to the events as asked for.
///
/// Of the line that is being made the start is fixed, and all slopes between two bounds will do for the events so far: an
/// event narrows them, or ends the line.
pub(super) struct LineWriter {
    /// How much earlier than an event the line may be, with the bits behind the point.
    tolerance: u64,
    /// Rises are told in units of two to the power of this, in ticks.
    unit_bits: u32,
    start: u64,
    events: u64,
    /// The bounds of the slope.
    slopes: [u64; 2],
    /// How much lines of these slopes have risen.
    rises: [u64; 2],
}

/// What a line is told as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub events: u64,
    /// In units.
    pub rise: u64,
}

impl LineWriter {
    /// Lines that begin at a tick.
    pub fn new(start: u64, tolerance: u64) -> Self {
        let mut writer = Self {
            tolerance: tolerance.min(MAX_RISE - 1) << FRACTION_BITS,
            unit_bits: unit_bits(tolerance),
            start: 0,
            events: 0,
            slopes: [0; 2],
            rises: [0; 2],
        };
        writer.begin(start);
        writer
    }

    fn begin(&mut self, start: u64) {
        self.start = start;
        self.events = 0;
        self.slopes = [0, (MAX_RISE - 1) << FRACTION_BITS];
        self.rises = [0; 2];
    }

    /// Goes on to the next event, which is not before the start. Gives the line that ends before it, if one does.
    #[inline(always)]
    pub fn add(&mut self, tick: u64) -> Option<Line> {
        // Clocks that jump by days are followed in steps.
        let rise = tick.saturating_sub(self.start).min(MAX_RISE - 1) << FRACTION_BITS;
        let least = rise.saturating_sub(self.tolerance);
        self.events += 1;
        let low = self.rises[0] + self.slopes[0];
        let high = self.rises[1] + self.slopes[1];
        self.rises = [low, high];
        if low >= least && high <= rise {
            return None;
        }
        self.narrow(tick, rise, least)
    }

    #[inline(never)]
    fn narrow(&mut self, tick: u64, rise: u64, least: u64) -> Option<Line> {
        let [low, high] = self.rises;
        if low <= rise && high >= least {
            if high > rise {
                self.slopes[1] = rise / self.events;
                self.rises[1] = self.slopes[1] * self.events;
            }
            if low < least {
                // Rounded up, but not above the other: a tick too early does no harm.
                self.slopes[0] = least.div_ceil(self.events).min(self.slopes[1]);
                self.rises[0] = self.slopes[0] * self.events;
            }
            return None;
        }
        self.events -= 1;
        let line = self.finish();
        // The next one begins no later than here.
        let again = self.add(tick);
        debug_assert!(again.is_none(), "one event is always on a line");
        line
    }

    /// Ends the line at the last event, unless there is none.
    pub fn finish(&mut self) -> Option<Line> {
        if self.events == 0 {
            return None;
        }
        let [low, high] = self.slopes.map(|slope| slope * self.events);
        let middle = (low + (high - low) / 2) >> FRACTION_BITS;
        let line = Line {
            events: self.events,
            rise: middle >> self.unit_bits,
        };
        self.begin(self.start.saturating_add(line.rise << self.unit_bits));
        Some(line)
    }
}

/// How coarse rises are told: lines end anywhere within a tolerance, and fewer digits pack better.
pub(super) fn unit_bits(tolerance: u64) -> u32 {
    (tolerance.min(MAX_RISE) / 16).checked_ilog2().unwrap_or(0)
}

/// Ticks of events, read from the lines that were written.
#[derive(Clone, Copy)]
pub(super) struct LineReader {
    /// Where the line begins.
    start: u64,
    /// How much it has risen, and how much it rises at an event.
    rise: u64,
    slope: u64,
    events_left: u64,
    /// Where the next one begins.
    end: u64,
}

impl LineReader {
    /// Lines that begin at a tick.
    pub fn new(start: u64) -> Self {
        Self {
            start,
            rise: 0,
            slope: 0,
            events_left: 0,
            end: start,
        }
    }

    /// The tick of the next event; lines are taken off the front of `bytes`.
    #[inline(always)]
    pub fn next(&mut self, unit_bits: u32, bytes: &mut &[u8]) -> Result<u64, Malformed> {
        if self.events_left == 0 {
            self.next_line(unit_bits, bytes)?;
        }
        self.events_left -= 1;
        self.rise += self.slope;
        Ok(self.start.saturating_add(self.rise >> FRACTION_BITS))
    }

    #[inline(never)]
    fn next_line(&mut self, unit_bits: u32, bytes: &mut &[u8]) -> Result<(), Malformed> {
        let events = varint::take(bytes)?;
        let units = varint::take(bytes)?;
        let unit_bits = unit_bits.min(u64::BITS - 1);
        let is_low = units <= (MAX_RISE - 1) >> unit_bits;
        if events == 0 || !is_low {
            return Err(Malformed::Line);
        }
        let rise = units << unit_bits;
        *self = Self {
            start: self.end,
            rise: 0,
            slope: (rise << FRACTION_BITS) / events,
            events_left: events,
            end: self.end.saturating_add(rise),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines of events at these ticks, and what is read of them.
    fn lines_and_ticks(ticks: &[u64], start: u64, tolerance: u64) -> (Vec<Line>, Vec<u64>) {
        let mut writer = LineWriter::new(start, tolerance);
        let mut lines: Vec<_> = ticks.iter().filter_map(|&tick| writer.add(tick)).collect();
        lines.extend(writer.finish());
        let mut bytes = Vec::new();
        for number in lines.iter().flat_map(|line| [line.events, line.rise]) {
            let (varint, length) = varint::encode(number);
            bytes.extend_from_slice(&varint[..length]);
        }
        let (mut reader, mut rest) = (LineReader::new(start), &bytes[..]);
        let next = |_: &u64| reader.next(unit_bits(tolerance), &mut rest).unwrap();
        let read = ticks.iter().map(next).collect();
        assert_eq!(rest, b"");
        (lines, read)
    }

    #[test]
    fn a_steady_program_is_one_line() {
        let ticks: Vec<_> = (1..=10_000).map(|event| 5000 + 70 * event).collect();
        let (lines, _) = lines_and_ticks(&ticks, 5000, 1000);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].events, 10_000);
    }

    #[test]
    fn a_pause_is_a_line_of_its_own() {
        let steady = |from: u64| (1..=1000).map(move |event| from + 70 * event);
        let ticks: Vec<_> = steady(0).chain(steady(1 << 40)).collect();
        let (lines, read) = lines_and_ticks(&ticks, 0, 1000);
        assert_eq!(
            lines.iter().map(|line| line.events).collect::<Vec<_>>(),
            [1000, 1, 999]
        );
        assert!(read[1000] > (1 << 40) - 1200, "{}", read[1000]);
    }

    #[test]
    fn what_is_no_line() {
        let check = |bytes: &[u8], unit_bits, expected| {
            let mut reader = LineReader::new(5);
            assert_eq!(reader.next(unit_bits, &mut &bytes[..]), expected);
        };
        check(&[], 0, Err(Malformed::Cut));
        check(&[1], 0, Err(Malformed::Cut));
        check(&[0, 7], 0, Err(Malformed::Line));
        check(&[1, 7], 46, Err(Malformed::Line));
        check(&[1, 7], 64, Err(Malformed::Line));
        check(&[1, 0], u32::MAX, Ok(5));
        check(&[1, 1], 46, Ok(5 + (1 << 46)));
        check(
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1],
            46,
            Ok(5),
        );
    }

    proptest! {
        #[test]
        fn never_late_and_hardly_early(
            gaps in prop::collection::vec((0_u64..300, 0_u32..30), 1..600),
            start in 0_u64..1 << 50,
            tolerance in prop::sample::select(vec![0_u64, 1, 15, 16, 100, 6000, 300_000]),
        ) {
            let mut tick = start;
            let ticks: Vec<_> = gaps
                .iter()
                .map(|&(gap, exponent)| {
                    tick += if exponent > 25 { gap << exponent } else { gap };
                    tick
                })
                .collect();
            let (_, read) = lines_and_ticks(&ticks, start, tolerance);
            // What rounding a line's end costs.
            let slack = tolerance + (1 << unit_bits(tolerance)) + 1;
            for (&tick, &read) in ticks.iter().zip(&read) {
                prop_assert!(read <= tick && tick - read <= slack, "{read} for {tick}");
            }
        }

        #[test]
        fn any_clock_and_any_tolerance(ticks in prop::collection::vec(any::<u64>(), 1..50), tolerance: u64) {
            let mut ticks = ticks;
            ticks.sort_unstable();
            let (_, read) = lines_and_ticks(&ticks, ticks[0], tolerance);
            prop_assert!(ticks.iter().zip(&read).all(|(tick, read)| read <= tick));
        }
    }
}
