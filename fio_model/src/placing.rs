//! Which thread of a job file works on which of a fio's disks, and which wait for which.
//!
//! A file without sections of its own is a template: each disk has one. Else each section works on each
//! disk; where the file names several files, they stand for the disks in order, and share them if they are
//! more, or if a job has several. Knows nothing of what a job does.
//!
//! # Divergence from fio
//!
//! Headers name the place on the disk, not that in the part of it that stands for a file.

use std::collections::BTreeMap;

use crate::job::Job;
use crate::job_file::JobFile;
use crate::known_options::NoEffect;
use crate::span::Part;

/// A disk that is given to a fio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenDisk {
    /// What it is called in the names of jobs, such as `disk3`.
    pub label: String,
    /// Its node, such as `/dev/sdb`.
    pub node: String,
}

/// A thread of a fio, and where it works.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Which of the disks, from 0.
    pub disk: usize,
    /// Its job; `filename` is the disk's node.
    pub job: Job,
    /// Which section of the file on which of its disks, from 0; its clones share it.
    pub section: u16,
    /// fio's number of it, from 1. Those of sections that reach no disk are left out.
    pub thread_number: u32,
    /// How often it waits for the end of all threads before it (`stonewall`).
    pub after: u32,
    /// Threads that end together (`exitall`): fio's `groupid`.
    pub group: u32,
}

impl JobFile {
    /// The job of a section `[section_name]` with `filename=` added at the end of the file: how a
    /// harness adds one section for each disk.
    pub fn job_for(&self, section_name: &str, filename: &str) -> Job {
        let (name, filename) = (section_name.to_owned(), Some(filename.to_owned()));
        Job {
            name,
            filename,
            ..self.template().clone()
        }
    }

    /// The longest run time of its jobs, in nanoseconds; 0 is none.
    pub fn runtime_ns(&self) -> u64 {
        let longest = self.working().map(|job| job.runtime_ns).max();
        longest.unwrap_or_default()
    }

    /// The threads of a fio on these disks, in fio's order.
    pub fn place(&self, disks: &[GivenDisk]) -> Vec<Placed> {
        let mut placed: Vec<Placed> = Vec::new();
        let (mut after, mut group, mut thread_number) = (0, 0, 0);
        for (section, (disk, parts, job)) in (0..).zip(self.on_disks(disks)) {
            if thread_number > 0 {
                after += u32::from(job.stonewall);
                group += u32::from(job.stonewall || job.new_group);
            }
            for clone_number in 0..job.numjobs.max(1) {
                thread_number += 1;
                if !job.reaches_disks() {
                    continue;
                }
                let job = Job {
                    clone_number,
                    parts: parts.clone(),
                    ..job.clone()
                };
                placed.push(Placed {
                    disk,
                    job,
                    section,
                    thread_number,
                    after,
                    group,
                });
            }
        }
        placed
    }

