//! What was seen so far, in the form in which steps ask for it.
//!
//! Knows nothing of what was expected.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{DiskId, FioId, Place, Ticket, VmId};
use crate::observation::{FioJobEnd, Observation, Seen};
use crate::script::is_answer;
use crate::testbed::Action;

/// The disks of a VM by place, and who each said it was.
pub(super) type GuestDisks = BTreeMap<Place, Option<DiskId>>;

/// The sum of the observations so far.
#[derive(Default)]
pub(super) struct Known {
    pub(super) answers: BTreeMap<Ticket, Result<u8, String>>,
    pub(super) boots: BTreeMap<VmId, u32>,
    /// The last list of a VM, and how many lists there were.
    pub(super) lists: BTreeMap<VmId, (u32, GuestDisks)>,
    pub(super) fios: BTreeMap<FioId, (u8, Vec<FioJobEnd>)>,
    /// The last signs of life, and how many there were.
    pub(super) alive: (u32, Vec<String>),
    /// The last rest, and how many there were: settled, left.
    pub(super) quiet: (u32, bool, Vec<String>),
    /// Who died, and how.
    pub(super) crashed: Vec<(String, String)>,
    /// Reads of fios that read back, if the testbed shows them.
    pub(super) read_back: BTreeMap<FioId, ReadBack>,
    /// Disks to which something was written, and acknowledged.
    pub(super) written: BTreeSet<DiskId>,
    /// Actions whose answers somebody waits for who expects nothing.
    pub(super) awaited: Vec<(Ticket, Action)>,
}

/// What a fio read back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadBack {
    /// Reads that came back.
    pub(super) done: u64,
    /// Those that failed.
    pub(super) failed: u64,
    /// Those that held anything but zeros.
    pub(super) held: u64,
}

impl Known {
    pub(super) fn see(&mut self, seen: &Seen) {
        match &seen.what {
            Observation::Answered { ticket, result } => {
                self.answers.insert(*ticket, result.clone());
            }
            Observation::VmReady { vm, boot } => {
                self.boots.insert(*vm, *boot);
            }
            Observation::Alive { silent } => {
                self.alive = (self.alive.0 + 1, silent.clone());
            }
            Observation::DisksListed { vm, disks } => {
                let listed = disks.iter().map(|disk| (disk.place, disk.disk)).collect();
                let before = self.lists.get(vm).map_or(0, |list| list.0);
                self.lists.insert(*vm, (before + 1, listed));
            }
            Observation::FioEnded { fio, exit, jobs } => {
                let wrote = jobs.iter().filter(|end| end.written > 0);
                self.written.extend(wrote.map(|end| end.disk));
                self.fios.insert(*fio, (*exit, jobs.clone()));
            }
            Observation::Quiet { settled, left } => {
                self.quiet = (self.quiet.0 + 1, *settled, left.clone());
            }
            Observation::Crashed { who, how } => self.crashed.push((who.clone(), how.clone())),
            Observation::IoDone {
                io, result, read, ..
            } => {
                // Every request passes here: look up only while somebody reads back.
                if self.read_back.is_empty() {
                    return;
                }
                if io.write && result.is_ok() {
                    self.written.insert(io.disk);
                } else if let Some(back) = self.read_back.get_mut(&io.fio) {
                    back.done += 1;
                    back.failed += u64::from(result.is_err());
                    back.held += u64::from(result.is_ok() && *read != 0);
                }
                return;
            }
            // As many as IoDone, and no action waits for one.
            Observation::IoSubmitted(_) => return,
            Observation::Connected { .. }
            | Observation::Attached { .. }
            | Observation::VmDown { .. }
            | Observation::DiskAppeared(_)
            | Observation::DiskVanished(_)
            | Observation::StaleDisk(_)
            | Observation::Inside(_)
            | Observation::Broken { .. } => {}
        }
        let open = |(ticket, action): &(Ticket, Action)| !is_answer(&seen.what, action, *ticket);
        self.awaited.retain(open);
    }

    /// Who died, in words.
    pub(super) fn crashes(&self) -> Vec<String> {
        let crashed = self.crashed.iter();
        let crashed = crashed.map(|(who, how)| format!("{who} crashed: {how}"));
        crashed.collect()
    }

    /// How the target died, if it did: nothing that is still expected can happen.
    pub(super) fn target_crash(&self) -> Option<String> {
        let mut crashed = self.crashed.iter();
        let (_, how) = crashed.find(|(who, _)| who == "target")?;
        Some(format!("the target crashed: {how}"))
    }

    /// That somebody crashed, or the target gave no sign of life when it was last asked for one.
    pub(super) fn is_broken(&self) -> bool {
        let (_, silent) = &self.alive;
        !self.crashed.is_empty() || silent.iter().any(|who| who == "target")
    }

    pub(super) fn lists_of(&self, vm: VmId) -> u32 {
        self.lists.get(&vm).map_or(0, |list| list.0)
    }
}
