//! Every method that the model knows: its name, when it may be called, its parameters, and how it refuses
//! wrong ones.
//!
//! Says nothing of what they do. Names, ranges and defaults are SPDK's (doc/jsonrpc.md). Refusals are as
//! recorded (T-A…) for the methods that a recording has, else from SPDK's code.
//!
//! # Divergence from SPDK
//!
//! SPDK has a few hundred methods; those not listed here are answered "Method not found".

use std::vec::IntoIter;

use super::decode::{Field, Kind, Param, UnknownKeys, Value, decode};
use super::json::Json;
use super::{RpcError, code};

/// A row of the table.
pub(super) struct Spec {
    pub name: &'static str,
    pub when: Phase,
    rule: Rule,
    pub fields: &'static [Field],
    build: fn(IntoIter<Option<Value>>) -> Method,
}

/// When a method may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the framework is initialised (`SPDK_RPC_STARTUP`).
    Startup,
    /// After (`SPDK_RPC_RUNTIME`).
    Runtime,
    Any,
}

enum Rule {
    /// No parameters may be given, not even an empty object; the message says so.
    Nothing(&'static str),
    /// What wrong parameters are answered.
    Strict(Refusal),
    /// The same, but unknown ones are passed over.
    Relaxed(Refusal),
}

use Phase::{Any, Runtime, Startup};
use Rule::{Nothing, Relaxed, Strict};

type Refusal = (i32, &'static str);

const EINVAL: &str = "Invalid argument";
const VHOST: Refusal = (code::INVALID_PARAMS, EINVAL);
const VHOST_GET: Refusal = (code::INTERNAL_ERROR, EINVAL);
const BDEV: Refusal = (code::INTERNAL_ERROR, "spdk_json_decode_object failed");
const BDEV_ERROR: Refusal = (code::INVALID_PARAMS, "spdk_json_decode_object failed");
const PARAMETERS: Refusal = (code::INVALID_PARAMS, "Invalid parameters");
const ARGUMENTS: Refusal = (code::INVALID_PARAMS, "Invalid arguments");

impl Spec {
    pub fn find(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|spec| spec.name == name)
    }

    /// The method with its parameters; `None` where the request had none, or null.
    pub fn decode(&self, params: Option<&Json>) -> Result<Method, RpcError> {
        let (refusal, unknown) = match self.rule {
            Strict(refusal) => (refusal, UnknownKeys::Refused),
            Relaxed(refusal) => (refusal, UnknownKeys::PassedOver),
            Nothing(message) if params.is_some() => {
                return Err(RpcError::new(code::INVALID_PARAMS, message));
            }
            Nothing(message) => ((code::INVALID_PARAMS, message), UnknownKeys::Refused),
        };
        match decode(self.fields, params, unknown) {
            Some(values) => Ok((self.build)(values.into_iter())),
            None => Err(RpcError::new(refusal.0, refusal.1)),
        }
    }
}

/// A parameter's value, or what it is if it is missing.
fn next<T: Param>(values: &mut IntoIter<Option<Value>>, missing: T) -> T {
    values.next().flatten().map_or(missing, T::from_value)
}

/// `missing!(T)` is T's default, `missing!(T, value)` the value.
macro_rules! missing {
    ($type:ty) => {
        <$type as Default>::default()
    };
    ($type:ty, $value:expr) => {
        $value
    };
}

/// Makes of each row a struct with the parameters, a variant of [`Method`], and a [`Spec`].
macro_rules! methods {
    ($($name:literal $method:ident $when:ident $rule:expr => {
        $($(#[$doc:meta])* $need:ident $field:ident: $type:ty $(= $default:expr)?),* $(,)?
    })*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $method {
                $($(#[$doc])* pub $field: $type,)*
            }
        )*

        /// A request to the target.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Method {
            $($method(Box<$method>),)*
        }

        pub(super) static TABLE: &[Spec] = &[$(Spec {
            name: $name,
            when: $when,
            rule: $rule,
            fields: &[$(Field {
                name: stringify!($field),
                kind: <$type as Param>::KIND,
                required: methods!($need),
            }),*],
            #[allow(unused_mut, unused_variables, clippy::allow_attributes, reason = "some take nothing")]
            build: |mut values| Method::$method(Box::new($method {
                $($field: next(&mut values, missing!($type $(, $default)?)),)*
            })),
        }),*];
    };
    (must) => { true };
    (may) => { false };
}

type Uuid = Option<[u8; 16]>;

methods! {
    "vhost_create_scsi_controller" VhostCreateScsiController Runtime Strict(VHOST) => {
        must ctrlr: String, may cpumask: Option<String>, may delay: bool,
    }
    "vhost_start_scsi_controller" VhostStartScsiController Runtime Strict(VHOST) => { must ctrlr: String }
    "vhost_scsi_controller_add_target" VhostScsiControllerAddTarget Runtime Strict(VHOST) => {
        must ctrlr: String,
        /// Any negative number: the first free slot.
        must scsi_target_num: i32,
        must bdev_name: String,
    }
    "vhost_scsi_controller_remove_target" VhostScsiControllerRemoveTarget Runtime Strict(VHOST) => {
        must ctrlr: String, must scsi_target_num: u32,
    }
    "vhost_delete_controller" VhostDeleteController Runtime Strict(VHOST) => { must ctrlr: String }
    "vhost_get_controllers" VhostGetControllers Runtime Strict(VHOST_GET) => { may name: Option<String> }
    "vhost_controller_set_coalescing" VhostControllerSetCoalescing Runtime Strict(VHOST) => {
        must ctrlr: String, must delay_base_us: u32, must iops_threshold: u32,
    }
    "vhost_create_blk_controller" VhostCreateBlkController Runtime Relaxed(VHOST) => {
        must ctrlr: String, must dev_name: String, may cpumask: Option<String>, may transport: Option<String>,
        may readonly: bool,
    }
    "scsi_get_devices" ScsiGetDevices Runtime Nothing("scsi_get_devices requires no parameters") => {}

    "bdev_malloc_create" BdevMallocCreate Runtime Strict(BDEV) => {
        /// `None`: "MallocN".
        may name: Option<String>,
        may uuid: Uuid, must num_blocks: u64, must block_size: u32, may physical_block_size: u32,
        may optimal_io_boundary: u32, may md_size: u32, may md_interleave: bool, may dif_type: i32,
        may dif_is_head_of_md: bool, may dif_pi_format: u32, may numa_id: i32 = -1,
    }
    "bdev_malloc_delete" BdevMallocDelete Runtime Strict(BDEV) => { must name: String }
    "bdev_null_create" BdevNullCreate Runtime Strict(BDEV) => {
        must name: String, may uuid: Uuid, must num_blocks: u64, must block_size: u32,
        may physical_block_size: u32, may md_size: u32, may dif_type: u32, may dif_is_head_of_md: bool,
        may dif_pi_format: u32,
    }
    "bdev_null_delete" BdevNullDelete Runtime Strict(BDEV) => { must name: String }
    "bdev_null_resize" BdevNullResize Runtime Strict(BDEV) => {
        must name: String,
        /// MiB.
        must new_size: u64,
    }
    "bdev_split_create" BdevSplitCreate Runtime Strict(PARAMETERS) => {
        must base_bdev: String, must split_count: u32,
        /// 0: equal parts.
        may split_size_mb: u64,
    }
    "bdev_split_delete" BdevSplitDelete Runtime Strict(PARAMETERS) => { must base_bdev: String }
    "bdev_delay_create" BdevDelayCreate Runtime Strict(BDEV) => {
        must base_bdev_name: String, must name: String, may uuid: Uuid,
        // Microseconds.
        must avg_read_latency: u64, must p99_read_latency: u64, must avg_write_latency: u64,
        must p99_write_latency: u64,
    }
    "bdev_delay_delete" BdevDelayDelete Runtime Strict(BDEV) => { must name: String }
    "bdev_delay_update_latency" BdevDelayUpdateLatency Runtime Strict(BDEV) => {
        must delay_bdev_name: String, must latency_type: String, must latency_us: u64,
    }
    "bdev_error_create" BdevErrorCreate Runtime Strict(BDEV) => { must base_name: String, may uuid: Uuid }
    "bdev_error_delete" BdevErrorDelete Runtime Strict(BDEV) => { must name: String }
    "bdev_error_inject_error" BdevErrorInjectError Runtime Strict(BDEV_ERROR) => {
        must name: String, must io_type: IoType, must error_type: ErrorKind, may num: u32 = 1,
        may queue_depth: u64, may corrupt_offset: u64, may corrupt_value: u8,
    }
    "bdev_error_resume_pending" BdevErrorResumePending Runtime Strict(BDEV) => { must name: String }
    "bdev_nvme_attach_controller" BdevNvmeAttachController Runtime Strict(BDEV) => {
        must name: String,
        /// Taken as a custom transport if unknown.
        must trtype: String,
        must traddr: String, may adrfam: Option<String>, may trsvcid: Option<String>,
        may priority: Option<String>, may subnqn: Option<String>, may hostnqn: Option<String>,
        may hostaddr: Option<String>, may hostsvcid: Option<String>, may prchk_reftag: bool,
        may prchk_guard: bool, may hdgst: bool, may ddgst: bool, may fabrics_connect_timeout_us: u64,
        may multipath: Option<Multipath>, may num_io_queues: Option<u32>, may ctrlr_loss_timeout_sec: i32,
        may reconnect_delay_sec: u32, may fast_io_fail_timeout_sec: u32, may psk: Option<String>,
        may max_bdevs: u32 = 128, may dhchap_key: Option<String>, may dhchap_ctrlr_key: Option<String>,
        may allow_unrecognized_csi: bool,
    }
    "bdev_nvme_detach_controller" BdevNvmeDetachController Runtime Strict(BDEV) => {
        must name: String, may trtype: Option<String>, may traddr: Option<String>, may adrfam: Option<String>,
        may trsvcid: Option<String>, may subnqn: Option<String>, may hostaddr: Option<String>,
        may hostsvcid: Option<String>,
    }
    "bdev_nvme_get_controllers" BdevNvmeGetControllers Runtime Strict(BDEV) => { may name: Option<String> }
    "bdev_nvme_set_hotplug" BdevNvmeSetHotplug Runtime Strict(VHOST) => { must enable: bool, may period_us: u64 }
    "bdev_get_bdevs" BdevGetBdevs Runtime Strict(BDEV) => {
        may name: Option<String>,
        /// Milliseconds; without a name it is ignored.
        may timeout: u64,
    }
    "bdev_wait_for_examine" BdevWaitForExamine Runtime Nothing("bdev_wait_for_examine requires no parameters") => {}

    "framework_start_init" FrameworkStartInit Startup Nothing("framework_start_init requires no parameters") => {}
    "framework_wait_init" FrameworkWaitInit Any Nothing("framework_wait_init requires no parameters") => {}
    "framework_get_config" FrameworkGetConfig Runtime Strict(ARGUMENTS) => { must name: String }
    "framework_get_subsystems" FrameworkGetSubsystems Runtime
        Nothing("'framework_get_subsystems' requires no arguments") => {}
    "framework_get_reactors" FrameworkGetReactors Runtime
        Nothing("'framework_get_reactors' requires no arguments") => {}
    "iobuf_set_options" IobufSetOptions Startup Strict(PARAMETERS) => {
        may small_pool_count: Option<u64>, may large_pool_count: Option<u64>, may small_bufsize: Option<u32>,
        may large_bufsize: Option<u32>, may enable_numa: bool,
    }
    "spdk_get_version" SpdkGetVersion Any Nothing("spdk_get_version method requires no parameters") => {}
    "thread_get_pollers" ThreadGetPollers Runtime Nothing("'thread_get_pollers' requires no arguments") => {}
    "thread_get_stats" ThreadGetStats Runtime Nothing("'thread_get_stats' requires no arguments") => {}
    "thread_get_io_channels" ThreadGetIoChannels Runtime
        Nothing("'thread_get_io_channels' requires no arguments") => {}
    "notify_get_types" NotifyGetTypes Runtime Nothing("No parameters required") => {}
    "notify_get_notifications" NotifyGetNotifications Runtime Strict(VHOST) => {
        may id: u64, may max: u64 = u64::MAX,
    }
    "log_set_flag" LogSetFlag Any Strict(PARAMETERS) => { must flag: String }
    "log_clear_flag" LogClearFlag Any Strict(PARAMETERS) => { must flag: String }
    "log_get_flags" LogGetFlags Any Nothing("log_get_flags requires no parameters") => {}
    "log_set_level" LogSetLevel Any Strict(PARAMETERS) => { must level: LogLevel }
    "log_get_level" LogGetLevel Any Nothing("log_get_level requires no parameters") => {}
    "log_set_print_level" LogSetPrintLevel Any Strict(PARAMETERS) => { must level: LogLevel }
    "log_get_print_level" LogGetPrintLevel Any Nothing("log_get_print_level requires no parameters") => {}
}

/// Makes of each list of words an enum that a parameter can be.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident $kind:ident { $first:literal $initial:ident $(, $word:literal $variant:ident)* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            #[default]
            $initial,
            $($variant,)*
        }

        impl Param for $name {
            const KIND: Kind = Kind::$kind(&[$first $(, $word)*]);

            fn from_value(value: Value) -> Self {
                let text = String::from_value(value);
                $(if text.eq_ignore_ascii_case($word) {
                    return Self::$variant;
                })*
                Self::$initial
            }
        }
    )*};
}

