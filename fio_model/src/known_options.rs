//! The options that fio 3.33 knows and the model does not carry out, and those that change nothing
//! that it models.
//!
//! From fio 3.33's own list of options and aliases. Knows nothing of those that are carried out:
//! that is `options`.

/// Known, and accepted with the value under which they ask for nothing.
pub const NEUTRAL: &[(&str, &str)] = &[
    ("allow_file_create", "0"),
    ("blocksize_unaligned", "0"),
    ("bs_is_seq_rand", "0"),
    ("bs_unaligned", "0"),
    ("create_only", "0"),
    ("end_fsync", "0"),
    ("exitall", "0"),
    ("exitall_on_error", "0"),
    ("experimental_verify", "0"),
    ("fdatasync", "0"),
    ("file_append", "0"),
    ("fill_device", "0"),
    ("fsync", "0"),
    ("fsync_on_close", "0"),
    ("hipri", "0"),
    ("iodepth_batch_complete_max", "0"),
    ("new_group", "0"),
    ("nowait", "0"),
    ("nr_files", "1"),
    ("nrfiles", "1"),
    ("overwrite", "0"),
    ("percentage_random", "100"),
    ("pre_read", "0"),
    ("ramp_time", "0"),
    ("random_distribution", "random"),
    ("random_generator", "tausworthe"),
    ("rate", "0"),
    ("rate_iops", "0"),
    ("refill_buffers", "1"),
    ("serialize_overlap", "0"),
    ("softrandommap", "0"),
    ("startdelay", "0"),
    ("sync", "none"),
    ("thinktime", "0"),
    ("trim_backlog", "0"),
    ("trim_percentage", "0"),
    ("unlink", "0"),
    ("verify_async", "0"),
    ("verify_dump", "0"),
];

/// Known, and accepted with any value: they change fio's reports, or caches that the model has not.
pub const INERT: &[&str] = &[
    "bwavgtime",
    "clat_percentiles",
    "disable_bw",
    "disable_bw_measurement",
    "disable_clat",
    "disable_lat",
    "disable_slat",
    "disk_util",
    "gtod_reduce",
    "invalidate",
    "iopsavgtime",
    "lat_percentiles",
    "per_job_logs",
    "percentile_list",
    "significant_figures",
    "slat_percentiles",
    "unified_rw_reporting",
    "unit_base",
];

/// Known, and not modelled with any value.
#[rustfmt::skip]
pub const UNMODELLED: &[&str] = &[
    "allow_mounted_write", "atomic", "ba", "block_error_percentiles", "blockalign",
    "buffer_compress_chunk", "buffer_compress_percentage", "buffer_pattern", "cgroup",
    "cgroup_nodelete", "cgroup_weight", "clocksource", "cmd_type", "cmdprio", "cmdprio_bssplit",
    "cmdprio_class", "cmdprio_percentage", "cpumask", "cpus_allowed", "cpus_allowed_policy",
    "create_fsync", "create_on_open", "create_serialize", "dedupe_global", "dedupe_mode",
    "dedupe_percentage", "dedupe_working_set_percentage", "directory", "env_context",
    "error_dump", "exec_postrun", "exec_prerun", "exit_what", "fadvise_hint", "fallocate",
    "file_service_type", "filename_format", "filesize", "fill_fs", "fixedbufs", "flow", "flow_id",
    "flow_sleep", "flow_watermark", "force_async", "gid", "gpu_dev_id", "gtod_cpu",
    "hugepage-size", "ignore_error", "ignore_zone_limits", "io_submit_mode", "iomem",
    "iomem_align", "ioscheduler", "job_max_open_zones", "latency_percentile", "latency_run",
    "latency_target", "latency_window", "lockfile", "lockmem", "log_alternate_epoch",
    "log_alternate_epoch_clock_id", "log_avg_msec", "log_compression", "log_compression_cpus",
    "log_entries", "log_hist_coarseness", "log_hist_msec", "log_max_value", "log_offset",
    "log_prio", "log_store_compressed", "log_unix_epoch", "max_latency", "max_open_zones", "mem",
    "mem_align", "merge_blktrace_file", "merge_blktrace_iters", "merge_blktrace_scalars", "nice",
    "nonvectored", "numa_cpu_nodes", "numa_mem_policy", "number_ios", "offset_align",
    "offset_increment", "opendir", "openfiles", "percentage_sequential", "prio", "prioclass",
    "profile", "rate_cycle", "rate_ignore_thinktime", "rate_iops_min", "rate_min", "rate_process",
    "ratecycle", "ratemin", "read_beyond_wp", "read_iolog", "read_iolog_chunked", "readfua",
    "registerfiles", "replay_align", "replay_no_stall", "replay_redirect", "replay_scale",
    "replay_skip", "replay_time_scale", "rw_sequencer", "rwmixcycle", "scramble_buffers",
    "sg_write_mode", "spdk_conf", "spdk_json_conf", "spdk_mem", "sqthread_poll",
    "sqthread_poll_cpu", "ss", "ss_dur", "ss_ramp", "stats", "steadystate",
    "steadystate_duration", "steadystate_ramp_time", "stream_id", "sync_file_range",
    "thinktime_blocks", "thinktime_blocks_type", "thinktime_iotime", "thinktime_spin",
    "trim_backlog_batch", "trim_verify_zero", "uid", "uncached", "unique_filename",
    "unlink_each_loop", "uri", "userspace_reap", "verify_async_cpus", "verifysort",
    "verifysort_nr", "wait_for", "write_barrier", "write_bw_log", "write_hint", "write_hist_log",
    "write_iolog", "write_iops_log", "write_lat_log", "writefua", "zero_buffers",
    "zone_reset_frequency", "zone_reset_threshold", "zonecapacity", "zonemode", "zonerange",
    "zonesize", "zoneskip",
];

/// Engines that fio 3.33 has on Linux beside those that the model has.
#[rustfmt::skip]
pub const OTHER_ENGINES: &[&str] = &[
    "pvsync", "pvsync2", "vsync", "posixaio", "mmap", "splice", "sg", "null", "net", "netsplice",
    "cpuio", "rdma", "falloc", "e4defrag", "rbd", "http", "nbd", "nvme", "io_uring_cmd",
    "external", "spdk", "spdk_bdev", "exec", "ftruncate", "filecreate", "filestat", "filedelete",
    "libzbc",
];
