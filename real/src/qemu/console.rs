//! What Linux prints on its console when it is not well.
//!
//! Knows lines; knows no guest.

/// Something that a kernel says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is broken: an oops, a BUG, a panic.
    Broken,
    /// A task has waited too long (`kernel.hung_task_timeout_secs`).
    HungTask,
}

/// Beginnings of what the kernel says when it is broken: arch/x86/kernel/dumpstack.c, lib/bug.c,
/// kernel/panic.c, mm/kasan, kernel/rcu/tree_stall.h, kernel/watchdog.c.
const BROKEN: [&str; 8] = [
    "Oops",
    "BUG: ",
    "kernel BUG at",
    "Kernel panic",
    "general protection fault",
    "Internal error",
    "Unable to handle kernel",
    "watchdog: BUG",
];

/// What trouble a line of the console tells of.
#[must_use]
pub fn trouble(line: &str) -> Option<Trouble> {
    // "[   12.345678] " goes before.
    let text = match line.split_once("] ") {
        Some((stamp, text)) if stamp.starts_with('[') => text,
        _ => line,
    };
    let text = text.trim_start();
    if text.starts_with("INFO: task ") && text.contains(" blocked for more than ") {
        return Some(Trouble::HungTask);
    }
    BROKEN
        .iter()
        .any(|begin| text.starts_with(begin))
        .then_some(Trouble::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_from_disks_that_fail() {
        for line in [
            "[    3.564217] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "[   10.0] BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "[   10.1] Oops: 0002 [#1] PREEMPT SMP NOPTI",
            "kernel BUG at drivers/scsi/virtio_scsi.c:123!",
        ] {
            assert_eq!(trouble(line), Some(Trouble::Broken), "{line}");
        }
        let hung = "[  242.9] INFO: task kworker/u2:1:23 blocked for more than 60 seconds.";
        assert_eq!(trouble(hung), Some(Trouble::HungTask));
        for line in [
            "[    6.7] sd 0:0:0:0: Power-on or device reset occurred",
            "[   13.2] blk_update_request: I/O error, dev sda, sector 0 op 0x1:(WRITE)",
            "[   12.9] sd 0:0:0:0: [sda] tag#80 Sense Key : Illegal Request [current] ",
            "",
        ] {
            assert_eq!(trouble(line), None, "{line}");
        }
    }
}