    /// What to know of a run of this file, a line each: fio's own warnings, which disks stand for its files,
    /// and what has no effect here, with why.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.warnings.clone();
        match &self.files()[..] {
            [] => {}
            [file] => remarks.push(format!("{file} is each disk of a fio")),
            files => {
                let names = files.join(", ");
                remarks.push(match self.shares_disks() {
                    true => format!("{names} are equal parts of each disk of a fio"),
                    false => format!("{names} are the disks of a fio, in order"),
                });
            }
        }
        let mut nameless = self.working().filter(|job| job.filename.is_none());
        if nameless.any(|job| job.nrfiles > 1) {
            remarks.push("several files of a job are equal parts of each of its disks".into());
        }
        if self.working().any(|job| !job.direct) {
            remarks.push("buffered I/O goes to the disk at once: there is no page cache".into());
        }
        let idle = self.jobs.iter().filter(|job| !job.reaches_disks());
        let idle: Vec<String> = idle.map(|job| format!("[{}]", job.name)).collect();
        if !idle.is_empty() {
            let idle = idle.join(", ");
            remarks.push(format!(
                "left out, as its engine does nothing on a disk: {idle}"
            ));
        }
        let mut idle: BTreeMap<NoEffect, Vec<&str>> = BTreeMap::new();
        for (option, why) in &self.without_effect {
            idle.entry(*why).or_default().push(option);
        }
        let idle = idle.iter().map(|(why, options)| {
            format!(
                "without effect, as about {}: {}",
                why.what(),
                options.join(", ")
            )
        });
        remarks.extend(idle);
        remarks
    }

    /// Each job on each of its disks, with the part of it that it has.
    fn on_disks(&self, disks: &[GivenDisk]) -> Vec<(usize, Vec<Part>, Job)> {
        if self.jobs.is_empty() {
            // It is one section, whatever the number of its disks: they do not wait for each other.
            let disks = disks.iter().enumerate();
            let jobs = disks.map(|(index, disk)| {
                let job = self.job_for(&disk.label, &disk.node);
                let (stonewall, new_group) = (false, false);
                let job = Job {
                    stonewall,
                    new_group,
                    ..job
                };
                (index, Part::all(job.nrfiles), job)
            });
            return jobs.collect();
        }
        self.sections_on(disks)
    }

    /// Each section on each of its disks: only the first of its disks waits for the sections before.
    fn sections_on(&self, disks: &[GivenDisk]) -> Vec<(usize, Vec<Part>, Job)> {
        let files = self.files();
        let shares = self.shares_disks();
        let mut placed = Vec::new();
        let mut seen = BTreeMap::new();
        for section in &self.jobs {
            if !section.reaches_disks() {
                placed.push((0, Vec::new(), section.clone()));
                continue;
            }
            let named = section.file_names();
            let named: Vec<usize> = named
                .iter()
                .filter_map(|file| files.iter().position(|known| known == file))
                .collect();
            let on: Vec<(usize, Vec<Part>)> = match &named[..] {
                [] => {
                    let parts = Part::all(section.nrfiles);
                    (0..disks.len()).map(|disk| (disk, parts.clone())).collect()
                }
                names if shares => {
                    let all = Part::all(files.len() as u32);
                    let parts: Vec<Part> = names.iter().map(|file| all[*file]).collect();
                    (0..disks.len()).map(|disk| (disk, parts.clone())).collect()
                }
                [file, ..] => on_disks(*file, files.len(), disks.len())
                    .map(|(disk, part)| (disk, vec![part]))
                    .collect(),
            };
            for (first, (disk, parts)) in on.into_iter().enumerate() {
                let mut name = format!("{}-{}", section.name, disks[disk].label);
                let count = seen.entry(name.clone()).or_insert(0u32);
                *count += 1;
                if *count > 1 {
                    name += &format!("-{count}");
                }
                let job = Job {
                    name,
                    filename: Some(disks[disk].node.clone()),
                    stonewall: section.stonewall && first == 0,
                    new_group: section.new_group && first == 0,
                    ..section.clone()
                };
                placed.push((disk, parts, job));
            }
        }
        placed
    }

    /// Whether a job has several files: then all that are named are parts of each disk.
    fn shares_disks(&self) -> bool {
        let mut jobs = self.working();
        !self.jobs.is_empty() && jobs.any(|job| job.file_names().len() > 1)
    }

    /// The files that are named, in order.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for file in self.working().flat_map(Job::file_names) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }
}

/// The disks that the `index`th of `files` names stands for, of `disks`, with the part of each.
///
/// One name stands for every disk, two for every other one, and so on; of more names than disks, several
/// share a disk.
fn on_disks(index: usize, files: usize, disks: usize) -> impl Iterator<Item = (usize, Part)> {
    let shares = files > disks && disks > 0;
    let (first, step, part) = if shares {
        let first = index % disks;
        let part = Part {
            index: (index / disks) as u32,
            of: (files - first).div_ceil(disks) as u32,
        };
        (first, disks, part)
    } else {
        (index, files.max(1), Part::WHOLE)
    };
    (first..disks).step_by(step).map(move |disk| (disk, part))
}

#[cfg(test)]
#[path = "placing_tests.rs"]
mod tests;
