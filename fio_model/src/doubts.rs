//! What fio may fail with on a disk that does nothing wrong, and why.
//!
//! Knows options, and nothing of how a job went.

use crate::job::{Job, ReadWrite};
use crate::job_file::JobFile;
use crate::span::Span;

impl JobFile {
    /// Why fio may find blocks wrong on a disk that does nothing wrong, if it may.
    pub fn can_spoil_itself(&self) -> Option<String> {
        let alone = self.working().find_map(Job::can_spoil_itself);
        alone.or_else(|| self.sections_that_meet())
    }

    /// Which of its blocks fio may find wrong as nobody has written them so, if any: a reader's, before which
    /// no other section that has ended writes the same ones.
    pub fn reads_unwritten(&self) -> Option<String> {
        let only = self.jobs.is_empty().then(|| self.template());
        let jobs: Vec<&Job> = only.into_iter().chain(&self.jobs).collect();
        let reader = jobs.iter().enumerate().find(|(index, job)| {
            let last_wall = jobs[..=*index].iter().rposition(|job| job.stonewall);
            let before = &jobs[..last_wall.unwrap_or(0)];
            let written = before.iter().rposition(|other| job.reads_back(other));
            let stays = written.is_some_and(|written| {
                let mut since = before[written..].iter();
                !since.any(|other| other.trims_blocks() && job.meets(other))
            });
            job.verifies() && !job.writes_blocks() && !stays
        });
        let (_, job) = reader?;
        let who = match self.jobs.is_empty() {
            true => "it".to_owned(),
            false => format!("[{}]", job.name),
        };
        Some(format!("{who} verifies what it has not written"))
    }

    /// Why fio, or the kernel, may refuse what a job asks for, if it may: places that not each disk has, or
    /// blocks that are not those of each disk.
    pub fn can_be_refused(&self) -> Option<String> {
        self.working().find_map(Job::can_be_refused)
    }

    /// Two sections that run at once and write the same blocks, one of which is verified.
    fn sections_that_meet(&self) -> Option<String> {
        for (index, job) in self.jobs.iter().enumerate() {
            for other in &self.jobs[..index] {
                let at_once = !self.jobs[..=index]
                    .iter()
                    .skip_while(|job| !std::ptr::eq(*job, other))
                    .skip(1)
                    .any(|job| job.stonewall);
                let (mine, theirs) = (job.file_names(), other.file_names());
                let same_disk = mine.is_empty()
                    || theirs.is_empty()
                    || mine.iter().any(|name| theirs.contains(name));
                let [writes, checks] = [Job::writes_blocks, Job::verifies];
                let spoils = writes(job) && checks(other) || writes(other) && checks(job);
                if at_once && same_disk && spoils && job.meets(other) {
                    let (first, second) = (&other.name, &job.name);
                    return Some(format!(
                        "[{first}] and [{second}] run at once on the same blocks"
                    ));
                }
            }
        }
        None
    }
}

impl Job {
    /// Why fio may find blocks of this job wrong on a disk that does nothing wrong, if it may.
    ///
    /// Of clones fio itself says "multiple writers may overwrite blocks that belong to other jobs. This can
    /// cause verification failures." Without a map a block is written again while the write before is in
    /// flight, or, where the job reads, under seeds that verification does not repeat.
    pub fn can_spoil_itself(&self) -> Option<String> {
        if !(self.writes_blocks() && self.verifies()) {
            return None;
        }
        let (offset, size) = (self.offset_increment, self.size);
        let apart = size.is_some_and(|size| offset.of(1 << 50) >= size.of(1 << 50));
        if self.numjobs > 1 && !apart {
            let clones = self.numjobs;
            return Some(format!(
                "numjobs={clones}: its clones write the same blocks"
            ));
        }
        if self.experimental_verify && self.rw.is_mixed() {
            let why = "experimental_verify: it draws the mix of reads and writes again, and may draw another";
            return Some(why.to_owned());
        }
        let elsewhere = self.parts.iter().any(|part| part.index > 0);
        let begins_later = self.offset != Span::Bytes(0) || elsewhere;
        if self.rw == ReadWrite::RandTrimWrite && begins_later {
            let why = "randtrimwrite: with an offset, fio 3.33 writes to one place again and again";
            return Some(why.to_owned());
        }
        let meets = self.iodepth > 1 || self.rw.reads();
        let again = self.rw.is_random() && !self.has_map_option() && meets;
        let why = "norandommap: it writes blocks again before they are verified";
        again.then(|| why.to_owned())
    }

    /// Why a disk, or a guest's kernel, may not take its requests, if it may: Linux takes whole logical blocks,
    /// of up to 4096 bytes, and fio no place behind the end. The model has no page cache that would take others.
    pub fn can_be_refused(&self) -> Option<String> {
        const BLOCK_MAX: u64 = 4096;
        const DEVICE_MIN: u64 = 1 << 20;
        let (from, _) = self.reach();
        let (grain, whole) = (u64::from(self.grain()), |n: u64| {
            n.is_multiple_of(BLOCK_MAX)
        });
        let clones = match self.numjobs > 1 {
            true => self.offset_increment,
            false => Span::Bytes(0),
        };
        let places = [self.offset, clones].map(|place| match place {
            Span::Bytes(bytes) => bytes,
            Span::Percent(_) => 0,
        });
        if self.trims_blocks() {
            return Some("trims: Linux refuses that of a disk that went, too".into());
        }
        if self.verify_state_load {
            return Some("verify_state_load: its state file may be missing".into());
        }
        if !(whole(grain) && places.into_iter().all(whole)) {
            return Some(format!("blocks, or places, of {grain} bytes"));
        }
        if from > 0 || places[1] > 0 {
            return Some("offset: the disk may end before it".into());
        }
        let longest = u64::from(self.len_max());
        (longest > DEVICE_MIN)
            .then(|| format!("the disk may be less than a block of {longest} bytes"))
    }

