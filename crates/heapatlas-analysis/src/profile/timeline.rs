//! What was live over time, in as many steps as there is room for.

use std::ops::Range;

use heapatlas_model::{AllocationProfile, TimelinePoint};

/// The most bytes that were live in each of `steps` equal parts of a time.
///
/// A point of the timeline tells the most of a whole interval; each part that the interval
/// touches may have held that much, and is given it. After the last point it is what lived at the end.
///
/// ```
/// use heapatlas_analysis::profile::live_over_time;
/// use heapatlas_model::{AllocationProfile, Amount, ProfileFormat, TimelinePoint};
/// let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
/// let point = |time_ns, bytes| TimelinePoint {
///     time_ns,
///     most: Amount { bytes, blocks: 1 },
///     ..TimelinePoint::default()
/// };
/// profile.timeline = vec![point(10, 5), point(20, 9)];
/// profile.live_at_end.bytes = 2;
/// assert_eq!(live_over_time(&profile, 0..40, 4), [5, 9, 2, 2]);
/// ```
pub fn live_over_time(profile: &AllocationProfile, time_ns: Range<u64>, steps: usize) -> Vec<u64> {
    let length = u128::from(time_ns.end.saturating_sub(time_ns.start));
    let border = |step: usize| {
        let offset = length * step as u128 / steps.max(1) as u128;
        time_ns.start.saturating_add(offset as u64)
    };
    let most = |step| most_within(profile, border(step)..border(step + 1));
    (0..steps).map(most).collect()
}

/// The most of all intervals that touch a time. An interval reaches from the point before,
/// excluded, to its own point, included.
fn most_within(profile: &AllocationProfile, time_ns: Range<u64>) -> u64 {
    let timeline = &profile.timeline;
    let first = timeline.partition_point(|point| point.time_ns <= time_ns.start);
    let last = timeline.partition_point(|point| point.time_ns < time_ns.end);
    let bytes = |point: &TimelinePoint| point.most.bytes;
    match timeline.get(first..timeline.len().min(last + 1)) {
        Some(touched @ [_, ..]) => touched.iter().map(bytes).max().unwrap_or(0),
        _ => profile.live_at_end.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapatlas_model::{Amount, ProfileFormat};

    #[track_caller]
    fn check(points: &[(u64, u64)], time_ns: Range<u64>, expected: &[u64]) {
        let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
        let point = |&(time_ns, bytes): &(u64, u64)| TimelinePoint {
            time_ns,
            most: Amount { bytes, blocks: 1 },
            resident_bytes: 0,
        };
        profile.timeline = points.iter().map(point).collect();
        profile.live_at_end.bytes = 1;
        assert_eq!(live_over_time(&profile, time_ns, expected.len()), expected);
    }

    #[test]
    fn many_points_a_step() {
        check(&[(1, 5), (2, 9), (3, 7), (4, 3)], 0..4, &[9, 7]);
        check(&[(1, 5), (2, 9), (3, 7), (4, 3)], 0..4, &[5, 9, 7, 3]);
    }

    #[test]
    fn many_steps_a_point() {
        check(&[(4, 5), (8, 9)], 0..8, &[5, 5, 9, 9]);
        check(&[(3, 5), (8, 9)], 0..8, &[5, 9, 9, 9]);
    }

    #[test]
    fn a_part_of_the_time() {
        check(&[(10, 5), (20, 9), (30, 7)], 10..20, &[9, 9]);
        check(&[(10, 5), (20, 9)], 15..35, &[9, 1]);
    }

    #[test]
    fn odd_times() {
        check(&[], 0..10, &[1, 1]);
        check(&[(5, 9)], 7..7, &[1]);
        check(&[(5, 9)], 0..0, &[9]);
        check(&[(u64::MAX, 9)], 0..u64::MAX, &[9, 9]);
        check(&[(5, 9)], 0..10, &[]);
    }
}
