//! A testbed for tests: a target and guests that do at once what they are asked, and a list of the
//! ways in which they shall not.
//!
//! Knows nothing of plans. Time passes only by what things are said to take.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use scenarios::{
    Action, ControllerId, DiskId, Ending, Evidence, FioId, FioJobEnd, GuestDisk, Observation,
    Performed, Place, Seen, TargetId, Testbed, TestbedError, Ticket, Time, VmId,
};

/// A way in which the fake is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// Another disk goes when one is detached.
    WrongDiskGoes,
    /// A detached disk stays in the guest.
    DiskStays,
    /// fio does not notice that its disk has gone.
    FioNotices(bool),
    /// fio ends before its clock is asked for.
    FioEndsEarly,
    /// Every fio ends after a detach was asked for, and before it is answered.
    FioEndsWithDetach,
    /// The target can be looked into.
    ShowsInside,
    /// fio verifies one block too few.
    BlockMissing,
    /// No fio verifies anything.
    VerifiesNothing,
    /// A reboot is not possible here.
    NoReboot,
    /// A bdev cannot be removed here.
    NoRemove,
    /// A reboot is confirmed without having happened.
    RebootIsFaked,
    /// An attach is answered with an error.
    AttachRefused,
    /// An attach is never answered.
    AttachUnanswered,
    /// The target crashes at the first detach.
    TargetCrashes,
    /// Nothing comes to rest.
    NeverQuiet,
    /// The testbed breaks at the first detach.
    Breaks,
    /// The testbed breaks at the second attach.
    BreaksSoon,
    /// Requests are not shown.
    NoPerIo,
    /// A fio has ended in one guest before its clock comes to a time, and notices nothing.
    ClockMissed,
    /// What is read back is checked where it is read.
    ChecksReads,
    /// A block that is read back is not what was written: fio says so, or an oracle beside it.
    Loses(Oracle),
}

/// Who sees that data was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// fio.
    Fio,
    /// The strict oracle beside it.
    Strict,
}

struct Fio {
    on: Vec<(DiskId, Place)>,
    gone: Vec<Place>,
    reads: bool,
}

/// The testbed.
pub struct Fake {
    quirks: Vec<Quirk>,
    now: Time,
    tickets: u32,
    attached: BTreeMap<Place, DiskId>,
    /// What guests still have of what was detached.
    stale: BTreeMap<Place, DiskId>,
    vms: BTreeMap<VmId, (Vec<ControllerId>, u32)>,
    fios: BTreeMap<FioId, Fio>,
    queue: VecDeque<Observation>,
}

/// Blocks of each job.
pub const VOLUME: u64 = 64;

