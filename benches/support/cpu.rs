//! CPU time of this process, and rounds of measurements that can be compared.
//!
//! Wall time says little on a shared machine. All cases of a comparison run in one process, round
//! robin, and a ratio is the median of the rounds' ratios.

use std::time::Duration;

/// CPU time that this process has used, user and system, to the nanosecond.
///
/// (`/proc/self/schedstat` is only as new as the last tick, up to 4 ms ago.)
///
/// # Panics
///
/// If the kernel has no such clock (`CONFIG_POSIX_TIMERS`).
pub fn cpu_time() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    now.expect("a clock of this process's CPU time").into()
}

/// CPU time of `work`, per unit of the units that it says it did.
pub fn per_unit(work: &mut dyn FnMut() -> u64) -> f64 {
    let before = cpu_time();
    let units = work();
    assert!(units > 0, "a measurement of nothing");
    (cpu_time() - before).as_nanos() as f64 / units as f64
}

/// Least, median, most.
pub fn spread(samples: &[f64]) -> (f64, f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    (
        sorted[0],
        sorted[sorted.len() / 2],
        sorted[sorted.len() - 1],
    )
}
