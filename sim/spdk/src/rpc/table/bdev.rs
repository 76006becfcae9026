//! The methods of module/bdev and lib/bdev.

use super::super::decode::Kind::{Flag, I32, OneOf, Text, U8, U32, U64, Uuid};
use super::super::decode::{Field, may, must};
use super::super::method::{ErrorKind, IoType, LatencyType, Method};
use super::super::method::{NvmePath, NvmeTrid, RpcDelay, RpcInject, RpcMalloc, RpcNull};
use super::{BDEV, BDEV_ERROR, PARAMETERS, Spec, VHOST, bare, spec};

const NAME: &[Field] = &[must("name", Text)];
const NAME_OR_NOT: &[Field] = &[may("name", Text)];
const BASE: &[Field] = &[must("base_bdev", Text)];

pub(super) static TABLE: &[Spec] = &[
    spec(
        "bdev_malloc_create",
        BDEV,
        &[
            may("name", Text),
            may("uuid", Uuid),
            must("num_blocks", U64),
            must("block_size", U32),
            may("physical_block_size", U32),
            may("optimal_io_boundary", U32),
            may("md_size", U32),
            may("md_interleave", Flag),
            may("dif_type", I32),
            may("dif_is_head_of_md", Flag),
            may("dif_pi_format", U32),
            may("numa_id", I32),
        ],
        |mut p| {
            Method::BdevMallocCreate(Box::new(RpcMalloc {
                name: p.some_text("name"),
                block_size: p.number("block_size", 0),
                num_blocks: p.number("num_blocks", 0),
                physical_block_size: p.number("physical_block_size", 0),
                uuid: p.uuid("uuid"),
                optimal_io_boundary: p.number("optimal_io_boundary", 0),
                md_size: p.number("md_size", 0),
                md_interleave: p.flag("md_interleave"),
                dif_type: p.number("dif_type", 0),
                numa_id: p.number("numa_id", -1),
            }))
        },
    ),
    spec("bdev_malloc_delete", BDEV, NAME, |mut p| {
        Method::BdevMallocDelete {
            name: p.text("name"),
        }
    }),
    spec(
        "bdev_null_create",
        BDEV,
        &[
            must("name", Text),
            may("uuid", Uuid),
            must("num_blocks", U64),
            must("block_size", U32),
            may("physical_block_size", U32),
            may("md_size", U32),
            may("dif_type", U32),
            may("dif_is_head_of_md", Flag),
            may("dif_pi_format", U32),
        ],
        |mut p| {
            Method::BdevNullCreate(Box::new(RpcNull {
                name: p.text("name"),
                num_blocks: p.number("num_blocks", 0),
                block_size: p.number("block_size", 0),
                physical_block_size: p.number("physical_block_size", 0),
                uuid: p.uuid("uuid"),
                md_size: p.number("md_size", 0),
                dif_type: p.number("dif_type", 0),
            }))
        },
    ),
    spec("bdev_null_delete", BDEV, NAME, |mut p| {
        Method::BdevNullDelete {
            name: p.text("name"),
        }
    }),
    spec(
        "bdev_null_resize",
        BDEV,
        &[must("name", Text), must("new_size", U64)],
        |mut p| Method::BdevNullResize {
            name: p.text("name"),
            new_size: p.number("new_size", 0),
        },
    ),
    spec(
        "bdev_split_create",
        PARAMETERS,
        &[
            must("base_bdev", Text),
            must("split_count", U32),
            may("split_size_mb", U64),
        ],
        |mut p| Method::BdevSplitCreate {
            base_bdev: p.text("base_bdev"),
            split_count: p.number("split_count", 0),
            split_size_mb: p.number("split_size_mb", 0),
        },
    ),
    spec("bdev_split_delete", PARAMETERS, BASE, |mut p| {
        Method::BdevSplitDelete {
            base_bdev: p.text("base_bdev"),
        }
    }),
    spec(
        "bdev_delay_create",
        BDEV,
        &[
            must("base_bdev_name", Text),
            must("name", Text),
            may("uuid", Uuid),
            must("avg_read_latency", U64),
            must("p99_read_latency", U64),
            must("avg_write_latency", U64),
            must("p99_write_latency", U64),
        ],
        |mut p| {
            Method::BdevDelayCreate(Box::new(RpcDelay {
                name: p.text("name"),
                base_bdev_name: p.text("base_bdev_name"),
                uuid: p.uuid("uuid"),
                avg_read_latency: p.number("avg_read_latency", 0),
                p99_read_latency: p.number("p99_read_latency", 0),
                avg_write_latency: p.number("avg_write_latency", 0),
                p99_write_latency: p.number("p99_write_latency", 0),
            }))
        },
    ),
    spec("bdev_delay_delete", BDEV, NAME, |mut p| {
        Method::BdevDelayDelete {
            name: p.text("name"),
        }
    }),
    spec(
        "bdev_delay_update_latency",
        BDEV,
        &[
            must("delay_bdev_name", Text),
            must("latency_type", Text),
            must("latency_us", U64),
        ],
        |mut p| Method::BdevDelayUpdateLatency {
            delay_bdev_name: p.text("delay_bdev_name"),
            latency_type: latency_type(&p.text("latency_type")),
            latency_us: p.number("latency_us", 0),
        },
    ),
    spec(
        "bdev_error_create",
        BDEV,
        &[must("base_name", Text), may("uuid", Uuid)],
        |mut p| Method::BdevErrorCreate {
            base_name: p.text("base_name"),
            uuid: p.uuid("uuid"),
        },
    ),
    spec("bdev_error_delete", BDEV, NAME, |mut p| {
        Method::BdevErrorDelete {
            name: p.text("name"),
        }
    }),
    spec(
        "bdev_error_inject_error",
        BDEV_ERROR,
        &[
            must("name", Text),
            must("io_type", OneOf(IO_TYPES)),
            must("error_type", OneOf(ERROR_TYPES)),
            may("num", U32),
            may("queue_depth", U64),
            may("corrupt_offset", U64),
            may("corrupt_value", U8),
        ],
        |mut p| {
            Method::BdevErrorInjectError(Box::new(RpcInject {
                name: p.text("name"),
                io_type: io_type(p.choice("io_type")),
                error_type: error_type(p.choice("error_type")),
                num: p.number("num", 1),
                queue_depth: p.number("queue_depth", 0),
                corrupt_offset: p.number("corrupt_offset", 0),
                corrupt_value: p.number("corrupt_value", 0),
            }))
        },
    ),
    spec("bdev_error_resume_pending", BDEV, NAME, |mut p| {
        Method::BdevErrorResumePending {
            name: p.text("name"),
        }
    }),
    spec(
        "bdev_nvme_attach_controller",
        BDEV,
        &[
            must("name", Text),
            must("trtype", Text),
            must("traddr", Text),
            may("adrfam", Text),
            may("trsvcid", Text),
            may("priority", Text),
            may("subnqn", Text),
            may("hostnqn", Text),
            may("hostaddr", Text),
            may("hostsvcid", Text),
            may("prchk_reftag", Flag),
            may("prchk_guard", Flag),
            may("hdgst", Flag),
            may("ddgst", Flag),
            may("fabrics_connect_timeout_us", U64),
            may("multipath", OneOf(&["disable", "failover", "multipath"])),
            may("num_io_queues", U32),
            may("ctrlr_loss_timeout_sec", I32),
            may("reconnect_delay_sec", U32),
            may("fast_io_fail_timeout_sec", U32),
            may("psk", Text),
            may("max_bdevs", U32),
            may("dhchap_key", Text),
            may("dhchap_ctrlr_key", Text),
            may("allow_unrecognized_csi", Flag),
        ],
        |mut p| Method::BdevNvmeAttachController {
            name: p.text("name"),
            trid: NvmeTrid {
                trtype: p.text("trtype"),
                traddr: p.text("traddr"),
                adrfam: p.some_text("adrfam"),
                trsvcid: p.some_text("trsvcid"),
                subnqn: p.some_text("subnqn"),
            },
            multipath: p.some_text("multipath"),
            num_io_queues: p.some("num_io_queues"),
            ctrlr_loss_timeout_sec: p.number("ctrlr_loss_timeout_sec", 0),
            reconnect_delay_sec: p.number("reconnect_delay_sec", 0),
            fast_io_fail_timeout_sec: p.number("fast_io_fail_timeout_sec", 0),
            max_bdevs: p.number("max_bdevs", 128),
        },
    ),
    spec(
        "bdev_nvme_detach_controller",
        BDEV,
        &[
            must("name", Text),
            may("trtype", Text),
            may("traddr", Text),
            may("adrfam", Text),
            may("trsvcid", Text),
            may("subnqn", Text),
            may("hostaddr", Text),
            may("hostsvcid", Text),
        ],
        |mut p| Method::BdevNvmeDetachController {
            name: p.text("name"),
            path: NvmePath {
                trtype: p.some_text("trtype"),
                traddr: p.some_text("traddr"),
                adrfam: p.some_text("adrfam"),
                trsvcid: p.some_text("trsvcid"),
                subnqn: p.some_text("subnqn"),
                hostaddr: p.some_text("hostaddr"),
                hostsvcid: p.some_text("hostsvcid"),
            },
        },
    ),
    spec("bdev_nvme_get_controllers", BDEV, NAME_OR_NOT, |mut p| {
        Method::BdevNvmeGetControllers {
            name: p.some_text("name"),
        }
    }),
    spec(
        "bdev_nvme_set_hotplug",
        VHOST,
        &[must("enable", Flag), may("period_us", U64)],
        |mut p| Method::BdevNvmeSetHotplug {
            enable: p.flag("enable"),
            period_us: p.number("period_us", 0),
        },
    ),
    spec(
        "bdev_get_bdevs",
        BDEV,
        &[may("name", Text), may("timeout", U64)],
        |mut p| Method::BdevGetBdevs {
            name: p.some_text("name"),
            timeout: p.number("timeout", 0),
        },
    ),
    bare(
        "bdev_wait_for_examine",
        "bdev_wait_for_examine requires no parameters",
        |_| Method::BdevWaitForExamine,
    ),
];

