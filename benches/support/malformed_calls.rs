//! RPC texts that the malformed ones are made from.

/// Calls, with parameters of which some are exchanged for another value.
pub const CALLS: [(&str, &[(&str, &str)]); 9] = [
    (
        "vhost_scsi_controller_add_target",
        &[
            ("ctrlr", "\"vhost.0\""),
            ("scsi_target_num", "2"),
            ("bdev_name", "\"Malloc2\""),
        ],
    ),
    (
        "vhost_scsi_controller_remove_target",
        &[("ctrlr", "\"vhost.0\""), ("scsi_target_num", "2")],
    ),
    (
        "bdev_split_create",
        &[("base_bdev", "\"Malloc2\""), ("split_count", "4")],
    ),
    ("bdev_split_delete", &[("base_bdev", "\"Malloc2\"")]),
    ("vhost_get_controllers", &[("name", "\"vhost.0\"")]),
    ("bdev_get_bdevs", &[("name", "\"Malloc0\"")]),
    (
        "vhost_controller_set_coalescing",
        &[
            ("ctrlr", "\"vhost.0\""),
            ("delay_base_us", "10"),
            ("iops_threshold", "60000"),
        ],
    ),
    ("framework_get_config", &[("name", "\"vhost_scsi\"")]),
    (
        "bdev_malloc_create",
        &[
            ("num_blocks", "8"),
            ("block_size", "512"),
            ("name", "\"Malloc3\""),
        ],
    ),
];
/// What they are exchanged for.
pub const VALUES: [&str; 13] = [
    "0",
    "-1",
    "1e400",
    "4096",
    "18446744073709551616",
    "\"vhost.0\"",
    "\"Malloc0\"",
    "null",
    "[]",
    "{\"a\":{}}",
    "\"\\u0000\"",
    "true",
    "9223372036854775807",
];
