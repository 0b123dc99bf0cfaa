//! The processor time of this thread, asked of the kernel only now and then.
//!
//! Asking costs half a microsecond, five times as much as all else that a region costs. So within 20 µs after an
//! answer the thread is taken to have run all the while: a wait shorter than that counts as processor time. Each answer
//! starts anew, so that errors do not add up from one to the next.

use std::cell::Cell;

use crate::os::clocks;

/// How long an answer serves.
const SERVES_NS: u64 = 20_000;

thread_local! {
    // Constant and without a destructor: usable while a thread ends.
    static ANSWER: Cell<Option<Answer>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Answer {
    wall_ns: u64,
    cpu_ns: u64,
}

/// The processor time at the moment `wall_ns`, which is now. 0 where it is not known, see
/// [`clocks::IS_CPU_TIME_KNOWN`].
#[inline]
pub(super) fn at(wall_ns: u64) -> u64 {
    if !clocks::IS_CPU_TIME_KNOWN {
        return 0;
    }
    if let Some(answer) = ANSWER.get() {
        let since = wall_ns.saturating_sub(answer.wall_ns);
        if since < SERVES_NS {
            return answer.cpu_ns + since;
        }
    }
    ask(wall_ns)
}

#[inline(never)]
fn ask(wall_ns: u64) -> u64 {
    let cpu_ns = clocks::cpu_time_of_this_thread();
    ANSWER.set(Some(Answer { wall_ns, cpu_ns }));
    cpu_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_while_it_is_the_clock_of_the_kernel() {
        let begin = clocks::now();
        at(begin);
        let [lower, now, upper] = [
            clocks::cpu_time_of_this_thread(),
            at(begin + SERVES_NS),
            clocks::cpu_time_of_this_thread(),
        ];
        assert!(lower <= now && now <= upper, "{lower} {now} {upper}");
    }

    #[test]
    fn within_an_answer_it_runs_as_the_clock_does() {
        let begin = clocks::now();
        ANSWER.set(None);
        let answers = [0, 5000, 10_000, 15_000].map(|since| at(begin + since));
        let step = if clocks::IS_CPU_TIME_KNOWN { 5000 } else { 0 };
        assert!(answers.windows(2).all(|pair| pair[1] - pair[0] == step));
    }
}
