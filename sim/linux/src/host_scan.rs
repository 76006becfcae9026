//! The scan of a whole host (`do_scsi_scan_host`): all 256 targets, one after the other, under the
//! scan mutex.
//!
//! Knows the order; what is asked of one target stands in `scan`.

use super::firmware::TARGETS;
use super::flow::{Goes, Standing};
use super::scan::{Found, TargetScan};
use super::{FlowStep, Guest};
use wire::component::Cx;
use wire::message::FromGuest;

/// Where the scan of a host is.
#[derive(Clone, Debug, Default)]
pub struct HostScan {
    /// The next target.
    next: u16,
    /// The scan of the target before it.
    scan: Option<TargetScan>,
    /// The mutex is held.
    locked: bool,
}

impl HostScan {
    /// The scan of a target that is under way.
    #[must_use]
    pub fn current(&self) -> Option<&TargetScan> {
        self.scan.as_ref()
    }
}

impl Guest {
    /// One step of the scan of a host; true with the last one.
    pub(super) fn host_scan_step(
        &mut self,
        hba: usize,
        n: usize,
        flow: &mut Standing,
        host: &mut HostScan,
        cx: &mut Cx<'_, FromGuest>,
    ) -> (Goes, bool) {
        if !host.locked {
            host.locked = self.lock(hba, n, flow, cx.now);
            let step = if host.locked {
                FlowStep::Locked(0)
            } else {
                FlowStep::Waits(0)
            };
            return (Goes::On(step), false);
        }
        let reply = self.take_answer(hba, n, flow);
        loop {
            if let Some(scan) = &mut host.scan {
                let answer = reply.as_ref().map(|reply| (reply, &self.scratch[..]));
                let command = scan.next(answer);
                let target = scan.target();
                if let Some(Found::Disk {
                    serial,
                    inquiry_bytes,
                    transfers,
                }) = scan.take_found()
                {
                    self.found(hba, target, &serial, (inquiry_bytes, transfers));
                }
                if let Some(command) = command {
                    return (self.send_command(hba, n, flow, command, cx), false);
                }
            }
            if host.next == TARGETS {
                // Disks become visible when the whole host has been scanned.
                self.unlock(hba, n, cx);
                self.shuffle_unprobed(hba, cx);
                return (Goes::On(FlowStep::Scanned(0)), true);
            }
            let known = self.disk_at(hba, host.next as u8).is_some();
            let mut first = TargetScan::new(host.next as u8, known);
            host.next += 1;
            let command = first.next(None);
            let found = first.take_found();
            debug_assert!(found.is_none_or(|found| found == Found::Known));
            host.scan = Some(first);
            if let Some(command) = command {
                return (self.send_command(hba, n, flow, command, cx), false);
            }
        }
    }
}
