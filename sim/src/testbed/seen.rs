//! Observations on their way out of the simulator: what several guests say together becomes one.
//!
//! Knows what belongs together; judges nothing.

use scenarios::{DiskKind, FioId, FioJobEnd, Observation, Seen, VmId};

use super::Sim;
use crate::calls;
use wire::message::{GuestAct, ToGuest};

impl Sim {
    /// Takes over what the world saw, appended to `seen`: what several guests answer together becomes one answer.
    pub(super) fn take_seen(&mut self, seen: &mut Vec<Seen>) {
        let old = seen.len();
        self.world.take_seen(seen);
        let mut n = 0;
        seen.retain_mut(|seen| {
            n += 1;
            n <= old || self.is_whole(&mut seen.what)
        });
    }

    /// Whether an observation is to be handed on, with what the world does not know of it; false if others
    /// belong to it that are still to come.
    fn is_whole(&mut self, what: &mut Observation) -> bool {
        match what {
            Observation::FioEnded { fio, exit, jobs } => {
                let Some(whole) = self.fio_ended(*fio, *exit, std::mem::take(jobs)) else {
                    return false;
                };
                *what = whole;
            }
            Observation::Answered { ticket, .. } => return self.together.answered(*ticket),
            Observation::DisksListed { vm, .. } => {
                if let Some(alive) = &mut self.alive {
                    alive.vms.retain(|waiting| waiting != vm);
                }
            }
            Observation::Attached { bdev, disk, .. } => {
                let mut disks = self.disks.iter();
                let known = disks.find(|(disk, kind)| calls::bdev(**disk, **kind) == *bdev);
                let keeps = known.filter(|(_, kind)| **kind != DiskKind::Null);
                *disk = keeps.map(|(disk, _)| *disk);
            }
            _ => {}
        }
        true
    }

    /// One guest's share of a fio has ended; `Some` with the last one.
    fn fio_ended(&mut self, fio: FioId, exit: u8, jobs: Vec<FioJobEnd>) -> Option<Observation> {
        let vm = self.world.guests().find_map(|(vm, guest)| {
            let place = jobs.first().map(|job| job.place)?;
            let runs = self.together.running(fio).contains(&vm);
            (runs && guest.has_controller(place.controller)).then_some(vm)
        });
        let (exit, jobs) = self.together.ended(fio, vm, exit, jobs)?;
        Some(Observation::FioEnded { fio, exit, jobs })
    }

    /// Says who is alive, once all have answered or the time is over.
    pub(super) fn answer_alive(&mut self, seen: &mut Vec<Seen>) {
        let over = self.alive.as_ref().is_some_and(|alive| {
            (!alive.target && alive.vms.is_empty()) || self.world.now() >= alive.deadline
        });
        if over && let Some(alive) = self.alive.take() {
            let target = alive.target.then(|| "target".to_owned());
            let silent = target
                .into_iter()
                .chain(alive.vms.iter().map(ToString::to_string));
            let what = Observation::Alive {
                silent: silent.collect(),
            };
            let at = self.world.now();
            seen.push(Seen { at, what });
        }
    }

    /// Nothing can happen any more, so no fio that runs will ever end: it has hung. False if none runs.
    pub(super) fn give_up(&mut self) -> bool {
        if !self.together.is_running() {
            return false;
        }
        // All of them: which of two guests on one controller has ended its share is not known.
        let guests: Vec<VmId> = self.world.guests().map(|(vm, _)| vm).collect();
        for vm in guests {
            self.world.tell_guest(vm, ToGuest::Do(GuestAct::GiveUp));
        }
        true
    }

    /// Nothing can happen any more, or the limit came: says so to whoever waits for it.
    pub(super) fn at_rest(&mut self, settled: bool) {
        if let Some(alive) = &mut self.alive {
            alive.deadline = self.world.now();
        }
        if self.settling.take().is_some() {
            self.world.audit(settled);
            let mut left = if self.world.target_died() {
                Vec::new()
            } else {
                self.world.target().left()
            };
            for (vm, guest) in self.world.guests() {
                left.extend(guest.left().into_iter().map(|what| format!("{vm}: {what}")));
            }
            self.world.see(Observation::Quiet { settled, left });
        }
    }

    /// Whether something was seen that someone may want to act on at once, or that is not handed on as
    /// the world saw it.
    pub(super) fn is_urgent(seen: &[Seen]) -> bool {
        seen.iter().any(|seen| {
            !matches!(
                seen.what,
                Observation::IoSubmitted(_) | Observation::IoDone { .. } | Observation::Inside(_)
            )
        })
    }
}