words! {
    /// Which I/O an error is injected into (`rpc_error_bdev_io_type_parse`). `Clear` ends all injections.
    IoType OneOf {
        "clear" Clear, "read" Read, "write" Write, "unmap" Unmap, "flush" Flush, "reset" Reset,
        "nvme_admin" NvmeAdmin, "nvme_io" NvmeIo, "nvme_io_md" NvmeIoMd, "write_zeroes" WriteZeroes,
        "zcopy" Zcopy, "get_zone_info" GetZoneInfo, "zone_management" ZoneManagement,
        "zone_append" ZoneAppend, "compare" Compare, "compare_and_write" CompareAndWrite, "abort" Abort,
        "seek_hole" SeekHole, "seek_data" SeekData, "copy" Copy, "nvme_iov_md" NvmeIovMd, "all" All,
    }
    /// How an injected error shows. `Pending` is held until `bdev_error_resume_pending`; with `NoMem`, the
    /// submission says ENOMEM.
    ErrorKind OneOf {
        "failure" Failure, "pending" Pending, "corrupt_data" CorruptData, "nomem" NoMem,
        "nvme_failure" NvmeFailure,
    }
    /// What a second path of an NVMe controller is for.
    Multipath OneOf { "disable" Disable, "failover" Failover, "multipath" Multipath }
    /// SPDK's log levels.
    LogLevel OneOfAnyCase {
        "disabled" Disabled, "error" Error, "warning" Warn, "notice" Notice, "info" Info, "debug" Debug,
    }
}
