//! The processor time of this thread, asked of the kernel only now and then.
//!
//! Asking costs half a microsecond, five times as much as all else that a region costs. So within 20 µs after an
//! answer the thread is taken to have run all the while: a wait shorter than that counts as processor time. Each answer
//! starts anew, so that errors do not add up from one to the next.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::os::cpu_time;

/// How long an answer serves.
const SERVES: Duration = Duration::from_micros(20);

thread_local! {
    // Constant and without a destructor: usable while a thread ends.
    static ANSWER: Cell<Option<Answer>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Answer {
    wall: Instant,
    cpu_ns: u64,
}

/// The processor time at the moment `wall`, which is now. 0 where it is not known, see [`cpu_time::IS_KNOWN`].
#[inline]
pub(super) fn at(wall: Instant) -> u64 {
    if !cpu_time::IS_KNOWN {
        return 0;
    }
    if let Some(answer) = ANSWER.get() {
        let since = wall.saturating_duration_since(answer.wall);
        if since < SERVES {
            return answer.cpu_ns + u64::from(since.subsec_nanos());
        }
    }
    ask(wall)
}

#[inline(never)]
fn ask(wall: Instant) -> u64 {
    let cpu_ns = cpu_time::of_this_thread();
    ANSWER.set(Some(Answer { wall, cpu_ns }));
    cpu_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_wait_it_is_the_clock_of_the_kernel() {
        let ends = Instant::now() + 2 * SERVES;
        at(Instant::now());
        std::thread::sleep(2 * SERVES);
        let [lower, now, upper] = [
            cpu_time::of_this_thread(),
            at(Instant::now().max(ends)),
            cpu_time::of_this_thread(),
        ];
        assert!(lower <= now && now <= upper, "{lower} {now} {upper}");
    }

    #[test]
    fn within_an_answer_it_runs_as_the_wall_does() {
        let begin = Instant::now();
        let step = SERVES / 4;
        ANSWER.set(None);
        let answers = [0, 1, 2, 3].map(|steps| at(begin + steps * step));
        let step = if cpu_time::IS_KNOWN { 5000 } else { 0 };
        assert!(answers.is_sorted_by_key(|answer| *answer));
        assert!(answers.windows(2).all(|pair| pair[1] - pair[0] == step));
    }
}
