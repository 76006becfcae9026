//! What is said of messages: events of `tracing`, for people. Nothing reads them back.

use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion as _};

use tracing::{Level, debug, debug_span, error, info, warn};

use crate::message::{ConnId, LogLevel, LogLine, VhostUser, VhostUserReply};

impl LogLine {
    /// Says the line, as an event of the target `spdk`. NOTICE and INFO are both `tracing`'s INFO.
    pub fn say(&self) {
        let text = &self.text;
        match self.level {
            LogLevel::Error => error!(target: "spdk", "{text}"),
            LogLevel::Warn => warn!(target: "spdk", "{text}"),
            LogLevel::Notice | LogLevel::Info => info!(target: "spdk", "{text}"),
            LogLevel::Debug => debug!(target: "spdk", "{text}"),
        }
    }
}

impl VhostUser {
    /// Says that a front-end asks this on a connection.
    pub fn say(&self, conn: ConnId) {
        if tracing::enabled!(target: "vhost_user", Level::DEBUG) {
            let span = debug_span!(target: "vhost_user", "vhost_user", conn = conn.0);
            span.in_scope(|| debug!(target: "vhost_user", "asks {}", asked(self)));
        }
    }
}

impl VhostUserReply {
    /// Says that the target answers this on a connection.
    pub fn say(&self, conn: ConnId) {
        if tracing::enabled!(target: "vhost_user", Level::DEBUG) {
            let span = debug_span!(target: "vhost_user", "vhost_user", conn = conn.0);
            span.in_scope(|| debug!(target: "vhost_user", "answers {}", answered(self)));
        }
    }
}

/// A request in words. Memory is told by its size: where it is mapped differs from run to run.
fn asked(message: &VhostUser) -> String {
    match message {
        VhostUser::SetMemTable(memory) => {
            let regions = memory.iter().map(|region| region.len());
            format!("SetMemTable of {} bytes", regions.sum::<u64>())
        }
        VhostUser::SetInflightFd { queues, size, .. } => {
            format!("SetInflightFd {{ queues: {queues}, size: {size} }}")
        }
        other => format!("{other:?}"),
    }
}

fn answered(reply: &VhostUserReply) -> String {
    match reply {
        VhostUserReply::Inflight { .. } => "Inflight".to_owned(),
        other => format!("{other:?}"),
    }
}
