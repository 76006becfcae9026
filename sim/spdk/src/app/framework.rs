//! The methods that are about the process: version, configuration, logging, notifications.
//!
//! # Divergence from SPDK
//!
//! `framework_get_config` knows the configuration of `vhost_scsi` only, and says `[]` for the other
//! subsystems. Thread introspection names the threads, and says nothing of their load; it lists no
//! pollers and no io channels.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answer::DONE;
use super::{AppThread, show};
use crate::rpc::{LogLevel, RpcError, code, render};
use wire::bugs::Bug;
use wire::message::LogLevel as Line;

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
    flags: BTreeSet<&'static str>,
    pub level: LogLevel,
    pub print: LogLevel,
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

impl Logging {
    pub(super) fn flags(&self) -> Value {
        let flags = FLAGS.iter().map(|flag| {
            let on = self.flags.contains(flag);
            ((*flag).to_owned(), Value::Bool(on))
        });
        Value::Object(flags.collect())
    }

    /// Whether a line is written. INFO and DEBUG need their component's flag, which is `vhost` for all that the
    /// model says.
    ///
    /// # Divergence from SPDK
    ///
    /// `spdk_vlog` (lib/log/log.c) writes to stderr what `print` lets through, to syslog what `level` does. There is
    /// one log here: what either lets through.
    pub fn lets_through(&self, line: Line) -> bool {
        let most = most(self.level).max(most(self.print));
        let flagged = line >= Line::Info;
        Some(line) <= most && (!flagged || self.flags.contains("vhost"))
    }

    pub(super) fn set_flag(&mut self, flag: &str) -> Result<Value, RpcError> {
        self.flags.extend(flags_named(flag)?);
        DONE
    }

    pub(super) fn clear_flag(&mut self, flag: &str) -> Result<Value, RpcError> {
        for known in flags_named(flag)? {
            self.flags.remove(known);
        }
        DONE
    }
}

/// The least of what a level lets through.
const fn most(level: LogLevel) -> Option<Line> {
    match level {
        LogLevel::Disabled => None,
        LogLevel::Error => Some(Line::Error),
        LogLevel::Warn => Some(Line::Warn),
        LogLevel::Notice => Some(Line::Notice),
        LogLevel::Info => Some(Line::Info),
        LogLevel::Debug => Some(Line::Debug),
    }
}

/// The flags of this name; all of them for "all".
fn flags_named(flag: &str) -> Result<impl Iterator<Item = &'static str>, RpcError> {
    if flag != "all" && !FLAGS.contains(&flag) {
        return Err(RpcError::new(code::INVALID_PARAMS, "Invalid parameters"));
    }
    let named = move |known: &&str| flag == "all" || flag == *known;
    Ok(FLAGS.into_iter().filter(named))
}

pub(super) fn subsystems() -> Value {
    let one = |name: &&str| json!({"subsystem": name, "depends_on": []});
    SUBSYSTEMS.iter().map(one).collect()
}

pub(super) fn reactors(app: &AppThread<'_>) -> Value {
    let mask = app.own.core_mask();
    let cores = (0..64).filter(|core| mask >> core & 1 == 1);
    let reactors: Value = cores.map(|core| json!({"lcore": core})).collect();
    json!({"reactors": reactors})
}

pub(super) fn threads(app: &AppThread<'_>) -> Value {
    let vhost = app.vdevs.iter().map(|ctl| ctl.name.as_str());
    let threads: Value = std::iter::once("app_thread")
        .chain(vhost)
        .enumerate()
        .map(|(id, name)| json!({"name": name, "id": id + 1}))
        .collect();
    json!({"threads": threads})
}

/// `framework_get_config`; a target whose LUN is going is no LUN to SPDK (S9).
pub(super) fn config(app: &mut AppThread<'_>, name: &str) -> Result<Value, RpcError> {
    if !SUBSYSTEMS.contains(&name) {
        let text = format!("Subsystem '{name}' not found");
        return Err(RpcError::new(code::INVALID_PARAMS, text));
    }
    if name != "vhost_scsi" {
        return Ok(json!([]));
    }
    let mut entries = Vec::new();
    let mut no_lun = false;
    show::each_controller(app, None, |controller| {
        if let render::Backend::Scsi(targets) = &controller.backend {
            no_lun |= targets.iter().any(|target| target.bdev_name.is_none());
        }
        entries.extend(controller.config());
    });
    if no_lun && app.shared.bugs.has(Bug::SaveConfigNullLun) {
        app.die("SIGSEGV", "spdk_scsi_lun_get_bdev_name: lun is NULL (S9)");
    }
    Ok(Value::Array(entries))
}

pub(super) fn notifications(app: &AppThread<'_>, id: u64, max: u64) -> Value {
    let (first, kept) = &app.shared.bdevs.notifications;
    let numbered = (*first..).zip(kept);
    numbered
        .skip_while(|(number, _)| *number < id)
        .take(usize::try_from(max).unwrap_or(usize::MAX))
        .map(|(number, (what, name))| json!({"type": what, "ctx": name, "id": number}))
        .collect()
}

pub(super) const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Disabled => "DISABLED",
        LogLevel::Error => "ERROR",
        LogLevel::Warn => "WARNING",
        LogLevel::Notice => "NOTICE",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
    }
}
