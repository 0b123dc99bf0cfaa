//! Threads that work in turn: a program may hand its work from one to the next, or wait for them one by one.
//!
//! Then each event has its place among all of them, as if one thread had done everything, and no time needs to be
//! told exactly for its sake.

use heapatlas_trace::Decoder;
use heapatlas_trace::payload::Segment;
use rustc_hash::{FxHashMap, FxHashSet};

use super::pages::Pages;
use super::sort::Thread;

/// What each thread did in one gathering, in order of time, if each began when the one before had ended. `late` is where
/// the events of the gathering before were that came after it: those of the first thread are in its order.
pub(super) fn turns<'s, 'a>(
    segments: &'s [Segment<'a>],
    threads: &FxHashMap<u64, Thread>,
    late: &Pages,
) -> Option<Vec<&'s [Segment<'a>]>> {
    let mut turns: Vec<_> = segments
        .chunk_by(|a, b| a.thread == b.thread)
        .map(|segments| Turn::new(segments, threads.get(&segments[0].thread)))
        .collect();
    if turns.len() > 1 {
        let mut seen = FxHashSet::default();
        let is_new = |turn: &Turn<'_, '_>| seen.insert(turn.thread());
        if !turns.iter().all(is_new) {
            return None;
        }
        turns.sort_by_key(|turn| turn.first);
        let firsts: Vec<_> = turns.iter().map(|turn| turn.first).collect();
        let mut pairs = turns.iter_mut().zip(&firsts[1..]);
        if !pairs.all(|(turn, &next)| turn.ends_before(next)) {
            return None;
        }
    }
    let is_in_order = |turn: &Turn<'_, '_>| late.are_only_of(turn.thread());
    let all_are = turns.first().is_none_or(is_in_order);
    all_are.then(|| turns.iter().map(|turn| turn.segments).collect())
}

struct Turn<'s, 'a> {
    segments: &'s [Segment<'a>],
    first: u64,
    ticks: Ticks<'s, 'a>,
}

impl<'s, 'a> Turn<'s, 'a> {
    fn new(segments: &'s [Segment<'a>], thread: Option<&Thread>) -> Self {
        let mut ticks = Ticks {
            rest: segments.iter(),
            bytes: &[],
            decoder: thread.map_or_else(Decoder::default, |thread| thread.decoder.clone()),
            tick: thread.map_or(0, |thread| thread.tick),
        };
        Self {
            segments,
            first: ticks.next().unwrap_or(ticks.tick),
            ticks,
        }
    }

    fn thread(&self) -> u64 {
        self.segments[0].thread
    }

    /// Threads that work at the same time show that within a few events.
    fn ends_before(&mut self, tick: u64) -> bool {
        self.first < tick && self.ticks.all(|own| own < tick)
    }
}

/// The ticks of a thread's events.
struct Ticks<'s, 'a> {
    rest: std::slice::Iter<'s, Segment<'a>>,
    bytes: &'a [u8],
    decoder: Decoder,
    tick: u64,
}

impl Iterator for Ticks<'_, '_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            while let Ok(Some(event)) = self.decoder.next(&mut self.bytes) {
                if let Some(tick) = event.tick() {
                    // As the events are written: a thread's ticks never go back.
                    self.tick = self.tick.max(tick);
                    return Some(self.tick);
                }
            }
            let segment = self.rest.next()?;
            self.bytes = segment.bytes;
            if let Some(tick) = segment.base_tick {
                self.decoder.start(tick);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapatlas_trace::{Encoder, MAX_EVENT_BYTES};

    /// One thread's stream: frees at these ticks.
    fn stream(ticks: &[u64]) -> Vec<u8> {
        let (mut encoder, mut stream) = (Encoder::new(), Vec::new());
        for &tick in ticks {
            let mut out = [0; MAX_EVENT_BYTES];
            let length = encoder.free(&mut out, 64, tick);
            stream.extend_from_slice(&out[..length]);
        }
        stream
    }

    /// The threads in the order of their turns.
    fn order(gathered: &[(u64, &[u64])], late: &Pages) -> Option<Vec<u64>> {
        let streams: Vec<_> = gathered.iter().map(|(_, ticks)| stream(ticks)).collect();
        let segments = gathered.iter().zip(&streams);
        let segments: Vec<_> = segments
            .map(|(&(thread, _), bytes)| Segment {
                thread,
                base_tick: Some(0),
                bytes,
                ..Segment::default()
            })
            .collect();
        let turns = turns(&segments, &FxHashMap::default(), late)?;
        Some(turns.iter().map(|turn| turn[0].thread).collect())
    }

    #[test]
    fn who_works_in_turn() {
        let none = Pages::default();
        let check = |gathered: &[(u64, &[u64])], expected: Option<&[u64]>| {
            assert_eq!(order(gathered, &none).as_deref(), expected, "{gathered:?}");
        };
        check(&[], Some(&[]));
        check(&[(7, &[1, 2])], Some(&[7]));
        check(&[(7, &[5, 6]), (8, &[1, 2, 3])], Some(&[8, 7]));
        check(&[(7, &[5, 6]), (8, &[1, 2, 5])], None);
        check(&[(7, &[5, 6]), (8, &[1, 7])], None);
        check(&[(7, &[5]), (8, &[5])], None);
        check(&[(7, &[5, 6]), (7, &[7, 8]), (8, &[9])], Some(&[7, 8]));
        check(&[(7, &[1]), (8, &[2]), (7, &[3])], None);
        check(
            &[(7, &[5, 6]), (8, &[1, 2]), (9, &[3, 4])],
            Some(&[8, 9, 7]),
        );
    }

    #[test]
    fn what_is_told_late_is_of_who_comes_first() {
        let gathered: [(u64, &[u64]); 2] = [(7, &[5, 6]), (8, &[1, 2])];
        let mut late = Pages::default();
        late.touch(3, 8);
        assert_eq!(order(&gathered, &late), Some(vec![8, 7]));
        late.touch(4, 7);
        assert_eq!(order(&gathered, &late), None);
    }
}
