//! I5 and V1: a remove RPC is answered once, when its device has drained, and not never.

use std::collections::{BTreeMap, BTreeSet};

use super::CheckId;
use super::tally::Tally;
use crate::names::{Place, Ticket};
use crate::observation::{Inside, Observation, Seen};

/// RPCs that were taken and wait for their answer.
#[derive(Clone, Debug, Default)]
pub struct Rpcs {
    /// Removes, by device.
    removes: BTreeMap<u32, Place>,
    answered: BTreeSet<Ticket>,
    target_died: bool,
}

impl Rpcs {
    /// Takes an observation.
    pub fn see(&mut self, seen: &Seen, tally: &mut Tally) {
        match &seen.what {
            Observation::Answered { ticket, .. } => {
                tally.count(CheckId::I5);
                if !self.answered.insert(*ticket) {
                    let answer = format!("{ticket} answered again");
                    tally.violated(CheckId::I5, seen.at, "one answer to an RPC", answer);
                }
            }
            Observation::Inside(Inside::RpcTook {
                place,
                attach: false,
                device,
            }) => {
                self.removes.insert(*device, *place);
            }
            Observation::Inside(Inside::RemoveAnswered {
                place,
                device,
                tasks,
                ..
            }) => {
                tally.count(CheckId::I5);
                tally.count(CheckId::V1);
                if self.removes.remove(device).is_none() {
                    let answer = format!("an answer for device {device} at {place}");
                    let expected = "one answer for each remove that was taken";
                    tally.violated(CheckId::I5, seen.at, expected, answer);
                }
                if *tasks > 0 {
                    let answer = format!("{tasks} tasks in flight at {place}");
                    tally.violated(
                        CheckId::I5,
                        seen.at,
                        "an answer after the last task",
                        answer,
                    );
                }
            }
            Observation::Crashed { who, .. } if who == "target" => self.target_died = true,
            Observation::Quiet { .. } if !self.target_died => {
                tally.count(CheckId::V1);
                if let Some((device, place)) = self.removes.first_key_value() {
                    let silence = format!("no answer for device {device} at {place}");
                    let expected = "every remove answered once its commands are";
                    tally.violated(CheckId::V1, seen.at, expected, silence);
                }
            }
            Observation::VmReady { .. }
            | Observation::Connected { .. }
            | Observation::VmDown { .. }
            | Observation::Alive { .. }
            | Observation::DiskAppeared(_)
            | Observation::DiskVanished(_)
            | Observation::StaleDisk(_)
            | Observation::DisksListed { .. }
            | Observation::FioEnded { .. }
            | Observation::Quiet { .. }
            | Observation::Crashed { .. }
            | Observation::IoSubmitted(_)
            | Observation::IoDone { .. }
            | Observation::Attached { .. }
            | Observation::Inside(_)
            | Observation::Broken { .. } => {}
        }
    }
}
