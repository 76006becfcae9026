//! The options that fio 3.33 knows and the model does not carry out, those that change nothing that it
//! models, and those of later fios.
//!
//! From fio's own lists of options and aliases. Knows nothing of those that are carried out: that is
//! `options`.

/// Known, and accepted with the value under which they ask for nothing; a bare one has the value 1.
pub const NEUTRAL: &[(&str, &str)] = &[
    ("buffer_compress_percentage", "0"),
    ("bs_unaligned", "0"),
    ("blocksize_unaligned", "0"),
    ("create_only", "0"),
    ("file_append", "0"),
    ("flow", "0"),
    ("iodepth_batch_complete_max", "0"),
    ("io_submit_mode", "inline"),
    ("job_max_open_zones", "0"),
    ("max_open_zones", "0"),
    ("percentage_random", "100"),
    ("sg_write_mode", "write"),
    ("trim_backlog", "0"),
    ("trim_backlog_batch", "0"),
    ("trim_percentage", "0"),
    ("zonemode", "none"),
    ("zonesize", "0"),
];

/// Why an option has no effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoEffect {
    /// It is about fio's own report and logs.
    Report,
    /// It is about the CPUs, the memory and the clocks of the machine.
    Machine,
    /// It is about regular files, and disks are none.
    Files,
    /// It is about the page cache, which the model has not: what is written goes to the disk at once.
    Cache,
    /// It is about how fast I/O is issued: here as fast as it completes.
    Pace,
    /// It is about the content of buffers that `verify` fills.
    Content,
    /// It says what fio does anyway.
    Default,
}

impl NoEffect {
    /// What the option is about, in words.
    pub fn what(self) -> &'static str {
        match self {
            NoEffect::Report => "fio's own report",
            NoEffect::Machine => "the machine that fio runs on",
            NoEffect::Files => "regular files",
            NoEffect::Cache => "the page cache, which the model has not",
            NoEffect::Pace => "the pace of I/O, which the model does not slow down",
            NoEffect::Content => "the content of buffers, which verify fills",
            NoEffect::Default => "what fio does anyway",
        }
    }

    /// Why `option` has no effect, whatever its value, if it has none.
    pub fn of(option: &str) -> Option<NoEffect> {
        let row = INERT.iter().find(|row| row.1.contains(&option))?;
        Some(row.0)
    }
}

/// Known, and accepted with any value.
#[rustfmt::skip]
pub const INERT: &[(NoEffect, &[&str])] = &[
    (NoEffect::Report, &[
        "block_error_percentiles", "bwavgtime", "clat_percentiles", "description", "disable_bw",
        "disable_bw_measurement", "disable_clat", "disable_lat", "disable_slat", "disk_util",
        "error_dump", "gtod_reduce", "iopsavgtime", "lat_percentiles", "log_alternate_epoch",
        "log_alternate_epoch_clock_id", "log_avg_msec", "log_compression", "log_compression_cpus",
        "log_entries", "log_hist_coarseness", "log_hist_msec", "log_max_value", "log_offset",
        "log_prio", "log_store_compressed", "log_unix_epoch", "per_job_logs", "percentile_list",
        "significant_figures", "slat_percentiles", "stats", "unified_rw_reporting", "unit_base",
        "write_bw_log", "write_hist_log", "write_iolog", "write_iops_log", "write_lat_log",
    ]),
    (NoEffect::Machine, &[
        "cgroup", "cgroup_nodelete", "cgroup_weight", "clocksource", "cmdprio", "cmdprio_bssplit",
        "cmdprio_class", "cmdprio_percentage", "cpumask", "cpus_allowed", "cpus_allowed_policy",
        "fixedbufs", "force_async", "gid", "gpu_dev_id", "gtod_cpu", "hipri", "hugepage-size",
        "iomem", "iomem_align", "ioscheduler", "lockmem", "mem", "mem_align", "nice", "nonvectored",
        "nowait", "numa_cpu_nodes", "numa_mem_policy", "prio", "prioclass", "registerfiles",
        "sqthread_poll", "sqthread_poll_cpu", "uid", "userspace_reap", "verify_async_cpus",
    ]),
    (NoEffect::Files, &[
        "allow_file_create", "allow_mounted_write", "create_fsync", "create_on_open",
        "create_serialize", "donorname", "fadvise_hint", "fallocate", "filename_format",
        "inplace", "lockfile", "openfiles", "overwrite", "unique_filename", "unlink", "unlink_each_loop",
    ]),
    (NoEffect::Cache, &[
        "end_fsync", "fdatasync", "fsync", "fsync_on_close", "invalidate", "pre_read", "readfua",
        "stream_id", "sync", "sync_file_range", "uncached", "write_barrier", "write_hint",
        "writefua",
    ]),
    (NoEffect::Pace, &[
        "latency_percentile", "latency_run", "latency_target", "latency_window", "max_latency",
        "rate", "rate_cycle", "rate_ignore_thinktime", "rate_iops", "rate_iops_min", "rate_min",
        "rate_process", "ratecycle", "ratemin", "ss", "ss_dur", "ss_ramp", "startdelay",
        "steadystate", "steadystate_duration", "steadystate_ramp_time", "thinktime",
        "thinktime_blocks", "thinktime_blocks_type", "thinktime_iotime", "thinktime_spin",
    ]),
    (NoEffect::Content, &[
        "buffer_compress_chunk", "buffer_pattern", "dedupe_global", "dedupe_mode", "dedupe_percentage", "dedupe_working_set_percentage", "refill_buffers",
        "scramble_buffers", "zero_buffers",
    ]),
    (NoEffect::Default, &[
        "flow_watermark", "percentage_sequential", "rwmixcycle", "softrandommap",
        "trim_verify_zero", "verifysort", "verifysort_nr",
    ]),
];

