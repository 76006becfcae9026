//! CPU time of this process, and rounds of measurements that can be compared.
//!
//! Wall time says little on a shared machine. All cases of a comparison run in one process, round
//! robin, and a ratio is the median of the rounds' ratios.

use std::time::Duration;

/// CPU time that the main thread of this process has used, user and system.
///
/// # Panics
///
/// If the kernel does not say (`/proc/self/schedstat`).
pub fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("needs schedstat in /proc");
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.expect("schedstat starts with nanoseconds"))
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
