//! How long each phase took, on request (`HEAPATLAS_TIMINGS`).

use std::env;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::env_vars;

/// Measures phases, or does not.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    is_on: bool,
}

impl Timings {
    /// As the environment asks.
    pub fn from_environment() -> Self {
        let is_on = env::var_os(env_vars::TIMINGS.name).is_some_and(|value| value == "1");
        Self { is_on }
    }

    /// Does the work and says how long it took, in time of the clock and in time of all
    /// processors together.
    pub fn measure<T>(self, phase: &str, work: impl FnOnce() -> T) -> T {
        if !self.is_on {
            return work();
        }
        let (wall, cpu) = (Instant::now(), process_cpu_time());
        let result = work();
        let (wall, cpu) = (wall.elapsed(), process_cpu_time().saturating_sub(cpu));
        let _ = writeln!(
            io::stderr().lock(),
            "timing: {phase} cpu_ms={:.1} wall_ms={:.1}",
            cpu.as_secs_f64() * 1e3,
            wall.as_secs_f64() * 1e3
        );
        result
    }
}

/// Processor time of all threads since the process began.
#[cfg(unix)]
fn process_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

#[cfg(not(unix))]
fn process_cpu_time() -> Duration {
    Duration::ZERO
}