/// Known, and not modelled with any value that asks for something.
#[rustfmt::skip]
pub const UNMODELLED: &[&str] = &[
    "env_context", "exec_postrun", "exec_prerun", "exit_what", "flow_id", "flow_sleep",
    "ignore_zone_limits", "merge_blktrace_file", "merge_blktrace_iters", "merge_blktrace_scalars",
    "opendir", "profile", "read_beyond_wp", "read_iolog", "read_iolog_chunked", "replay_align",
    "replay_no_stall", "replay_redirect", "replay_scale", "replay_skip", "replay_time_scale",
    "spdk_conf", "spdk_json_conf", "spdk_mem", "uri", "wait_for", "zone_reset_frequency",
    "zone_reset_threshold", "zonecapacity", "zonerange", "zoneskip", "cmd_type",
];

/// Options that later fios have, with the first version that does.
#[rustfmt::skip]
pub const NEWER: &[(&str, &str)] = &[
    ("fdp", "3.34"), ("fdp_pli", "3.34"), ("ss_interval", "3.35"),
    ("steadystate_check_interval", "3.35"), ("apptag", "3.36"), ("apptag_mask", "3.36"),
    ("fdp_pli_select", "3.36"), ("job_start_clock_id", "3.36"), ("md_per_io_size", "3.36"),
    ("pi_act", "3.36"), ("pi_chk", "3.36"), ("priohint", "3.36"), ("log_window_value", "3.37"),
    ("num_range", "3.37"), ("thinkcycles", "3.37"), ("data_placement", "3.38"),
    ("dataplacement", "3.38"), ("dp_scheme", "3.38"), ("log_issue_time", "3.38"),
    ("plid_select", "3.38"), ("plids", "3.38"), ("verify_mode", "3.38"),
    ("verify_write_sequence", "3.38"), ("write_mode", "3.38"), ("deac", "3.39"),
    ("libaio_vectored", "3.39"), ("recover_zbd_write_error", "3.40"),
    ("verify_header_seed", "3.40"), ("verify_pattern_interval", "3.40"), ("filetype", "3.41"),
    ("spr_num_regions", "3.41"), ("spr_op", "3.41"), ("sprandom", "3.41"), ("comm", "3.42"),
    ("end_syncfs", "3.42"), ("ramp_size", "3.42"), ("spr_cs", "3.42"),
    ("write_zone_remainder", "3.42"), ("cdb_len", "after 3.42"),
    ("random_sequence_stride", "after 3.42"), ("read_mode", "after 3.42"),
    ("verify_bytchk", "after 3.42"), ("verify_policy", "after 3.42"),
];

/// Engines that fio 3.33 has on Linux beside those that the model has.
#[rustfmt::skip]
pub const OTHER_ENGINES: &[&str] = &[
    "sg", "net", "netsplice", "rdma", "rbd", "http", "nbd", "nvme", "io_uring_cmd", "external",
    "spdk", "spdk_bdev", "exec", "libzbc",
];

/// All names of the tables above that fio 3.33 knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    let neutral = NEUTRAL.iter().map(|row| row.0);
    let inert = INERT.iter().flat_map(|row| row.1);
    neutral.chain(inert.chain(UNMODELLED).copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::setters;

    #[test]
    fn the_table_of_options_names_each() {
        let table = include_str!("../../docs/jobs.md");
        let carried_out = setters().flat_map(|setter| [setter.name, setter.alias]);
        let newer = NEWER.iter().map(|row| row.0);
        let all = carried_out.chain(names()).chain(newer);
        let missing: Vec<&str> = all
            .filter(|name| {
                let [bare, given] = [format!("`{name}`"), format!("`{name}=")];
                !table.contains(&bare) && !table.contains(&given)
            })
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
