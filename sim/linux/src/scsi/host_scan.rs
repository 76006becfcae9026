//! The scan of a whole host (`do_scsi_scan_host`): all targets that the device says it may have, one after the other, under the
//! scan mutex.
//!
//! Knows the order; what is asked of one target stands in `scan`.

use super::flow::{HostScan, Progress};
use super::probe;
use super::scan::{Found, TargetScan};
use super::step::Step;
use crate::FlowStep;

impl HostScan {
    /// One step of it.
    pub fn step(&mut self, step: &mut Step<'_, '_>) -> Progress {
        if !self.locked {
            self.locked = step.lock();
            return Progress::On(if self.locked {
                FlowStep::Locked(0)
            } else {
                FlowStep::Waits(0)
            });
        }
        let reply = step.take_reply();
        loop {
            if let Some(scan) = &mut self.scan {
                let command = scan.next(step.answer(&reply));
                let target = scan.target();
                if let Some(Found::Disk(found)) = scan.take_found() {
                    probe::found(target, &found, step.host, step.shared);
                }
                if let Some(command) = command {
                    return step.send(command);
                }
            }
            if self.next == step.shared.config.targets {
                // Disks become visible when the whole host has been scanned.
                step.unlock();
                probe::start_in_any_order(step);
                return Progress::Ended(FlowStep::Scanned(0));
            }
            let target = self.next as u8;
            let known = step.shared.disks.at(step.host.id, target);
            let mut first = TargetScan::new(target, known.into());
            self.next += 1;
            let command = first.next(None);
            self.scan = Some(first);
            if let Some(command) = command {
                return step.send(command);
            }
        }
    }
}