/// In the order of [`IoType`] behind `Clear` (`rpc_error_bdev_io_type_parse`).
const IO_TYPES: &[&str] = &[
    "clear",
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
    "all",
];
const ERROR_TYPES: &[&str] = &[
    "failure",
    "pending",
    "corrupt_data",
    "nomem",
    "nvme_failure",
];
fn io_type(choice: usize) -> IoType {
    use IoType::*;
    [
        Clear,
        Read,
        Write,
        Unmap,
        Flush,
        Reset,
        NvmeAdmin,
        NvmeIo,
        NvmeIoMd,
        WriteZeroes,
        Zcopy,
        GetZoneInfo,
        ZoneManagement,
        ZoneAppend,
        Compare,
        CompareAndWrite,
        Abort,
        SeekHole,
        SeekData,
        Copy,
        NvmeIovMd,
        All,
    ][choice]
}

fn error_type(choice: usize) -> ErrorKind {
    use ErrorKind::*;
    [Failure, Pending, CorruptData, NoMem, NvmeFailure][choice]
}

fn latency_type(name: &str) -> Option<LatencyType> {
    Some(match name {
        "avg_read" => LatencyType::AvgRead,
        "p99_read" => LatencyType::P99Read,
        "avg_write" => LatencyType::AvgWrite,
        "p99_write" => LatencyType::P99Write,
        _ => return None,
    })
}
