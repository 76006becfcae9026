//! The methods that are about the process: version, configuration, logging, notifications.
//!
//! # Divergence from SPDK
//!
//! `framework_get_config` knows the configuration of `vhost_scsi` only, and says `[]` for the other
//! subsystems. Thread introspection names the threads, and says nothing of their load; it lists no
//! pollers and no io channels.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::rpc::{LogLevel, Method, RpcError, code, render};
use crate::{Out, Target};
use wire::bugs::Bug;

/// The subsystems of SPDK's vhost application.
const SUBSYSTEMS: [&str; 13] = [
    "fsdev",
    "keyring",
    "sock",
    "vmd",
    "scheduler",
    "iobuf",
    "accel",
    "bdev",
    "scsi",
    "vhost_scsi",
    "vhost_blk",
    "nbd",
    "ublk",
];
/// The log flags that matter here (fact sheet §7).
const FLAGS: [&str; 11] = [
    "bdev",
    "bdev_malloc",
    "bdev_nvme",
    "rpc",
    "scsi",
    "vbdev_split",
    "vhost",
    "vhost_ring",
    "vhost_rpc",
    "vhost_scsi",
    "vhost_scsi_data",
];

/// Levels and flags of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    flags: BTreeSet<String>,
    level: LogLevel,
    print: LogLevel,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            flags: BTreeSet::new(),
            level: LogLevel::Notice,
            print: LogLevel::Info,
        }
    }
}

impl Target {
    /// Carries out a method that is about the process.
    pub(super) fn framework_method(
        &mut self,
        cx: &mut Out<'_>,
        method: Method,
    ) -> Result<Value, RpcError> {
        match method {
            Method::SpdkGetVersion => Ok(render::version()),
            Method::FrameworkWaitInit => Ok(Value::Bool(true)),
            Method::FrameworkGetConfig { name } => self.config(cx, &name),
            Method::FrameworkGetSubsystems => {
                let one = |name: &&str| json!({"subsystem": name, "depends_on": []});
                Ok(SUBSYSTEMS.iter().map(one).collect())
            }
            Method::FrameworkGetReactors => {
                let mask = self.core_mask();
                let cores = (0..64).filter(|core| mask >> core & 1 == 1);
                let reactors: Value = cores.map(|core| json!({"lcore": core})).collect();
                Ok(json!({"reactors": reactors}))
            }
            Method::ThreadGetStats => Ok(json!({"threads": self.threads()})),
            Method::ThreadGetPollers | Method::ThreadGetIoChannels => {
                Ok(json!({"threads": self.threads()}))
            }
            Method::NotifyGetTypes => {
                Ok(json!(["bdev_register", "bdev_unregister", "bdev_resize"]))
            }
            Method::NotifyGetNotifications { id, max } => Ok(self.notifications(id, max)),
            Method::LogSetFlag { flag } => self.log_flag(flag, true),
            Method::LogClearFlag { flag } => self.log_flag(flag, false),
            Method::LogGetFlags => {
                let flags = FLAGS.iter().map(|flag| {
                    let on = self.logging.flags.contains(*flag);
                    ((*flag).to_owned(), Value::Bool(on))
                });
                Ok(Value::Object(flags.collect()))
            }
            Method::LogSetLevel { level } => {
                self.logging.level = level;
                Ok(Value::Bool(true))
            }
            Method::LogSetPrintLevel { level } => {
                self.logging.print = level;
                Ok(Value::Bool(true))
            }
            Method::LogGetLevel => Ok(level_name(self.logging.level).into()),
            Method::LogGetPrintLevel => Ok(level_name(self.logging.print).into()),
            // Those that come before the framework is initialised never get here.
            _ => Err(RpcError::new(code::METHOD_NOT_FOUND, "Method not found")),
        }
    }

    fn threads(&self) -> Value {
        let vhost = self.ctl.iter().flatten().map(|ctl| ctl.name.as_str());
        std::iter::once("app_thread")
            .chain(vhost)
            .enumerate()
            .map(|(id, name)| json!({"name": name, "id": id + 1}))
            .collect()
    }

    /// `framework_get_config`; a target whose LUN is going is no LUN to SPDK (S9).
    fn config(&mut self, cx: &mut Out<'_>, name: &str) -> Result<Value, RpcError> {
        if !SUBSYSTEMS.contains(&name) {
            let text = format!("Subsystem '{name}' not found");
            return Err(RpcError::new(code::INVALID_PARAMS, text));
        }
        if name != "vhost_scsi" {
            return Ok(json!([]));
        }
        let mut entries = Vec::new();
        let mut no_lun = false;
        self.each_controller(None, |controller| {
            if let render::Backend::Scsi(targets) = &controller.backend {
                no_lun |= targets.iter().any(|target| target.bdev_name.is_none());
            }
            entries.extend(controller.config());
        });
        if no_lun && self.dev.has(Bug::SaveConfigNullLun) {
            self.die(
                cx,
                "SIGSEGV",
                "spdk_scsi_lun_get_bdev_name: lun is NULL (S9)",
            );
        }
        Ok(Value::Array(entries))
    }

    fn notifications(&self, id: u64, max: u64) -> Value {
        let (first, kept) = &self.bdevs.notifications;
        let numbered = (*first..).zip(kept);
        numbered
            .skip_while(|(number, _)| *number < id)
            .take(usize::try_from(max).unwrap_or(usize::MAX))
            .map(|(number, (what, name))| json!({"type": what, "ctx": name, "id": number}))
            .collect()
    }

    fn log_flag(&mut self, flag: String, on: bool) -> Result<Value, RpcError> {
        if flag != "all" && !FLAGS.contains(&flag.as_str()) {
            return Err(RpcError::new(code::INVALID_PARAMS, "Invalid parameters"));
        }
        let named = FLAGS
            .iter()
            .filter(|known| flag == "all" || flag == **known);
        for known in named {
            if on {
                self.logging.flags.insert((*known).to_owned());
            } else {
                self.logging.flags.remove(*known);
            }
        }
        Ok(Value::Bool(true))
    }
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Disabled => "DISABLED",
        LogLevel::Error => "ERROR",
        LogLevel::Warn => "WARNING",
        LogLevel::Notice => "NOTICE",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
    }
}
