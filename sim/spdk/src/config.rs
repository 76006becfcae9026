//! What a target is made of.

use crate::bdev::{Latencies, NvmeDevice};
use wire::bugs::Bugs;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// How it is wrong.
    pub bugs: Bugs,
    /// Reactors, 1 or 2. With one, the app thread and the controllers' threads take turns on it, which
    /// keeps the order of their messages; with two, each controller's thread is on its own.
    pub cores: u8,
    /// Where the vhost-user sockets are said to be.
    pub socket_dir: String,
    /// Controllers that can exist at a time.
    ///
    /// # Divergence from SPDK
    ///
    /// SPDK has no limit; one more is "Cannot allocate memory" here.
    pub controllers_max: u8,
    /// How long devices take.
    pub latencies: Latencies,
    /// NVMe devices that can be attached.
    pub nvme: Vec<NvmeDevice>,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            bugs: Bugs::head(),
            cores: 1,
            socket_dir: "/var/tmp".to_owned(),
            controllers_max: 16,
            latencies: Latencies::default(),
            nvme: Vec::new(),
        }
    }
}
