//! What is wrong with a target in which nothing can happen any more, and which check says so.
//!
//! Looks, and changes nothing. What is merely left over is in `inspect`.

use scenarios::CheckId;

use super::{Out, Target};

impl Target {
    /// Notes what should not be, now that nobody can take a turn: RPCs that were never answered (I5),
    /// threads that wait for each other (I13), deleted controllers that nobody holds (I16).
    pub fn audit(&self, cx: &mut Out<'_>) {
        if self.is_dead() {
            return;
        }
        let open = self.rpc.open_calls();
        if open > 0 {
            cx.broken(CheckId::I5, format!("{open} RPCs are never answered"));
        }
        if self.dpdk.waits() {
            let text = "DPDK's thread waits for a stop that nobody can end";
            cx.broken(CheckId::I13, text.to_owned());
        }
        for ctl in self.ctl.iter().flatten() {
            if !ctl.waiting.is_empty() {
                let text = format!(
                    "{} messages wait for the lock of {}",
                    ctl.waiting.len(),
                    ctl.name
                );
                cx.broken(CheckId::I13, text);
            }
            let held = !ctl.sessions.is_empty() || ctl.refs > 0 || ctl.pending_ops > 0;
            if ctl.deleted && !held {
                let text = format!(
                    "{} was deleted, is held by nobody, and is still there",
                    ctl.name
                );
                cx.broken(CheckId::I16, text);
            }
        }
    }
}
