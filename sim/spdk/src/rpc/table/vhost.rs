//! The methods of lib/vhost and lib/scsi.

use super::super::decode::Kind::{Flag, I32, Text, U32};
use super::super::decode::{Field, may, must};
use super::super::method::Method;
use super::{Phase, Rule, Spec, VHOST, VHOST_GET, bare, spec};

const NAME_OR_NOT: &[Field] = &[may("name", Text)];
const CTRLR: &[Field] = &[must("ctrlr", Text)];

pub(super) static TABLE: &[Spec] = &[
    spec(
        "vhost_create_scsi_controller",
        VHOST,
        &[
            must("ctrlr", Text),
            may("cpumask", Text),
            may("delay", Flag),
        ],
        |mut p| Method::VhostCreateScsiController {
            ctrlr: p.text("ctrlr"),
            cpumask: p.some_text("cpumask"),
            delay: p.flag("delay"),
        },
    ),
    spec("vhost_start_scsi_controller", VHOST, CTRLR, |mut p| {
        Method::VhostStartScsiController {
            ctrlr: p.text("ctrlr"),
        }
    }),
    spec(
        "vhost_scsi_controller_add_target",
        VHOST,
        &[
            must("ctrlr", Text),
            must("scsi_target_num", I32),
            must("bdev_name", Text),
        ],
        |mut p| Method::VhostScsiControllerAddTarget {
            ctrlr: p.text("ctrlr"),
            scsi_target_num: p.number("scsi_target_num", 0),
            bdev_name: p.text("bdev_name"),
        },
    ),
    spec(
        "vhost_scsi_controller_remove_target",
        VHOST,
        &[must("ctrlr", Text), must("scsi_target_num", U32)],
        |mut p| Method::VhostScsiControllerRemoveTarget {
            ctrlr: p.text("ctrlr"),
            scsi_target_num: p.number("scsi_target_num", 0),
        },
    ),
    spec("vhost_delete_controller", VHOST, CTRLR, |mut p| {
        Method::VhostDeleteController {
            ctrlr: p.text("ctrlr"),
        }
    }),
    spec("vhost_get_controllers", VHOST_GET, NAME_OR_NOT, |mut p| {
        Method::VhostGetControllers {
            name: p.some_text("name"),
        }
    }),
    spec(
        "vhost_controller_set_coalescing",
        VHOST,
        &[
            must("ctrlr", Text),
            must("delay_base_us", U32),
            must("iops_threshold", U32),
        ],
        |mut p| Method::VhostControllerSetCoalescing {
            ctrlr: p.text("ctrlr"),
            delay_base_us: p.number("delay_base_us", 0),
            iops_threshold: p.number("iops_threshold", 0),
        },
    ),
    Spec {
        name: "vhost_create_blk_controller",
        when: Phase::Runtime,
        params: Rule::Relaxed(
            VHOST,
            &[
                must("ctrlr", Text),
                must("dev_name", Text),
                may("cpumask", Text),
                may("transport", Text),
                may("readonly", Flag),
            ],
        ),
        build: |mut p| Method::VhostCreateBlkController {
            ctrlr: p.text("ctrlr"),
            dev_name: p.text("dev_name"),
            cpumask: p.some_text("cpumask"),
            transport: p.some_text("transport"),
            readonly: p.flag("readonly"),
        },
    },
    bare(
        "scsi_get_devices",
        "scsi_get_devices requires no parameters",
        |_| Method::ScsiGetDevices,
    ),
];
