//! Results in the shape in which SPDK writes them.
//!
//! Knows no state: the target core fills in plain structs.

use serde_json::{Value, json};

/// An entry of `vhost_get_controllers`.
#[derive(Clone, Debug)]
pub struct Controller<'a> {
    pub ctrlr: &'a str,
    /// The cores of its thread.
    pub cpumask: u64,
    /// Coalescing: the base delay.
    pub delay_base_us: u32,
    /// Coalescing: from how many I/Os a second.
    pub iops_threshold: u32,
    /// The whole path of its socket.
    pub socket: &'a str,
    /// Its sessions, in the order in which they connected.
    pub sessions: Vec<Session<'a>>,
    pub backend: Backend<'a>,
}

/// A session in `vhost_get_controllers`.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    pub vid: u32,
    pub id: u32,
    /// `<ctrlr>s<vid>`.
    pub name: &'a str,
    pub started: bool,
    /// The highest queue plus one; 0 when stopped.
    pub max_queues: u16,
    pub inflight_task_cnt: u32,
}

/// `backend_specific` of a controller.
#[derive(Clone, Debug)]
pub enum Backend<'a> {
    /// Its PRESENT slots, ascending.
    Scsi(Vec<Target<'a>>),
    /// Its bdev, `None` when that is gone, and whether it is read-only.
    Blk {
        bdev: Option<&'a str>,
        readonly: bool,
    },
}

/// A target in `vhost_get_controllers`.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    pub scsi_dev_num: u8,
    /// The number of its SCSI device in the process.
    pub id: u32,
    /// `Target <slot>`.
    pub target_name: &'a str,
    /// LUN 0's bdev, unless it is being hot-removed.
    pub bdev_name: Option<&'a str>,
}

impl Controller<'_> {
    pub fn json(&self) -> Value {
        let sessions: Vec<Value> = self.sessions.iter().map(Session::json).collect();
        json!({
            "ctrlr": self.ctrlr,
            "cpumask": format!("{:#x}", self.cpumask),
            "delay_base_us": self.delay_base_us,
            "iops_threshold": self.iops_threshold,
            "socket": self.socket,
            "sessions": sessions,
            "backend_specific": self.backend.json(),
        })
    }

    /// What `framework_get_config` writes for it: created delayed, filled, then started. A target
    /// whose LUN is being hot-removed is left out (SPDK crashes there: bug S9).
    pub fn config(&self) -> Vec<Value> {
        // The mask is written without "0x" here.
        let cpumask = format!("{:x}", self.cpumask);
        let Backend::Scsi(targets) = &self.backend else {
            return Vec::new();
        };
        let create = json!({
            "method": "vhost_create_scsi_controller",
            "params": {"ctrlr": self.ctrlr, "cpumask": cpumask, "delay": true},
        });
        let add = targets.iter().filter_map(|target| {
            Some(json!({
                "method": "vhost_scsi_controller_add_target",
                "params": {
                    "ctrlr": self.ctrlr,
                    "scsi_target_num": target.scsi_dev_num,
                    "bdev_name": target.bdev_name?,
                },
            }))
        });
        let start = json!({
            "method": "vhost_start_scsi_controller",
            "params": {"ctrlr": self.ctrlr},
        });
        std::iter::once(create).chain(add).chain([start]).collect()
    }
}

impl Session<'_> {
    fn json(&self) -> Value {
        json!({
            "vid": self.vid,
            "id": self.id,
            "name": self.name,
            "started": self.started,
            "max_queues": self.max_queues,
            "inflight_task_cnt": self.inflight_task_cnt,
        })
    }
}

impl Backend<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Scsi(targets) => {
                let targets: Vec<Value> = targets.iter().map(Target::json).collect();
                json!({ "scsi": targets })
            }
            // From SPDK's code; no recording has one.
            Self::Blk { bdev, readonly } => json!({
                "block": {"readonly": readonly, "bdev": bdev, "transport": "vhost_user_blk"},
            }),
        }
    }
}

impl Target<'_> {
    fn json(&self) -> Value {
        let luns: Vec<Value> = self
            .bdev_name
            .map(|bdev_name| json!({"id": 0, "bdev_name": bdev_name}))
            .into_iter()
            .collect();
        json!({
            "scsi_dev_num": self.scsi_dev_num,
            "id": self.id,
            "target_name": self.target_name,
            "luns": luns,
        })
    }
}

/// An entry of `bdev_get_bdevs`.
#[derive(Clone, Debug)]
pub struct Bdev<'a> {
    pub name: &'a str,
    /// "Split Disk".
    pub product_name: &'a str,
    pub block_size: u32,
    pub num_blocks: u64,
    /// As text; also its one alias.
    pub uuid: &'a str,
    /// Whether a module holds it for itself.
    pub claimed: bool,
    /// Which of "unmap", "flush", "reset", "write_zeroes", "zcopy", "compare", "abort" and "copy" it
    /// does; all bdevs read and write.
    pub io_types: &'a [&'a str],
    /// What its module says of it.
    pub driver_specific: Value,
}

/// The I/O types in the order in which SPDK lists them.
const IO_TYPES: [&str; 22] = [
    "read",
    "write",
    "unmap",
    "flush",
    "reset",
    "nvme_admin",
    "nvme_io",
    "nvme_io_md",
    "write_zeroes",
    "zcopy",
    "get_zone_info",
    "zone_management",
    "zone_append",
    "compare",
    "compare_and_write",
    "abort",
    "seek_hole",
    "seek_data",
    "copy",
    "nvme_iov_md",
    "nvme_nssr",
    "write_uncorrectable",
];

impl Bdev<'_> {
    /// The entry, as recorded of a split part (T-A16).
    ///
    /// # Divergence from SPDK
    ///
    /// What only some bdevs have (metadata, memory domains) is left out, as is the claim's type.
    pub fn json(&self) -> Value {
        let mut io_types = serde_json::Map::new();
        for name in IO_TYPES {
            let does = matches!(name, "read" | "write") || self.io_types.contains(&name);
            io_types.insert(name.to_owned(), does.into());
        }
        json!({
            "name": self.name,
            "aliases": [self.uuid],
            "product_name": self.product_name,
            "block_size": self.block_size,
            "num_blocks": self.num_blocks,
            "preferred_write_alignment": 0,
            "preferred_write_granularity": 0,
            "optimal_write_size": 0,
            "preferred_unmap_alignment": 0,
            "preferred_unmap_granularity": 0,
            "uuid": self.uuid,
            "numa_id": -1,
            "assigned_rate_limits": {
                "rw_ios_per_sec": 0,
                "rw_mbytes_per_sec": 0,
                "r_mbytes_per_sec": 0,
                "w_mbytes_per_sec": 0,
            },
            "claimed": self.claimed,
            "zoned": false,
            "supported_io_types": io_types,
            "driver_specific": self.driver_specific,
        })
    }
}

/// An entry of `scsi_get_devices`.
pub fn scsi_device(id: u32, device_name: &str) -> Value {
    json!({"id": id, "device_name": device_name})
}

/// What `spdk_get_version` says of the version that was recorded.
pub fn version() -> Value {
    json!({
        "version": "SPDK v26.09-pre git sha1 3230130e6a",
        "fields": {"major": 26, "minor": 9, "patch": 0, "suffix": "-pre", "commit": "3230130e6a"},
    })
}
