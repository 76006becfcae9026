//! What a simulation is made from, besides the plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use fio_model::{JobFile, Volume};

use linux::Digests;
use spdk::{Latencies, TargetConfig};
use wire::bugs::Bugs;
use world::Strategy;

use crate::disks::nvme_devices;

/// What a simulation is made from, besides the plan.
#[derive(Clone)]
pub struct SimOptions {
    /// Feeds the world's accidents.
    pub seed: u64,
    /// How the target is wrong.
    pub bugs: Bugs,
    /// Blocks that each disk of a job writes and verifies; `None`: as the job says, in virtual time.
    pub volume: Option<Volume>,
    /// The job files, by the names that plans use.
    pub jobs: BTreeMap<String, Arc<JobFile>>,
    /// Who goes next.
    pub strategy: Strategy,
    /// Disks that the target has a device for, from the first.
    pub disks: u8,
    /// Targets that guests ask for in each host.
    pub targets: u16,
    /// Whether every request is observed.
    pub per_io: bool,
    /// Digests of payloads, for all guests: those of an earlier simulation will do.
    pub digests: Digests,
    /// Draw once more from the world's rng at this turn: to show that a difference is found.
    pub disturb_at: Option<u64>,
}

impl SimOptions {
    /// The model target of these options.
    pub(crate) fn target(&self) -> TargetConfig {
        TargetConfig {
            bugs: self.bugs,
            nvme: nvme_devices(self.disks),
            latencies: self.latencies(),
            ..TargetConfig::default()
        }
    }

    /// Device latencies under which a job lasts long enough for an RPC to fall into it.
    ///
    /// A scaled volume is a few hundred requests, which a fast NVMe device answers before the target has
    /// read one RPC (it looks every 4 ms). It is given a slow disk: 1 to 9 ms a request.
    fn latencies(&self) -> Latencies {
        if self.volume.is_some_and(|volume| volume.scale > 1) {
            Latencies::SLOW
        } else {
            Latencies::USUAL
        }
    }
}
