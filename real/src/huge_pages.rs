//! Huge pages of 2 MiB: whether a target needs its guests' memory in them, and whether the machine has any.
//!
//! SPDK that has its own memory in huge pages looks at each 2 MiB of a guest's memory when it registers it,
//! from the 2 MiB below its beginning on (`vhost_session_mem_register`, `vtophys_notify`). Memory in ordinary
//! pages rarely begins there, so one such guest is the end of the target, by SIGSEGV. With `--no-huge` it
//! does not look.
//!
//! # Divergence from SPDK
//!
//! The model target never looks.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};

/// Bytes of a huge page.
pub const HUGE_PAGE: u64 = 2 << 20;
/// How many there are, and how many are free (Linux's `hugetlbpage.rst`).
const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

/// What memory is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Ordinary pages.
    #[default]
    Ordinary,
    /// Huge pages of 2 MiB.
    Huge,
}

impl Pages {
    /// What guests of the target that listens at `rpc_socket` need. A target whose process cannot be seen
    /// from here is taken for one that needs nothing.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn for_guests_of(rpc_socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(rpc_socket)?;
        let peer = getsockopt(&stream, sockopt::PeerCredentials)?;
        let status = fs::read_to_string(format!("/proc/{}/status", peer.pid()));
        let kib = status.ok().and_then(|text| kib_in_huge_pages(&text));
        Ok(match kib {
            Some(1..) => Self::Huge,
            Some(0) | None => Self::Ordinary,
        })
    }

    /// That memory of this size can be had now.
    ///
    /// # Errors
    ///
    /// There are too few huge pages; how to get them.
    pub fn can_be_had(self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Ordinary => Ok(()),
            Self::Huge => {
                let text = fs::read_to_string(FREE).unwrap_or_default();
                enough(text.trim().parse().unwrap_or(0), bytes)
            }
        }
    }

    /// `bytes`, rounded up to whole pages.
    #[must_use]
    pub const fn whole(self, bytes: u64) -> u64 {
        match self {
            Self::Ordinary => bytes,
            Self::Huge => bytes.next_multiple_of(HUGE_PAGE),
        }
    }
}

/// `HugetlbPages` of `/proc/PID/status`, in KiB (proc_pid_status(5)).
fn kib_in_huge_pages(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("HugetlbPages:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn enough(free: u64, bytes: u64) -> io::Result<()> {
    let wanted = bytes.div_ceil(HUGE_PAGE);
    if free >= wanted {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the target has its memory in huge pages, and would die of a guest that has not: {wanted} huge pages are needed, {free} are free\n  = `sysctl vm.nr_hugepages`, or start the target with --no-huge"
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_process_says_what_it_has_in_huge_pages() {
        let status =
            "Name:\tvhost\nVmSwap:\t       0 kB\nHugetlbPages:\t 1228800 kB\nThreads:\t3\n";
        assert_eq!(kib_in_huge_pages(status), Some(1_228_800));
        assert_eq!(kib_in_huge_pages("Name:\tvhost\n"), None);
    }

    #[test]
    fn too_few_huge_pages_are_said_before_a_target_dies_of_it() {
        assert!(enough(160, 320 << 20).is_ok());
        let why = enough(159, 320 << 20).map_err(|error| error.to_string());
        let text = "160 huge pages are needed, 159 are free";
        assert!(why.is_err_and(|why| why.contains(text)));
        assert!(Pages::Ordinary.can_be_had(u64::MAX).is_ok());
        assert!(Pages::Huge.can_be_had(u64::MAX / 2).is_err());
    }

    #[test]
    fn guests_of_a_target_without_huge_pages_need_none() {
        let path = std::env::temp_dir().join(format!("plugfest-pages-{}", std::process::id()));
        assert!(Pages::for_guests_of(&path).is_err());
        let listener = UnixListener::bind(&path).expect("a socket");
        let pages = Pages::for_guests_of(&path);
        drop(listener);
        fs::remove_file(&path).expect("it was made");
        assert_eq!(pages.expect("it listens"), Pages::Ordinary);
    }
}
