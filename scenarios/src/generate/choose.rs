//! Choices, as bytes, become a scenario.
//!
//! Every string of bytes is a scenario, and fewer or smaller bytes are a simpler one: whoever draws them
//! (a seed, proptest) can make a scenario smaller without knowing what it is about. What a byte means
//! depends on the steps before it, so that most steps do something: a detach empties a slot that is
//! in use, I/O goes to a disk that is there. Some are meant to be refused.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use super::{Scene, VERIFY_JOB, WRITE_JOB, step};
use crate::names::{
    ControllerId, DiskId, FioId, Place, TARGETS_PER_CONTROLLER_MAX, TargetId, VmId,
};
use crate::plan::{Plan, PlanVm, Step, Wait};
use crate::testbed::{Action, DiskKind, TaskFunction};

/// Who takes part: topology, disks, boots.
pub type ShapeBytes = [u8; 3];
/// A step: what is done, with what, where, and when.
pub type StepBytes = [u8; 4];

/// Times between steps, in microseconds: none, less than a hop between threads, about a turn, and
/// about each of the target's periods (management 5 ms, RPC 4 ms) and longer.
const GAPS_US: [u64; 8] = [0, 3, 40, 700, 4_100, 5_300, 12_000, 60_000];
/// By how much requests are delayed, in microseconds: all well under the 4 s after which the stop of a
/// session gives up.
const DELAYS_US: [u32; 6] = [0, 60, 900, 5_200, 37_000, 300_000];
/// The bit of the third byte with which requests are held, and VMs neither paused, nor given memory, nor
/// connected anew.
///
/// Both in one scenario would lose requests, even with a right target: a stop that times out under held
/// requests goes on without them (SPDK issue 3553), which a guest that boots anew does not mind, and
/// one that goes on with its rings does.
const HOLDS: u8 = 1 << 7;
/// Kinds of steps.
const KINDS: u8 = 36;
/// The bit of the last byte that makes the next step wait for the answer.
const AWAITED: u8 = 1 << 7;
/// fios of a scenario at most: a guest has room for ten threads at once.
const FIOS_MAX: u16 = 8;

/// The scenario of these bytes.
#[must_use]
pub fn choose(shape: ShapeBytes, steps: &[StepBytes]) -> Plan {
    let mut chooser = Chooser::new(shape);
    for bytes in steps {
        let steps = chooser.steps(*bytes);
        chooser.scene.steps.extend(steps);
    }
    chooser.scene.into()
}

/// What is where, as far as the steps so far say.
pub(super) struct Chooser {
    pub(super) scene: Scene,
    attached: BTreeMap<Place, DiskId>,
    removed: BTreeSet<DiskId>,
    /// The place that was left last.
    left: Option<Place>,
    pub(super) deleted: BTreeSet<ControllerId>,
    /// fios started.
    fios: u16,
    pub(super) holds: bool,
}

/// The `n`th of `all`, round and round.
pub(super) fn pick<T: Copy>(all: &[T], n: u8) -> Option<T> {
    all.get(usize::from(n) % all.len().max(1)).copied()
}

impl Chooser {
    fn new([topology, disks, boots]: ShapeBytes) -> Self {
        let vm = |vm: u8, controllers: &[u8]| PlanVm {
            vm: VmId(vm),
            controllers: controllers.iter().map(|n| ControllerId(*n)).collect(),
        };
        let vms = match topology % 5 {
            0 => vec![vm(1, &[1])],
            2 => vec![vm(1, &[1, 2])],
            3 => vec![vm(1, &[1]), vm(2, &[2])],
            _ => vec![vm(1, &[1]), vm(2, &[1])],
        };
        let boot = |PlanVm { vm, controllers }: &PlanVm| {
            let (vm, controllers) = (*vm, controllers.clone());
            // It has nothing to boot from, and nobody hears of it.
            if topology % 5 == 4 && vm == VmId(2) {
                return Step {
                    wait: Wait::Nothing,
                    ..step(Action::BootFirmware { vm, controllers })
                };
            }
            let wait = if boots & vm.0 == 0 {
                Wait::Answer
            } else {
                Wait::Nothing
            };
            Step {
                wait,
                ..step(Action::BootVm { vm, controllers })
            }
        };
        let steps = vms.iter().map(boot).collect();
        let mut controllers: Vec<_> = vms.iter().flat_map(|vm| vm.controllers.clone()).collect();
        controllers.dedup();
        let kinds = [
            DiskKind::Nvme,
            DiskKind::Faulty,
            DiskKind::Null,
            DiskKind::Delayed,
        ];
        let disks = (0..=disks % 4).map(|n| {
            let kind = kinds[usize::from(n + disks / 4) % kinds.len()];
            (DiskId(n + 1), kind)
        });
        Self {
            scene: Scene {
                controllers,
                disks: disks.collect(),
                vms,
                steps,
            },
            attached: BTreeMap::new(),
            removed: BTreeSet::new(),
            left: None,
            deleted: BTreeSet::new(),
            fios: 0,
            holds: boots & HOLDS != 0,
        }
    }