impl Fake {
    pub fn new(quirks: &[Quirk]) -> Self {
        Self {
            quirks: quirks.to_vec(),
            now: Time::ZERO,
            tickets: 0,
            attached: BTreeMap::new(),
            stale: BTreeMap::new(),
            vms: BTreeMap::new(),
            fios: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }

    fn is(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    fn disks_of(&self, vm: VmId) -> Vec<GuestDisk> {
        let controllers = self
            .vms
            .get(&vm)
            .map_or(&[][..], |(controllers, _)| controllers);
        let all = self.attached.iter().chain(&self.stale);
        let mut disks: Vec<GuestDisk> = all
            .filter(|(place, _)| controllers.contains(&place.controller))
            .map(|(place, disk)| GuestDisk {
                vm,
                place: *place,
                disk: Some(*disk),
            })
            .collect();
        disks.sort();
        disks
    }

    fn attach(&mut self, disk: DiskId, controller: ControllerId, target: Option<TargetId>) -> u8 {
        let at = |slot| Place {
            controller,
            target: TargetId(slot),
        };
        let lowest = (0..8)
            .find(|slot| !self.attached.contains_key(&at(*slot)))
            .unwrap();
        let slot = target.map_or(lowest, |target| target.0);
        self.attached.insert(at(slot), disk);
        slot
    }

    fn detach(&mut self, place: Place) {
        let mut goes = place;
        if self.is(Quirk::WrongDiskGoes) {
            goes = *self.attached.keys().find(|other| **other != place).unwrap();
        }
        let disk = self.attached.remove(&goes).unwrap();
        if self.is(Quirk::DiskStays) {
            self.stale.insert(goes, disk);
        }
        for fio in self.fios.values_mut() {
            fio.gone.push(goes);
        }
    }

    fn end_fios(&mut self) {
        let fios = std::mem::take(&mut self.fios);
        for (id, fio) in fios {
            let notices = !self.is(Quirk::FioNotices(false));
            let jobs: Vec<FioJobEnd> = fio
                .on
                .iter()
                .map(|(disk, place)| {
                    let gone = notices && fio.gone.contains(place);
                    let short = u64::from(self.is(Quirk::BlockMissing));
                    let damaged = fio.reads && self.is(Quirk::Loses(Oracle::Fio));
                    let unseen = fio.reads && !self.is(Quirk::ChecksReads);
                    let lost = fio.reads && self.is(Quirk::Loses(Oracle::Strict));
                    let error = match (gone, damaged) {
                        (true, _) => 5,
                        (false, true) => 84,
                        (false, false) => 0,
                    };
                    FioJobEnd {
                        disk: *disk,
                        place: *place,
                        section: 0,
                        error,
                        hung: false,
                        written: if fio.reads { 0 } else { VOLUME },
                        verified: match gone {
                            _ if unseen || self.is(Quirk::VerifiesNothing) => 0,
                            true => VOLUME / 2,
                            false => VOLUME - short,
                        },
                        volume: VOLUME,
                        messages: if gone {
                            vec!["Input/output error".into()]
                        } else {
                            Vec::new()
                        },
                        strict: lost.then(|| "a block is lost".into()).into_iter().collect(),
                        no_data: Vec::new(),
                    }
                })
                .collect();
            let failed = jobs.iter().filter(|job| job.error != 0).count();
            if fio.reads {
                self.reads(id, &fio);
            }
            self.queue.push_back(Observation::FioEnded {
                fio: id,
                exit: u8::try_from(failed).unwrap(),
                jobs,
            });
        }
    }

    fn reads(&mut self, fio: FioId, of: &Fio) {
        let (disk, place) = of.on[0];
        for block in 0..VOLUME {
            let io = scenarios::Io {
                id: scenarios::IoId(block),
                fio,
                disk,
                place,
                write: false,
                offset: block * 4096,
                len: 4096,
                trim: false,
                wrote: 0,
            };
            self.queue.push_back(Observation::IoDone {
                io,
                result: Ok(4096),
                read: 1,
                tries: 1,
                answer: None,
            });
        }
    }

    fn hot_plug(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        match action {
            Action::Attach { disk, .. } if self.is(Quirk::AttachRefused) && disk.0 == 2 => {
                self.answer(Err("Device or resource busy".into()));
            }
            Action::Attach { disk, .. } if self.is(Quirk::AttachUnanswered) && disk.0 == 2 => {}
            Action::Attach { .. } if self.is(Quirk::BreaksSoon) && !self.attached.is_empty() => {
                return Err(TestbedError("the socket was closed".into()));
            }
            Action::Attach {
                disk,
                controller,
                target,
            } => {
                let slot = self.attach(*disk, *controller, *target);
                self.answer(Ok(slot));
            }
            Action::Detach { .. } if self.is(Quirk::Breaks) => {
                return Err(TestbedError("the socket was closed".into()));
            }
            Action::Detach { .. } if self.is(Quirk::TargetCrashes) => {
                self.queue.push_back(Observation::Crashed {
                    who: "target".into(),
                    how: "SIGSEGV in spdk_scsi_task_process_null_lun".into(),
                });
            }
            Action::Detach { place } => {
                if self.is(Quirk::FioEndsWithDetach) {
                    self.end_fios();
                }
                self.detach(*place);
                self.answer(Ok(0));
            }
            Action::Remove { .. } if self.is(Quirk::NoRemove) => {
                return Ok(Performed::NotHere("it was there before".into()));
            }
            Action::Remove { disk } => {
                let places = self.attached.iter();
                let places = places.filter(|(_, there)| *there == disk);
                for place in places.map(|(place, _)| *place).collect::<Vec<_>>() {
                    self.detach(place);
                }
                self.answer(Ok(0));
            }
            _ => unreachable!("only these three"),
        }
        Ok(Performed::Asked(Ticket(self.tickets)))
    }

    fn start_fio(&mut self, fio: FioId, job: &str, on: &[(DiskId, Place)]) {
        let there = |(disk, place): &&(DiskId, Place)| self.attached.get(place) == Some(disk);
        let absent = on.iter().filter(|on| !there(on)).map(|(_, place)| *place);
        let run = Fio {
            on: on.to_vec(),
            gone: absent.collect(),
            reads: job == "read_back",
        };
        self.fios.insert(fio, run);
        if self.is(Quirk::FioEndsEarly) {
            self.end_fios();
        }
    }

    fn answer(&mut self, result: Result<u8, String>) {
        let ticket = Ticket(self.tickets);
        self.queue
            .push_back(Observation::Answered { ticket, result });
    }
}

impl Testbed for Fake {
    fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::FIO_REPORT.union(Evidence::GUEST_DISKS);
        if self.is(Quirk::ShowsInside) {
            evidence = evidence.union(Evidence::TARGET_INSIDE);
        }
        if self.is(Quirk::NoPerIo) {
            evidence
        } else {
            evidence.union(Evidence::PER_IO)
        }
    }

    fn now(&self) -> Time {
        self.now
    }

    fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
        self.tickets += 1;
        match action {
            Action::StartTarget { .. } => self.answer(Ok(0)),
            Action::BootVm { vm, controllers } => {
                let boot = self.vms.get(vm).map_or(0, |(_, boot)| *boot) + 1;
                self.vms.insert(*vm, (controllers.clone(), boot));
                self.queue.push_back(Observation::VmReady { vm: *vm, boot });
            }
            Action::Attach { .. } | Action::Detach { .. } | Action::Remove { .. } => {
                return self.hot_plug(action);
            }
            Action::Insert { .. } | Action::KillVm { .. } => self.answer(Ok(0)),
            Action::StartFio { fio, job, on } => self.start_fio(*fio, job, on),
            Action::WaitJobClock { .. } if self.is(Quirk::ClockMissed) => {
                self.answer(Err("it had ended in VM 1".into()));
            }
            Action::WaitJobClock { .. } => self.answer(Ok(0)),
            Action::RebootVm { .. } if self.is(Quirk::NoReboot) => {
                return Ok(Performed::NotHere(
                    "the guest is a model without a reboot".into(),
                ));
            }
            Action::RebootVm { vm } => {
                let faked = self.is(Quirk::RebootIsFaked);
                let (_, boot) = self.vms.get_mut(vm).unwrap();
                *boot += u32::from(!faked);
                let boot = *boot;
                self.queue.push_back(Observation::VmDown { vm: *vm });
                self.queue.push_back(Observation::VmReady { vm: *vm, boot });
            }
            Action::ListDisks { vm } => {
                let disks = self.disks_of(*vm);
                self.queue
                    .push_back(Observation::DisksListed { vm: *vm, disks });
            }
            Action::CheckAlive => {
                self.queue
                    .push_back(Observation::Alive { silent: Vec::new() });
            }
            other @ (Action::BootFirmware { .. }
            | Action::PauseVm { .. }
            | Action::ContinueVm { .. }
            | Action::AddMemory { .. }
            | Action::Reconnect { .. }
            | Action::Manage { .. }
            | Action::Resize { .. }
            | Action::Hold { .. }
            | Action::Fail { .. }
            | Action::Delay { .. }
            | Action::Release { .. }
            | Action::CreateController { .. }
            | Action::DeleteController { .. }
            | Action::SaveConfig) => {
                return Ok(Performed::NotHere(format!("this fake does not {other:?}")));
            }
            Action::Settle => {
                let settled = !self.is(Quirk::NeverQuiet);
                let left = if settled {
                    vec![]
                } else {
                    vec!["requests: 1".into()]
                };
                self.queue.push_back(Observation::Quiet { settled, left });
            }
        }
        Ok(Performed::Asked(Ticket(self.tickets)))
    }

    fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
        if self.queue.is_empty() {
            self.end_fios();
        }
        if self.queue.is_empty() {
            self.now = self.now.max(deadline);
        }
        for what in self.queue.drain(..) {
            self.now = self.now + Duration::from_millis(1);
            seen.push(Seen { at: self.now, what });
        }
        Ok(())
    }

    fn ending(&self) -> Ending {
        Ending {
            trace_hash: 0xabc,
            order_hash: 0xdef,
            turns: self.now.0 / 1_000_000,
        }
    }
}