    /// Whether it verifies the blocks that `other` has written, as that one wrote them.
    pub fn reads_back(&self, other: &Job) -> bool {
        let of = |job: &Job| {
            (
                job.verify,
                job.interval(),
                job.reach(),
                job.filename.clone(),
            )
        };
        let all = !other.rw.is_mixed() && (!other.rw.is_random() || other.has_map_option());
        other.writes_blocks() && other.rw.writes() && all && of(self) == of(other)
    }

    /// Whether its blocks may be those of `other`, on a disk that is large enough for both.
    pub fn meets(&self, other: &Job) -> bool {
        let [(from, to), (other_from, other_to)] = [self, other].map(Job::reach);
        from < other_to && other_from < to
    }

    /// From where to where it may go, on a disk of 1 PiB.
    fn reach(&self) -> (u64, u64) {
        const DEVICE: u64 = 1 << 50;
        let clones = u64::from(self.numjobs.max(1)) - 1;
        let start = self.offset.of(DEVICE);
        let last = clones.saturating_mul(self.offset_increment.of(DEVICE));
        let size = match self.filesize {
            Some(size) => size.saturating_sub(start),
            None => self.size.map_or(DEVICE, |size| size.of(DEVICE)),
        };
        (start, start.saturating_add(last).saturating_add(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> JobFile {
        JobFile::parse("x.fio", text).expect("a job file")
    }

    #[test]
    fn jobs_that_write_what_is_yet_to_be_verified_can_spoil_themselves() {
        let spoils = |options: &str| {
            let text = format!("[global]\nioengine=libaio\nverify=md5\n{options}\n");
            let file = JobFile::parse("x.fio", &text).expect("a job");
            file.template().can_spoil_itself()
        };
        for (options, word) in [
            ("rw=randrw\nnumjobs=2", "numjobs=2: "),
            ("rw=write\nnumjobs=4", "numjobs=4: "),
            ("rw=randwrite\nnorandommap\niodepth=2", "norandommap: "),
            ("rw=randrw\nnorandommap", "norandommap: "),
        ] {
            let why = spoils(options).unwrap_or_else(|| panic!("{options}"));
            assert!(why.starts_with(word), "{why}");
        }
        for options in [
            "rw=randrw\niodepth=32",
            "rw=randwrite\nnorandommap",
            "rw=write\nnorandommap\niodepth=32",
            "rw=randread\nnumjobs=2",
            "rw=randrw\nnumjobs=2\ndo_verify=0",
            "rw=randrw\nnumjobs=2\nverify=null",
        ] {
            assert_eq!(spoils(options), None, "{options}");
        }
    }

    #[test]
    fn a_reader_verifies_what_a_section_before_wrote_or_nobody() {
        let of =
            |text: &str| file(&format!("[global]\nverify=md5\nsize=1m\n{text}")).reads_unwritten();
        assert_eq!(of("[w]\nrw=randwrite\n[r]\nstonewall\nrw=randread\n"), None);
        assert_eq!(
            of("[w]\nrw=write\n[t]\nstonewall\nrw=trim\noffset=1m\n[r]\nstonewall\nrw=read\n"),
            None
        );
        assert_eq!(of("rw=trim\n"), None);
        assert_eq!(of("rw=randrw\n"), None);
        assert_eq!(of("rw=read\nverify=null\n"), None);
        for text in [
            "rw=read\n",
            "[w]\nrw=write\n[r]\nrw=read\n",
            "[w]\nrw=randrw\n[r]\nstonewall\nrw=read\n",
            "[w]\nrw=write\nbs=8k\n[r]\nstonewall\nrw=read\n",
            "[w]\nrw=write\n[r]\nstonewall\nrw=read\nsize=2m\n",
            "[w]\nrw=randwrite\nnorandommap\n[r]\nstonewall\nrw=read\n",
            "[w]\nrw=write\n[r]\nstonewall\nrw=read\nfilename=other\n",
            "[w]\nrw=write\n[t]\nstonewall\nrw=trim\n[r]\nstonewall\nrw=read\n",
            "[t]\nrw=trim\n[r]\nstonewall\nrw=read\n",
        ] {
            assert!(of(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_not_each_disk_takes_can_be_refused() {
        let of = |options: &str| file(&format!("[global]\ndirect=1\n{options}")).can_be_refused();
        for options in [
            "bs=4k\nsize=1m\n",
            "bs=64k\nrw=randrw\nnumjobs=4\n",
            "bs=4k\nnumjobs=1\noffset_increment=1g\n",
        ] {
            assert_eq!(of(options), None, "{options}");
        }
        for options in [
            "bs=512\n",
            "bs=1000\n",
            "bs=4k\noffset=1\n",
            "bs=4k\noffset=1g\n",
            "bs=4k\nnumjobs=2\noffset_increment=1g\n",
            "bs=2m\n",
            "bs=4k\nverify_state_load=1\n",
            "bs=4k\nrw=randtrim\n",
        ] {
            assert!(of(options).is_some(), "{options}");
        }
    }
}