    fn steps(&mut self, [what, with, to, when]: StepBytes) -> Vec<Step> {
        let actions = match what % KINDS {
            32 => self.deletes(with),
            33 => self.delete_meets(with, to),
            34 if !self.holds => self.storm(with, to),
            35 if !self.holds => self.new_table(with, to),
            34 | 35 => Vec::new(),
            _ => self.action(what % KINDS, with, to).into_iter().collect(),
        };
        let gap = Duration::from_micros(GAPS_US[usize::from(when) % GAPS_US.len()]);
        let last = actions.len().saturating_sub(1);
        let steps = actions.into_iter().enumerate().map(|(n, action)| Step {
            // What belongs together comes at once; what comes of the last may be waited for.
            after: if n == 0 { gap } else { Duration::ZERO },
            wait: if n == last && when & AWAITED != 0 {
                Wait::Answer
            } else {
                Wait::Nothing
            },
            ..step(action)
        });
        steps.collect()
    }

    fn action(&mut self, what: u8, with: u8, to: u8) -> Option<Action> {
        // Half of the steps are attaches, detaches and I/O; everything else shares the rest.
        match what {
            0..6 => self.attach(with, to),
            6..11 => self.detach(with, to),
            11..18 => self.io(with),
            18 if !self.holds => self.delay(with, to),
            21 => self.delay(with, to),
            26 | 27 | 30 if self.holds => None,
            18 => self
                .of_kind(DiskKind::Faulty, with)
                .map(|disk| Action::Hold {
                    disk,
                    requests: u32::from(to % 8) + 1,
                }),
            19 => self
                .of_kind(DiskKind::Faulty, with)
                .map(|disk| Action::Fail {
                    disk,
                    requests: u32::from(to % 4) + 1,
                }),
            20 => self
                .of_kind(DiskKind::Faulty, with)
                .map(|disk| Action::Release { disk }),
            22 => self
                .of_kind(DiskKind::Null, with)
                .map(|disk| Action::Resize {
                    disk,
                    mib: 65 + u32::from(to),
                }),
            23 => self.remove(with),
            24 => self.insert(with),
            25 => self.manage(with, to),
            26 => self.vm(with).map(|vm| Action::PauseVm { vm }),
            27 => self.vm(with).map(|vm| Action::ContinueVm { vm }),
            28 => self.vm(with).map(|vm| Action::RebootVm { vm }),
            29 => self.vm(with).map(|vm| Action::KillVm { vm }),
            30 if to >= 96 => self.reconnect(with, to),
            30 => self.vm(with).map(|vm| Action::AddMemory { vm }),
            _ if to.is_multiple_of(3) => self.controller(with),
            _ => Some(Action::SaveConfig),
        }
    }

    pub(super) fn vm(&self, n: u8) -> Option<VmId> {
        let vms: Vec<VmId> = self.scene.vms.iter().map(|vm| vm.vm).collect();
        pick(&vms, n)
    }

    /// Breaks one of the connections of a VM, and makes it anew.
    pub(super) fn reconnect(&self, with: u8, to: u8) -> Option<Action> {
        let vms: Vec<&PlanVm> = self.scene.vms.iter().collect();
        let vm = pick(&vms, with)?;
        let controller = pick(&vm.controllers, to)?;
        Some(Action::Reconnect {
            vm: vm.vm,
            controller,
        })
    }

    /// A place in use.
    fn place(&self, n: u8) -> Option<Place> {
        let places: Vec<Place> = self.attached.keys().copied().collect();
        pick(&places, n)
    }

    /// Makes a disk slow, or as fast again as it was.
    fn delay(&self, with: u8, to: u8) -> Option<Action> {
        let disk = self.of_kind(DiskKind::Delayed, with)?;
        let micros = pick(&DELAYS_US, to)?;
        Some(Action::Delay { disk, micros })
    }

