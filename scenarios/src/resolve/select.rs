//! Which disks steps mean: the selectors of fios, and what a check expects to find.
//!
//! The rest of [`World`], which `world` begins; changes nothing about what hangs where.

use super::Impossible;
use super::world::{World, impossible, start};
use crate::names::{DiskId, Place, VmId};
use crate::plan::{self, Base, FioExpect, READ_BACK_JOB, Selector};
use crate::script::{Expect, Job, JobMust};
use crate::testbed::Action;

impl World<'_> {
    pub(super) fn gone(&mut self, step: &plan::Step, disk: DiskId) -> Result<Expect, Impossible> {
        if let Some(place) = self.place_of(disk) {
            let what = format!("{disk} is attached, to {}", place.controller);
            return Err(impossible(step, what, "`detach` it before"));
        }
        let Some(place) = self.last.get(&disk).copied() else {
            let what = format!("{disk} was never attached");
            return Err(impossible(step, what, "`attach` and `detach` it before"));
        };
        let vms = self.vms_of(place.controller);
        let vms: Vec<VmId> = vms.filter(|vm| self.running.contains(vm)).collect();
        if vms.is_empty() {
            let what = format!("no VM runs on {}", place.controller);
            return Err(impossible(step, what, "`boot` one before"));
        }
        self.has_disks(step, &vms)
    }

    /// That VMs have exactly the disks that are attached.
    fn has_disks(&mut self, step: &plan::Step, vms: &[VmId]) -> Result<Expect, Impossible> {
        vms.iter().try_for_each(|vm| self.runs(step, *vm))?;
        vms.iter().for_each(|vm| self.touch_vm(*vm));
        let disks = vms.iter().map(|vm| self.disks_of(*vm));
        Ok(Expect::Disks(disks.collect()))
    }

    pub(super) fn present(
        &mut self,
        step: &plan::Step,
        vms: Option<&[VmId]>,
    ) -> Result<Expect, Impossible> {
        if vms.is_none() && self.branch.is_some() {
            return Err(impossible(
                step,
                "`present` in a branch must say of which VMs",
                "expected vm=1 or vm=\"1 2\"; other branches change the others meanwhile",
            ));
        }
        let vms: Vec<VmId> = match vms {
            Some(vms) => vms.to_vec(),
            None => self.running.iter().copied().collect(),
        };
        if vms.is_empty() {
            return Err(impossible(step, "no VM runs", "`boot` one before"));
        }
        self.has_disks(step, &vms)
    }

    fn ended(&self, step: &plan::Step, label: &str) -> Result<&super::world::Fio, Impossible> {
        let mut ended = self.fios.iter().rev().filter(|fio| !fio.open);
        let found = ended.find(|fio| fio.label == label);
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
    ) -> Result<Expect, Impossible> {
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
        Ok(Expect::Jobs { fio: fio.fio, jobs })
    }

    pub(super) fn passed(&self, step: &plan::Step, label: &str) -> Result<Expect, Impossible> {
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
        Ok(Expect::Jobs {
            fio: fio.fio,
            jobs: jobs.collect(),
        })
    }

    pub(super) fn kept(
        &mut self,
        step: &plan::Step,
        disk: DiskId,
    ) -> Result<(Vec<Action>, Expect), Impossible> {
        let on = Selector {
            base: Base::Disks(vec![disk]),
            but: Vec::new(),
        };
        let jobs = self.select(step, &on)?;
        let fio = self.next_fio();
        let job = jobs[0];
        let reads = vec![start(fio, READ_BACK_JOB, &jobs)];
        Ok((reads, Expect::Kept { fio, job }))
    }

    /// The jobs of a fio that shall fail because its disks are gone: where they were last.
    pub(super) fn absent(&self, on: &Selector, expect: FioExpect) -> Option<Vec<Job>> {
        let Base::Disks(disks) = &on.base else {
            return None;
        };
        let gone = |disk: &DiskId| self.place_of(*disk).is_none();
        if expect != FioExpect::Fail || !disks.iter().all(gone) {
            return None;
        }
        let job = |disk: &DiskId| {
            let place: Place = *self.last.get(disk)?;
            self.running_on(place.controller)?;
            Some(Job {
                disk: *disk,
                place,
                must: JobMust::Fail,
            })
        };
        disks.iter().map(job).collect()
    }

    /// The jobs of a fio on `on`: one for each attached disk of a running VM.
    pub(super) fn select(
        &mut self,
        step: &plan::Step,
        on: &Selector,
    ) -> Result<Vec<Job>, Impossible> {
        if on.base == Base::Attached && self.branch.is_some() {
            return Err(impossible(
                step,
                "a fio in a branch must say of which VMs",
                "expected on=\"vm 1 2\"; other branches attach and detach meanwhile",
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
        let chosen = |disk: DiskId, place: Place| match &on.base {
            Base::Attached => true,
            Base::Disks(disks) => disks.contains(&disk),
            Base::Vms(vms) => self.vms_of(place.controller).any(|vm| vms.contains(&vm)),
            Base::Controllers(ids) => ids.contains(&place.controller),
        };
        let jobs: Vec<Job> = self
            .attached
            .iter()
            .filter(|(place, disk)| {
                self.running_on(place.controller).is_some()
                    && chosen(**disk, **place)
                    && !on.but.contains(disk)
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
