//! Which disks steps mean: the selectors of fios, and what a check expects to find.
//!
//! The rest of [`World`], which `world` begins; changes nothing about what hangs where.

use super::world::{World, impossible, start};
use super::{Does, Impossible, Job, JobMust};
use crate::names::{DiskId, Place, VmId};
use crate::plan::{self, Base, READ_BACK_JOB, Selector};

impl World<'_> {
    pub(super) fn gone(&mut self, step: &plan::Step, disk: DiskId) -> Result<Does, Impossible> {
        if let Some(place) = self.place_of(disk) {
            let what = format!("{disk} is attached, to {}", place.controller);
            return Err(impossible(step, what, "`detach` it before"));
        }
        let Some(place) = self.last.get(&disk).copied() else {
            let what = format!("{disk} was never attached");
            return Err(impossible(step, what, "`attach` and `detach` it before"));
        };
        let vm = self.vm_of(place.controller);
        let Some(vm) = vm.filter(|vm| self.running.contains(vm)) else {
            let what = format!("no VM runs on {}", place.controller);
            return Err(impossible(step, what, "`boot` one before"));
        };
        self.touch_vm(vm);
        Ok(Does::Disks {
            disks: vec![self.disks_of(vm)],
        })
    }

    pub(super) fn present(
        &mut self,
        step: &plan::Step,
        vms: Option<&[VmId]>,
    ) -> Result<Does, Impossible> {
        if vms.is_none() && self.lane.is_some() {
            return Err(impossible(
                step,
                "`present` in a lane must say of which VMs",
                "expected vm=1 or vm=\"1 2\"; other lanes change the others meanwhile",
            ));
        }
        let vms: Vec<VmId> = match vms {
            Some(vms) => vms.to_vec(),
            None => self.running.iter().copied().collect(),
        };
        if let Some(vm) = vms.iter().find(|vm| !self.running.contains(vm)) {
            return Err(impossible(
                step,
                format!("{vm} does not run"),
                "`boot` it before",
            ));
        }
        if vms.is_empty() {
            return Err(impossible(step, "no VM runs", "`boot` one before"));
        }
        vms.iter().for_each(|vm| self.touch_vm(*vm));
        Ok(Does::Disks {
            disks: vms.iter().map(|vm| self.disks_of(*vm)).collect(),
        })
    }

    fn ended(&self, step: &plan::Step, label: &str) -> Result<&super::world::Fio, Impossible> {
        let found = self.fios.iter().find(|fio| fio.label == label && !fio.open);
        found.ok_or_else(|| {
            let what = format!("no fio {label:?} has ended here");
            impossible(
                step,
                what,
                "expected the label of an earlier fio of this case",
            )
        })
    }

    pub(super) fn failed(
        &self,
        step: &plan::Step,
        label: &str,
        disk: Option<DiskId>,
    ) -> Result<Does, Impossible> {
        let fio = self.ended(step, label)?;
        let of = |job: &&Job| disk.is_none_or(|disk| job.disk == disk);
        let mut jobs: Vec<Job> = fio.jobs.iter().filter(of).copied().collect();
        if jobs.is_empty() {
            let what = format!("fio {label:?} did not run on that disk");
            return Err(impossible(step, what, "name one that it ran on"));
        }
        for job in &mut jobs {
            if job.must == JobMust::Pass {
                job.must = JobMust::Fail;
            }
        }
        Ok(Does::Jobs { fio: fio.fio, jobs })
    }

    pub(super) fn passed(&self, step: &plan::Step, label: &str) -> Result<Does, Impossible> {
        let fio = self.ended(step, label)?;
        let stays = |job: &&Job| job.must != JobMust::FailGone;
        let jobs: Vec<Job> = fio.jobs.iter().filter(stays).copied().collect();
        if jobs.is_empty() {
            let what = format!("every disk of fio {label:?} was detached under it");
            return Err(impossible(step, what, "use `failed`"));
        }
        let jobs = jobs.into_iter().map(|job| Job {
            must: JobMust::Pass,
            ..job
        });
        Ok(Does::Jobs {
            fio: fio.fio,
            jobs: jobs.collect(),
        })
    }

    pub(super) fn kept(&mut self, step: &plan::Step, disk: DiskId) -> Result<Does, Impossible> {
        let on = Selector {
            base: Base::Disks(vec![disk]),
            but: Vec::new(),
        };
        let jobs = self.select(step, &on)?;
        let fio = self.next_fio();
        Ok(Does::Kept {
            action: start(fio, READ_BACK_JOB, &jobs),
            fio,
            job: jobs[0],
        })
    }

    /// The jobs of a fio on `on`: one for each attached disk of a running VM.
    pub(super) fn select(
        &mut self,
        step: &plan::Step,
        on: &Selector,
    ) -> Result<Vec<Job>, Impossible> {
        if on.base == Base::Attached && self.lane.is_some() {
            return Err(impossible(
                step,
                "a fio in a lane must say of which VMs",
                "expected on=\"vm 1 2\"; other lanes attach and detach meanwhile",
            ));
        }
        if let Base::Disks(disks) = &on.base {
            for disk in disks {
                self.attached_at(step, *disk)?;
            }
        }
        for disk in &on.but {
            self.attached_at(step, *disk)?;
        }
        let usable = |place: &Place| {
            let vm = self.vm_of(place.controller);
            vm.filter(|vm| self.running.contains(vm))
        };
        let chosen = |disk: DiskId, place: Place| match &on.base {
            Base::Attached => true,
            Base::Disks(disks) => disks.contains(&disk),
            Base::Vms(vms) => self
                .vm_of(place.controller)
                .is_some_and(|vm| vms.contains(&vm)),
            Base::Controllers(ids) => ids.contains(&place.controller),
        };
        let jobs: Vec<Job> = self
            .attached
            .iter()
            .filter(|(place, disk)| {
                usable(place).is_some() && chosen(**disk, **place) && !on.but.contains(disk)
            })
            .map(|(place, disk)| Job {
                disk: *disk,
                place: *place,
                must: JobMust::Pass,
            })
            .collect();
        if jobs.is_empty() {
            return Err(impossible(
                step,
                format!("no disk is attached in a VM that runs: {on}"),
                "`boot` the VM and `attach` a disk before",
            ));
        }
        jobs.iter().for_each(|job| self.touch(job.place.controller));
        if let Base::Vms(vms) = &on.base {
            vms.iter().for_each(|vm| self.touch_vm(*vm));
        }
        Ok(jobs)
    }
}