    /// Asks a LUN that is there, or that is about to go, for a reset or rarely for something else; that
    /// may go to nobody as well.
    fn manage(&self, with: u8, to: u8) -> Option<Action> {
        let function = if to < 128 {
            TaskFunction::LunReset
        } else {
            pick(&TaskFunction::ALL, to)?
        };
        let here = self.place(with);
        let mut place = if with >= 128 {
            self.left.or(here)
        } else {
            here
        }?;
        if function != TaskFunction::LunReset && to >= 224 {
            place.target.0 += TARGETS_PER_CONTROLLER_MAX;
        }
        Some(Action::Manage { place, function })
    }

    fn of_kind(&self, kind: DiskKind, n: u8) -> Option<DiskId> {
        let disks = self.scene.disks.iter().filter(|(_, of)| *of == kind);
        let disks: Vec<DiskId> = disks.map(|(disk, _)| *disk).collect();
        pick(&disks, n)
    }

    fn kind(&self, disk: DiskId) -> DiskKind {
        let mut disks = self.scene.disks.iter();
        disks
            .find(|(of, _)| *of == disk)
            .map_or(DiskKind::Nvme, |(_, kind)| *kind)
    }

    /// Attaches a disk, mostly one that is nowhere, to a slot that is mostly free.
    pub(super) fn attach(&mut self, with: u8, to: u8) -> Option<Action> {
        let (disk, _) = pick(&self.scene.disks, with)?;
        let controller = pick(&self.scene.controllers, to)?;
        let place = |target| Place {
            controller,
            target: TargetId(target),
        };
        let slots = 0..TARGETS_PER_CONTROLLER_MAX;
        let target = if to >= 240 {
            // Any slot, even one that is taken.
            to % TARGETS_PER_CONTROLLER_MAX
        } else {
            let free = slots
                .clone()
                .find(|n| !self.attached.contains_key(&place(*n)));
            free?
        };
        let elsewhere = self.attached.values().any(|of| *of == disk);
        if elsewhere && with < 224 {
            return self.detach(with, to);
        }
        self.attached.entry(place(target)).or_insert(disk);
        let asked = (to & 64 == 0 || to >= 240).then_some(TargetId(target));
        Some(Action::Attach {
            disk,
            controller,
            target: asked,
        })
    }

    /// Detaches what is there, or rarely what is not.
    pub(super) fn detach(&mut self, with: u8, to: u8) -> Option<Action> {
        let place = match self.place(with) {
            Some(place) if to < 240 => place,
            _ => Place {
                controller: pick(&self.scene.controllers, with)?,
                target: TargetId(to % TARGETS_PER_CONTROLLER_MAX),
            },
        };
        if self.attached.remove(&place).is_some() {
            self.left = Some(place);
        }
        Some(Action::Detach { place })
    }

    fn io(&mut self, with: u8) -> Option<Action> {
        let place = self.place(with)?;
        let disk = *self.attached.get(&place)?;
        if self.fios >= FIOS_MAX {
            return None;
        }
        self.fios += 1;
        let job = match self.kind(disk) {
            DiskKind::Null => WRITE_JOB,
            DiskKind::Nvme | DiskKind::Faulty | DiskKind::Delayed => VERIFY_JOB,
        };
        Some(Action::StartFio {
            fio: FioId(self.fios - 1),
            job: job.into(),
            on: vec![(disk, place)],
        })
    }

    fn remove(&mut self, with: u8) -> Option<Action> {
        let (disk, _) = pick(&self.scene.disks, with)?;
        self.removed.insert(disk);
        let mut places = self.attached.iter();
        let place = places.find(|(_, of)| **of == disk).map(|(place, _)| *place);
        self.left = place.or(self.left);
        self.attached.retain(|_, of| *of != disk);
        Some(Action::Remove { disk })
    }

    fn insert(&mut self, with: u8) -> Option<Action> {
        let removed: Vec<DiskId> = self.removed.iter().copied().collect();
        let disk = pick(&removed, with)?;
        self.removed.remove(&disk);
        Some(Action::Insert { disk })
    }

    /// Deletes a controller, or makes one anew that was deleted.
    fn controller(&mut self, with: u8) -> Option<Action> {
        let controller = pick(&self.scene.controllers, with)?;
        if self.deleted.remove(&controller) {
            return Some(Action::CreateController { controller });
        }
        self.deleted.insert(controller);
        Some(Action::DeleteController { controller })
    }
}
