//! What the kernel says of this process's memory.

use std::time::Duration;

/// Page faults that needed no disk, since it began (`minflt`).
///
/// # Panics
///
/// If the kernel does not say (`/proc/self/stat`).
pub fn page_faults() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("needs /proc/self/stat");
    // The name, in brackets, may hold anything; `minflt` is the eighth field behind it.
    let rest = text
        .rsplit_once(')')
        .expect("stat has a name in brackets")
        .1;
    let faults = rest.split_whitespace().nth(7);
    let faults = faults.and_then(|field| field.parse().ok());
    faults.expect("minflt is a number")
}

/// The most bytes that it ever had resident.
///
/// # Panics
///
/// If the kernel does not say (`/proc/self/status`).
pub fn peak_resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("needs /proc/self/status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("VmHWM is in kB") << 10
}

/// CPU time that the calling thread has used, user and system.
///
/// # Panics
///
/// If the kernel has no such clock (`CONFIG_POSIX_TIMERS`).
pub fn thread_time() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    now.expect("a clock of a thread's CPU time").into()
}
