//! Every method that the model knows, with its parameters decoded.
//!
//! Says nothing of what they do. Names and defaults are SPDK's (doc/jsonrpc.md).
//!
//! # Divergence from SPDK
//!
//! SPDK has a few hundred methods; those not listed here are answered "Method not found".

#![expect(
    missing_docs,
    reason = "the fields are SPDK's parameters, under SPDK's names"
)]

/// A request to the target.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    VhostCreateScsiController {
        ctrlr: String,
        cpumask: Option<String>,
        delay: bool,
    },
    VhostStartScsiController {
        ctrlr: String,
    },
    VhostScsiControllerAddTarget {
        ctrlr: String,
        /// Any negative number: the first free slot.
        scsi_target_num: i32,
        bdev_name: String,
    },
    VhostScsiControllerRemoveTarget {
        ctrlr: String,
        scsi_target_num: u32,
    },
    VhostDeleteController {
        ctrlr: String,
    },
    VhostGetControllers {
        name: Option<String>,
    },
    VhostControllerSetCoalescing {
        ctrlr: String,
        delay_base_us: u32,
        iops_threshold: u32,
    },
    VhostCreateBlkController {
        ctrlr: String,
        dev_name: String,
        cpumask: Option<String>,
        transport: Option<String>,
        readonly: bool,
    },
    BdevMallocCreate(Box<RpcMalloc>),
    BdevMallocDelete {
        name: String,
    },
    BdevNullCreate(Box<RpcNull>),
    BdevNullDelete {
        name: String,
    },
    BdevNullResize {
        name: String,
        /// MiB.
        new_size: u64,
    },
    BdevSplitCreate {
        base_bdev: String,
        split_count: u32,
        /// 0: equal parts.
        split_size_mb: u64,
    },
    BdevSplitDelete {
        base_bdev: String,
    },
    BdevDelayCreate(Box<RpcDelay>),
    BdevDelayDelete {
        name: String,
    },
    BdevDelayUpdateLatency {
        delay_bdev_name: String,
        /// `None`: a name that is none of the four.
        latency_type: Option<LatencyType>,
        latency_us: u64,
    },
    BdevErrorCreate {
        base_name: String,
        uuid: Option<[u8; 16]>,
    },
    BdevErrorDelete {
        name: String,
    },
    BdevErrorInjectError(Box<RpcInject>),
    BdevErrorResumePending {
        name: String,
    },
    BdevNvmeAttachController {
        name: String,
        trid: NvmeTrid,
        multipath: Option<String>,
        num_io_queues: Option<u32>,
        ctrlr_loss_timeout_sec: i32,
        reconnect_delay_sec: u32,
        fast_io_fail_timeout_sec: u32,
        max_bdevs: u32,
    },
    BdevNvmeDetachController {
        name: String,
        path: NvmePath,
    },
    BdevNvmeGetControllers {
        name: Option<String>,
    },
    BdevNvmeSetHotplug {
        enable: bool,
        period_us: u64,
    },
    BdevGetBdevs {
        name: Option<String>,
        /// Milliseconds; without a name it is ignored.
        timeout: u64,
    },
    BdevWaitForExamine,
    FrameworkStartInit,
    FrameworkWaitInit,
    FrameworkGetConfig {
        name: String,
    },
    FrameworkGetSubsystems,
    FrameworkGetReactors,
    IobufSetOptions {
        small_pool_count: Option<u64>,
        large_pool_count: Option<u64>,
        small_bufsize: Option<u32>,
        large_bufsize: Option<u32>,
        enable_numa: bool,
    },
    SpdkGetVersion,
    ScsiGetDevices,
    ThreadGetPollers,
    ThreadGetStats,
    ThreadGetIoChannels,
    NotifyGetTypes,
    NotifyGetNotifications {
        id: u64,
        max: u64,
    },
    LogSetFlag {
        flag: String,
    },
    LogClearFlag {
        flag: String,
    },
    LogGetFlags,
    LogSetLevel {
        level: LogLevel,
    },
    LogGetLevel,
    LogSetPrintLevel {
        level: LogLevel,
    },
    LogGetPrintLevel,
}

/// Parameters of `bdev_malloc_create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcMalloc {
    /// `None`: "MallocN".
    pub name: Option<String>,
    pub block_size: u32,
    pub num_blocks: u64,
    pub physical_block_size: u32,
    pub uuid: Option<[u8; 16]>,
    pub optimal_io_boundary: u32,
    pub md_size: u32,
    pub md_interleave: bool,
    pub dif_type: i32,
    pub numa_id: i32,
}

/// Parameters of `bdev_null_create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcNull {
    pub name: String,
    pub num_blocks: u64,
    pub block_size: u32,
    pub physical_block_size: u32,
    pub uuid: Option<[u8; 16]>,
    pub md_size: u32,
    pub dif_type: u32,
}

/// Parameters of `bdev_error_inject_error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcInject {
    pub name: String,
    pub io_type: IoType,
    pub error_type: ErrorKind,
    pub num: u32,
    pub queue_depth: u64,
    pub corrupt_offset: u64,
    pub corrupt_value: u8,
}

/// Parameters of `bdev_delay_create`; latencies in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcDelay {
    pub name: String,
    pub base_bdev_name: String,
    pub uuid: Option<[u8; 16]>,
    pub avg_read_latency: u64,
    pub p99_read_latency: u64,
    pub avg_write_latency: u64,
    pub p99_write_latency: u64,
}

/// Which of a delay bdev's latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyType {
    AvgRead,
    P99Read,
    AvgWrite,
    P99Write,
}

/// Which I/O an error is injected into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoType {
    /// Ends all injections.
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
}

/// How an injected error shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The I/O fails.
    Failure,
    /// The I/O is held until `bdev_error_resume_pending`.
    Pending,
    /// The data is changed.
    CorruptData,
    /// The submission says ENOMEM.
    NoMem,
    /// The I/O fails with an NVMe status.
    NvmeFailure,
}

/// SPDK's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Disabled,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

/// An NVMe transport id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvmeTrid {
    /// Taken as a custom transport if unknown.
    pub trtype: String,
    pub traddr: String,
    pub adrfam: Option<String>,
    pub trsvcid: Option<String>,
    pub subnqn: Option<String>,
}

/// Which paths of an NVMe controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NvmePath {
    pub trtype: Option<String>,
    pub traddr: Option<String>,
    pub adrfam: Option<String>,
    pub trsvcid: Option<String>,
    pub subnqn: Option<String>,
    pub hostaddr: Option<String>,
    pub hostsvcid: Option<String>,
}
